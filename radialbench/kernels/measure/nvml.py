"""NVML as far as it answers: what the package `pynvml`, the driver or a GPU lacks is left out."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

ABSENT = (9, 12)
"""NVML's codes for a machine without a driver: it is not loaded, or its library is not there."""


class NvmlError(Exception):
    """A query without an answer; the message is the reason."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.is_absent = isinstance(cause, ImportError) or getattr(cause, "value", None) in ABSENT


@contextmanager
def opened() -> Iterator[NvmlError | None]:
    """Open NVML; yields why not if it cannot be opened."""
    try:
        answer("nvmlInit")
    except NvmlError as error:
        yield error
        return
    try:
        yield None
    finally:
        with suppress(NvmlError):
            answer("nvmlShutdown")


def answer(function: str, *arguments: Any, constant: str | None = None) -> Any:
    """Return what a function of NVML returns, bytes as text.

    Args:
        function: Its name.
        *arguments: Its arguments.
        constant: Name of a constant of NVML that is the last argument.

    Raises:
        NvmlError: There is no such function or constant, or no answer.
    """
    # Several packages have this name, some of them old, and drivers refuse in many ways.
    try:
        import pynvml

        last = () if constant is None else (getattr(pynvml, constant),)
        value = getattr(pynvml, function)(*arguments, *last)
    except Exception as error:
        raise NvmlError(error) from None
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def number(function: str, *arguments: Any, constant: str | None = None) -> int | None:
    """Return a whole number that `answer` gives; None without an answer."""
    try:
        return int(answer(function, *arguments, constant=constant))
    except (NvmlError, TypeError, ValueError):
        return None


def clock_reasons(handle: Any) -> int:
    """Return the bits of what throttles a GPU's clocks; 0 if it does not report them."""
    for name in ("nvmlDeviceGetCurrentClocksEventReasons", THROTTLE_REASONS):
        if (bits := number(name, handle)) is not None:
            return bits
    return 0


THROTTLE_REASONS = "nvmlDeviceGetCurrentClocksThrottleReasons"
"""The name of the same function in packages before 12.535."""
