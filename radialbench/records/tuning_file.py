"""Tuning records on disk: a JSON line each, or one JSON document for others; read whole or not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radialbench.errors import RecordError
from radialbench.reading import read_whole
from radialbench.records.codec import check_version, read_line, to_dict
from radialbench.records.store import numbered_lines, read_at, write_errors, write_whole
from radialbench.records.tuning import SCHEMA, TuningKey, TuningRecord
from radialbench.writing import locked


def read_tuning(path: Path) -> tuple[TuningRecord, ...]:
    """Read a file of tuning records, in its order.

    Raises:
        RecordError: The file cannot be read, a line is no tuning record of this version, or two are
            of one key; the message names the line.
    """
    hint = "Mend the line, or remove it"
    places: dict[TuningKey, int] = {}
    records = []
    for number, line in numbered_lines(path):
        place = f"{path}:{number}"
        record = read_at(place, line, TuningRecord, SCHEMA, what="a tuning record", hint=hint)
        first = places.setdefault(record.key, number)
        if first != number:
            raise RecordError(f"{place}: of the same problem as line {first}; remove one")
        records.append(record)
    return tuple(records)


def write_tuning(path: Path, records: Sequence[TuningRecord]) -> None:
    """Write a file of tuning records, in place of the former one.

    Raises:
        RecordError: A record holds a number that is not finite, or the folder cannot be used.
        WriteError: The disk is full; the former file is kept.
    """
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, records)


def put(path: Path, record: TuningRecord) -> None:
    """Add a record to a file, in place of the one of the same key; errors as the two above."""
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            kept = {old.key: old for old in (read_tuning(path) if path.is_file() else ())}
            kept[record.key] = record
            write_tuning(path, tuple(kept.values()))


FORMAT = "radialbench configurations"

DOCUMENT_SCHEMA = 2
"""Version of the document; each record has its own. 1: the first. 2: masks in fields."""


@dataclass(frozen=True, slots=True)
class _Document:
    format: str = ""
    schema: int = 0
    records: tuple[TuningRecord, ...] = ()

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise RecordError(
                f"not an export of radialbench: its format is {self.format[:80]!r}, not {FORMAT!r}"
            )


def to_document(records: Sequence[TuningRecord]) -> str:
    """Write records as a document.

    Raises:
        RecordError: A record holds a number that is not finite.
    """
    document = to_dict(_Document(FORMAT, DOCUMENT_SCHEMA, tuple(records)))
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def from_document(text: bytes) -> tuple[TuningRecord, ...]:
    """Read what `to_document` wrote.

    Raises:
        RecordError: It is no document of this version; the message names the record.
    """
    document = read_line(text, _Document, DOCUMENT_SCHEMA)
    places: dict[TuningKey, int] = {}
    for place, record in enumerate(document.records):
        check_version(record.schema, SCHEMA)
        first = places.setdefault(record.key, place)
        if first != place:
            raise RecordError(f"records[{place}]: of the same problem as records[{first}]")
    return document.records


def read_records(path: Path) -> tuple[TuningRecord, ...]:
    """Read tuning records: a document if the name ends in `.json`, else a line of JSON each.

    Raises:
        RecordError: It cannot be read, or holds something else; the message names the place.
    """
    if path.suffix != ".json":
        return read_tuning(path)
    try:
        return from_document(read_whole(path))
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    except RecordError as error:
        raise type(error)(f"{path}: {error}") from None


def files_of(path: Path) -> list[Path]:
    """Return the files of records that a path names: those of a folder, else itself."""
    if not path.is_dir():
        return [path]
    return sorted(one for one in path.iterdir() if one.suffix in (".json", ".jsonl"))
