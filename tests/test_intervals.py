"""The study of intervals: its conclusions, and a simulation that agrees with the stored one."""

import json

import pytest

from benchmarks.intervals import INTERVALS, NOISES, PAIRS, STORED, order_statistics, simulate
from radialbench.records.statistics import estimate_median, paired_ratio

RESULTS = json.loads(STORED.read_text(encoding="utf-8"))["results"]
SURE = ("order statistics", "midpoints")


def worst(interval: str) -> float:
    held = [RESULTS[noise][str(pairs)][interval][0] for noise in NOISES for pairs in PAIRS[1:]]
    return float(min(held))


def test_order_statistics_hold_95_percent_and_narrower_intervals_do_not() -> None:
    assert {name for name in INTERVALS if worst(name) >= 0.95} == set(SURE)
    assert {name for name in INTERVALS if worst(name) < 0.93} == INTERVALS.keys() - set(SURE)


def test_the_docstring_has_the_figures_of_the_study() -> None:
    text = " ".join((paired_ratio.__doc__ or "").split())
    assert f"a percentile bootstrap of the median falls to {worst('bootstrap'):.0%}" in text
    assert f"to {worst('interpolated'):.0%} where ratios have two modes" in text
    assert f"to {worst('signed rank'):.0%} of ratios that were recorded" in text
    at_8 = [RESULTS[noise]["8"] for noise in NOISES]
    narrower = [one["midpoints"][1] / one["order statistics"][1] for one in at_8]
    assert "a quarter narrower for eight pairs" in text
    assert sum(narrower) / len(narrower) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("noise", ["normal", "two modes"])
def test_a_small_simulation_agrees_with_the_stored_one(noise: str) -> None:
    found = simulate(noise, 10, trials=4000)
    for interval in INTERVALS:
        held, width = RESULTS[noise]["10"][interval]
        assert found[interval][0] == pytest.approx(held, abs=0.02)
        assert found[interval][1] == pytest.approx(width, rel=0.05)


def test_what_is_simulated_is_what_is_used() -> None:
    import numpy as np

    logs = np.sort(np.random.default_rng(1).normal(size=(1, 20)), axis=1)
    ends = order_statistics(logs)
    assert ends is not None
    assert estimate_median(logs[0].tolist()).ends == (ends[0][0], ends[1][0])
