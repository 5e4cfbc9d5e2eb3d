"""Results on disk: one JSON line a record, safe against kills and full disks."""

import errno
import fcntl
import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radialbench.errors import RecordError
from radialbench.records.codec import VersionError, read_line, to_json
from radialbench.records.result import SCHEMA, Record

RESULTS = "results.jsonl"
"""Name of the file of results in an output folder."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says when there is no room left, or none left for this user."""


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
    """Keep other processes that ask for the same from appending; makes the file if need be.

    The system lets go of the file when the process ends, however it ends.

    Raises:
        RecordError: Another process has reserved the file.
        OSError: The file cannot be opened for writing.
    """
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecordError(
                f"another run is writing to {path}; wait for its end, or choose another folder"
            ) from None
        except OSError:
            # Some network file systems have no locks; runs are not kept apart there.
            pass
        yield


def append(path: Path, record: object) -> None:
    """Add one record, of a case or of a trial, and return when it is on the disk.

    A line that a kill left unfinished is closed first; a write that fails is taken back, so that
    the file stays readable.

    Raises:
        RecordError: The record holds a number that is not finite.
        WriteError: The file cannot be written.
    """
    line = written(record)
    try:
        with path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            start = b"" if _ends_line(file, size) else b"\n"
            _write(file.fileno(), start + line, size)
    except OSError as error:
        raise WriteError(
            f"cannot write {path}: {error.strerror or error}; what was written before is kept"
        ) from None


def written(record: object) -> bytes:
    """Write a record, of a case or of a tuned problem, as a line.

    Raises:
        RecordError: The record holds a number that is not finite.
    """
    return to_json(record).encode() + b"\n"


def write_whole(path: Path, records: Iterable[object]) -> None:
    """Write a file of records, or nothing: what was there is kept until all are on the disk.

    Raises:
        RecordError: A record holds a number that is not finite.
        OSError: It cannot be written.
    """
    write_bytes(path, map(written, records))


def write_bytes(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file, or nothing: what was there is kept until all is on the disk.

    Raises:
        OSError: It cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def record_of(line: bytes) -> Record:
    """Read one line of results; keys that this version does not know are passed over.

    Raises:
        VersionError: It is written in another version.
        RecordError: It is no record.
    """
    return read_line(line, Record, SCHEMA, strict=False)


def read(path: Path) -> ReadResult:
    """Read a file of results; lines that are cut off or foreign are skipped and reported.

    Raises:
        RecordError: The file cannot be read, or was written in another version.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    records: list[Record] = []
    skipped: list[str] = []
    with _nothing_collected():
        for number, line in enumerate(lines, start=1):
            if not line or line.isspace():
                continue
            try:
                records.append(record_of(line))
            except VersionError as error:
                raise RecordError(f"{path}:{number}: {error}") from None
            except RecordError as error:
                skipped.append(f"line {number}: {error}")
    return ReadResult(tuple(records), tuple(skipped))


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Look for no cycles meanwhile: records have none, and the search grows with their number."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _ends_line(file: Any, size: int) -> bool:
    if size == 0:
        return True
    file.seek(size - 1)
    return bool(file.read(1) == b"\n")


def _write(handle: int, data: bytes, size: int) -> None:
    try:
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, size)
        raise
