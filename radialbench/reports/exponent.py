"""The exponent of a power law between two measured quantities, with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 0
FEWEST = 3
"""Cases that a slope and its interval need."""


@dataclass(frozen=True, slots=True)
class Exponent:
    """Slope of a straight line through logarithms.

    Attributes:
        value: The slope through the medians.
        low: Lower end of the bootstrap's 95% interval.
        high: Upper end.
        cases: Cases it goes through.
        sampled: Whether the interval covers the spread of the samples too. Without it, as with
            one sample a case, it covers the scatter of the cases alone.
    """

    value: float
    low: float
    high: float
    cases: int
    sampled: bool

    @property
    def text(self) -> str:
        """The slope and its interval: `0.98 (0.95 to 1.02)`."""
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def exponent(sizes: Sequence[float], samples: Sequence[Sequence[float]]) -> Exponent | None:
    """Fit the exponent of the cases' medians against their sizes.

    The bootstrap draws the samples of each case again, and then the cases; its seed is fixed.

    Args:
        sizes: One a case, above 0.
        samples: Of each case, above 0.

    Returns:
        None with fewer than three different sizes.
    """
    if len(set(sizes)) < FEWEST:
        return None
    x = np.log(np.asarray(sizes, np.float64))
    y = np.log([np.median(case) for case in samples])
    rng = np.random.default_rng(SEED)
    drawn = np.stack([_medians(case, rng) for case in samples], axis=1)
    picks = rng.integers(0, len(x), (RESAMPLES, len(x)))
    slopes = _slopes(x[picks], np.take_along_axis(np.log(drawn), picks, axis=1))
    low, high = np.percentile(slopes, [2.5, 97.5])
    value = _slopes(x[None], y[None])[0]
    sampled = all(len(case) > 1 for case in samples)
    return Exponent(float(value), float(low), float(high), len(x), sampled)


def _medians(case: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    """Medians of samples drawn again.

    The rank that the median of a draw has does not depend on the samples: ranks are drawn once a
    number of samples, and come in another order for every case.
    """
    ordered = np.sort(np.asarray(case, np.float64))
    lower, upper = _ranks(len(ordered))
    medians: NDArray[np.float64] = rng.permutation((ordered[lower] + ordered[upper]) / 2)
    return medians


@cache
def _ranks(count: int) -> NDArray[np.int64]:
    """[2, draws] ranks of the two middle ones among that many drawn; the same twice if odd."""
    drawn = np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))
    drawn.sort(axis=1)
    return drawn[:, [(count - 1) // 2, count // 2]].T


def _slopes(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """[draws] slopes of [draws, cases]; draws with one size alone have none and are left out."""
    # By the sizes themselves: what their mean rounds to would leave a spread of its own.
    several = np.ptp(x, axis=1) > 0
    x, y = x[several], y[several]
    dx = x - x.mean(axis=1, keepdims=True)
    slopes: NDArray[np.float64] = (dx * y).sum(axis=1) / (dx**2).sum(axis=1)
    return slopes
