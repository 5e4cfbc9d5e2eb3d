"""Searches on made-up kernels whose best is known: what a broken search would not reach."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest

from benchmarks.tuning import RegretSummary, Transfer, draw, regrets, summary_of, transfers_of
from radialbench.autotune.replay import by_problem, regret_of, true_times
from radialbench.autotune.trials import SweepTrial, TrialOutcome
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey
from radialbench.reports.charts._drawing import drawing, rendered
from tests.autotune import landscape

SEEDS = range(20)
SHARES = (0.1, 0.15, 0.2)


class Row(NamedTuple):
    """What one search of one problem has found after a share of the measurements."""

    key: TuningKey
    search: str
    share: float
    trials: int
    regret: float
    default: float


def compare_searches(
    sweep: Sequence[SweepTrial],
    searches: Sequence[str],
    seeds: Iterable[int],
    shares: Sequence[float],
    first: Mapping[TuningKey, Sequence[KernelConfig]] = MappingProxyType({}),
) -> list[Row]:
    """Replay searches on every problem of a sweep."""
    rows = []
    for (key, recorded), name, seed in product(by_problem(sweep).items(), searches, seeds):
        default = regret_of(true_times(recorded), recorded[0].config)
        found = regrets(recorded, name, seed, shares, first.get(key, ()))
        rows += [
            Row(key, name, share, *one, default) for share, one in zip(shares, found, strict=True)
        ]
    return rows


def transfer_regrets(sweep: Sequence[SweepTrial]) -> list[Transfer]:
    return list(transfers_of(by_problem(sweep)))


@cache
def sums() -> dict[tuple[str, float], RegretSummary]:
    """Replay three searches on four kernels, of about 190 configurations each."""
    sweep = landscape.sweep(landscape.shape(seed) for seed in range(4))
    rows = compare_searches(sweep, ["tpe", "random", "exhaustive"], SEEDS, SHARES)
    found: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        found.setdefault((row.search, row.share), []).append(row.regret)
    return {group: summary_of(*group, of_group) for group, of_group in found.items()}


@pytest.mark.slow
def test_tpe_is_near_the_best_after_a_tenth_of_the_measurements() -> None:
    assert sums()["tpe", 0.1].median < 0.02
    assert sums()["tpe", 0.15].high < 0.08
    assert sums()["tpe", 0.2].median < 0.002
    assert sums()["tpe", 0.2].high < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES)
def test_tpe_beats_chance_and_chance_beats_the_order_of_the_space(share: float) -> None:
    tpe, chance, listed = (sums()[name, share] for name in ("tpe", "random", "exhaustive"))
    assert tpe.median < chance.median / 2
    assert tpe.high < chance.high
    assert chance.median < listed.median


@pytest.mark.slow
def test_chance_is_as_good_as_chance_is() -> None:
    """The best of 18 drawn blindly is among the best fifth in 98 of 100 cases: 1 - 0.8^18."""
    sweep = landscape.sweep([landscape.shape(0)])
    times = sorted(true_times(sweep).values())
    fifth = times[len(times) // 5] / times[0] - 1
    rows = compare_searches(sweep, ["random"], range(60), (0.1,))
    assert sum(row.regret <= fifth for row in rows) >= 0.9 * 60


def test_everything_measured_leaves_no_regret() -> None:
    sweep = landscape.sweep([landscape.shape(2)], noise=0.002)
    for row in compare_searches(sweep, ["exhaustive", "random"], [0], (0.1, 1.0)):
        if row.share == 1:
            assert row.regret < 0.005
            assert row.trials == len(sweep)
        assert 0 <= row.regret <= row.default


def test_rejected_configurations_are_no_measurements() -> None:
    sweep = landscape.sweep([landscape.shape(2)])
    sweep[1:101] = [
        replace(one, outcome=TrialOutcome.REJECTED, reason="spills", samples_ms=())
        for one in sweep[1:101]
    ]
    (row,) = compare_searches(sweep, ["random"], [3], (0.1,))
    assert row.trials == round(0.1 * (len(sweep) - 100))


def test_summaries() -> None:
    sweep = landscape.sweep([landscape.shape(2)])
    rows = compare_searches(sweep, ["random"], range(20), (0.1,))
    ordered = sorted(row.regret for row in rows)
    found = summary_of("random", 0.1, ordered)
    assert found.searches == 20
    assert found.median == (ordered[9] + ordered[10]) / 2
    assert (found.high, found.worst) == (ordered[18], ordered[19])


def test_what_is_transferred_comes_from_the_nearest_other_problem() -> None:
    first = landscape.shape(0)
    # The third is as the first, but for its exceptions; the second differs in head_dim.
    shapes = [first, replace(landscape.shape(1), head_dim=64), replace(first, seed=50)]
    sweep = landscape.sweep(shapes, noise=0.002)
    rows = transfer_regrets(sweep)
    assert [row.choice.source for row in rows] == ["transferred", "default", "transferred"]
    problems = list(by_problem(sweep).values())
    best_of_third = min(true_times(problems[2]).items(), key=lambda pair: pair[1])[0]
    assert rows[0].choice.config == best_of_third
    times = true_times(problems[0])
    assert rows[0].regret == pytest.approx(times[best_of_third] / min(times.values()) - 1)
    assert rows[1].regret == rows[1].default > 0.1
    assert rows[0].regret < rows[0].default


def test_what_does_not_run_is_not_transferred() -> None:
    first = landscape.shape(0)
    sweep = landscape.sweep([first, replace(first, seed=50)], noise=0.002)
    problems = list(by_problem(sweep).values())
    best = min(true_times(problems[0]).items(), key=lambda pair: pair[1])[0]
    crashing = [
        replace(one, outcome=TrialOutcome.CRASHED, reason="SIGABRT", samples_ms=())
        if one.config == best and one.key == problems[1][0].key
        else one
        for one in sweep
    ]
    choice = transfer_regrets(crashing)[1].choice
    assert choice.source == "default"
    assert "did not end well" in choice.reason


def test_a_search_may_begin_with_what_is_transferred() -> None:
    first = landscape.shape(0)
    sweep = landscape.sweep([first, replace(first, seed=50)], noise=0.002)
    few = 2 / len(by_problem(sweep)[landscape.key(0, first)])
    alone = compare_searches(sweep, ["tpe"], [0], (few,))
    transferred = {row.key: row for row in transfer_regrets(sweep)}
    known = {key: (row.choice.config,) for key, row in transferred.items()}
    helped = compare_searches(sweep, ["tpe"], [0], (few,), first=known)
    assert [row.trials for row in helped] == [2, 2]
    assert all(row.regret == transferred[row.key].regret for row in helped)
    assert all(a.regret > b.regret for a, b in zip(alone, helped, strict=True))


SUMMARIES = [
    RegretSummary("tpe", 0.2, 80, 0.0, 0.01, 0.02),
    RegretSummary("tpe", 0.1, 80, 0.007, 0.07, 0.1),
    RegretSummary("random", 0.1, 80, 0.06, 0.16, 0.2),
    RegretSummary("random", 0.2, 80, 0.03, 0.12, 0.2),
]


def test_every_search_has_a_line_of_medians_and_one_of_percentiles() -> None:
    with drawing():
        figure = draw(SUMMARIES)
        assert rendered(figure, "png")[:4] == b"\x89PNG"
    drawn = {
        (axes.get_title(loc="left"), str(line.get_label())): np.asarray(line.get_xydata()).tolist()
        for axes in figure.axes
        for line in axes.lines
    }
    assert drawn["Median", "tpe"] == [[0.1, 0.007], [0.2, 0.0]]
    assert drawn["Median", "random"] == [[0.1, 0.06], [0.2, 0.03]]
    assert drawn["95th percentile", "tpe"] == [[0.1, 0.07], [0.2, 0.01]]
    assert drawn["95th percentile", "random"] == [[0.1, 0.16], [0.2, 0.12]]
