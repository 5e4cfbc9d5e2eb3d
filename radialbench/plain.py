"""Values as they can be stored: numbers of other libraries as Python's own, and text as UTF-8."""

from typing import Any


def plain(value: Any) -> Any:
    """Return a number of NumPy or PyTorch, or those of a tuple, as Python's own.

    Anything else is returned as it is.
    """
    if type(value) is tuple:
        return tuple(map(plain, value))
    return value.item() if getattr(value, "shape", None) == () else value


def plain_field(owner: object, name: str) -> Any:
    """Make the numbers of a field of a frozen dataclass Python's own, and return its value."""
    value = plain(getattr(owner, name))
    object.__setattr__(owner, name, value)
    return value


def utf8(text: str) -> str:
    """Return text that UTF-8 can hold: Python keeps other bytes, as of a path, as surrogates."""
    return text.encode("utf-8", "replace").decode()
