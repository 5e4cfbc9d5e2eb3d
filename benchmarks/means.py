"""Intervals for the mean over heads, layers and steps, simulated where the truth is known.

`benchmarks/decay.py` stores and tabulates them. What counts is the mean of all heads there could
be, of which those that were measured are some.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from radialbench.records.statistics import RESAMPLES, Estimate, bootstrap_mean, jackknife
from radialbench.reports.text import markdown_table

Floats = NDArray[np.float64]

UNITS = (6, 8, 12, 24, 48, 96)


def two_kinds(rng: Generator, count: int, share: float) -> Floats:
    """Draw heads of which a share keep little."""
    return np.where(rng.random(count) < share, 0.4, 0.95) + rng.normal(0, 0.02, count)


HEADS: Mapping[str, tuple[Callable[[Generator, int], Floats], float]] = {
    "mass kept, alike": (lambda rng, count: rng.normal(0.8, 0.05, count), 0.8),
    "mass kept, most near 1": (lambda rng, count: rng.beta(8, 0.8, count), 8 / 8.8),
    "mass kept, half of the heads 0.4": (lambda rng, count: two_kinds(rng, count, 0.5), 0.675),
    "mass kept, one head in five 0.4": (lambda rng, count: two_kinds(rng, count, 0.2), 0.84),
    "error, skewed": (lambda rng, count: rng.lognormal(-2, 0.7, count), exp(-2 + 0.7**2 / 2)),
}
"""Heads that can be measured, and their mean."""

Interval = Callable[[Floats], Estimate]


def percentiles(values: Floats) -> Estimate:
    """Return the mean with the interval of a bootstrap by percentiles (Efron 1979)."""
    picks = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5]).tolist()
    mean = float(values.mean())
    return Estimate(mean, min(low, mean), max(high, mean), "percentiles")


def student(values: Floats) -> Estimate:
    """Return the mean with Student's interval, which is that of a jackknife."""
    left_out = (values.sum() - values) / (len(values) - 1)
    return jackknife(float(values.mean()), left_out.tolist())


INTERVALS: Mapping[str, Interval] = {
    "percentiles": percentiles,
    "Student's t": student,
    "bootstrap of t": lambda values: bootstrap_mean(values.tolist()),
}
"""Intervals that are compared; `bootstrap_mean` is the one in use."""

LAYERS = (3, 6, 12, 30)
HEADS_OF_A_LAYER, STEPS = 8, 4
DEVIATIONS = 0.06, 0.08, 0.02
"""Standard deviations of the mass kept from layer to layer, head to head and step to step."""


@dataclass(frozen=True, slots=True)
class Held:
    """How often an interval held the mean.

    Attributes:
        heads: What was drawn.
        units: How many heads, or layers.
        interval: The interval, or what was taken for its independent units.
        held: Share of draws in which it held the mean.
        width: Mean width.
    """

    heads: str
    units: int
    interval: str
    held: float
    width: float


def study_heads(draws: int) -> Iterator[Held]:
    """Yield how often every interval holds the mean of heads that are independent."""
    for number, (name, (draw, mean)) in enumerate(HEADS.items()):
        for count in UNITS:
            rng = np.random.default_rng([number, count])
            drawn = [draw(rng, count) for _ in range(draws)]
            for interval, estimate in INTERVALS.items():
                yield _held(name, count, interval, [estimate(one) for one in drawn], mean)


def study_layers(draws: int) -> Iterator[Held]:
    """Yield how often the interval holds the mean, by what is taken for independent."""
    for count in LAYERS:
        rng = np.random.default_rng(count)
        shape = draws, count, HEADS_OF_A_LAYER, STEPS
        of_layers, of_heads, of_steps = DEVIATIONS
        values = 0.8 + of_layers * rng.normal(size=(*shape[:2], 1, 1))
        values = values + of_heads * rng.normal(size=(*shape[:3], 1))
        values = values + of_steps * rng.normal(size=shape)
        means = {
            "each step": values.reshape(draws, -1),
            "heads": values.mean(axis=3).reshape(draws, -1),
            "layers": values.mean(axis=(2, 3)),
        }
        for unit, of_draws in means.items():
            found = [bootstrap_mean(one.tolist()) for one in of_draws]
            if found[0].ends is not None:
                yield _held("layers", count, unit, found, 0.8)


def _held(heads: str, units: int, interval: str, found: Sequence[Estimate], mean: float) -> Held:
    ends = [one.ends for one in found if one.ends is not None]
    held = sum(low <= mean <= high for low, high in ends) / len(ends)
    width = sum(high - low for low, high in ends) / len(ends)
    return Held(heads, units, interval, held, width)


def head_table(found: Sequence[Held]) -> str:
    """Return a table of the share held by number of heads."""
    body = []
    for name in HEADS:
        for interval in INTERVALS:
            own = {one.units: one for one in found if (one.heads, one.interval) == (name, interval)}
            body.append((name, interval, *(f"{own[count].held:.1%}" for count in UNITS)))
    return markdown_table(("heads", "interval", *map(str, UNITS)), body, text_columns=2)


def layer_table(found: Sequence[Held]) -> str:
    """Return a table of the share held by number of layers, and by what is independent."""
    body = []
    for unit in dict.fromkeys(one.interval for one in found):
        own = {one.units: one for one in found if one.interval == unit}
        cells = [f"{own[count].held:.1%}" if count in own else "" for count in LAYERS]
        body.append((unit, *cells))
    heads = ("independent units", *(f"{count} layers" for count in LAYERS))
    return markdown_table(heads, body, text_columns=1)
