"""The study of decay: its conclusions, and a simulation that agrees with the stored one."""

import json
from statistics import fmean

import numpy as np
import pytest

from benchmarks import means
from benchmarks.decay import HEADS, STORED, fit_draw, true_values
from radialbench.records.decay import MOST_NOISE

STUDY = json.loads(STORED.read_text(encoding="utf-8"))
FITS = STUDY["fits"]


def held_heads(interval: str, least: int) -> list[float]:
    return [
        row["held"]
        for row in STUDY["heads"]
        if row["interval"] == interval and row["units"] >= least
    ]


def test_intervals_of_fits_hold_the_truth() -> None:
    assert STUDY["draws"] == 1000
    held = [row["held"] for row in FITS if row["noise"] <= MOST_NOISE]
    assert min(held) >= 0.93
    assert fmean(held) >= 0.945
    assert min(row["held_plain"] for row in FITS if row["noise"] <= 1) < 0.75
    assert all(row["held"] >= row["held_plain"] - 0.01 for row in FITS)


def test_fits_of_256_rows_are_within_5_percent() -> None:
    rows = [row for row in FITS if row["rows"] == 256 and row["noise"] <= 1]
    assert min(row["near"] for row in rows) >= 0.94
    assert min(row["chosen"] for row in rows if row["chosen"] is not None) > 0.98


def test_the_bootstrap_of_t_is_the_best_interval_of_a_mean() -> None:
    worst = {interval: min(held_heads(interval, 12)) for interval in means.INTERVALS}
    assert max(worst, key=lambda interval: worst[interval]) == "bootstrap of t"
    assert worst["bootstrap of t"] > 0.92
    assert worst["percentiles"] < 0.86
    by_unit = {
        unit: fmean(row["held"] for row in STUDY["layers"] if row["interval"] == unit)
        for unit in ("each step", "heads", "layers")
    }
    assert by_unit["each step"] < 0.5 < by_unit["heads"] < 0.75 < 0.93 < by_unit["layers"]


def test_masks_are_ranked_as_constructed() -> None:
    assert [row["all"] for row in STUDY["ranks"]] == [1, 1, 1]


def test_an_average_has_the_r2_of_the_paper_while_heads_have_none() -> None:
    found = {row["heads"]: row for row in STUDY["averages"]}
    flat = found["10 of one exponential, 2 without decay"]
    assert flat["averaged"] > 0.985 > 0.1 > flat["worst"]
    many = found["12 exponentials, rates 0.05 to 1.5"]
    assert many["averaged"] < 0.985 < many["worst"]


def test_a_small_simulation_agrees_with_the_stored_one() -> None:
    draws = 30
    numbers = np.array([fit_draw(seed, 0.5, 64)[0] for seed in range(1000, 1000 + draws)])
    stored = [row for row in FITS if (row["noise"], row["rows"]) == (0.5, 64)]
    for place, (name, true) in enumerate(true_values().items()):
        row = stored[place]
        assert row["what"] == name
        error = numbers[:, place, 0] / true - 1
        assert abs(error.mean() - row["bias"]) < 4 * row["deviation"] / draws**0.5
        assert error.std() == pytest.approx(row["deviation"], rel=0.5)
    low, high = numbers[..., 1], numbers[..., 2]
    truths = [*true_values().values()]
    assert ((low <= truths) & (truths <= high)).mean() > 0.9
    assert len(truths) == 2 * len(HEADS) + 1


def test_a_small_simulation_of_means_agrees_with_the_stored_one() -> None:
    draw, mean = means.HEADS["error, skewed"]
    rng = np.random.default_rng(5)
    samples = [draw(rng, 12) for _ in range(150)]
    for interval, estimate in means.INTERVALS.items():
        (stored,) = (
            row["held"]
            for row in STUDY["heads"]
            if (row["heads"], row["units"], row["interval"]) == ("error, skewed", 12, interval)
        )
        held = fmean(estimate(one).holds(mean) for one in samples)
        assert held == pytest.approx(stored, abs=0.09)
