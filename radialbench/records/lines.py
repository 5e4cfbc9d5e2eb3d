"""Records as lines of JSON, read quickly: files hold many thousand."""

import json
from typing import Any, NoReturn, TypeVar

import msgspec

from radialbench.errors import RecordError
from radialbench.records.codec import from_dict
from radialbench.records.result import SCHEMA, Record

T = TypeVar("T")


class NewerSchemaError(RecordError):
    """A record that a newer version wrote."""


def record_of(line: bytes) -> Record:
    """Read one line of results; keys that this version does not know are passed over.

    Raises:
        RecordError: It is no record of a version this one can read.
    """
    try:
        record = _QUICKLY.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, RecordError):
        # Once more, to say what is wrong.
        return parse_line(line, Record, SCHEMA)
    _check_schema(record.schema, SCHEMA)
    return record


def parse_line(line: bytes, kind: type[T], newest: int) -> T:
    """Read one line, with every key known, and with words for what is wrong.

    Args:
        line: The line.
        kind: What it is a record of.
        newest: The newest version of its stored form that this one can read.

    Raises:
        RecordError: It is no record of a version this one can read.
    """
    try:
        value = parse_json(line)
    except ValueError:
        raise RecordError("not a whole line of JSON") from None
    return build(value, kind, newest)


def parse_json(text: bytes) -> Any:
    """Read JSON as the standard has it: without NaN and infinities.

    Raises:
        ValueError: It is not JSON, or not all of it.
    """
    try:
        return _CLOSELY.decode(text.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def build(value: Any, kind: type[T], newest: int) -> T:
    """Make a record of JSON's own types; arguments and errors as `parse_line`."""
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, int):
        _check_schema(schema, newest)
    return from_dict(kind, value)


def _check_schema(schema: int, newest: int) -> None:
    if schema > newest:
        raise NewerSchemaError(
            f"written in form {schema}, this version reads up to {newest}; update radialbench"
        )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_QUICKLY = msgspec.json.Decoder(Record)
_CLOSELY = json.JSONDecoder(parse_constant=_refuse_constant)
