"""How numbers and stored text are written for people."""

from collections.abc import Callable
from math import floor, log10

from radialbench.records.statistics import Estimate

MIB = 1 << 20

EMPTY_CELL = "–"
"""What stands in a table where there is nothing."""


def format_sig3(value: float) -> str:
    """Three figures, thousands apart, never an exponent: 0.0120, 4.56, 78.9, 1,234."""
    if value == 0:
        return "0"
    decimals = min(max(2 - floor(log10(abs(value))), 0), 12)
    return f"{value:,.{decimals}f}"


def format_percent(value: float) -> str:
    """A share as a percentage."""
    return f"{value:.1%}"


def format_ratio(value: float) -> str:
    """A ratio: `2.56×`."""
    return f"{value:.2f}×" if 0.1 <= value < 10 else f"{format_sig3(value)}×"


def format_interval(estimate: Estimate | None, form: Callable[[float], str]) -> str:
    """Format the ends of an interval: `2.51× to 2.60×`; empty without one."""
    ends = estimate and estimate.ends
    return " to ".join(map(form, ends)) if ends else ""


def format_mib(count: float) -> str:
    """Bytes in MiB."""
    return format_sig3(count / MIB)


def format_range(values: list[int]) -> str:
    """The ends of a range: `5–257`, or the one value there is."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def printable(text: str) -> str:
    """Stored text without what a terminal would obey: control characters become `�`."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def join_and(words: list[str]) -> str:
    """Words as a sentence has them: `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
