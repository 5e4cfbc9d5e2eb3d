"""Records behind the pages: where they are, how they are read, and where they come from."""

import hashlib
from pathlib import Path
from typing import Protocol, TypeVar

from radialbench.errors import RecordError
from radialbench.records.codec import from_json
from radialbench.records.result import Environment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NOT_YET = "Not measured yet."

T = TypeVar("T")


class Measured(Protocol):
    """A record of something measured, whatever it was."""

    @property
    def environment(self) -> Environment:
        """Where it ran."""

    @property
    def created(self) -> str:
        """When, in ISO 8601."""


def read_lines(path: Path, kind: type[T]) -> tuple[T, ...]:
    """Read a file of records, a line of JSON each.

    Raises:
        RecordError: A line is none; the message has its number.
    """
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            found.append(from_json(line, kind))
        except RecordError as error:
            raise RecordError(f"{path}:{number}: {error}") from None
    return tuple(found)


def file_hash(path: Path) -> str:
    """Return what tells one file of records from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def source_of(record: Measured) -> str:
    """Describe where records come from, and when."""
    return f"{described(record.environment)}; {record.created[:10]}."


def described(here: Environment) -> str:
    """Describe where something was measured, and by which command."""
    machine = f"{here.cpu}, {here.cores} cores, {here.memory_bytes / 2**30:.0f} GiB"
    if here.device != "cpu":
        machine = f"{here.device}; {machine}"
    versions = ", ".join(f"{name} {version}" for name, version in here.versions.items())
    command = here.command.split(" -o ")[0]
    return f"{machine}; Python {here.python}, {versions}; `{command}`"
