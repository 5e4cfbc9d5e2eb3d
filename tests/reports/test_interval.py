import math
from itertools import product
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.reports.interval import Interval, of_median, of_paired_ratio, of_ratio


@pytest.mark.parametrize("count", range(1, 6))
def test_fewer_than_six_samples_hold_the_median_too_seldom(count: int) -> None:
    # The median lies outside all of them if every one is above it, or every one below.
    assert 2 * 0.5**count > 0.05
    assert of_median([1.0] * count) is None


@pytest.mark.parametrize("count", range(6, 13))
def test_the_interval_is_the_narrowest_that_is_sure_enough(count: int) -> None:
    """Counts, over every way samples can fall below and above the median, when it lies between."""
    found = of_median([float(sample) for sample in range(count)])
    assert found is not None
    assert found.low + found.high == count - 1

    def covered(place: int) -> float:
        """Share of the ways in which at least place + 1 lie on either side."""
        sides = [sum(way) for way in product((0, 1), repeat=count)]
        return len([below for below in sides if place < below < count - place]) / len(sides)

    place = int(found.low)
    assert covered(place) >= 0.95
    assert covered(place + 1) < 0.95


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    found = [of_median(rng.lognormal(0, 0.5, 30).tolist()) for _ in range(400)]
    assert 0.93 <= np.mean([one.low <= 1 <= one.high for one in found if one]) <= 0.99


@given(st.lists(st.floats(0.01, 100), min_size=6, max_size=40))
def test_it_holds_the_median(samples: list[float]) -> None:
    found = of_median(samples)
    assert found is not None
    assert found.low <= median(samples) <= found.high


def test_what_disturbs_both_is_no_uncertainty_of_the_ratio() -> None:
    drift = [1.0, 1.3, 0.8, 2.0, 1.1, 0.9, 1.7]
    paired = of_paired_ratio([3 * one for one in drift], drift)
    assert paired is not None
    assert (paired.low, paired.high) == pytest.approx((3, 3))
    apart = of_ratio(3, Interval(2.4, 6), 1, Interval(0.8, 2))
    assert apart is not None
    assert apart.low < 2.4 < 6 < apart.high


def test_errors_of_two_times_add_by_their_squares() -> None:
    found = of_ratio(8, Interval(7, 9), 2, Interval(1.9, 2.2))
    assert found is not None
    assert math.log(4 / found.low) == pytest.approx(
        math.sqrt(math.log(8 / 7) ** 2 + math.log(2.2 / 2) ** 2)
    )
    assert math.log(found.high / 4) == pytest.approx(
        math.sqrt(math.log(9 / 8) ** 2 + math.log(2 / 1.9) ** 2)
    )
    exact = of_ratio(8, Interval(7, 9), 2, Interval(2, 2))
    assert exact is not None
    assert (exact.low, exact.high) == pytest.approx((3.5, 4.5))


def test_without_both_intervals_there_is_none() -> None:
    assert of_ratio(1, None, 1, Interval(1, 1)) is None
    assert of_ratio(1, Interval(1, 1), 1, None) is None


def test_moved_and_widened() -> None:
    assert Interval(1, 2).plus(3) == Interval(4, 5)
    assert Interval(1, 2).around(1.5) == Interval(1, 2)
    assert Interval(1, 2).around(3) == Interval(1, 3)
