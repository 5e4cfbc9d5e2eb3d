"""Ratios of samples that were taken beside each other, with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from radialbench.records.measurement import Measurement

FEWEST = 6
"""Pairs from which on there is a 95% interval: the median of fewer lies outside all of them in more
than one case of twenty, whatever is made of them."""

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median of paired ratios and its 95% interval.

    Attributes:
        median: The middle of the ratios of pairs.
        low: Lower end of the interval; None with fewer than `FEWEST` pairs.
        high: Upper end, likewise.
        pairs: How many pairs there are.
    """

    median: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def text(self) -> str:
        """Say it to two decimals, with the interval if there is one."""
        if self.low is None or self.high is None:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"

    def times(self, factor: float) -> "Ratio":
        """The same, multiplied by something that is known exactly and above 0."""
        low, high = (None if end is None else factor * end for end in (self.low, self.high))
        return replace(self, median=factor * self.median, low=low, high=high)


def paired_ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Give the median of sample by sample ratios, with its 95% percentile bootstrap interval.

    Pairs are drawn together, so that what disturbed both at once is no uncertainty of the ratio.
    The draws are the same in every call: equal samples give equal intervals.

    Args:
        above: Samples, at least one.
        below: Those taken beside them, in the same order; if one of the two is longer, its end has
            no partner and is left out.
    """
    count = min(len(above), len(below))
    ratios = np.asarray(above[:count], np.float64) / np.asarray(below[:count], np.float64)
    middle = float(np.median(ratios))
    if count < FEWEST:
        return Ratio(middle, None, None, count)
    medians = np.median(ratios[_draws(count)], axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return Ratio(middle, float(low), float(high), count)


def ratio(above: Measurement, below: Measurement) -> Ratio:
    """Give the ratio of two times whose samples were taken in turn."""
    pairs = steady_pairs(above, below)
    return paired_ratio([a for a, _ in pairs], [b for _, b in pairs])


def steady_pairs(above: Measurement, below: Measurement) -> list[tuple[float, float]]:
    """Give samples taken beside each other; pairs of which one was throttled only if all were."""
    both = list(zip(above.samples_ms, below.samples_ms, strict=False))
    flags = zip(above.throttled, below.throttled, strict=False)
    return [pair for pair, slow in zip(both, flags, strict=True) if not any(slow)] or both


@lru_cache(maxsize=16)
def _draws(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(count).integers(count, size=(RESAMPLES, count))
