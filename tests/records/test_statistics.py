"""Estimates: what they are, and how often their intervals hold the truth."""

import math
from itertools import product
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.errors import RecordError
from radialbench.records.statistics import (
    BOOTSTRAP,
    INDEPENDENT_ERRORS,
    MIN_SAMPLES,
    ORDER_STATISTICS,
    Estimate,
    bootstrap_mean,
    effective_size,
    estimate_median,
    exponent,
    interval_rank,
    paired_ratio,
    unpaired_ratio,
)

SIZES = [1.0, 2.0, 5.0, 10.0, 40.0, 100.0]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((1.0, None, 1.0), r"both ends of its interval or none, got 1.0 \(None to 1.0\)"),
        ((1.0, 1.0, None), "both ends of its interval or none"),
        ((1.0, 1.2, 1.1), r"within its interval, got 1.0 \(1.2 to 1.1\)"),
        ((1.0, 1.1, 1.2), "within its interval"),
        ((math.nan,), r"finite numbers, within ±1e\+100, got nan"),
        ((1.0, 0.0, math.inf), "finite numbers"),
    ],
)
def test_what_is_no_estimate_is_refused(numbers: tuple[float | None, ...], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        Estimate(*numbers)  # type: ignore[arg-type]


def test_an_estimate_is_written_with_its_interval() -> None:
    assert f"{Estimate(1.004, 0.97, 1.0199, BOOTSTRAP):.2f}" == "1.00 (0.97 to 1.02)"
    assert f"{Estimate(0.5):.1%}" == "50.0%"


def test_estimates_are_moved_by_what_is_known() -> None:
    known = Estimate(2.0, 1.0, 4.0, "a")
    assert known.plus(3) == Estimate(5.0, 4.0, 7.0, "a")
    assert known.times(4) == Estimate(8.0, 4.0, 16.0, "a")
    assert known.inverse() == Estimate(0.5, 0.25, 1.0, "a")
    assert known.widened_to(3) == Estimate(3, 1.0, 4.0, "a")
    assert known.widened_to(5) == Estimate(5, 1.0, 5, "a")
    assert known.half_width == 0.75
    alone = Estimate(2.0)
    moved = (alone.plus(3), alone.times(4), alone.inverse(), alone.widened_to(3))
    assert moved == (Estimate(5.0), Estimate(8.0), Estimate(0.5), Estimate(3))
    assert alone.half_width == math.inf


def test_nothing_is_sure_without_an_interval() -> None:
    known, alone = Estimate(2.0, 1.0, 4.0), Estimate(2.0)
    assert (known.holds(4), known.holds(4.1), alone.holds(2.0)) == (True, False, False)
    assert (known.surely_above(0.9), known.surely_above(1), alone.surely_above(0)) == (
        *(True, False, False),
    )
    assert (known.surely_below(4.1), known.surely_below(4), alone.surely_below(9)) == (
        *(True, False, False),
    )


@pytest.mark.parametrize("count", range(1, MIN_SAMPLES))
def test_fewer_than_six_samples_hold_the_median_too_seldom(count: int) -> None:
    # The median lies outside all of them if every one is above it, or every one below.
    assert 2 * 0.5**count > 0.05
    assert estimate_median([1.0] * count) == Estimate(1.0)


@pytest.mark.parametrize("count", range(MIN_SAMPLES, 13))
def test_the_interval_is_the_narrowest_that_is_sure_enough(count: int) -> None:
    """Counts, over every way samples can fall below and above the median, when it lies between."""
    found = estimate_median([float(sample) for sample in reversed(range(count))])
    assert found.ends is not None
    low, high = found.ends
    assert low + high == count - 1
    assert (found.value, found.how) == ((count - 1) / 2, ORDER_STATISTICS)

    def covered(place: int) -> float:
        """Share of the ways in which at least place + 1 lie on either side."""
        sides = [sum(way) for way in product((0, 1), repeat=count)]
        return len([below for below in sides if place < below < count - place]) / len(sides)

    assert covered(int(low)) >= 0.95
    assert covered(int(low) + 1) < 0.95


@pytest.mark.parametrize("count", [17, 20, 30, 100, 2000])
def test_the_rank_is_exact_for_many_samples(count: int) -> None:
    def outside(rank: int) -> int:
        return 2 * sum(math.comb(count, heads) for heads in range(rank))

    rank = interval_rank(count)
    assert 20 * outside(rank) <= 2**count < 20 * outside(rank + 1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    found = [estimate_median(rng.lognormal(0, 0.5, 30).tolist()) for _ in range(400)]
    assert 0.93 <= np.mean([one.holds(1) for one in found]) <= 0.99


@given(st.lists(st.floats(0.01, 100), min_size=6, max_size=40))
def test_it_holds_the_median(samples: list[float]) -> None:
    found = estimate_median(samples)
    assert found.value == median(samples)
    assert found.holds(found.value)


def test_what_disturbs_both_is_no_uncertainty_of_the_ratio() -> None:
    drift = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    paired = paired_ratio(drift, [2 * one for one in drift])
    assert paired == Estimate(0.5, 0.5, 0.5, ORDER_STATISTICS)
    assert paired_ratio(drift[:5], drift[:5]) == Estimate(1.0)
    separate = unpaired_ratio(Estimate(3, 2.4, 6), Estimate(1, 0.8, 2))
    assert separate.ends is not None
    assert separate.ends[0] < 2.4 < 6 < separate.ends[1]


def test_errors_of_two_times_add_by_their_squares() -> None:
    found = unpaired_ratio(Estimate(8, 7, 9), Estimate(2, 1.9, 2.2))
    assert (found.value, found.how) == (4, INDEPENDENT_ERRORS)
    assert found.low and found.high
    assert math.log(4 / found.low) == pytest.approx(
        math.sqrt(math.log(8 / 7) ** 2 + math.log(2.2 / 2) ** 2)
    )
    assert math.log(found.high / 4) == pytest.approx(
        math.sqrt(math.log(9 / 8) ** 2 + math.log(2 / 1.9) ** 2)
    )
    assert unpaired_ratio(Estimate(8, 7, 9), Estimate(2, 2, 2)).ends == pytest.approx((3.5, 4.5))
    assert unpaired_ratio(Estimate(8), Estimate(2, 2, 2)) == Estimate(4)
    assert unpaired_ratio(Estimate(8, 8, 8), Estimate(2)) == Estimate(4)


def noisy(power: float, spread: float, count: int, seed: int = 1) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [(size**power * np.exp(rng.normal(0, spread, count))).tolist() for size in SIZES]


def fitted(samples: list[list[float]]) -> tuple[float, float, float]:
    found = exponent(SIZES, samples)
    assert found is not None and found.ends is not None
    assert found.how == BOOTSTRAP
    return found.ends[0], found.value, found.ends[1]


def test_an_exact_power_law() -> None:
    assert fitted([[3 * size**1.25] * 4 for size in SIZES]) == pytest.approx((1.25, 1.25, 1.25))


def test_the_slope_is_that_of_least_squares() -> None:
    samples = noisy(0.9, 0.3, 3)
    medians = [np.median(case) for case in samples]
    slope = np.polyfit(np.log(SIZES), np.log(medians), 1)[0]
    assert fitted(samples)[1] == pytest.approx(slope)


def test_the_exponents_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    results = [fitted(noisy(1.0, 0.1, 5, seed)) for seed in range(60)]
    assert sum(low <= 1 <= high for low, _, high in results) >= 42
    assert all(high - low < 0.3 for low, _, high in results)


def test_more_spread_is_a_wider_interval() -> None:
    (calm, _, steep), (wild, _, most) = (fitted(noisy(1.0, one, 5)) for one in (0.02, 0.4))
    assert most - wild > 3 * (steep - calm)


def test_the_spread_of_the_samples_counts() -> None:
    # Medians on a straight line, so that without resampling the calls there is no spread at all.
    low, value, high = fitted(
        [[size * factor for factor in (0.6, 0.8, 1.0, 1.3, 1.7)] for size in SIZES]
    )
    assert value == pytest.approx(1)
    assert low < 0.97
    assert high > 1.03


def test_the_same_data_give_the_same_interval() -> None:
    samples = noisy(1.0, 0.2, 4)
    assert fitted(samples) == fitted(samples)


def test_three_sizes_at_least() -> None:
    assert exponent([1.0, 2.0], [[1.0], [2.0]]) is None
    assert exponent([2.0, 2.0, 1.0], [[1.0], [1.0], [2.0]]) is None
    assert exponent([], []) is None


@pytest.mark.parametrize("sizes", [(3.1, 6.7, 12.9), (44776.0, 89296.0, 178336.0)])
def test_draws_of_one_size_alone_have_no_slope(sizes: tuple[float, ...]) -> None:
    """Of three sizes, one in nine draws has one alone, whose mean rounds to something beside it."""
    samples = [[size**1.5 * factor for factor in (0.99, 1.0, 1.01)] for size in sizes]
    found = exponent(sizes, samples)
    assert found is not None
    assert found.surely_above(1.4)
    assert found.surely_below(1.6)


def autoregressive(phi: float, count: int, seed: int) -> list[float]:
    """Samples of mean 1 and deviation 1%, each like the one before."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 0.01, count)
    for place in range(1, count):
        steps[place] = phi * steps[place - 1] + (1 - phi**2) ** 0.5 * steps[place]
    found: list[float] = (1 + steps).tolist()
    return found


def test_samples_that_depend_on_each_other_are_worth_fewer() -> None:
    sizes = {
        phi: median(effective_size(autoregressive(phi, 400, seed)) for seed in range(20))
        for phi in (0.0, 0.5, 0.9)
    }
    # The signs of an AR(1) have the autocorrelation 2/π·asin(φᵏ): times of 1, 2.2 and 12.
    assert sizes[0.0] > 330
    assert sizes[0.5] == pytest.approx(400 / 2.2, rel=0.2)
    assert sizes[0.9] == pytest.approx(400 / 12, rel=0.3)
    assert effective_size([1.0, 2.0] * 20) == 40
    assert effective_size([5.0] * 9) == 9
    assert effective_size([3.0]) == 1
    assert effective_size([float(n) for n in range(100)]) < 4


def test_the_interval_of_samples_that_depend_on_each_other_holds_the_truth() -> None:
    held = {0: 0, 1: 0}
    for seed in range(300):
        samples = autoregressive(0.9, 200, seed)
        for place, size in enumerate((math.inf, effective_size(samples))):
            held[place] += estimate_median(samples, size).holds(1.0)
    assert held[0] < 0.6 * 300
    assert held[1] > 0.88 * 300


def test_few_independent_samples_have_a_wider_interval() -> None:
    samples = [float(n) for n in range(1, 102)]
    ends = [estimate_median(samples, size).half_width for size in (101, 30, 6, 3)]
    assert ends == sorted(ends)
    assert estimate_median(samples, 200) == estimate_median(samples)
    # Of sixteen the fourth from either end, which are nearly quartiles; twice as far for four.
    assert estimate_median(samples, 16).ends == (24, 78)
    assert estimate_median(samples, 4).ends == (-3, 105)
    assert estimate_median(samples[:5], 3).ends is None
    for count in range(6, 40):
        alone, together = (estimate_median(samples[:count], size) for size in (math.inf, count - 1))
        assert together.half_width >= alone.half_width


def test_a_bootstrap_of_the_mean_reaches_further_to_the_skewed_side() -> None:
    few, many = [0.9] * 9 + [0.98] + [0.2] * 2, ([0.9] * 9 + [0.98] + [0.2] * 2) * 20
    found = bootstrap_mean(few, (0.0, 1.0))
    assert found.value == pytest.approx(sum(few) / 12)
    assert found.ends is not None
    low, high = found.ends
    assert found.value - low > 1.5 * (high - found.value) > 0
    error = float(np.std(many)) / len(many) ** 0.5
    assert bootstrap_mean(many).ends == pytest.approx(
        (found.value - 1.96 * error, found.value + 1.96 * error), abs=error / 2
    )
    assert bootstrap_mean(few) == bootstrap_mean(few)


def test_a_bootstrap_of_the_mean_stays_within_bounds() -> None:
    assert bootstrap_mean([0.99, 1.0, 1.0, 1.0, 1.0, 0.2], (0.0, 1.0)).ends == (0.0, 1.0)
    assert bootstrap_mean([1.0] * 8).ends == (1.0, 1.0)
    assert bootstrap_mean([0.1, 0.2, 0.3, 0.4, 0.5]).ends is None
