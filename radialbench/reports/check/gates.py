"""Gates: the least change of each metric that counts."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from radialbench.errors import ReportError, unknown
from radialbench.reports.numbers import MIB


@dataclass(frozen=True, slots=True)
class Gate:
    """What a change must reach to count, in both respects.

    Attributes:
        share: As a share of the figure before: 0.02 is 2%.
        least: In the metric's own unit.
    """

    share: float
    least: float = 0.0


Gates = Mapping[str, Gate | None]
"""A gate for each metric; None switches it off."""

GATES: dict[str, Gate | None] = {
    "latency": Gate(0.02),
    "ceiling": Gate(0.03),
    "energy": Gate(0.10),
    "memory": Gate(0.01, MIB),
    "accuracy": Gate(0.5, 0.05),
    "compile": Gate(0.10),
}
"""Where nothing else is asked for. A change that is caught nine times in ten has to be larger than
the gate, by 1.3 times what two runs of the same code differ by: hence 2% and not 3% for latency."""

UNITS: dict[str, dict[str, float]] = {
    "latency": {"ms": 1.0, "us": 1e-3},
    "ceiling": {},
    "energy": {"j": 1.0, "mj": 1e-3},
    "memory": {"mib": float(MIB), "kib": 1024.0, "gib": 1024.0 * MIB, "bytes": 1.0},
    "accuracy": {"tolerance": 1.0},
    "compile": {"ms": 1.0, "s": 1e3},
}
"""What a gate's absolute part may be given in."""


def set_gates(gates: Gates, settings: Iterable[str]) -> Gates:
    """Give gates in which some are set, as `latency=5%`, `memory=1%,4MiB` or `energy=off`.

    Raises:
        ReportError: There is no such metric, or the size cannot be read.
    """
    for setting in settings:
        metric, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            raise ReportError(
                f"a gate is set as metric=size, such as latency=5%, got {setting[:40]!r}"
            )
        gates = {**gates, metric: _gate(metric, text)}
    return gates


def read_gates(path: Path, gates: Gates = GATES) -> Gates:
    """Read gates from a YAML file of lines such as `latency: 5%`.

    Raises:
        ReportError: The file cannot be read, or holds something else.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict):
        raise ReportError(f"{path} must hold lines such as `latency: 5%`")
    # YAML reads `off` as false.
    words = {name: "off" if size is False else size for name, size in found.items()}
    try:
        return set_gates(gates, [f"{name}={size}" for name, size in words.items()])
    except ReportError as error:
        raise ReportError(f"{path}: {error}") from None


def _gate(metric: str, text: str) -> Gate | None:
    if metric not in GATES:
        raise ReportError(unknown("metric", metric, GATES))
    if text.lower() == "off":
        return None
    # A size given alone is the whole gate: what was there in the other unit no longer holds.
    gate = Gate(0.0)
    for part in text.split(","):
        gate = _part(gate, metric, part.strip())
    return gate


def _part(gate: Gate, metric: str, text: str) -> Gate:
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-zA-Z%×]+)", text)
    size = float(found[1]) if found else math.nan
    unit = found[2].lower() if found else ""
    if unit == "%" and 0 < size < 1000:
        return replace(gate, share=size / 100)
    if unit in ("x", "×") and 1 < size < 1000:
        return replace(gate, share=size - 1)
    if unit in UNITS[metric] and 0 < size < math.inf:
        return replace(gate, least=size * UNITS[metric][unit])
    known = ", ".join(["5%", "1.5x", *(f"2{name}" for name in UNITS[metric])])
    raise ReportError(f"a gate of {metric} is {known} or off, got {text[:40]!r}")
