"""The simulation of what checks catch: noise is drawn as stated, and rates are of the records."""

from collections.abc import Sequence
from dataclasses import replace
from math import log, sqrt
from pathlib import Path

import numpy as np
import pytest

from benchmarks import checks
from benchmarks.checks import (
    CHECK,
    OTHERS,
    _mann_whitney,
    _slower,
    farthest,
    read_rates,
    row_of,
    sittings_table,
)
from benchmarks.noise import STRETCH, Noise, Resampled, as_stopped
from benchmarks.parts import ROOT
from radialbench.records.measurement import Rounds
from radialbench.records.result import Record
from radialbench.records.store import read, write_whole
from radialbench.suites.noise import RunRecords, read_runs
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from radialbench.suites.schema import Protocol
from tests.reports.check.noise import (
    CALLS,
    GPU_RECORD,
    TIMES_MS,
    flat,
    later,
    made,
    named,
    record,
)

RATES = read_rates(checks.ASSUMED)


def medians(suite: Sequence[Record]) -> list[float]:
    return [one.timing.median_ms for one in suite if one.timing]


def test_the_suite_is_of_our_kernels_and_samples_often_enough() -> None:
    cases = plan(load_suite(str(ROOT / "benchmarks" / "noise.yaml")))
    assert 6 <= len(cases) <= 8
    assert {case.backend for case in cases} == {"hopper", "triton"}
    # Shorter samplings are made of the longer one: nothing but the number of calls may differ.
    for case in cases:
        assert case.protocol == Protocol(min_samples=checks.CALLS)


def test_drawn_suites_differ_by_as_much_as_the_runs_do() -> None:
    runs = made(5)
    noise_of = Resampled([runs], 1)
    ratios: list[float] = []
    for _ in range(40):
        before, now = noise_of.pair()
        assert [one.case for one in before] == [one.case for one in now]
        ratios += [log(a / b) for a, b in zip(medians(now), medians(before), strict=True)]
    assert np.std(ratios) == pytest.approx(_expected(runs), rel=0.08)
    assert abs(np.mean(ratios)) < 4 * np.std(ratios) / sqrt(len(ratios))


def _expected(runs: Sequence[RunRecords]) -> float:
    """Of the ratio: two processes' medians, and the error of a median of 100 drawn calls each."""
    between = np.log([medians(run) for run in runs]).var(axis=0, ddof=1).mean()
    return float(sqrt(2 * (between + 1.5708 * CALLS**2 / 100)))


def test_drawn_calls_are_recorded_calls_with_their_telemetry() -> None:
    run = made(2, runs=1, times_ms=(1.0,))[0]
    assert run[0].timing is not None
    clocks = tuple(float(number) for number in range(100))
    beside = Rounds("nvml", sm_mhz=clocks, slowed_by=("power cap",) * 100)
    other = replace(run[0], timing=replace(run[0].timing, rounds=beside))
    for one in Resampled([[(other,), (other,)]], 1, cases=3).pair()[0]:
        assert one.timing is not None and one.timing.rounds is not None
        places = [int(clock) for clock in one.timing.rounds.sm_mhz]
        factors = [
            ms / run[0].timing.samples_ms[place]
            for ms, place in zip(one.timing.samples_ms, places, strict=True)
        ]
        assert factors == pytest.approx([factors[0]] * 100)
        assert one.timing.rounds.power_w == ()
        steps = np.diff(np.array(places).reshape(-1, STRETCH), axis=1)
        assert set((steps % 100).ravel().tolist()) == {1}


def test_two_runs_of_a_case_are_of_two_processes() -> None:
    runs = [named(n, [record("case0", [ms] * 100)]) for n, ms in enumerate((1.0, 2.0))]
    before, now = Resampled([runs], 1).pair()
    ratios = [a / b for a, b in zip(medians(now), medians(before), strict=True)]
    assert {round(ratio, 6) for ratio in ratios} == {0.5, 2.0}


def test_a_shorter_protocol_takes_the_first_calls() -> None:
    quiet = record("a", [1.0, 1.001, 0.999] * 30)
    assert as_stopped(quiet, Protocol()) == quiet
    stopped = as_stopped(quiet, Protocol(min_seconds=0))
    assert stopped.timing is not None
    # An interval takes six samples, and these are close enough.
    assert stopped.timing.samples_ms == (1.0, 1.001, 0.999, 1.0, 1.001, 0.999)
    assert stopped.timing.stopped == "precise"
    loud = record("a", [1.0, 1.5] * 30)
    assert as_stopped(loud, Protocol()) == loud
    for protocol in (Protocol(min_samples=20, min_seconds=0), Protocol(min_seconds=0.02)):
        least = as_stopped(quiet, protocol)
        assert least.timing is not None and len(least.timing.samples_ms) == 20


def test_drawn_pairs_are_of_one_sitting() -> None:
    early, late = made(5, runs=3), later(made(6, runs=4), minutes=10, slower=1.5)
    before, now = Resampled([early, late], 1).pair()
    ratios = [a / b for a, b in zip(medians(now), medians(before), strict=True)]
    assert max(ratios) < 1.1 and min(ratios) > 0.9
    assert max(medians(now)) > 1.3 * max(TIMES_MS)


def test_sittings_are_compared_with_the_first() -> None:
    early, late = made(4, runs=3), later(made(4, runs=2), minutes=10, slower=1.02)
    assert "| 1 | 1.0" in sittings_table([*early, *late]).replace("  ", "").replace("|1", "| 1")
    assert 0.015 < farthest([*early, *late]) < 0.025
    assert (sittings_table(early), farthest(early)) == ("", 0.0)


def test_assumed_noise_is_of_two_levels() -> None:
    noise = Noise(GPU_RECORD, 3, cases=200, calls=400)
    before, now = noise.run(), noise.run()
    ratios = [log(a / b) for a, b in zip(medians(now), medians(before), strict=True)]
    between = 2 * 0.003**2 + 2 * 1.5708 * 0.015**2 / 400
    assert np.std(ratios) == pytest.approx(sqrt(between), rel=0.15)
    slow = medians(noise.run({7: 1.5}))[7] / medians(before)[7]
    assert slow == pytest.approx(1.5, rel=0.03)


def test_rates_are_of_the_records_they_were_counted_from(tmp_path: Path) -> None:
    runs = made(6, times_ms=(0.5, 3.0))
    records, rates = tmp_path / "noise.jsonl", tmp_path / "rates.json"
    write_whole(records, flat(runs))
    found = checks.simulate_recorded(runs, comparisons=6)
    checks.store_recorded(found, rates, records)
    assert checks.recorded_rates(records, rates) == found
    text = " ".join(checks.recorded_text(found, runs).split())
    assert [row["rule"] for row in found] == [CHECK, CHECK, *OTHERS]
    assert "From recorded noise: 24 runs of the 2 cases" in text
    assert "on Example GPU; " in text and "radialbench run" not in text
    assert f"after {found[0]['taken']:.0f} calls in the mean" in text
    assert "276 of 276 pass with 100 calls a case" in text
    write_whole(records, flat(made(7)))
    with pytest.raises(SystemExit, match=r"rates.json is not of .*noise.jsonl: run python -m"):
        checks.recorded_rates(records, rates)


def test_large_slowdowns_are_caught_and_noisy_runs_fail() -> None:
    quiet = checks.simulate_recorded(made(8), comparisons=4)
    assert [row["caught"]["0.14"] for row in quiet] == [4] * 5
    assert [row["failed"] for row in quiet] == [0] * 5
    loud = checks.simulate_recorded(made(8, processes=0.02), comparisons=4)
    assert loud[0]["failed"] == loud[1]["failed"] == 4


@pytest.mark.parametrize(
    ("failed", "of_3", "of_5", "end"),
    [
        (10, 900, 990, "it is met."),
        (11, 900, 990, "it is missed (1.1% of equal suites fail)."),
        (0, 899, 989, "it is missed (89.9% of 3%, 98.9% of 5%)."),
    ],
)
def test_the_aim(failed: int, of_3: int, of_5: int, end: str) -> None:
    row = {"comparisons": 1000, "failed": failed, "caught": {"0.03": of_3, "0.05": of_5}}
    assert checks._aim(row).endswith(f": {end}")


def test_recorded_runs_are_whole_and_their_rates_are_counted() -> None:
    assert read(checks.RECORDS).skipped == ()
    assert len(read_runs(checks.RECORDS)) >= 20
    assert checks.RECORDS.stat().st_size < 2 << 20
    assert checks.recorded_rates()


def test_the_figures_of_a_capped_gpu_are_in_the_recorded_runs() -> None:
    (case,) = {one.case for one in read_runs(checks.RECORDS)[0] if one.case.startswith("dense/17x")}
    calls = [
        np.array(one.timing.samples_ms)
        for run in read_runs(checks.RECORDS)
        for one in run
        if one.case == case and one.timing
    ]
    middle = np.median([np.median(one) for one in calls])
    steps = np.array([np.median(one.reshape(-1, 5), axis=1) for one in calls]) / middle - 1
    text = " ".join((ROOT / "docs" / "measurement.md").read_text(encoding="utf-8").split())
    assert f"dense attention of {middle:.1f} ms ran in steps" in text
    assert f"Ten calls, {10 * middle:.0f} ms, can lie within one step" in text
    assert f"up to {steps.max():.0%} slower for a while" in text


def test_the_picture_has_a_line_for_each_rule_and_the_default_protocol() -> None:
    assert checks.draw(RATES).count(b"default protocol") == 0
    default = row_of("check", checks.DEFAULT)
    assert b"check, default protocol" in checks.draw([default, *RATES])


@pytest.mark.parametrize(
    ("one", "other", "p"),
    [
        # Mann and Whitney's statistic is 0 and 30·30/2 here; the standard deviation is 67.6.
        (range(30), range(100, 130), 2.9e-11),
        (range(0, 60, 2), range(-1, 59, 2), 0.8245),
    ],
)
def test_the_rank_test(one: range, other: range, p: float) -> None:
    found = _mann_whitney(list(map(float, one)), list(map(float, other)))
    assert found == pytest.approx(p, rel=0.02)
    assert _mann_whitney(list(map(float, other)), list(map(float, one))) == pytest.approx(found)


def test_other_rules_have_the_bounds_of_their_names() -> None:
    base = np.linspace(0.99, 1.01, 100)
    bounds = {"asv, factor 1.1": 1.1, "asv, factor 1.02": 1.02, "threshold 5%": 1.05}
    for rule, bound in bounds.items():
        assert _slower(rule, (base * (bound + 0.001)).tolist(), base.tolist())
        assert not _slower(rule, (base * (bound - 0.001)).tolist(), base.tolist())
    noisy = np.linspace(0.2, 1.8, 100)
    assert not _slower("asv, factor 1.02", (noisy * 1.05).tolist(), noisy.tolist())
