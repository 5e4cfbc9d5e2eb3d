"""Probabilities against what is known, and the rule for many at once."""

from collections.abc import Sequence

import numpy as np
import pytest

from radialbench.records.statistics import Estimate, estimate_median
from radialbench.reports.check.metrics import MetricValue
from radialbench.reports.check.significance import (
    MAX_FREEDOM,
    MAX_P,
    MIN_VALUES,
    ChangePoint,
    _tail,
    benjamini_hochberg,
    change_of,
    change_points,
    drop_small,
    segment_medians,
)


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
            MetricValue(float(np.median(times)), runs, estimate_median(times), len(times))
            for times in (one, other)
        )
        change = change_of(before, now)
        assert change is not None
        held += change.estimate.holds(1)
    assert 0.94 <= held / 1000 <= 0.985


def test_a_figure_without_samples_has_what_runs_differ_by() -> None:
    change = change_of(MetricValue(10.0, 0.02), MetricValue(11.0, 0.02))
    assert change is not None
    assert change.estimate.low == pytest.approx(1.1 * np.exp(-1.96 * 0.02), rel=1e-4)
    assert change.worse_p < 1e-5 < change.better_p
    assert change_of(MetricValue(10.0, 0.02), MetricValue(10.0, 0.02, None, 3)) is None


def processes(*medians: float) -> MetricValue:
    """A value of several processes, whose own samples agree."""
    value = float(np.exp(np.log(medians).mean()))
    return MetricValue(value, 0.02, Estimate(value, value, value, "made"), 400, processes=medians)


def test_processes_are_the_units_where_there_are_several() -> None:
    alike, apart = processes(1.0, 1.0, 1.0, 1.0), processes(0.95, 1.05, 1.05, 0.95)
    change = change_of(alike, processes(1.03, 1.03, 1.03, 1.03))
    assert change is not None
    # Half of what two processes are assumed to differ by.
    assert change.noise == pytest.approx(0.01)
    assert (change.seen, change.freedom) == (0, MAX_FREEDOM)
    noisy = change_of(alike, apart)
    assert noisy is not None
    assert noisy.seen == noisy.noise == pytest.approx(0.0289, rel=0.01)
    assert noisy.freedom == pytest.approx(6)
    # One alone is taken to be as far off as those of the other run.
    single = change_of(apart, MetricValue(1.0, 0.02, Estimate(1.0, 1.0, 1.0, "made"), 100))
    assert single is not None
    assert single.noise == pytest.approx(0.0577 * (1 + 1 / 4) ** 0.5, rel=0.01)
    known = change_of(alike, alike, 0.004)
    assert known is not None and known.noise == pytest.approx(0.002)


TIMES = 120


def made(segment_medians: Sequence[tuple[int, float]], noise: float, seed: int) -> list[float]:
    """A series of so many figures at each level."""
    rng = np.random.default_rng(seed)
    parts = [height * np.exp(rng.normal(0, noise, count)) for count, height in segment_medians]
    found: list[float] = np.concatenate(parts).tolist()
    return found


@pytest.mark.parametrize("before", [3, 4, 10, 17])
def test_a_step_ten_times_the_noise_is_found_where_it_is(before: int) -> None:
    after = max(MIN_VALUES, 20) - before
    for seed in range(20):
        found = change_points(made([(before, 1.0), (after, 1.03)], 0.003, seed))
        assert before in [step.at for step in found]


def test_two_steps_are_found_and_a_short_one_back() -> None:
    values = made([(9, 1.0), (6, 1.1), (8, 1.0)], 0.004, 1)
    assert [step.at for step in change_points(values)] == [9, 15]
    assert segment_medians(values, change_points(values)) == pytest.approx(
        [1.0, 1.1, 1.0], rel=0.01
    )


def test_the_shortest_series_that_can_show_a_step() -> None:
    values = made([(4, 1.0), (4, 2.0)], 0.001, 2)
    (step,) = change_points(values)
    # Of 8!/(4!·4!) = 70 ways to share eight figures out, two part them as clearly.
    assert step.at == 4
    assert step.p == pytest.approx(2 / 70, abs=0.02)
    assert change_points(values[1:]) == []


def test_series_of_equal_code_are_cut_as_rarely_as_stated() -> None:
    cut = sum(bool(change_points(made([(12, 1.0)], 0.01, seed))) for seed in range(TIMES))
    # Three standard deviations above the share that is told.
    assert cut <= TIMES * MAX_P + 3 * (TIMES * MAX_P * (1 - MAX_P)) ** 0.5


def test_an_outlier_is_no_step() -> None:
    values = made([(12, 1.0)], 0.002, 3)
    values[6] = 3.0
    assert change_points(values) == []


def test_figures_without_any_noise() -> None:
    assert change_points([5.0] * 20) == []
    assert [step.at for step in change_points([5.0] * 10 + [6.0] * 10)] == [10]


def test_equal_series_have_equal_steps() -> None:
    values = made([(8, 1.0), (8, 1.05)], 0.01, 4)
    assert change_points(values) == change_points(values)


def test_small_steps_give_way_to_those_beside_them() -> None:
    values = [1.0] * 5 + [1.01] * 5 + [1.05] * 5 + [1.055] * 5
    found = [ChangePoint(5, 0.01), ChangePoint(10, 0.01), ChangePoint(15, 0.01)]
    kept = drop_small(values, found, lambda before, after: after >= 1.02 * before)
    assert [step.at for step in kept] == [10]
    # A rise in parts, each too small, that is large enough as a whole, is kept at one of them.
    slow = [1.0] * 5 + [1.015] * 5 + [1.03] * 5
    kept = drop_small(slow, found[:2], lambda before, after: after >= 1.02 * before)
    assert len(kept) == 1
