"""Whether a change can be chance: of two values, of many at once, and of one step in a series.

Steps are found by E-divisive (Matteson and James, 2014, doi:10.1080/01621459.2013.849605), which
MongoDB uses in its continuous integration (Daly and others, 2020, doi:10.1145/3358960.3375791): a
segment is cut where the energy distance between the values before and after is largest, if the same
values in random order rarely have a cut as clear; then each side is searched in the same way. It
assumes no distribution and no size of the noise, only that without a change any order is as likely
as another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import copysign, erfc, exp, hypot, log, log1p, sqrt
from statistics import variance

import numpy as np
from numpy.typing import NDArray

from radialbench.records.statistics import EXACT, INDEPENDENT_ERRORS, Estimate, unpaired_ratio
from radialbench.reports.check.metrics import MetricValue

Z = 1.959964
"""Standard deviations that a 95% interval reaches to either side."""

MAX_FREEDOM = 1e9
"""Degrees of freedom from which on Student's t is the normal distribution."""

FALSE_SHARE = 0.01
"""Share of false ones among the changes a check reports, at most. If nothing changed at all, it is
the share of checks that report anything."""

MIN_SIDE = 3
"""Values on either side of a step, at least: fewer may be two runs that were disturbed."""

MIN_VALUES = 8
"""Values that a series must have: no order of fewer is rare enough to tell a step from chance."""

MAX_P = 0.05
"""How often a segment without a step may be cut."""

ORDERS = 999
SEED = 0
MAX_DISTANCES = 1 << 22
"""Distances in memory at once, of as many orders as fit."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """How a cost, or its exponent, changed.

    Attributes:
        estimate: Cost now over cost before, or the difference of two exponents. Its 95% interval
            includes what runs differ by.
        size: The logarithm of the ratio, or the difference: 0 is no change.
        seen: Standard deviation of `size` by the samples, and by processes if there are several.
        noise: The same, with what runs are assumed to differ by.
        freedom: Degrees of freedom of the noise.
    """

    estimate: Estimate
    size: float
    seen: float
    noise: float
    freedom: float

    @property
    def worse_p(self) -> float:
        """Probability of a value this much higher if nothing changed."""
        return _tail(self.size / self.noise, self.freedom) if self.noise else float(self.size <= 0)

    @property
    def better_p(self) -> float:
        """The same for this much lower."""
        return _tail(-self.size / self.noise, self.freedom) if self.noise else float(self.size >= 0)

    def without(self, shift: float) -> "Change":
        """Return the change of a cost beside a change of all costs, given as a logarithm."""
        return replace(self, estimate=self.estimate.times(exp(-shift)), size=self.size - shift)


def change_of(before: MetricValue, now: MetricValue, runs: float | None = None) -> Change | None:
    """Compare the values of two runs; None if one has too few samples.

    What processes differ by is one more independent error beside those of both values: what is
    known or assumed of two of them, or, if that is more, what several of each run differ by.

    Args:
        before: The value in the baseline.
        now: The value now.
        runs: What two processes of the same code are known to differ by, as the standard deviation
            of the ratio; None for what is assumed.
    """
    sides = [(_estimate(one), one) for one in (before, now)]
    (old, _), (new, _) = sides
    ratio = unpaired_ratio(new, old)
    if ratio.ends is None:
        return None
    assumed = max(before.runs, now.runs) if runs is None else runs
    each = [one.processes or (one.value,) for _, one in sides]
    share = sqrt(sum(1 / len(processes) for processes in each))
    assumed, spread = assumed / sqrt(2) * share, _spread(each) * share
    own = hypot(*(_deviation(estimate) for estimate, _ in sides))
    terms = [(_deviation(one) ** 2, side.samples) for one, side in sides if side.samples]
    if spread > assumed:
        terms.append((spread**2, sum(map(len, each)) - 1))
    noise = hypot(own, max(spread, assumed))
    reach = Z * noise
    size = log(ratio.value)
    ends = ratio.value * exp(-reach), ratio.value * exp(reach)
    return Change(
        estimate=Estimate(ratio.value, *ends, INDEPENDENT_ERRORS),
        size=size,
        seen=hypot(own, spread),
        noise=noise,
        freedom=_freedom(noise**2, terms),
    )


def slope_of(sizes: Sequence[float], changes: Sequence[Change]) -> Change:
    """Return how the exponent of a cost in its sizes changed: the slope of the ratios' logarithms.

    Args:
        sizes: At least two different ones.
        changes: Of the cost at each size; their errors are independent.
    """
    x = np.log(np.asarray(sizes, np.float64))
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    value = float(weights @ [change.size for change in changes])
    noise, seen = (
        float(np.hypot.reduce(weights * [getattr(change, name) for change in changes]))
        for name in ("noise", "seen")
    )
    terms = [
        ((weight * change.noise) ** 2, change.freedom + 1)
        for weight, change in zip(weights.tolist(), changes, strict=True)
    ]
    return Change(
        estimate=Estimate(value, value - Z * noise, value + Z * noise, INDEPENDENT_ERRORS),
        size=value,
        seen=seen,
        noise=noise,
        freedom=_freedom(noise**2, terms),
    )


def benjamini_hochberg(chances: Sequence[float], false: float = FALSE_SHARE) -> list[bool]:
    """Return which changes are significant, by the procedure of Benjamini and Hochberg (1995).

    Args:
        chances: Probability of each by chance alone.
        false: Share of false ones among those chosen, at most, in expectation.
    """
    count = len(chances)
    if not count:
        return []
    ordered = np.sort(np.asarray(chances, np.float64))
    under = np.flatnonzero(ordered <= false * np.arange(1, count + 1) / count)
    bound = ordered[under[-1]] if len(under) else -1.0
    return [chance <= bound for chance in chances]


def _estimate(one: MetricValue) -> Estimate:
    """Return a value with its interval, which has no width where there are no samples."""
    if one.samples is None:
        return Estimate(one.value, one.value, one.value, EXACT)
    return one.interval.widened_to(one.value) if one.interval else Estimate(one.value)


def _deviation(estimate: Estimate) -> float:
    """Return the standard deviation of the logarithm that an interval stands for."""
    low, high = estimate.ends or (1.0, 1.0)
    return log(high / low) / (2 * Z)


def _spread(runs: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation of a process's logarithm about its run's mean, over runs."""
    logs = [[log(value) for value in processes] for processes in runs]
    squares = sum((len(one) - 1) * variance(one) for one in logs if len(one) > 1)
    return sqrt(squares / freedom) if (freedom := sum(map(len, logs)) - len(logs)) else 0.0


def _freedom(total: float, terms: Sequence[tuple[float, float]]) -> float:
    """Return the freedom of a variance whose terms are of so many values (Welch, Satterthwaite)."""
    lost = sum(term**2 / (count - 1) for term, count in terms if count > 1)
    return min(total**2 / lost, MAX_FREEDOM) if lost else MAX_FREEDOM


def _tail(t: float, freedom: float) -> float:
    """Probability of Student's t above a value, by a normal one (Wallace 1959)."""
    z = (8 * freedom + 1) / (8 * freedom + 3) * sqrt(freedom * log1p(t * t / freedom))
    return erfc(copysign(z, t) / sqrt(2)) / 2


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A place where a series of values changes.

    Attributes:
        at: Place of the first value after it.
        p: How often the values of its segment have, in random order, a step as clear.
    """

    at: int
    p: float


def change_points(values: Sequence[float]) -> list[ChangePoint]:
    """Return the change points of a series of values in the order of time."""
    series = np.asarray(values, np.float64)
    rng = np.random.default_rng(SEED)
    steps: list[ChangePoint] = []
    waiting = [(0, len(series))]
    while waiting:
        start, end = waiting.pop()
        step = _step(series[start:end], rng)
        if step is not None:
            at = start + step.at
            steps.append(ChangePoint(at, step.p))
            waiting += [(start, at), (at, end)]
    return sorted(steps, key=lambda step: step.at)


def drop_small(
    values: Sequence[float], steps: Sequence[ChangePoint], counts: Callable[[float, float], bool]
) -> list[ChangePoint]:
    """Drop change points that do not count, the smallest first, until all that are left do.

    `counts` decides from the medians before and after a step whether the change counts.
    """
    left = list(steps)
    while left:
        sides = list(pairwise(segment_medians(values, left)))
        small = [place for place, pair in enumerate(sides) if not counts(*pair)]
        if not small:
            break
        del left[min(small, key=lambda place: abs(sides[place][1] - sides[place][0]))]
    return left


def segment_medians(values: Sequence[float], steps: Sequence[ChangePoint]) -> list[float]:
    """Return the median of each segment between change points."""
    ends = [0, *(step.at for step in steps), len(values)]
    return [float(np.median(values[start:end])) for start, end in pairwise(ends)]


def _step(series: Floats, rng: np.random.Generator) -> ChangePoint | None:
    """Return the clearest change point, if one as clear is rare by chance."""
    count = len(series)
    if count < MIN_VALUES:
        return None
    distances = np.abs(series[:, None] - series)
    (clear,), (at,) = _clearest(distances[None])
    at_once = max(1, MAX_DISTANCES // count**2)
    as_clear = 0
    for done in range(0, ORDERS, at_once):
        orders = rng.permuted(np.tile(np.arange(count), (min(at_once, ORDERS - done), 1)), axis=1)
        shuffled = distances[orders[:, :, None], orders[:, None, :]]
        # Sums of the same values in another order differ by their rounding.
        as_clear += int((_clearest(shuffled)[0] >= clear * (1 - 1e-9)).sum())
    p = (1 + as_clear) / (1 + ORDERS)
    return ChangePoint(int(at), p) if p <= MAX_P else None


def _clearest(distances: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return the energy distance of the best cut and its place, for [orders, values, values].

    The values after the cut are compared up to every end, so that a temporary rise is seen.
    """
    count = distances.shape[1]
    sums = np.pad(distances.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    cut, end = np.triu_indices(count + 1, MIN_SIDE)
    cut, end = cut[cut >= MIN_SIDE], end[cut >= MIN_SIDE]
    left, right = cut, end - cut
    within = sums[:, cut, cut]
    across = sums[:, cut, end] - within
    beyond = sums[:, end, end] - 2 * across - within
    gap = 2 * across / (left * right)
    gap -= within / (left * (left - 1)) + beyond / (right * (right - 1))
    gap *= left * right / (left + right)
    best = gap.argmax(axis=1)
    return np.take_along_axis(gap, best[:, None], axis=1)[:, 0], cut[best]
