"""Tuning records as one JSON document, to be given to others and looked up where they run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from radialbench.errors import RecordError
from radialbench.records.codec import to_dict
from radialbench.records.lines import NewerSchemaError, build, parse_json
from radialbench.records.tuning import SCHEMA as RECORD_SCHEMA
from radialbench.records.tuning import TuningKey, TuningRecord
from radialbench.records.tuning_file import read_tuning

FORMAT = "radialbench configurations"

SCHEMA = 1
"""Version of the document; each record in it says its own. 1: the first."""


def to_document(records: Sequence[TuningRecord]) -> str:
    """Write records as a document.

    Raises:
        RecordError: A record holds a number that is not finite.
    """
    document = {"format": FORMAT, "schema": SCHEMA, "records": [to_dict(one) for one in records]}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def from_document(text: bytes) -> tuple[TuningRecord, ...]:
    """Read what `to_document` wrote.

    Raises:
        RecordError: It is no such document of a version this one can read; the message names the
            record.
    """
    try:
        document = parse_json(text)
    except ValueError:
        raise RecordError("not JSON, or not all of it") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RecordError(f"not an export of radialbench: its format is not {FORMAT!r}")
    schema, entries = document.get("schema"), document.get("records")
    if type(schema) is not int or not isinstance(entries, list):
        raise RecordError("damaged: it has no whole schema, or no list of records")
    if schema > SCHEMA:
        raise NewerSchemaError(
            f"written in form {schema}, this version reads up to {SCHEMA}; update radialbench"
        )
    found: dict[TuningKey, TuningRecord] = {}
    for place, entry in enumerate(entries):
        record = _built(entry, place)
        if record.key in found:
            first = list(found).index(record.key)
            raise RecordError(f"records[{place}]: of the same problem as records[{first}]")
        found[record.key] = record
    return tuple(found.values())


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


def _built(entry: Any, place: int) -> TuningRecord:
    try:
        return build(entry, TuningRecord, RECORD_SCHEMA)
    except RecordError as error:
        raise type(error)(f"records[{place}]: {error}") from None
