"""Paired ratios: what they are, and how often their interval holds the truth."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from radialbench.records.measurement import Measurement, Rounds
from radialbench.reports.ratio import FEWEST, Ratio, paired_ratio, ratio

Noise = Callable[[Generator, int], NDArray[np.float64]]


def test_the_ratio_is_of_samples_taken_beside_each_other() -> None:
    drifting = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    assert paired_ratio(drifting, [2 * one for one in drifting]) == Ratio(0.5, 0.5, 0.5, 7)


def test_few_pairs_have_a_median_but_no_interval() -> None:
    assert paired_ratio([3.0], [2.0]) == Ratio(1.5, None, None, 1)
    few = paired_ratio([1.0] * (FEWEST - 1), [2.0] * FEWEST)
    assert few == Ratio(0.5, None, None, FEWEST - 1)
    assert few.text == "0.50"


def test_the_same_samples_give_the_same_interval() -> None:
    above, below = np.random.default_rng(1).lognormal(size=(2, 30)).tolist()
    first, second = paired_ratio(above, below), paired_ratio(above, below)
    assert first == second
    assert first.low is not None and first.high is not None
    assert min(np.divide(above, below)) <= first.low < first.median < first.high
    assert first.text == f"{first.median:.2f} ({first.low:.2f} to {first.high:.2f})"


def test_pairs_of_which_one_was_throttled_are_left_out() -> None:
    def timing(samples: tuple[float, ...], *slowed_by: str) -> Measurement:
        beside = Rounds("nvml", slowed_by=slowed_by) if slowed_by else None
        return Measurement(samples, 1, "cold", "cuda_event", None, rounds=beside)

    hot = timing((1.0, 9.0, 1.0), "power cap", "thermal limit (hardware)", "")
    plain = timing((2.0, 2.0, 2.0, 7.0))
    assert ratio(hot, plain) == Ratio(0.5, None, None, 2)
    assert ratio(plain, hot) == Ratio(2.0, None, None, 2)
    burning = timing((1.0, 1.0, 1.0), *["hardware slowdown"] * 3)
    assert ratio(burning, plain) == Ratio(0.5, None, None, 3)


def test_a_known_factor_moves_all_of_it() -> None:
    assert Ratio(0.5, 0.25, 1.0, 9).times(4) == Ratio(2.0, 1.0, 4.0, 9)
    assert Ratio(0.5, None, None, 2).times(4) == Ratio(2.0, None, None, 2)


@pytest.mark.parametrize("count", [12, 40])
@pytest.mark.parametrize(
    "noise",
    [
        lambda draw, count: draw.lognormal(sigma=0.02, size=count),
        lambda draw, count: np.exp(draw.laplace(scale=0.02, size=count)),
        # Some calls in ten are held up, on one side or the other.
        lambda draw, count: np.where(
            draw.random(count) < 0.1,
            np.exp(draw.choice([-0.3, 0.3], size=count)),
            draw.lognormal(sigma=0.01, size=count),
        ),
    ],
    ids=["normal", "laplace", "held up"],
)
def test_the_interval_holds_the_true_ratio_in_about_95_of_100(noise: Noise, count: int) -> None:
    draw, trials, truth, held = np.random.default_rng(count), 400, 1.25, 0
    for _ in range(trials):
        below = np.linspace(1, 3, count)  # drift that meets both, and must not count
        above = truth * below * noise(draw, count)
        found = paired_ratio(above.tolist(), below.tolist())
        assert found.low is not None and found.high is not None
        held += found.low <= truth <= found.high
    # A median of so few has about 93% by this method; three standard errors of 400 trials below.
    assert held / trials > 0.89
