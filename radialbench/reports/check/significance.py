"""Whether a change can be chance: intervals and probabilities of ratios, and many at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign, erfc, exp, hypot, log, log1p, sqrt

import numpy as np

from radialbench.reports.check.metrics import MetricValue
from radialbench.reports.interval import Interval

Z = 1.959964
"""Standard deviations that a 95% interval reaches to either side."""

MANY = 1e9
"""Degrees of freedom from which on Student's t is the normal distribution."""

FALSE = 0.01
"""Share of false ones among the changes a check reports, at most. If nothing changed at all, it is
the share of checks that report anything."""


@dataclass(frozen=True, slots=True)
class Change:
    """How a cost changed.

    Attributes:
        ratio: The cost now over that before.
        interval: 95% interval, what runs differ by included.
        worse_p: How likely a cost this much higher is if nothing changed.
        better_p: The same for this much lower.
        runs: What two runs of the same code differ by, as a share.
        freedom: Degrees of freedom that the probabilities are of.
    """

    ratio: float
    interval: Interval
    worse_p: float
    better_p: float
    runs: float
    freedom: float = MANY


@dataclass(frozen=True, slots=True)
class Slope:
    """How an exponent changed.

    Attributes:
        value: The exponent now less that before.
        interval: 95% interval of the difference, what runs differ by included.
        worse_p: How likely an exponent this much higher is if nothing changed.
        better_p: The same for this much lower.
        runs: What it differs by in two runs of the same code, as a standard deviation.
    """

    value: float
    interval: Interval
    worse_p: float
    better_p: float
    runs: float


def change_of(before: MetricValue, now: MetricValue, runs: float = 0.0) -> Change | None:
    """Compare two runs' figures; None if one has too few samples.

    The ends of both medians' intervals and the difference between runs are independent errors,
    whose logarithms add up by their squares.

    Args:
        before: The figure in the baseline.
        now: The figure now.
        runs: What two runs of the same code differ by at least, as a share.
    """
    old, new = _ends(before), _ends(now)
    if old is None or new is None:
        return None
    runs = max(before.runs, now.runs, runs)
    middle = log(now.value / before.value)
    down = hypot(log(now.value / new.low), log(old.high / before.value), Z * runs)
    up = hypot(log(new.high / now.value), log(before.value / old.low), Z * runs)
    freedom = _freedom(((old, before.samples), (new, now.samples)), runs)
    return Change(
        ratio=exp(middle),
        interval=Interval(exp(middle - down), exp(middle + up)),
        worse_p=_tail(middle * Z / down, freedom) if down else float(middle <= 0),
        better_p=_tail(-middle * Z / up, freedom) if up else float(middle >= 0),
        runs=runs,
        freedom=freedom,
    )


def slope_of(sizes: Sequence[float], changes: Sequence[Change]) -> Slope:
    """Give how the exponent of a cost in its sizes changed: the slope of the ratios' logarithms.

    Args:
        sizes: At least two different ones.
        changes: Of the cost at each size; their errors are independent.
    """
    x = np.log(np.asarray(sizes, np.float64))
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    value = float(weights @ [log(change.ratio) for change in changes])
    ends = [change.interval for change in changes]
    spreads = weights**2 * [(log(each.high / each.low) / (2 * Z)) ** 2 for each in ends]
    total = float(spreads.sum())
    lost = float((spreads**2 / [change.freedom for change in changes]).sum())
    freedom = min(total**2 / lost, MANY) if lost else MANY
    wide = sqrt(total)
    return Slope(
        value=value,
        interval=Interval(value - Z * wide, value + Z * wide),
        worse_p=_tail(value / wide, freedom) if wide else float(value <= 0),
        better_p=_tail(-value / wide, freedom) if wide else float(value >= 0),
        runs=float(np.hypot.reduce(weights * [change.runs for change in changes])),
    )


def benjamini_hochberg(chances: Sequence[float], false: float = FALSE) -> list[bool]:
    """Choose the changes that are real, so that few of those chosen are not.

    The procedure of Benjamini and Hochberg (1995).

    Args:
        chances: How likely each is by chance alone.
        false: Share of false ones among those chosen, at most, in expectation.
    """
    count = len(chances)
    if not count:
        return []
    ordered = np.sort(np.asarray(chances, np.float64))
    under = np.flatnonzero(ordered <= false * np.arange(1, count + 1) / count)
    bound = ordered[under[-1]] if len(under) else -1.0
    return [chance <= bound for chance in chances]


def _ends(figure: MetricValue) -> Interval | None:
    if figure.samples is None:
        return Interval(figure.value, figure.value)
    if figure.interval is None or figure.interval.low <= 0:
        return None
    return figure.interval.around(figure.value)


def _freedom(sides: Sequence[tuple[Interval, int | None]], runs: float) -> float:
    """Degrees of freedom of both runs' spread together (Welch, Satterthwaite)."""
    spreads = [(log(ends.high / ends.low) / (2 * Z)) ** 2 for ends, _ in sides]
    total = sum(spreads) + runs**2
    lost = sum(
        spread**2 / (count - 1)
        for spread, (_, count) in zip(spreads, sides, strict=True)
        if count and count > 1
    )
    return min(total**2 / lost, MANY) if lost else MANY


def _tail(t: float, freedom: float) -> float:
    """Probability of Student's t above a value, by a normal one (Wallace 1959)."""
    z = (8 * freedom + 1) / (8 * freedom + 3) * sqrt(freedom * log1p(t * t / freedom))
    return erfc(copysign(z, t) / sqrt(2)) / 2
