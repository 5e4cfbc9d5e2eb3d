"""Change points of made-up series: known ones are found, and chance alone gives few."""

from collections.abc import Sequence

import numpy as np
import pytest

from radialbench.reports.check.change_points import (
    CHANCE,
    FEWEST,
    ChangePoint,
    change_points,
    drop_small,
    segment_medians,
)

TIMES = 120


def made(segment_medians: Sequence[tuple[int, float]], noise: float, seed: int) -> list[float]:
    """A series of so many figures at each level."""
    rng = np.random.default_rng(seed)
    parts = [height * np.exp(rng.normal(0, noise, count)) for count, height in segment_medians]
    found: list[float] = np.concatenate(parts).tolist()
    return found


@pytest.mark.parametrize("before", [3, 4, 10, 17])
def test_a_step_ten_times_the_noise_is_found_where_it_is(before: int) -> None:
    after = max(FEWEST, 20) - before
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


def test_series_of_equal_code_are_cut_as_rarely_as_told() -> None:
    cut = sum(bool(change_points(made([(12, 1.0)], 0.01, seed))) for seed in range(TIMES))
    # Three standard deviations above the share that is told.
    assert cut <= TIMES * CHANCE + 3 * (TIMES * CHANCE * (1 - CHANCE)) ** 0.5


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
