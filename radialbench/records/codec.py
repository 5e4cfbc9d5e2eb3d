"""Stored types as plain JSON values, and back, strictly."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from radialbench.errors import RecordError, unknown

T = TypeVar("T")
Decoder = Callable[[Any, str], Any]


def to_dict(value: object) -> dict[str, Any]:
    """Turn a stored value into JSON's own types.

    Raises:
        RecordError: A number is not finite; the message names its key.
    """
    return {
        field.name: _plain(getattr(value, field.name), field.name)
        for field in fields(value)  # type: ignore[arg-type]
    }


def from_dict(kind: type[T], value: object) -> T:
    """Build a stored value from what `to_dict` gave.

    Raises:
        RecordError: A key is unknown or missing, or its value is of the wrong kind or out of
            bounds; the message names the key.
    """
    decode: Decoder = _decoder(cast(Any, kind))
    made: T = decode(value, "")
    return made


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        raise RecordError(f"{key}: only finite numbers are stored, got {value}")
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name), f"{key}.{f.name}") for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item, f"{key}[{index}]") for index, item in enumerate(value)]
    return value


@cache
def _decoder(hint: Any) -> Decoder:
    if is_dataclass(hint):
        return _dataclass_decoder(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:
        (inner,) = (_decoder(argument) for argument in arguments if argument is not type(None))
        return lambda value, key: None if value is None else inner(value, key)
    if origin is tuple:
        item = _decoder(arguments[0])
        return lambda value, key: tuple(
            item(entry, f"{key}[{index}]") for index, entry in enumerate(_is(list, value, key))
        )
    if origin is dict:
        return lambda value, key: {
            name: _is(str, entry, f"{key}.{name}") for name, entry in _is(dict, value, key).items()
        }
    if issubclass(hint, StrEnum):
        return lambda value, key: _member(hint, value, key)
    if hint is float:
        return _number
    return lambda value, key: _is(hint, value, key)


def _dataclass_decoder(kind: Any) -> Decoder:
    hints = get_type_hints(kind)
    decoders = {field.name: _decoder(hints[field.name]) for field in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING}

    def decode(value: Any, key: str) -> Any:
        given = _is(dict, value, key)
        dot = f"{key}." if key else ""
        if missing := needed - given.keys():
            raise RecordError(f"{dot}{min(missing)}: missing")
        if strange := given.keys() - decoders.keys():
            raise RecordError(f"{dot}{min(strange)}: {unknown('key', min(strange), decoders)}")
        try:
            return kind(**{name: decoders[name](v, f"{dot}{name}") for name, v in given.items()})
        except TypeError as error:
            raise RecordError(f"{key or kind.__name__}: {error}") from None

    return decode


def _is(kind: type, value: Any, key: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RecordError(f"{key or 'record'}: expected {kind.__name__}, got {value!r:.80}")
    return value


def _number(value: Any, key: str) -> float:
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise RecordError(f"{key}: expected a finite number, got {value!r:.80}")
    return number


def _member(kind: type[StrEnum], value: Any, key: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        raise RecordError(f"{key}: {unknown('value', value, kind)}") from None
