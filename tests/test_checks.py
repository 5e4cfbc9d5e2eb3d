"""The simulation of what checks catch: noise is drawn as stated, and rates are of the records."""

from collections.abc import Sequence
from dataclasses import replace
from math import log, sqrt
from pathlib import Path

import numpy as np
import pytest

from benchmarks import checks
from benchmarks.checks import (
    ASV,
    PROTOCOLS,
    TWO_RUNS,
    WITH_FLOOR,
    _mann_whitney,
    aim,
    asv,
    counted,
    farthest,
    floors_of,
    rates_table,
    read_rates,
    store_rates,
)
from benchmarks.noise import KINDS, STRETCH, Noise, Resampled, as_stopped, slower
from benchmarks.parts import ROOT
from radialbench.records.measurement import Rounds
from radialbench.records.result import Record
from radialbench.records.store import read
from radialbench.reports.check.metrics import ALL_CASES
from radialbench.suites.noise import RunRecords, read_runs
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from radialbench.suites.schema import Protocol
from tests.reports.check.noise import (
    CALLS,
    GPU_RECORD,
    TIMES_MS,
    later,
    made,
    medians,
    named,
    record,
)


def test_the_suite_is_of_our_kernels_and_samples_often_enough() -> None:
    cases = plan(load_suite(str(ROOT / "benchmarks" / "noise.yaml")))
    assert 6 <= len(cases) <= 8
    assert {case.backend for case in cases} == {"hopper", "triton"}
    # Shorter samplings are made of the longer one: nothing but the number of calls may differ.
    for case in cases:
        assert case.protocol == Protocol(min_samples=100)


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
    assert 0.015 < farthest([*early, *late]) < 0.025
    assert farthest(early) == 0


def test_assumed_noise_is_of_two_levels() -> None:
    noise = Noise(GPU_RECORD, 3, cases=200, calls=400)
    before, now = noise.run(), noise.run()
    ratios = [log(a / b) for a, b in zip(medians(now), medians(before), strict=True)]
    between = 2 * 0.003**2 + 2 * 1.5708 * 0.015**2 / 400
    assert np.std(ratios) == pytest.approx(sqrt(between), rel=0.15)
    slow = medians(noise.run({7: 1.5}))[7] / medians(before)[7]
    assert slow == pytest.approx(1.5, rel=0.03)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("quiet", 0.003),
        ("clock states", sqrt(0.003**2 + 0.03**2 * 0.09)),
        ("AR(1)", sqrt(0.003**2 + 0.0084**2)),
        ("drift", sqrt(0.003**2 + 0.015**2)),
        ("processes", 0.007),
        ("whole runs", sqrt(0.003**2 + 0.01**2)),
    ],
)
def test_each_kind_of_noise_is_as_large_as_stated(kind: str, expected: float) -> None:
    noise = Noise(GPU_RECORD, 3, kind=kind, cases=60)
    runs = np.log([medians(noise.run()) for _ in range(30)])
    found = runs.var(axis=0, ddof=1).mean() - 1.5708 * 0.0165**2 / 100
    assert sqrt(found) == pytest.approx(expected, rel=0.2)


def test_several_processes_are_one_record_of_each_case() -> None:
    noise = Noise(GPU_RECORD, 3, cases=4, calls=10)
    before, now = noise.pair(3)
    for one in (*before, *now):
        assert one.timing is not None and one.timing.processes == (10, 10, 10)
    recorded = Resampled([made(1, runs=20)], 1, cases=5)
    for one in recorded.pair(4)[0]:
        assert one.timing is not None and len(one.timing.processes) == 4
    # Of a small sitting there are fewer, as none is on both sides.
    small = Resampled([made(1, runs=4)], 1, cases=5).pair(12)[1]
    assert all(one.timing and len(one.timing.processes) == 2 for one in small)
    slow = slower(before, {1: 1.5})
    ratios = [a / b for a, b in zip(medians(slow), medians(before), strict=True)]
    assert ratios == pytest.approx([1, 1.5, 1, 1])


def test_rates_are_of_the_records_they_were_counted_from(tmp_path: Path) -> None:
    records, rates = tmp_path / "noise.jsonl", tmp_path / "rates.json"
    records.write_text("records", encoding="utf-8")
    found = [counted("quiet", TWO_RUNS, Noise(GPU_RECORD, 1), 2)]
    store_rates(found, rates, {"H100": records})
    assert read_rates(rates, {"H100": records}) == found
    records.write_text("others", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"rates.json is of other records: run python -m"):
        read_rates(rates, {"H100": records})


def test_large_slowdowns_are_caught_and_equal_code_passes() -> None:
    for protocol in (TWO_RUNS, checks.AGAINST):
        row = counted("quiet", protocol, Noise(GPU_RECORD, 8), 3)
        assert (row["failed"], row["inconclusive"], row["again"]) == (0, 0, 0)
        assert (row["caught"]["0.1"], row["passed"]["0.1"]) == (3, 0)


def test_the_floor_of_recorded_runs_is_that_of_each_case() -> None:
    runs = made(8)
    floors = floors_of(runs)
    assert floors["case0"] == floors["case4"] and floors["case1"] == floors["case5"]
    assert min(floors.values()) == floors[ALL_CASES]


def test_the_table_and_the_aim() -> None:
    row = {"noise": "quiet", "protocol": TWO_RUNS, "comparisons": 1000, "again": 0}
    row |= {"failed": 10, "inconclusive": 0, "caught": {"0.03": 500, "0.05": 1000}}
    row |= {"passed": {"0.03": 100, "0.05": 10}}
    assert "1.0% | 0% |" in " ".join(rates_table([row]).replace("|", " | ").split())
    assert "50%, 10%" in rates_table([row])
    assert aim([row]).endswith(": it is met.")
    over = row | {"failed": 11, "passed": {"0.03": 101, "0.05": 11}}
    assert aim([over, row | {"protocol": ASV, "failed": 500}]).endswith(
        ": it is missed (quiet, two results: 1.1% of equal suites fail; quiet, two results: 10.1% "
        "of slowdowns of 3% pass; quiet, two results: 1.1% of slowdowns of 5% pass)."
    )


def test_recorded_runs_are_whole_and_every_rate_is_there() -> None:
    for path in checks.RECORDS.values():
        assert read(path).skipped == ()
        assert len(read_runs(path)) >= 20
        assert path.stat().st_size < 2 << 20
    rows = [(row["noise"], row["protocol"]) for row in read_rates()]
    expected = [(kind, name) for kind in KINDS for name in PROTOCOLS if name != WITH_FLOOR]
    assert rows == expected + [(name, one) for name in checks.RECORDS for one in PROTOCOLS]


def test_the_figures_of_a_capped_gpu_are_in_the_recorded_runs() -> None:
    runs = read_runs(checks.RECORDS["H100"])
    (case,) = {one.case for one in runs[0] if one.case.startswith("dense/17x")}
    calls = [
        np.array(one.timing.samples_ms)
        for run in runs
        for one in run
        if one.case == case and one.timing
    ]
    middle = np.median([np.median(one) for one in calls])
    steps = np.array([np.median(one.reshape(-1, 5), axis=1) for one in calls]) / middle - 1
    text = " ".join((ROOT / "docs" / "measurement.md").read_text(encoding="utf-8").split())
    assert f"dense attention of {middle:.1f} ms ran in steps" in text
    assert f"Ten calls, {10 * middle:.0f} ms, can lie within one step" in text
    assert f"up to {steps.max():.0%} slower for a while" in text


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


class Two:
    """Draws the same two runs."""

    def __init__(self, before: Sequence[float], now: Sequence[float]) -> None:
        self.runs = [record("case0", [*before])], [record("case0", [*now])]

    def pair(self, processes: int = 1) -> tuple[list[Record], list[Record]]:
        return self.runs


def test_the_rule_of_asv_has_its_factor_and_its_test() -> None:
    base = np.linspace(0.99, 1.01, 100)
    wide = np.linspace(0.2, 1.8, 100)
    codes = [
        asv(Two(before.tolist(), (factor * before).tolist()), {})[0]  # type: ignore[arg-type]
        for before, factor in ((base, 1.021), (base, 1.019), (wide, 1.05))
    ]
    assert codes == [1, 0, 0]
