"""Goldens: what a call returned, stored beside the test that calls it again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from radialbench.errors import RecordError
from radialbench.kernels.measure.environment import environment
from radialbench.reading import read_whole
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.result import Environment
from radialbench.records.store import write_errors
from radialbench.reports.text import join_and, printable
from radialbench.testing.cohort import cohort_diff
from radialbench.writing import write_files

Outputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]

KEY = "radialbench_golden"
"""Of our metadata in the file."""


@dataclass(frozen=True, slots=True)
class Golden:
    """What came of a comparison.

    Attributes:
        verdict: `pass` or `differs`.
        exact: Whether bits were compared, and not numbers by a tolerance.
        text: The verdict in a sentence.
    """

    verdict: str
    exact: bool
    text: str


def save_golden(outputs: Outputs, path: str | Path) -> None:
    """Store what a call returned as safetensors, with machine and versions.

    Args:
        outputs: A tensor, several, or several by name.
        path: The file.

    Raises:
        RecordError: The file cannot be written, or there is nothing to write.
    """
    from safetensors.torch import save

    named = _named(outputs)
    where = to_dict(environment("", device=_device(named)))
    plain = {name: x.detach().cpu().contiguous() for name, x in named.items()}
    data = save(plain, {KEY: json.dumps(where)})
    file = Path(path)
    with write_errors(file, "choose another file"):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_files({file: data})


def compare_golden(
    outputs: Outputs,
    path: str | Path,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    exact: bool = True,
) -> Golden:
    """Compare what a call returned with what it returned before.

    On the machine and with the versions of the golden every bit has to be the same; elsewhere
    numbers may differ by a tolerance, and nan equals nan.

    Args:
        outputs: A tensor, several, or several by name.
        path: A file that `save_golden` wrote.
        rtol: The tolerance's share of the golden; PyTorch's for the type if neither is given.
        atol: What is added to it.
        exact: Whether bits are compared where they can be; False for what adds in no fixed order.

    Raises:
        RecordError: The file is no golden, or only one of rtol and atol is given.
    """
    if (rtol is None) != (atol is None):
        raise RecordError(f"give rtol and atol, or neither, got rtol={rtol} and atol={atol}")
    file, now = Path(path), _named(outputs)
    before, where = _read(file)
    if set(now) != set(before):
        had, has = (printable(join_and(sorted(names))) for names in (before, now))
        return Golden("differs", False, f"the golden {file} has {had}, and the call returned {has}")
    differ = cohort_diff(where, environment("", device=_device(now)))
    bitwise = exact and not differ
    for name, x in now.items():
        if why := _difference(before[name], x.detach().cpu(), bitwise, rtol, atol):
            place = f"elsewhere ({differ})" if differ else "here, with the same versions"
            text = f"{printable(name)} differs from {file}, stored {place}: {why}"
            return Golden("differs", bitwise, text)
    how = "in every bit" if bitwise else "within the tolerance"
    return Golden("pass", bitwise, f"{join_and(map(printable, now))}: as in {file}, {how}")


def _difference(
    before: Tensor, now: Tensor, bitwise: bool, rtol: float | None, atol: float | None
) -> str:
    """Return how two tensors differ; empty if they do not."""
    kinds = [f"{one.dtype} {list(one.shape)}" for one in (before, now)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0]}, now {kinds[1]}"
    moved = (now.double() - before.double()).abs().nan_to_num(0.0)
    most = f"by up to {float(moved.max()) if moved.numel() else 0.0:.3g}"
    if bitwise:
        bits = [one.contiguous().flatten().view(torch.uint8) for one in (before, now)]
        if torch.equal(*bits):
            return ""
        count = int((bits[0] != bits[1]).view(-1, before.itemsize).any(1).sum())
        return f"{count:,} of {now.numel():,} numbers have other bits, {most}"
    try:
        torch.testing.assert_close(now, before, rtol=rtol, atol=atol, equal_nan=True)
    except AssertionError:
        asked = "PyTorch's for the type" if rtol is None else f"rtol {rtol:g}, atol {atol:g}"
        return f"{most}, beyond the tolerance ({asked})"
    return ""


def _named(outputs: Outputs) -> dict[str, Tensor]:
    if isinstance(outputs, Tensor):
        outputs = {"out": outputs}
    elif not isinstance(outputs, Mapping):
        outputs = {str(place): one for place, one in enumerate(outputs)}
    wrong = [name for name, one in outputs.items() if not isinstance(one, Tensor)]
    if wrong or not outputs:
        got = f"{wrong[0]} is none" if wrong else "there is none"
        raise RecordError(f"a golden is a tensor, several, or several by name; {got}")
    return dict(outputs)


def _device(named: Mapping[str, Tensor]) -> str:
    return "cuda" if any(one.is_cuda for one in named.values()) else "cpu"


def _read(path: Path) -> tuple[dict[str, Tensor], Environment]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = read_whole(path)
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        where = from_dict(Environment, json.loads(header["__metadata__"][KEY]))
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        what = printable(str(error))
        raise RecordError(f"{path} is no golden ({what}); choose another file") from None
    return tensors, where
