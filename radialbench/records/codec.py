"""Stored types as JSON, and back: msgspec reads and checks the dataclasses, and names the place."""

import json
import math
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from radialbench.errors import RecordError, unknown

T = TypeVar("T")


class VersionError(RecordError):
    """A record in another version of its stored form."""


@dataclass(frozen=True, slots=True)
class _Versioned:
    schema: int


def to_json(value: object) -> str:
    """Write a stored value as JSON, in one line.

    Raises:
        RecordError: A number is not finite; the message names its place.
    """
    plain = msgspec.to_builtins(value)
    try:
        return json.dumps(plain, allow_nan=False, ensure_ascii=False)
    except ValueError:
        found = _not_finite(plain, "$")
        raise RecordError(f"only finite numbers are stored, got {found}") from None


def to_dict(value: object) -> dict[str, Any]:
    """Turn a stored value into JSON's own types; errors as `to_json`."""
    made: dict[str, Any] = json.loads(to_json(value))
    return made


def from_json(text: bytes, kind: type[T], *, strict: bool = True) -> T:
    """Read what `to_json` wrote.

    Args:
        text: JSON as the standard has it: without NaN and infinities.
        kind: What it is.
        strict: Refuse keys that the type does not know; otherwise they are passed over.

    Raises:
        RecordError: It is not JSON, a key is missing or unknown, or a value is of the wrong kind or
            out of bounds; the message names the place.
    """
    try:
        value: T = _decoder(cast(Any, kind)).decode(text)
        strange = _strange_key(text, value) if strict else ""
    except msgspec.ValidationError as error:
        raise RecordError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RecordError("not JSON, or not all of it") from None
    if strange:
        raise RecordError(strange)
    return value


def from_dict(kind: type[T], value: object) -> T:
    """Build a stored value from what `to_dict` returned; errors as `from_json`."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"not JSON: {error}") from None
    return from_json(text.encode(), kind)


def read_line(line: bytes, kind: type[T], version: int, *, strict: bool = True) -> T:
    """Read a record, whose key `schema` is the version of its form.

    Args:
        line: The line.
        kind: What it is a record of.
        version: The version that this release reads.
        strict: As `from_json`.

    Raises:
        VersionError: It has another version.
        RecordError: As `from_json`.
    """
    try:
        value = from_json(line, kind, strict=strict)
    except RecordError:
        try:
            written = from_json(line, _Versioned, strict=False).schema
        except RecordError:
            written = version
        check_version(written, version)
        raise
    check_version(getattr(value, "schema", version), version)
    return value


def check_version(written: int, version: int) -> None:
    """Refuse what another version wrote.

    Raises:
        VersionError: The two differ.
    """
    if written != version:
        newer = "update radialbench"
        older = "measure again, or read it with the release that wrote it"
        raise VersionError(
            f"written in version {written}; this version reads {version}: "
            f"{newer if written > version else older}"
        )


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _strange_key(text: bytes, value: object) -> str:
    return _strange(msgspec.json.decode(text), msgspec.to_builtins(value), "$")


def _strange(given: Any, known: Any, place: str) -> str:
    """Name the first key that a value was read without; empty if there is none."""
    if isinstance(given, dict) and isinstance(known, dict):
        for name in given.keys() - known.keys():
            return f"{unknown('key', name, known)} - at `{place}`"
        parts = [(given[name], known[name], f"{place}.{name}") for name in given]
    elif isinstance(given, list) and isinstance(known, tuple):
        parts = [(one, known[i], f"{place}[{i}]") for i, one in enumerate(given)]
    else:
        return ""
    return next(filter(None, (_strange(*part) for part in parts)), "")


def _not_finite(value: Any, place: str) -> str:
    """Name the first number that is not finite; empty if there is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} - at `{place}`"
    if isinstance(value, dict):
        parts = [(one, f"{place}.{name}") for name, one in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(one, f"{place}[{i}]") for i, one in enumerate(value)]
    else:
        return ""
    return next(filter(None, (_not_finite(*part) for part in parts)), "")
