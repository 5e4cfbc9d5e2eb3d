"""What runs of the same code differ by: what was put in comes out."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from radialbench.errors import ReportError
from radialbench.reports.check.metrics import ALL_CASES, RUNS_CPU, RUNS_GPU
from radialbench.reports.check.noise import (
    MIN_RUNS,
    describe_noise,
    equal_codes,
    noise_floors,
    sittings_of,
    spreads,
)
from tests.reports.check.noise import CALLS, TIMES_MS, later, made, named, record


def test_the_spread_of_runs_is_what_was_put_in() -> None:
    truth = sqrt(2) * 0.003
    found = [spreads(made(seed)) for seed in range(40)]
    for place in (0, -1):
        each = [one[place] for one in found]
        assert np.mean([one.runs.value for one in each]) == pytest.approx(truth, rel=0.05)
        held = [one.runs.holds(truth) for one in each]
        assert sum(held) >= 0.85 * len(held)
    every = [one[-1] for one in found]
    # What the samples of a run show of their own median is told separate from what runs differ by.
    assert all(one.ratio > one.runs.value for one in every)
    assert np.mean([one.calls for one in every]) == pytest.approx(CALLS, rel=0.05)
    assert found[0][1].median_ms == pytest.approx(TIMES_MS[1], rel=0.01)


def test_runs_that_do_not_differ_have_no_spread() -> None:
    every = [spreads(made(seed, processes=0.0))[-1] for seed in range(10)]
    assert all(one.runs.low == 0.0 for one in every)
    assert all(one.runs.surely_below(0.001) for one in every)


@pytest.mark.parametrize(
    ("processes", "words"),
    [(0.003, "lies below"), (RUNS_GPU / sqrt(2), "holds"), (0.04, "lies above")],
)
def test_what_is_assumed_is_reported_beside_it(processes: float, words: str) -> None:
    found = spreads(made(3, processes=processes))[-1]
    assert f", {words} the {RUNS_GPU:.1%} that" in describe_noise(found, device="Example GPU")
    assert f" the {RUNS_CPU:.1%} that a check assumes" in describe_noise(found, device="cpu")


def test_equal_codes_are_those_of_each_run_and_those_before() -> None:
    runs = made(4, runs=4)
    assert equal_codes(runs) == [0] * 6
    slow = tuple(
        replace(
            r, timing=replace(r.timing, samples_ms=tuple(1.1 * ms for ms in r.timing.samples_ms))
        )
        for r in runs[2]
        if r.timing
    )
    assert equal_codes([runs[0], runs[1], slow, runs[3]]) == [0, 1, 0, 1, 0, 0]


def test_runs_of_two_sittings_are_not_compared() -> None:
    early, late = made(4, runs=3), later(made(4, runs=2), minutes=10, slower=1.02)
    assert [len(part) for part in sittings_of([*early, *late])] == [3, 2]
    assert equal_codes([*early, *late]) == [0] * 4


def test_the_spread_is_that_of_runs_of_one_sitting() -> None:
    early, late = made(5, runs=12), later(made(6, runs=12), minutes=10, slower=1.05)
    separate = spreads([*early, *late])[-1]
    assert separate.runs.value == pytest.approx(sqrt(2) * 0.003, rel=0.3)


def test_the_floor_is_what_all_cases_differ_by() -> None:
    runs = made(3)
    *cases, every = spreads(runs)
    floors = noise_floors(runs)
    assert floors.pop(ALL_CASES) == every.runs.value > 0
    # A case that differs by more has a floor of its own.
    assert floors == {one.case: max(one.runs.value, every.runs.value) for one in cases}
    assert max(floors.values()) > every.runs.value


def test_what_a_case_in_turn_with_itself_seems_to_differ_by() -> None:
    """The interval of a median of 50 ratios of two calls each, either way."""
    found = spreads(made(9))
    shares = [one.in_turn for one in found]
    expected = 1.96 * 1.2533 * sqrt(2) * CALLS / sqrt(50)
    # It reaches further on the side to which the median happens to lie.
    assert all(share is not None and expected < share < 1.8 * expected for share in shares)
    # A steady drift is in neither direction: A B, then B A.
    drifting = [
        named(n, [record("a", [1 + 0.001 * call for call in range(100)])]) for n in range(MIN_RUNS)
    ]
    drift = spreads(drifting)[0].in_turn
    assert drift is not None and drift < 0.002


def test_too_little_says_what_there_is_to_do() -> None:
    with pytest.raises(ReportError, match="takes 8 runs, got 3; record more"):
        spreads(made(1, runs=3))
    few = [named(n, [record("a", [1.0, 1.1, 1.2])]) for n in range(MIN_RUNS)]
    with pytest.raises(ReportError, match="a has fewer than six samples"):
        spreads(few)
    none = [named(n, [record("a", [1.0 + n / 1e3, 1.1, 1.2] * 3)]) for n in range(MIN_RUNS)]
    assert spreads(none)[0].in_turn is None
