"""Where a series of figures steps up or down: change points, each tested by permutations.

E-divisive (Matteson and James, 2014, doi:10.1080/01621459.2013.849605), which MongoDB uses in its
continuous integration (Daly and others, 2020, doi:10.1145/3358960.3375791): a segment is cut where
the energy distance between what is before and what follows is largest, if the same figures in
random order rarely have a cut as clear, and then each side is looked at in the same way. It assumes
no distribution and no size of the noise, only that without a change any order is as likely as
another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIDE = 3
"""Figures on either side of a step, at least: fewer are as well two runs that were disturbed."""

FEWEST = 8
"""Figures that a series must have: no order of fewer is rare enough to tell a step from chance."""

CHANCE = 0.05
"""How often a segment without a step may be cut."""

ORDERS = 999
SEED = 0
MOST = 1 << 22
"""Distances that are held at once, of as many orders as fit."""


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A place where a series changes.

    Attributes:
        at: Place of the first figure after it.
        p: How often the figures of the segment it was found in have, in random order, a step as
            clear.
    """

    at: int
    p: float


def change_points(values: Sequence[float]) -> list[ChangePoint]:
    """Find the change points of a series, in order.

    Args:
        values: In the order of time.
    """
    series = np.asarray(values, np.float64)
    rng = np.random.default_rng(SEED)
    found: list[ChangePoint] = []
    waiting = [(0, len(series))]
    while waiting:
        start, end = waiting.pop()
        step = _step(series[start:end], rng)
        if step is not None:
            at = start + step.at
            found.append(ChangePoint(at, step.p))
            waiting += [(start, at), (at, end)]
    return sorted(found, key=lambda step: step.at)


def drop_small(
    values: Sequence[float], found: Sequence[ChangePoint], counts: Callable[[float, float], bool]
) -> list[ChangePoint]:
    """Leave steps out that do not count, the smallest first, until all that are left do.

    Args:
        values: The series.
        found: Its steps.
        counts: Tells of the medians before and after a step whether the change counts.
    """
    left = list(found)
    while left:
        sides = list(pairwise(segment_medians(values, left)))
        small = [place for place, pair in enumerate(sides) if not counts(*pair)]
        if not small:
            break
        del left[min(small, key=lambda place: abs(sides[place][1] - sides[place][0]))]
    return left


def segment_medians(values: Sequence[float], found: Sequence[ChangePoint]) -> list[float]:
    """Return the median of each segment between change points."""
    ends = [0, *(step.at for step in found), len(values)]
    return [float(np.median(values[start:end])) for start, end in pairwise(ends)]


def _step(series: Floats, rng: np.random.Generator) -> ChangePoint | None:
    """Find the clearest change point, if chance rarely gives one as clear."""
    count = len(series)
    if count < FEWEST:
        return None
    distances = np.abs(series[:, None] - series)
    (clear,), (at,) = _clearest(distances[None])
    at_once = max(1, MOST // count**2)
    as_clear = 0
    for done in range(0, ORDERS, at_once):
        orders = rng.permuted(np.tile(np.arange(count), (min(at_once, ORDERS - done), 1)), axis=1)
        shuffled = distances[orders[:, :, None], orders[:, None, :]]
        # Sums of the same figures in another order differ by their rounding.
        as_clear += int((_clearest(shuffled)[0] >= clear * (1 - 1e-9)).sum())
    p = (1 + as_clear) / (1 + ORDERS)
    return ChangePoint(int(at), p) if p <= CHANCE else None


def _clearest(distances: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return the energy distance of the best cut and its place, for [orders, figures, figures].

    What follows the cut is compared up to every end, so that a rise that is taken back is seen.
    """
    count = distances.shape[1]
    sums = np.pad(distances.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    cut, end = np.triu_indices(count + 1, SIDE)
    cut, end = cut[cut >= SIDE], end[cut >= SIDE]
    left, right = cut, end - cut
    within = sums[:, cut, cut]
    across = sums[:, cut, end] - within
    beyond = sums[:, end, end] - 2 * across - within
    apart = 2 * across / (left * right)
    apart -= within / (left * (left - 1)) + beyond / (right * (right - 1))
    apart *= left * right / (left + right)
    best = apart.argmax(axis=1)
    return np.take_along_axis(apart, best[:, None], axis=1)[:, 0], cut[best]
