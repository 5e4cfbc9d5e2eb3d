"""Tuning records on disk: one JSON line a record, written whole, and read whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

from radialbench.errors import RecordError
from radialbench.records.codec import VersionError, read_line
from radialbench.records.store import DISK_FULL, WriteError, write_whole
from radialbench.records.tuning import SCHEMA, TuningRecord


def read_tuning(path: Path) -> tuple[TuningRecord, ...]:
    """Read a file of tuning records, in its order.

    Raises:
        RecordError: The file cannot be read, or one of its lines is no tuning record of a version
            this one can read, or two are of one key; the message names the line.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    places: dict[object, int] = {}
    records = []
    for number, line in enumerate(lines, start=1):
        if not line or line.isspace():
            continue
        try:
            record = read_line(line, TuningRecord, SCHEMA)
        except VersionError as error:
            raise VersionError(f"{path}:{number}: {error}") from None
        except RecordError as error:
            raise RecordError(
                f"{path}:{number}: not a tuning record: {error}. Mend the line, or remove it"
            ) from None
        if record.key in places:
            raise RecordError(
                f"{path}:{number}: of the same problem as line {places[record.key]}; remove one"
            )
        places[record.key] = number
        records.append(record)
    return tuple(records)


def write_tuning(path: Path, records: Sequence[TuningRecord]) -> None:
    """Write a file of tuning records, in place of the one that is there, if any.

    Raises:
        RecordError: A record holds a number that is not finite, or the folder cannot be used.
        WriteError: The disk is full; the file that was there is kept.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, records)
    except OSError as error:
        kind = WriteError if error.errno in DISK_FULL else RecordError
        raise kind(
            f"cannot write {path}: {error.strerror or error}; choose another folder"
        ) from None


def put(path: Path, record: TuningRecord) -> None:
    """Add a record to a file, in place of the one of the same key; make the file if need be.

    Raises:
        RecordError: As `read_tuning` and `write_tuning`.
        WriteError: The disk is full; the file that was there is kept.
    """
    kept = {old.key: old for old in (read_tuning(path) if path.exists() else ())}
    kept[record.key] = record
    write_tuning(path, tuple(kept.values()))
