"""Stored types as plain JSON values, and back, strictly."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, NoReturn, TypeVar, cast, get_args, get_origin, get_type_hints

from radialbench.errors import RecordError, unknown

T = TypeVar("T")
Decoder = Callable[[Any], Any]
"""Gives the value, or raises `_Fault`. Keys are put together only for a fault: most have none, and
files hold many thousand records."""


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
    """Build a stored value from what `to_dict` gave; parts that are built already may stand in it.

    Raises:
        RecordError: A key is unknown or missing, or its value is of the wrong kind or out of
            bounds; the message names the key.
    """
    decode = _decoder(cast(Any, kind))
    try:
        return cast(T, decode(value))
    except _Fault as fault:
        raise RecordError(f"{fault.key or 'record'}: {fault.words}") from None


class _Fault(Exception):
    """What is wrong with a value, and under which key that lies."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words
        self.key = ""

    def under(self, name: str) -> "_Fault":
        """The same, seen from the value around it."""
        self.key = f"{name}{self.key}" if self.key[:1] in ("", "[") else f"{name}.{self.key}"
        return self


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
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        return _tuple_decoder(arguments[0])
    if origin is dict:
        return _texts
    if issubclass(hint, StrEnum):
        return lambda value: _member(hint, value)
    if hint is float:
        return _number
    return lambda value: value if type(value) is hint else _refuse(hint, value)


def _dataclass_decoder(kind: Any) -> Decoder:
    hints = get_type_hints(kind)
    names = tuple(field.name for field in fields(kind))
    decoders = {name: _decoder(hints[name]) for name in names}
    plain = [_plain_types(hints[name]) for name in names]
    known = dict(zip(names, plain, strict=True))
    needed = {f.name for f in fields(kind) if f.default is MISSING}

    def decode(value: Any) -> Any:
        if type(value) is not dict:
            return _refuse(dict, value)
        if len(value) != len(names):
            return decode_by_name(value)
        steps = zip(map(value.__getitem__, names), plain, decoders.values(), strict=True)
        try:
            made = [entry if type(entry) in types else step(entry) for entry, types, step in steps]
        except (KeyError, _Fault):
            return decode_by_name(value)
        return kind(*made)

    def decode_by_name(value: dict[str, Any]) -> Any:
        if missing := needed - value.keys():
            raise _Fault("missing").under(min(missing))
        if strange := value.keys() - decoders.keys():
            name = min(strange)
            raise _Fault(unknown("key", name, decoders)).under(name)
        made = {}
        for name, entry in value.items():
            try:
                made[name] = entry if type(entry) in known[name] else decoders[name](entry)
            except _Fault as fault:
                raise fault.under(name) from None
        return kind(**made)

    return decode


def _plain_types(hint: Any) -> tuple[type, ...]:
    """Types whose values are taken as they are."""
    hints = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return tuple(one for one in hints if one in (str, int, type(None)) or is_dataclass(one))


def _tuple_decoder(hint: Any) -> Decoder:
    item = _decoder(hint)

    def decode(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            _refuse(list, value)
        if hint is float and set(map(type, value)) == {float} and math.isfinite(sum(value)):
            return tuple(value)
        made = []
        for index, entry in enumerate(value):
            try:
                made.append(item(entry))
            except _Fault as fault:
                raise fault.under(f"[{index}]") from None
        return tuple(made)

    return decode


def _texts(value: Any) -> dict[str, str]:
    if type(value) is not dict:
        _refuse(dict, value)
    for name, entry in value.items():
        if type(entry) is not str:
            raise _Fault(f"expected str, got {entry!r:.80}").under(name)
    return dict(value)


def _refuse(kind: type, value: Any) -> NoReturn:
    raise _Fault(f"expected {kind.__name__}, got {value!r:.80}")


def _number(value: Any) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    number = math.nan
    if type(value) in (int, float):
        with suppress(OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise _Fault(f"expected a finite number, got {value!r:.80}")
    return number


def _member(kind: type[StrEnum], value: Any) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        raise _Fault(unknown("value", value, kind)) from None
