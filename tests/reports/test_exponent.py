import numpy as np
import pytest

from radialbench.reports.exponent import Exponent, exponent

SIZES = [1.0, 2.0, 5.0, 10.0, 40.0, 100.0]


def noisy(power: float, spread: float, count: int, seed: int = 1) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [(size**power * np.exp(rng.normal(0, spread, count))).tolist() for size in SIZES]


def found(samples: list[list[float]]) -> Exponent:
    result = exponent(SIZES, samples)
    assert result is not None
    return result


def test_an_exact_power_law() -> None:
    result = found([[3 * size**1.25] * 4 for size in SIZES])
    assert (result.value, result.low, result.high) == pytest.approx((1.25, 1.25, 1.25))
    assert (result.cases, result.sampled) == (6, True)


def test_the_slope_is_that_of_least_squares() -> None:
    samples = noisy(0.9, 0.3, 3)
    medians = [np.median(case) for case in samples]
    slope = np.polyfit(np.log(SIZES), np.log(medians), 1)[0]
    assert found(samples).value == pytest.approx(slope)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    results = [found(noisy(1.0, 0.1, 5, seed)) for seed in range(60)]
    covered = sum(result.low <= 1 <= result.high for result in results)
    assert covered >= 42
    assert all(result.high - result.low < 0.3 for result in results)


def test_more_spread_is_a_wider_interval() -> None:
    calm, wild = (found(noisy(1.0, spread, 5)) for spread in (0.02, 0.4))
    assert wild.high - wild.low > 3 * (calm.high - calm.low)


def test_the_spread_of_the_samples_counts() -> None:
    # Medians on a straight line, so that without resampling the calls there is no spread at all.
    spread = [[size * factor for factor in (0.6, 0.8, 1.0, 1.3, 1.7)] for size in SIZES]
    result = found(spread)
    assert result.value == pytest.approx(1)
    assert result.low < 0.97
    assert result.high > 1.03
    assert not found([[size] for size in SIZES]).sampled


def test_the_same_data_give_the_same_interval() -> None:
    samples = noisy(1.0, 0.2, 4)
    assert found(samples) == found(samples)


def test_three_sizes_at_least() -> None:
    assert exponent([1.0, 2.0], [[1.0], [2.0]]) is None
    assert exponent([2.0, 2.0, 1.0], [[1.0], [1.0], [2.0]]) is None
    assert exponent([], []) is None


@pytest.mark.parametrize("sizes", [(3.1, 6.7, 12.9), (44776.0, 89296.0, 178336.0)])
def test_draws_of_one_size_alone_have_no_slope(sizes: tuple[float, ...]) -> None:
    """Of three sizes, one in nine draws has one alone, whose mean rounds to something beside it."""
    samples = [[size**1.5 * factor for factor in (0.99, 1.0, 1.01)] for size in sizes]
    result = exponent(sizes, samples)
    assert result is not None
    assert 1.4 < result.low <= result.value <= result.high < 1.6


def test_text() -> None:
    assert Exponent(1.004, 0.97, 1.0, 7, True).text == "1.00 (0.97 to 1.00)"
