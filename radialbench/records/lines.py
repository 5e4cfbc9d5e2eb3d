"""Records as lines of JSON, read quickly: files hold many thousand."""

import json
from typing import Any, NoReturn

from radialbench.errors import RecordError
from radialbench.records.codec import from_dict
from radialbench.records.measurement import Accuracy
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.result import SCHEMA, Environment, Record

KINDS: dict[str, Any] = {
    "problem": Problem,
    "config": KernelConfig,
    "accuracy": Accuracy,
    "environment": Environment,
}

MARKS = ("problem", "table", "status", "timing", "environment", "created")
"""Keys where a line as it is written is cut. From `problem`, `status` and `environment` up to the
next of these, what was computed, how exactly, and where: often the same to the letter from run to
run, as what was measured is not."""


class NewerSchemaError(RecordError):
    """A record that a newer version wrote."""


class Reader:
    """Reads lines, and builds once what many have in common to the letter.

    That is what was computed and where, most of a line but for its samples.
    """

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def record(self, line: bytes) -> Record:
        """Read one line.

        Raises:
            RecordError: It is no record of a version this one can read.
        """
        try:
            record = self._quickly(line.decode())
        except (ValueError, TypeError, KeyError, RecursionError, RecordError):
            record = None
        return record or parse_line(line)

    def _quickly(self, line: str) -> Record | None:
        """Read a line as it is written; None, or any error, if it must be looked at closely."""
        pieces = []
        for key in MARKS:
            # Text within quotes holds no such mark, as its own quotes are escaped.
            piece, line = line.split(f', "{key}": ', 1)
            pieces.append(piece)
        head, computed, table, exactly, timing, place = pieces
        value = _DECODER.decode(f'{head}, "table": {table}, "timing": {timing}, "created": {line}')
        if value["schema"] > SCHEMA:
            return None
        shape, outcome = self._part("problem", computed), self._part("status", exactly)
        here = self._part("environment", place)
        merged = value | shape | outcome | here
        if len(merged) < len(value) + len(shape) + len(outcome) + len(here):
            return None
        return from_dict(Record, merged)

    def _part(self, key: str, text: str) -> dict[str, Any]:
        """Give what stands between two marks, its inner parts built."""
        built = self._built.get(text)
        if built is None:
            value = _DECODER.decode(f'{{"{key}": {text}}}')
            built = {
                name: from_dict(KINDS[name], part) if name in KINDS and part is not None else part
                for name, part in value.items()
            }
            self._built[text] = built
        return built


def parse_line(line: bytes) -> Record:
    """Read one line.

    Raises:
        RecordError: It is no record of a version this one can read.
    """
    try:
        value = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        raise RecordError("not a whole line of JSON") from None
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerSchemaError(
            f"written in form {schema}, this version reads up to {SCHEMA}; update radialbench"
        )
    return from_dict(Record, value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
