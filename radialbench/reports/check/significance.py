"""Whether a change can be chance: intervals and probabilities of ratios, and many at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign, erfc, exp, hypot, log, log1p, sqrt

import numpy as np

from radialbench.records.statistics import EXACT, INDEPENDENT_ERRORS, Estimate, unpaired_ratio
from radialbench.reports.check.metrics import MetricValue

Z = 1.959964
"""Standard deviations that a 95% interval reaches to either side."""

MANY = 1e9
"""Degrees of freedom from which on Student's t is the normal distribution."""

FALSE = 0.01
"""Share of false ones among the changes a check reports, at most. If nothing changed at all, it is
the share of checks that report anything."""


@dataclass(frozen=True, slots=True)
class Change:
    """How a cost, or its exponent, changed.

    Attributes:
        estimate: The cost now over that before, or the exponent now less that before, with what
            runs differ by in its 95% interval.
        worse_p: How likely one this much higher is if nothing changed.
        better_p: The same for this much lower.
        runs: What two runs of the same code differ by, as a standard deviation: of a cost as a
            share of it.
        freedom: Degrees of freedom that the probabilities are of.
    """

    estimate: Estimate
    worse_p: float
    better_p: float
    runs: float
    freedom: float


def change_of(before: MetricValue, now: MetricValue, runs: float = 0.0) -> Change | None:
    """Compare two runs' figures; None if one has too few samples.

    The difference between runs is one more independent error beside those of both figures.

    Args:
        before: The figure in the baseline.
        now: The figure now.
        runs: What two runs of the same code differ by at least, as a share.
    """
    old, new = _estimate(before), _estimate(now)
    found = unpaired_ratio(new, old)
    if found.ends is None:
        return None
    runs = max(before.runs, now.runs, runs)
    middle, (low, high) = log(found.value), map(log, found.ends)
    down, up = hypot(middle - low, Z * runs), hypot(high - middle, Z * runs)
    freedom = _freedom(((old, before.samples), (new, now.samples)), runs)
    ends = found.value * exp(-down), found.value * exp(up)
    return Change(
        estimate=Estimate(found.value, *ends, INDEPENDENT_ERRORS),
        worse_p=_tail(middle * Z / down, freedom) if down else float(middle <= 0),
        better_p=_tail(-middle * Z / up, freedom) if up else float(middle >= 0),
        runs=runs,
        freedom=freedom,
    )


def slope_of(sizes: Sequence[float], changes: Sequence[Change]) -> Change:
    """Return how the exponent of a cost in its sizes changed: the slope of the ratios' logarithms.

    Args:
        sizes: At least two different ones.
        changes: Of the cost at each size; their errors are independent.
    """
    x = np.log(np.asarray(sizes, np.float64))
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    value = float(weights @ [log(change.estimate.value) for change in changes])
    spreads = weights**2 * [_variance(change.estimate) for change in changes]
    total = float(spreads.sum())
    lost = float((spreads**2 / [change.freedom for change in changes]).sum())
    freedom = min(total**2 / lost, MANY) if lost else MANY
    wide = sqrt(total)
    return Change(
        estimate=Estimate(value, value - Z * wide, value + Z * wide, INDEPENDENT_ERRORS),
        worse_p=_tail(value / wide, freedom) if wide else float(value <= 0),
        better_p=_tail(-value / wide, freedom) if wide else float(value >= 0),
        runs=float(np.hypot.reduce(weights * [change.runs for change in changes])),
        freedom=freedom,
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


def _estimate(figure: MetricValue) -> Estimate:
    """Return a figure with its interval, which has no width where there are no samples."""
    if figure.samples is None:
        return Estimate(figure.value, figure.value, figure.value, EXACT)
    return figure.interval.widened_to(figure.value) if figure.interval else Estimate(figure.value)


def _variance(estimate: Estimate) -> float:
    """Return the variance of the logarithm that an interval stands for."""
    low, high = estimate.ends or (1.0, 1.0)
    return (log(high / low) / (2 * Z)) ** 2


def _freedom(sides: Sequence[tuple[Estimate, int | None]], runs: float) -> float:
    """Degrees of freedom of both runs' spread together (Welch, Satterthwaite)."""
    spreads = [_variance(estimate) for estimate, _ in sides]
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
