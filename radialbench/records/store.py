"""Results on disk: one JSON line a record, safe against kills and full disks; and their merge."""

import errno
import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from radialbench.errors import RadialBenchError, RecordError
from radialbench.reading import read_whole
from radialbench.records.codec import BrokenRecord, VersionError, read_line, to_json
from radialbench.records.result import RETRYABLE, SCHEMA, Record
from radialbench.writing import check_path, locked, replacement

T = TypeVar("T")

RESULTS = "results.jsonl"
"""Name of the file of results in an output folder."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of the system for a full disk, or a full quota."""


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What a file of results holds.

    Attributes:
        records: In the order of the file.
        skipped: Lines that are no records, as `line 12: reason`.
    """

    records: tuple[Record, ...]
    skipped: tuple[str, ...]


class WriteError(RecordError):
    """A record that cannot be written, such as on a full disk; those before it are kept."""


@contextmanager
def reserved(path: Path) -> Iterator[None]:
    """Lock a file against other runs, as `locked` does without waiting.

    Raises:
        RecordError: Another process has reserved the file.
        OSError: The file cannot be opened for writing.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, wait=False))
        except BlockingIOError:
            raise RecordError(
                f"another run is writing to {path}; wait for its end, or choose another folder"
            ) from None
        yield


def append(path: Path, record: object) -> None:
    """Add one record, of a case or of a trial, and return when it is on the disk.

    The rest of a line after a kill is ended first, and a failed write is undone: the file stays
    readable.

    Raises:
        RecordError: The record holds a number that is not finite.
        WriteError: The file cannot be written.
    """
    line = _line(record)
    try:
        check_path(path)
        with path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            start = b"" if file.read(1) in (b"", b"\n") else b"\n"
            _write(file.fileno(), start + line, size)
    except OSError as error:
        raise WriteError(
            f"cannot write {path}: {error.strerror or error}; what was written before is kept"
        ) from None


@contextmanager
def write_errors(
    path: Path | str,
    hint: str = "choose another folder",
    error_type: type[RadialBenchError] = RecordError,
) -> Iterator[None]:
    """Report that a file cannot be written as an error of this package.

    Raises:
        WriteError: The disk is full.
        RecordError: It cannot be written for another reason; another type if one is given.
    """
    try:
        check_path(path)
        yield
    except OSError as error:
        kind = WriteError if error.errno in DISK_FULL else error_type
        raise kind(f"cannot write {path}: {error.strerror or error}; {hint}") from None


def write_whole(path: Path, records: Iterable[object]) -> None:
    """Write a file of records as `replacement` does; errors as that, and as `to_json`."""
    with replacement(path) as file:
        file.writelines(map(_line, records))


def record_of(line: bytes) -> Record:
    """Read one line of results; keys that this version does not know are ignored.

    Raises:
        VersionError: It is written in another version.
        BrokenRecord: It is a record with a value that cannot be.
        RecordError: It is no record.
    """
    return read_line(line, Record, SCHEMA, strict=False)


def numbered_lines(path: Path) -> list[tuple[int, bytes]]:
    """Return the lines of a file that are not blank, with their numbers.

    Raises:
        RecordError: The file cannot be read.
    """
    try:
        lines = read_whole(path).split(b"\n")
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def read_at(place: str, line: bytes, kind: type[T], version: int, *, what: str, hint: str) -> T:
    """Read one line of a file that is read whole or not at all; errors as `read_line`."""
    try:
        return read_line(line, kind, version)
    except VersionError as error:
        raise VersionError(f"{place}: {error}") from None
    except RecordError as error:
        raise RecordError(f"{place}: not {what}: {error}. {hint}") from None


def read_every(path: Path, kind: type[T], version: int, *, what: str, hint: str) -> tuple[T, ...]:
    """Read a file of records of one kind, whole or not at all.

    Raises:
        RecordError: The file cannot be read, or a line is no such record of this version; the
            message names the line.
    """
    return tuple(
        read_at(f"{path}:{number}", line, kind, version, what=what, hint=hint)
        for number, line in numbered_lines(path)
    )


def read(path: Path) -> ReadResult:
    """Read a file of results; lines that are cut off or foreign are skipped and reported.

    Raises:
        RecordError: The file cannot be read, a record was written in another version, or holds a
            value that cannot be; the message names the line.
    """
    records: list[Record] = []
    skipped: list[str] = []
    with paused_collector():
        for number, line in numbered_lines(path):
            try:
                records.append(record_of(line))
            except VersionError as error:
                raise RecordError(f"{path}:{number}: {error}") from None
            except BrokenRecord as error:
                raise RecordError(
                    f"{path}:{number}: {error}. Mend the line, or remove it"
                ) from None
            except RecordError as error:
                skipped.append(f"line {number}: {error}")
    return ReadResult(tuple(records), tuple(skipped))


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the search for reference cycles, which takes longer the more records there are."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _line(record: object) -> bytes:
    return to_json(record).encode() + b"\n"


def _write(handle: int, data: bytes, size: int) -> None:
    try:
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, size)
        raise


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of a merge.

    Attributes:
        results: The file of results.
        suite: Name of the suite.
        records: In the order of the first record of each case.
        same: Records that another file holds too.
        replaced: Unsound records replaced by a later one of their case.
        skipped: Lines that are no records, as `file: line 12: reason`.
    """

    results: Path
    suite: str
    records: tuple[Record, ...]
    same: int
    replaced: int
    skipped: tuple[str, ...]


def merge(files: Sequence[Path], out: Path) -> Merged:
    """Merge files of results; of a case's records, a later one counts if the earlier was unsound.

    Args:
        files: The files.
        out: Folder for the merged one; created if it does not exist.

    Raises:
        RecordError: A file cannot be read or holds no record, two are of different suites or hold
            sound records of one case, or the folder holds results or cannot be used.
        WriteError: The disk is full.
    """
    by_case: dict[str, list[tuple[Record, Path]]] = {}
    suites: dict[str, Path] = {}
    skipped: list[str] = []
    same = 0
    for file in files:
        results = read(file)
        skipped += [f"{file}: {line}" for line in results.skipped]
        if not results.records:
            raise RecordError(f"{file} holds no records; leave it out")
        for record in results.records:
            suites.setdefault(record.suite, file)
            known = by_case.setdefault(record.case, [])
            if any(record == other for other, _ in known):
                same += 1
            else:
                known.append((record, file))
    if len(suites) > 1:
        names = " and ".join(f"{name!r} in {file}" for name, file in suites.items())
        raise RecordError(f"results of different suites, {names}; merge those of one suite")
    records = tuple(map(_valid_record, by_case.values()))
    replaced = sum(map(len, by_case.values())) - len(records)
    merged = out / RESULTS
    with write_errors(merged):
        out.mkdir(parents=True, exist_ok=True)
        with reserved(merged):
            if merged.stat().st_size:
                raise RecordError(f"{merged} already holds results; choose another folder")
            write_whole(merged, records)
    return Merged(merged, next(iter(suites)), records, same, replaced, tuple(skipped))


def _valid_record(known: list[tuple[Record, Path]]) -> Record:
    """Return the record of a case that counts."""
    # Sorting is stable: of one second, the later in the order given.
    ordered = sorted(known, key=lambda pair: datetime.fromisoformat(pair[0].created))
    for (earlier, first), (later, second) in pairwise(ordered):
        # A configuration that the suite leaves open may be tuned between two runs.
        fixed = {earlier.config_source, later.config_source} == {"suite"}
        if earlier.problem != later.problem or (fixed and earlier.config != later.config):
            raise RecordError(
                f"{first} and {second} hold {earlier.case} for different masks or shapes: the "
                "suite has changed between them, and their results do not belong together"
            )
        if earlier.status not in RETRYABLE:
            raise RecordError(
                f"{first} and {second} both hold {earlier.case}: {earlier.status} at "
                f"{earlier.created}, then {later.status} at {later.created}; merge shards that do "
                "not overlap, or leave one of the two out"
            )
    return ordered[-1][0]
