"""Probabilities against what is known, and the rule for many at once."""

import numpy as np
import pytest

from radialbench.reports.check.metrics import MetricValue
from radialbench.reports.check.significance import _tail, benjamini_hochberg, change_of
from radialbench.reports.interval import of_median


@pytest.mark.parametrize(
    ("t", "freedom", "chance"),
    [(1.960, 1e9, 0.025), (2.228, 10, 0.025), (3.169, 10, 0.005), (2.045, 29, 0.025)],
)
def test_tails_are_those_of_the_tables(t: float, freedom: float, chance: float) -> None:
    assert _tail(t, freedom) == pytest.approx(chance, rel=0.02)
    assert _tail(-t, freedom) == pytest.approx(1 - chance, rel=0.02)


def test_benjamini_and_hochberg() -> None:
    # The worked example of their paper, section 3.2: four of fifteen at 0.05.
    chances = [
        *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
        *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.000),
    ]
    assert sum(benjamini_hochberg(chances, 0.05)) == 4
    assert benjamini_hochberg(chances[::-1], 0.05)[-4:] == [True] * 4
    assert benjamini_hochberg([], 0.05) == []
    assert benjamini_hochberg([0.9, 1.0]) == [False, False]
    # One that fails its own bound is carried by a later one that holds its own.
    assert benjamini_hochberg([0.04, 0.045], 0.05) == [True, True]


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng, runs = np.random.default_rng(5), 0.003 * 2**0.5
    held = 0
    for _ in range(1000):
        one, other = (
            np.exp(rng.normal(0, 0.003) + rng.normal(0, 0.015, 60)).tolist() for _ in range(2)
        )
        before, now = (
            MetricValue(float(np.median(times)), runs, of_median(times), len(times))
            for times in (one, other)
        )
        change = change_of(before, now)
        assert change is not None
        held += change.interval.low <= 1 <= change.interval.high
    assert 0.94 <= held / 1000 <= 0.985


def test_a_figure_without_samples_has_what_runs_differ_by() -> None:
    change = change_of(MetricValue(10.0, 0.02), MetricValue(11.0, 0.02))
    assert change is not None
    assert change.interval.low == pytest.approx(1.1 * np.exp(-1.96 * 0.02), rel=1e-4)
    assert change.worse_p < 1e-5 < change.better_p
    assert change_of(MetricValue(10.0, 0.02), MetricValue(10.0, 0.02, None, 3)) is None
