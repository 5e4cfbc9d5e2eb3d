"""Estimates with their 95% intervals: medians, ratios and exponents of samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, hypot, inf, log, sqrt
from operator import mul
from typing import TYPE_CHECKING

from radialbench.errors import RecordError
from radialbench.records.codec import LARGEST

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MIN_SAMPLES = 6
"""Samples that a median's interval takes: fewer lie too often all on one side of the median."""

FEW = 16
"""Independent samples of which the fourth from either end bound a median's interval."""

MIN_SIZES = 3
"""Different sizes that an exponent takes."""

ORDER_STATISTICS = "order statistics"
INDEPENDENT_ERRORS = "independent errors"
BOOTSTRAP = "bootstrap"
JACKKNIFE = "jackknife"
EXACT = "exact"

MAX_LAG = 400
"""Samples over which autocorrelations are added."""

RESAMPLES = 1000
SEED = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that was estimated, and its 95% interval.

    Formatted like a number it has its interval behind it: `f"{ratio:.2f}"` is `0.98 (0.95 to
    1.02)`.

    Attributes:
        value: The estimate itself.
        low: Lower end of the interval; None where there are too few samples for one.
        high: Upper end, likewise.
        how: Method of the interval, such as `order statistics`; empty without one.
    """

    value: float
    low: float | None = None
    high: float | None = None
    how: str = ""

    def __post_init__(self) -> None:
        low, high = self.ends or (self.value, self.value)
        rule = ""
        if (self.low is None) != (self.high is None):
            rule = "have both ends of its interval or none"
        elif not all(-LARGEST <= number <= LARGEST for number in (self.value, low, high)):
            rule = f"be made of finite numbers, within ±{LARGEST:g}"
        elif not low <= self.value <= high:
            rule = "lie within its interval"
        if rule:
            raise RecordError(f"Estimate must {rule}, got {self.value} ({self.low} to {self.high})")

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends of the interval; None without one."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def half_width(self) -> float:
        """Half the width of the interval as a share of the value; infinite without one."""
        return inf if self.ends is None else (self.ends[1] - self.ends[0]) / 2 / self.value

    def holds(self, number: float) -> bool:
        """Return whether a number lies within the interval."""
        return self.ends is not None and self.ends[0] <= number <= self.ends[1]

    def surely_above(self, bound: float) -> bool:
        """Return whether the whole interval is above a bound."""
        return self.low is not None and self.low > bound

    def surely_below(self, bound: float) -> bool:
        """Return whether the whole interval is below a bound."""
        return self.high is not None and self.high < bound

    def plus(self, shift: float) -> "Estimate":
        """Return the estimate plus an exact number."""
        return self._moved(self.value + shift, [end + shift for end in self.ends or ()])

    def times(self, factor: float) -> "Estimate":
        """Return the estimate times an exact number above 0."""
        return self._moved(self.value * factor, [end * factor for end in self.ends or ()])

    def inverse(self) -> "Estimate":
        """Return the estimate of one over a number above 0."""
        return self._moved(1 / self.value, [1 / end for end in reversed(self.ends or ())])

    def widened_to(self, value: float) -> "Estimate":
        """Return another value of the same quantity, with the interval widened to hold it."""
        ends = (*self.ends, value) if self.ends else ()
        return self._moved(value, [min(ends), max(ends)] if ends else [])

    def _moved(self, value: float, ends: Sequence[float]) -> "Estimate":
        low, high = ends or (None, None)
        return Estimate(value, low, high, self.how)

    def __format__(self, spec: str) -> str:
        """Format the value, and both ends of the interval in the same way."""
        text = format(self.value, spec)
        if self.ends is None:
            return text
        low, high = (format(end, spec) for end in self.ends)
        return f"{text} ({low} to {high})"


def estimate_median(samples: Sequence[float], effective: float = inf) -> Estimate:
    """Return the median of samples and its interval, which lies between two of them.

    How often the true median lies between the k-th smallest sample and the k-th largest is known
    from their number alone, whatever their distribution: the narrowest such pair that holds it in
    at least 95 of 100 cases is taken (Thompson 1936; it inverts the sign test).

    Args:
        samples: At least one; fewer than `MIN_SAMPLES` have no interval.
        effective: How many independent samples these are worth, if they depend on each other
            (`effective_size`): the interval lies between the quantiles that those of so few would
            be, and of fewer than `FEW` between the quartiles, wider as the standard error is:
            beyond them there is too little that is independent.
    """
    ordered = sorted(samples)
    count = len(ordered)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    rank = interval_rank(count)
    if not rank:
        return Estimate(middle)
    low, high = ordered[rank - 1], ordered[-rank]
    if effective < count:
        few = max(FEW, int(effective))
        rank = max(1, interval_rank(few) * (count + 1) // (few + 1))
        wider = sqrt(max(1.0, FEW / effective))
        low = min(low, middle + wider * (ordered[rank - 1] - middle))
        high = max(high, middle + wider * (ordered[-rank] - middle))
    return Estimate(middle, low, high, ORDER_STATISTICS)


def effective_size(samples: Sequence[float]) -> float:
    """Return how many independent samples tell as much of the median as these, taken in a row.

    The variance of a median is larger by the integrated autocorrelation time of the samples' signs
    about it. Autocorrelations are added in pairs up to the first pair that is not above 0 (Geyer
    1992, the initial positive sequence). What lasts longer than all samples is not seen in them.
    """
    ordered, count = sorted(samples), len(samples)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    signs = [(one > middle) - (one < middle) for one in samples]
    power = sum(map(abs, signs))
    time = -1.0
    for lag in range(0, min(count - 1, MAX_LAG) if power else 0, 2):
        products = (sum(map(mul, signs, signs[lag + more :])) for more in (0, 1))
        pair = sum(products) / power
        if pair <= 0:
            break
        time += 2 * pair
    return count / max(1.0, time)


@cache
def interval_rank(count: int) -> int:
    """Return the rank, from below and from above, of the samples that a median's interval ends at.

    The largest r such that fewer than r of `count` fair coins show heads in 2.5% of cases at most;
    exact. 0 where even the smallest and the largest sample hold the median too seldom.
    """
    rank, ways, sum_of_ways = 0, 1, 1
    while 40 * sum_of_ways <= 2**count:
        rank += 1
        ways = ways * (count - rank + 1) // rank
        sum_of_ways += ways
    return rank


def paired_ratio(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """Return the median of the ratios of samples that were taken in turn, and its interval.

    A disturbance of both samples of a pair is no uncertainty of their ratio. The interval is that
    of a median, which holds the true ratio in 95 of 100 cases under every noise that leaves pairs
    independent. Others were simulated (docs/measurement.md, `benchmarks/intervals.py`): a
    percentile bootstrap of the median falls to 92%; interpolation between order statistics
    (Hettmansperger and Sheather 1986) to 91% where ratios have two modes, as those of two kernels
    in random order have on a GPU that its power limits; the signed rank interval (Hodges and
    Lehmann 1963) to 84% of ratios that were recorded, which are skewed. Midpoints of neighbouring
    order statistics (Guilbaud 1979) hold it too: a quarter narrower for eight pairs, and as wide
    for 6, 10, 15, 20 or 30. They are not used: one rule serves any number of samples, and what
    checks catch was simulated with it.

    Args:
        above: Samples, at least one.
        below: The other sample of each pair, in the same order.
    """
    return estimate_median([one / other for one, other in zip(above, below, strict=True)])


def unpaired_ratio(above: Estimate, below: Estimate) -> Estimate:
    """Return the ratio of two positive numbers that were measured independently.

    The distances of the ends, as logarithms, add up as independent errors do: by their squares
    (the method of variance estimates recovery, Zou and Donner 2008, doi:10.1002/sim.3095).
    """
    ratio = above.value / below.value
    if above.ends is None or below.ends is None or min(*above.ends, *below.ends) <= 0:
        return Estimate(ratio)
    (top, peak), (least, most) = above.ends, below.ends
    down = hypot(log(above.value / top), log(most / below.value))
    up = hypot(log(peak / above.value), log(below.value / least))
    return Estimate(ratio, ratio * exp(-down), ratio * exp(up), INDEPENDENT_ERRORS)


def exponent(sizes: Sequence[float], samples: Sequence[Sequence[float]]) -> Estimate | None:
    """Return the exponent of the power law that cases' medians follow in their sizes.

    It is the slope of the straight line through the logarithms, by least squares. The interval is
    from a percentile bootstrap that draws the samples of each case again, and then the cases
    (Efron 1979, Davison and Hinkley 1997, section 6.2.4); its seed is fixed. With one sample a
    case it covers the scatter of the cases about the line alone.

    Args:
        sizes: One a case, above 0.
        samples: Of each case, above 0.

    Returns:
        None with fewer than three different sizes.
    """
    if len(set(sizes)) < MIN_SIZES:
        return None
    import numpy as np  # Records are read without it.

    x = np.log(np.asarray(sizes, np.float64))
    cases = [np.asarray(case, np.float64) for case in samples]
    y = np.log([np.median(case) for case in cases])
    rng = np.random.default_rng(SEED)
    drawn = np.stack([_drawn_medians(np.sort(case), rng) for case in cases], axis=1)
    picks = rng.integers(0, len(x), (RESAMPLES, len(x)))
    slopes = _slopes(x[picks], np.take_along_axis(np.log(drawn), picks, axis=1))
    low, high = np.percentile(slopes, [2.5, 97.5]).tolist()
    value = float(_slopes(x[None], y[None])[0])
    return Estimate(value, min(low, value), max(high, value), BOOTSTRAP)


def bootstrap_mean(samples: Sequence[float], within: tuple[float, float] = (-inf, inf)) -> Estimate:
    """Return the mean of samples, with the interval of a bootstrap of Student's t.

    Samples are drawn again as wholes (Efron 1979), and the ends are as many standard errors away
    as the means of the draws are from that of the samples, each in its own (Hall 1988); the seed is
    fixed. A bootstrap by percentiles is too narrow for few samples, and both it and Student's t
    are for skewed ones: simulated with `benchmarks/means.py` (docs/decay.md).

    Args:
        samples: Independent of each other. Fewer than `MIN_SAMPLES` have no interval.
        within: Bounds of samples, and so of the interval.
    """
    import numpy as np

    values = np.asarray(samples, np.float64)
    mean = float(values.mean())
    if len(values) < MIN_SAMPLES:
        return Estimate(mean)
    picks = np.random.default_rng(SEED).integers(0, len(values), (RESAMPLES, len(values)))
    drawn = values[picks]
    spreads = drawn.std(axis=1)
    some = spreads > 0
    t = (drawn[some].mean(axis=1) - mean) / spreads[some]
    high, low = mean - values.std() * (np.percentile(t, [2.5, 97.5]) if len(t) else np.zeros(2))
    low, high = max(float(low), within[0]), min(float(high), within[1])
    return Estimate(mean, min(low, mean), max(high, mean), BOOTSTRAP)


def jackknife(value: float, left_out: Sequence[float]) -> Estimate:
    """Return an estimate with the interval of a jackknife by Student's t.

    Args:
        value: The estimate from all groups of samples.
        left_out: That from all but one of the groups, for each group. Groups are independent;
            samples of a group need not be. Fewer than `MIN_SAMPLES` give no interval.
    """
    count = len(left_out)
    if count < MIN_SAMPLES:
        return Estimate(value)
    mean = sum(left_out) / count
    error = sqrt((count - 1) / count * sum((one - mean) ** 2 for one in left_out))
    half = _student_t(count - 1) * error
    return Estimate(value, value - half, value + half, JACKKNIFE)


def _student_t(degrees: int) -> float:
    """Return the 97.5% quantile of Student's t, to 0.2% from 5 degrees of freedom on.

    From that of the normal distribution, by the first terms of the series of Cornish and Fisher.
    """
    z = 1.959964
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / float(degrees) ** (n + 1) for n, term in enumerate(terms))


def _drawn_medians(ordered: "Floats", rng: "Generator") -> "Floats":
    """Return medians of resamples, whose ranks are drawn once per number of samples."""
    lower, upper = drawn_ranks(len(ordered), RESAMPLES)
    return rng.permutation((ordered[lower] + ordered[upper]) / 2)


@cache
def drawn_ranks(count: int, draws: int) -> "NDArray[np.int64]":
    """Return [2, draws] ranks of the two middle ones of each draw; the same twice if odd."""
    import numpy as np

    drawn = np.random.default_rng(SEED).integers(0, count, (draws, count))
    drawn.sort(axis=1)
    return drawn[:, [(count - 1) // 2, count // 2]].T


def _slopes(x: "Floats", y: "Floats") -> "Floats":
    """Return [draws] slopes of [draws, cases], without the draws of one size alone."""
    # By the sizes themselves: what their mean rounds to would leave a spread of its own.
    several = x.max(axis=1) > x.min(axis=1)
    x, y = x[several], y[several]
    dx = x - x.mean(axis=1, keepdims=True)
    slopes: Floats = (dx * y).sum(axis=1) / (dx**2).sum(axis=1)
    return slopes
