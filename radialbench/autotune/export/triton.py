"""Triton: a module with a list of `triton.Config`, to import or to paste."""

from dataclasses import asdict

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

CONFIGS has each once. PROBLEMS says what was tuned, and which of CONFIGS, counted from 0, is the
one for it. The table of a mask is compiled for BLOCK_M and BLOCK_N.
"""

import triton

CONFIGS = [
{configs}]

PROBLEMS = [
{problems}]
'''


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
    of: dict[str, list[TuningRecord]] = {}
    for record in chosen.records:
        of.setdefault(_source(record), []).append(record)
    configs, problems = [], []
    for place, (source, records) in enumerate(of.items()):
        configs += [f"    # {describe_record(record)}\n" for record in records]
        configs.append(f"    {source},\n")
        for record in records:
            facts = {"config": place} | asdict(record.key) | {"label": record.mask.label}
            problems.append(f"    {facts | measured_facts(record)!r},\n")
    return TEXT.format(backend=backends[0], configs="".join(configs), problems="".join(problems))


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
