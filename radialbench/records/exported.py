"""Tuning records as one JSON document, to be given to others and looked up where they run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radialbench.errors import RecordError
from radialbench.records.codec import check_version, read_line, to_dict
from radialbench.records.tuning import SCHEMA as RECORD_SCHEMA
from radialbench.records.tuning import TuningKey, TuningRecord
from radialbench.records.tuning_file import read_tuning

FORMAT = "radialbench configurations"

SCHEMA = 2
"""Version of the document; each record in it says its own. 1: the first. 2: masks in fields."""


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
    document = to_dict(_Document(FORMAT, SCHEMA, tuple(records)))
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def from_document(text: bytes) -> tuple[TuningRecord, ...]:
    """Read what `to_document` wrote.

    Raises:
        RecordError: It is no such document of a version this one can read; the message names the
            record.
    """
    document = read_line(text, _Document, SCHEMA)
    places: dict[TuningKey, int] = {}
    for place, record in enumerate(document.records):
        check_version(record.schema, RECORD_SCHEMA)
        first = places.setdefault(record.key, place)
        if first != place:
            raise RecordError(f"records[{place}]: of the same problem as records[{first}]")
    return document.records


def read_records(path: Path) -> tuple[TuningRecord, ...]:
    """Read tuning records: a document if the name ends in `.json`, else a line of JSON each.

    Raises:
        RecordError: It cannot be read, or holds something else; the message says where.
    """
    if path.suffix != ".json":
        return read_tuning(path)
    try:
        return from_document(path.read_bytes())
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    except RecordError as error:
        raise type(error)(f"{path}: {error}") from None


def files_of(path: Path) -> list[Path]:
    """List the files of records that a path names: those of a folder, else itself."""
    if not path.is_dir():
        return [path]
    return sorted(one for one in path.iterdir() if one.suffix in (".json", ".jsonl"))
