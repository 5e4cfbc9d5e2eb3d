"""Read and write the records behind the pages, and describe their source."""

import hashlib
import json
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from radialbench.errors import RecordError
from radialbench.records.codec import from_json
from radialbench.records.measurement import Measurement
from radialbench.records.result import Environment, Record
from radialbench.records.statistics import Estimate
from radialbench.reports.text import EMPTY_CELL, markdown_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Something that was timed, with where, and when in ISO 8601."""

    timing: Measurement
    environment: Environment
    created: str


def measured_here(module: str, device: str = "cuda") -> dict[str, Any]:
    """Return the environment and the time of a measurement by a script, as fields of `Timed`.

    Records are committed: of an absolute path the command has the name alone.
    """
    from radialbench.kernels.measure.environment import environment

    words = (Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])
    command = shlex.join(["python", "-m", module, *words])
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"environment": environment(command, device=device), "created": created}


def read_lines(path: Path, kind: type[T]) -> tuple[T, ...]:
    """Read a file of records, one JSON object per line; an error has the line's number."""
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            found.append(from_json(line, kind))
        except RecordError as error:
            raise RecordError(f"{path}:{number}: {error}") from None
    return tuple(found)


def write_rows(path: Path, rows: Iterable[object], head: str = "[", end: str = "]") -> None:
    """Write rows as JSON, one per line, between a head and an end."""
    lines = ",\n".join(map(json.dumps, rows))
    path.write_text(f"{head}\n{lines}\n{end}\n", encoding="utf-8")


def file_hash(path: Path) -> str:
    """Return a short hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def timing_of(record: Record) -> Measurement:
    """Return the timing of a record that has one."""
    assert record.timing is not None
    return record.timing


def source_of(record: Record | Timed) -> str:
    """Describe where and when a record was measured."""
    return f"{described(record.environment)}; {record.created[:10]}."


def described(here: Environment) -> str:
    """Describe a machine, its libraries and the command that measured."""
    machine = f"{here.cpu}, {here.cores} cores, {here.memory_bytes / 2**30:.0f} GiB"
    if here.device != "cpu":
        machine = f"{here.device}; {machine}"
    versions = ", ".join(f"{name} {version}" for name, version in here.versions.items())
    command = here.command.split(" -o ")[0]
    return f"{machine}; Python {here.python}, {versions}; `{command}`"


@dataclass(frozen=True, slots=True)
class PerformanceTarget:
    """A ratio that a kernel should reach: at least a bound, or at most it.

    `measured` is None if the records lack its cases; `forms` are the formats of bound and ratio.
    """

    what: str
    bound: float
    measured: Estimate | None
    at_most: bool = False
    forms: tuple[str, str] = (".2f", ".2f")


def target_table(targets: Iterable[PerformanceTarget]) -> str:
    """Return a table of targets with the measured ratios and their 95% intervals."""
    body = []
    for one in targets:
        shown, met = EMPTY_CELL, EMPTY_CELL
        if one.measured is not None:
            ratio = one.measured.value
            reached = ratio <= one.bound if one.at_most else ratio >= one.bound
            shown = format(one.measured, one.forms[1])
            met = "yes" if reached else "**no**"
        asked = f"at {'most' if one.at_most else 'least'} {format(one.bound, one.forms[0])}"
        body.append((one.what, asked, shown, met))
    return markdown_table(("what", "asked", "measured", "met"), body, text_columns=1)
