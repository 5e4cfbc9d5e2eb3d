"""95% intervals of medians and of their ratios, from the samples' own order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import comb, exp, hypot, log

SURE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the truth lies in at least 95 of 100 cases, if calls vary as those measured did."""

    low: float
    high: float

    def plus(self, shift: float) -> "Interval":
        """The same, moved by something that is known."""
        return Interval(self.low + shift, self.high + shift)

    def around(self, value: float) -> "Interval":
        """The same, widened to hold a value."""
        return Interval(min(self.low, value), max(self.high, value))


def of_median(samples: Sequence[float]) -> Interval | None:
    """Give the interval of the median, from two of the samples.

    How often the true median lies between the k-th smallest sample and the k-th largest is known
    whatever the samples' distribution: this is what a bootstrap of the median draws towards.

    Args:
        samples: Calls that do not depend on each other.

    Returns:
        None with fewer than six samples: all of them then hold the median less than 95 times in
        100.
    """
    place = _place(len(samples))
    if place is None:
        return None
    ordered = sorted(samples)
    return Interval(ordered[place], ordered[-1 - place])


def of_paired_ratio(above: Sequence[float], below: Sequence[float]) -> Interval | None:
    """Give the interval of the ratio of two times whose samples were taken in turn.

    What disturbed both at once is no uncertainty of their ratio.
    """
    return of_median([a / b for a, b in zip(above, below, strict=True)])


def of_ratio(
    above: float, of_above: Interval | None, below: float, of_below: Interval | None
) -> Interval | None:
    """Give the interval of the ratio of two times that were measured apart.

    The distances of the ends, as logarithms, add up as independent errors do: by their squares
    (the method of variance estimates recovery, Zou and Donner 2008).
    """
    if of_above is None or of_below is None:
        return None
    ends = (of_above.low, of_above.high, of_below.low, of_below.high)
    if min(ends) <= 0:
        return None
    middle = log(above / below)
    down = hypot(log(above / of_above.low), log(of_below.high / below))
    up = hypot(log(of_above.high / above), log(below / of_below.low))
    return Interval(exp(middle - down), exp(middle + up))


@cache
def _place(count: int) -> int | None:
    """How many samples at either end an interval of the median may leave out."""
    outside, place = 0.0, -1
    while place < count:
        outside += comb(count, place + 1) / 2**count
        if 2 * outside > 1 - SURE:
            break
        place += 1
    return place if place >= 0 else None
