"""Checks that the stored types share."""

import math
from collections.abc import Collection
from datetime import datetime

from radialbench.errors import RecordError, unknown


def whole(owner: object, *names: str, at_least: int) -> None:
    """Refuse fields that are not whole numbers of at least a bound; None passes."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and (type(value) is not int or value < at_least):
            raise RecordError(
                f"{_place(owner, name)} must be a whole number of at least {at_least}, "
                f"got {value!r}"
            )


def finite(owner: object, *names: str, above: float | None = None) -> None:
    """Refuse fields that are not finite numbers of at least 0 (or above a bound); None passes."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and not is_finite(value, above):
            bound = "at least 0" if above is None else f"above {above:g}"
            raise RecordError(
                f"{_place(owner, name)} must be a finite number {bound}, got {value!r}"
            )


def is_finite(value: object, above: float | None = None) -> bool:
    """Tell whether a value is a finite number of at least 0, or above a bound."""
    if not isinstance(value, int | float) or value is True or value is False:
        return False
    if not math.isfinite(value):
        return False
    return value >= 0 if above is None else value > above


def all_above_0(owner: object, name: str) -> None:
    """Refuse a field with a number that is not finite and above 0."""
    values = getattr(owner, name)
    # Most have none, and files hold many thousands: these three ask nothing of each in Python.
    if set(map(type, values)) <= {float, int} and min(values) > 0 and math.isfinite(sum(values)):
        return
    for value in values:
        if not is_finite(value, 0):
            raise RecordError(
                f"{_place(owner, name)} must be finite numbers above 0, got {value!r}"
            )


def one_of(owner: object, name: str, known: Collection[str]) -> None:
    """Refuse a field whose value is not a known word."""
    value = getattr(owner, name)
    if value not in known:
        raise RecordError(f"{_place(owner, name)}: {unknown('value', value, tuple(known))}")


def filled(owner: object, *names: str) -> None:
    """Refuse fields that are not text with something in it."""
    for name in names:
        value = getattr(owner, name)
        if type(value) is not str or not value:
            raise RecordError(f"{_place(owner, name)} must be text, got {value!r}")


def zoned_time(owner: object, name: str) -> None:
    """Refuse a field that is not an ISO 8601 time with its zone."""
    value = getattr(owner, name)
    try:
        zone = datetime.fromisoformat(value).tzinfo
    except (TypeError, ValueError):
        zone = None
    if zone is None:
        raise RecordError(
            f"{_place(owner, name)} must be an ISO 8601 time with its zone, got {value!r}"
        )


def _place(owner: object, name: str) -> str:
    return f"{type(owner).__name__}.{name}"
