"""Stored types: as JSON and back, and what their fields are checked for when they are made.

msgspec checks the types of what is read and names the place. Bounds are checked by the types
themselves, so that they hold for values from Python, too.
"""

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NoReturn, TypeVar, cast

import msgspec

from radialbench.errors import RecordError, unknown
from radialbench.plain import plain_field, utf8

T = TypeVar("T")

LARGEST_INT = 2**63 - 1
"""Largest whole number that is stored; columns of tables hold no larger one."""

LARGEST = 1e100
"""Largest number that is stored: products of three such numbers are finite."""

MAX_SHOWN = 60
"""Characters of a refused value that a message shows."""


class VersionError(RecordError):
    """A record in another version of its stored form."""


class BrokenRecord(RecordError):
    """A record of this version with a value that is missing, of the wrong kind or out of bounds."""


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
        return utf8(json.dumps(plain, allow_nan=False, ensure_ascii=False))
    except ValueError:
        number = _not_finite(plain, "$")
        raise RecordError(f"only finite numbers are stored, got {number}") from None


def to_dict(value: object) -> dict[str, Any]:
    """Turn a stored value into JSON's own types; errors as `to_json`."""
    document: dict[str, Any] = json.loads(to_json(value))
    return document


def from_json(text: bytes, kind: type[T], *, strict: bool = True) -> T:
    """Read what `to_json` wrote.

    Args:
        text: JSON as the standard has it: without NaN and infinities.
        kind: Its type.
        strict: Refuse keys that the type does not know; otherwise they are ignored.

    Raises:
        RecordError: It is not JSON, a key is missing or unknown, or a value is of the wrong kind or
            out of bounds; the message names the place.
    """
    try:
        value: T = _decoder(cast(Any, kind)).decode(text)
        strange = ""
        if strict:
            strange = _strange(msgspec.json.decode(text), msgspec.to_builtins(value), "$")
    except msgspec.ValidationError as error:
        raise RecordError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RecordError(_not_json(text)) from None
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
        kind: Its type.
        version: The version that this release reads.
        strict: As `from_json`.

    Raises:
        VersionError: It has another version.
        BrokenRecord: It has this version, and is no such record.
        RecordError: It has none.
    """
    try:
        value = from_json(line, kind, strict=strict)
    except RecordError as error:
        written = _version_of(line)
        if written is None:
            raise
        check_version(written, version)
        raise BrokenRecord(str(error)) from None
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


def _not_json(text: bytes) -> str:
    """Describe text that is not JSON; Python reads numbers that the standard does not have."""
    try:
        number = _not_finite(json.loads(text), "$")
    except (ValueError, RecursionError):
        number = ""
    return (
        f"only finite numbers are stored, got {number}" if number else "not JSON, or not all of it"
    )


def _version_of(line: bytes) -> int | None:
    """Return the version that a line names, also where it holds numbers that are not JSON."""
    try:
        return from_json(line, _Versioned, strict=False).schema
    except RecordError:
        pass
    try:
        version = json.loads(line)["schema"]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None
    return version if type(version) is int else None


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _strange(given: Any, known: Any, place: str) -> str:
    """Describe the first key that a value was read without; empty if there is none."""
    if isinstance(given, dict) and isinstance(known, dict):
        for name in given.keys() - known.keys():
            return f"{unknown('key', name, known)} - at `{place}`"
    elif not (isinstance(given, list) and isinstance(known, tuple)):
        return ""
    parts = (_strange(one, known[key], path) for one, key, path in _parts(given, place))
    return next(filter(None, parts), "")


def _not_finite(value: Any, place: str) -> str:
    """Describe the first number that is not finite; empty if there is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} - at `{place}`"
    parts = (_not_finite(one, path) for one, _, path in _parts(value, place))
    return next(filter(None, parts), "")


def _parts(value: Any, place: str) -> Iterator[tuple[Any, Any, str]]:
    """Return the parts of a value of JSON, with key and path."""
    if isinstance(value, dict):
        yield from ((one, key, f"{place}.{key}") for key, one in value.items())
    elif isinstance(value, list | tuple):
        yield from ((one, index, f"{place}[{index}]") for index, one in enumerate(value))


def check_ints(owner: object, *names: str, at_least: int) -> None:
    """Refuse fields that are not whole numbers from a bound to `LARGEST_INT`; None passes."""
    for name in names:
        value = getattr(owner, name)
        if value is None or (type(value) is int and at_least <= value <= LARGEST_INT):
            continue
        value = plain_field(owner, name)
        if type(value) is not int or not at_least <= value <= LARGEST_INT:
            rule = f" must be a whole number of at least {at_least}"
            _refuse(owner, name, rule + _below(value, LARGEST_INT, "2^63"), value)


def check_numbers(owner: object, *names: str, above: float | None = None) -> None:
    """Refuse fields that are not numbers from 0 to `LARGEST`, or above 0; None passes."""
    low = 0 if above is None else above or 1 / LARGEST
    for name in names:
        if not _within(owner, name, low, LARGEST):
            value = getattr(owner, name)
            bound = "at least 0" if above is None else f"above {above:g}"
            rule = f" must be a finite number {bound}"
            _refuse(owner, name, rule + _below(value, LARGEST, f"{LARGEST:g}"), value)


def check_share(owner: object, *names: str) -> None:
    """Refuse fields that are not numbers from 0 to 1; None passes."""
    for name in names:
        if not _within(owner, name, 0, 1):
            _refuse(owner, name, " must be a number from 0 to 1", getattr(owner, name))


def check_each(owner: object, *names: str, low: float = 0.0, high: float = LARGEST) -> None:
    """Refuse fields with a number outside of two bounds."""
    for name in names:
        values = getattr(owner, name)
        # Files have many thousands of numbers: without these four, each costs a call in Python.
        if not values or (
            set(map(type, values)) <= {float, int}
            and min(values) >= low
            and max(values) <= high
            and not math.isnan(sum(values))
        ):
            continue
        for value in plain_field(owner, name):
            if not _is_number(value, low, high):
                _refuse(owner, name, f" must be finite numbers from {low:g} to {high:g}", value)


def check_choice(owner: object, name: str, known: Collection[str]) -> None:
    """Refuse a field whose value is not a known one."""
    value = getattr(owner, name)
    if value not in known:
        message = unknown("value", value, tuple(known))
        raise RecordError(f"{type(owner).__name__}.{name}: {message}")


def check_text(owner: object, *names: str) -> None:
    """Refuse fields that are not text, or empty."""
    for name in names:
        value = getattr(owner, name)
        if type(value) is not str or not value:
            _refuse(owner, name, " must be text", value)


def check_time(owner: object, name: str) -> None:
    """Refuse a field that is not an ISO 8601 time with its zone."""
    value = getattr(owner, name)
    try:
        zone = datetime.fromisoformat(value).tzinfo
    except (TypeError, ValueError):
        zone = None
    if zone is None:
        _refuse(owner, name, " must be an ISO 8601 time with its zone", value)


def _below(value: object, most: float, text: str) -> str:
    return f", and at most {text}" if isinstance(value, int | float) and value > most else ""


def _refuse(owner: object, name: str, rule: str, value: object) -> NoReturn:
    shown = repr(value)
    if len(shown) > MAX_SHOWN:
        shown = f"{shown[:MAX_SHOWN]}…"
    raise RecordError(f"{type(owner).__name__}.{name}{rule}, got {shown}")


def _within(owner: object, name: str, low: float, high: float) -> bool:
    """Return whether a field is a number between bounds, or None."""
    value = getattr(owner, name)
    if value is None or (type(value) in (float, int) and low <= value <= high):
        return True
    return _is_number(plain_field(owner, name), low, high)


def _is_number(value: object, low: float, high: float) -> bool:
    """Return whether a value is a number between bounds; nan is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
