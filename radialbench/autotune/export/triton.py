"""Triton: a module with a list of `triton.Config`, to import or to paste."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from radialbench.autotune.export import Chosen, describe_record, measured_facts
from radialbench.errors import RecordError
from radialbench.records.tuning import TuningRecord

CONSTANTS = {
    "hopper": {"BLOCK_M": "block_m", "BLOCK_N": "block_n", "BUFFERS": "num_stages"},
    "triton": {"BLOCK_M": "block_m", "BLOCK_N": "block_n"},
}
"""Constants of each kernel, with their fields of a configuration."""

OPTIONS: dict[str, dict[str, str | int]] = {
    "hopper": {"num_warps": 4, "maxnreg": 168},
    "triton": {"num_warps": "num_warps", "num_stages": "num_stages"},
}
"""Compile options of each kernel: a number, or a field of a configuration."""

TEXT = '''"""Configurations tuned by radialbench for its kernel `{backend}`.

{lists}
"""

import triton

{configs}PROBLEMS = [
{problems}]
'''

FORWARD = """\
CONFIGS has each once. PROBLEMS says what was tuned, and which of CONFIGS, counted from 0, is the
one for it. The table of a mask is compiled for BLOCK_M and BLOCK_N."""

BACKWARD = """\
DQ and DKDV, of the kernels of gradients, have each once. PROBLEMS says what was tuned, and which
of them, counted from 0, are the ones for it. A mask's table is compiled for BLOCK_M and BLOCK_N."""


Lists = dict[str, dict[str, list[TuningRecord]]]
"""Records by the name of a list and the text of one of its entries."""


def render(chosen: Chosen) -> str:
    """Return the module's text.

    Raises:
        RecordError: The records are of several kernels, or of one that Triton does not compile, or
            leave open what a `triton.Config` says.
    """
    backends = sorted({record.key.backend for record in chosen.records})
    if len(backends) != 1:
        raise RecordError(
            f"a list of triton.Config is for one kernel, got records of {', '.join(backends)}; "
            "choose with --backend"
        )
    if backends[0] not in CONSTANTS:
        raise RecordError(
            f"{backends[0]} is not compiled by Triton, which compiles {', '.join(CONSTANTS)}; "
            "choose another form, or records with --backend"
        )
    lists: Lists = {}
    for record in chosen.records:
        for name, source in _sources(record).items():
            lists.setdefault(name, {}).setdefault(source, []).append(record)
    problems = [f"    {_facts(record, lists)!r},\n" for record in _in_order(lists)]
    ways = [FORWARD] * ("CONFIGS" in lists) + [BACKWARD] * ("DQ" in lists)
    return TEXT.format(
        backend=backends[0],
        lists="\n\n".join(ways),
        configs="".join(f"{_list(name, of)}\n" for name, of in sorted(lists.items())),
        problems="".join(problems),
    )


def _in_order(lists: Lists) -> list[TuningRecord]:
    """Return the records in the order of their configurations."""
    first = [lists[name] for name in ("CONFIGS", "DQ") if name in lists]
    return [record for of in first for records in of.values() for record in records]


def _list(name: str, of: Mapping[str, Sequence[TuningRecord]]) -> str:
    lines = [f"{name} = [\n"]
    for source, records in of.items():
        lines += [f"    # {describe_record(record)}\n" for record in records]
        lines.append(f"    {source},\n")
    return "".join([*lines, "]\n"])


def _facts(record: TuningRecord, lists: Lists) -> dict[str, Any]:
    """Return what was tuned and found, with the places of the configurations in their lists."""
    named = {"CONFIGS": "config", "DQ": "dq", "DKDV": "dkdv"}
    places = {
        named[name]: list(lists[name]).index(source) for name, source in _sources(record).items()
    }
    return places | asdict(record.key) | {"label": record.mask.label} | measured_facts(record)


def _sources(record: TuningRecord) -> dict[str, str]:
    """Return the `triton.Config` of a record by the name of its list."""
    config = record.config
    if config.gradients is None:
        return {"CONFIGS": _source(record)}
    sources = {}
    for name, steps in (("DQ", config.gradients.dq), ("DKDV", config.gradients.dkdv)):
        constants = {"BLOCK_M": config.block_m, "BLOCK_N": config.block_n}
        constants |= {"OWN": steps.own, "STEP": steps.step}
        options = f"num_warps={steps.num_warps}, num_stages={steps.num_stages}"
        sources[name] = f"triton.Config({constants!r}, {options})"
    return sources


def _source(record: TuningRecord) -> str:
    backend, config = record.key.backend, asdict(record.config)
    constants = {name: config[field] for name, field in CONSTANTS[backend].items()}
    options = {
        name: config[given] if isinstance(given, str) else given
        for name, given in OPTIONS[backend].items()
    }
    if None in (*constants.values(), *options.values()):
        raise RecordError(
            "a triton.Config says warps and stages, and the record of "
            f"{describe_record(record)} leaves them open; tune again"
        )
    words = [repr(constants), *(f"{name}={value}" for name, value in options.items())]
    return f"triton.Config({', '.join(words)})"
