"""Recorded noise: runs are told apart and added whole, what they differ by is what was put in, and
suites drawn from them differ by as much.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import noise, recorded
from benchmarks.noise import Recorder, Run, equal_codes, runs_of
from benchmarks.resampled import STRETCH, Resampled, as_stopped
from benchmarks.rules import CHECK, OTHERS
from benchmarks.sittings import apart_table, farthest, sittings_of
from benchmarks.spread import spreads, told_beside
from radialbench.errors import ReportError
from radialbench.records.measurement import Rounds
from radialbench.records.result import Record, Status
from radialbench.records.store import read, write_whole
from radialbench.reports.check.metrics import RUNS_GPU
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from radialbench.suites.spec import Protocol
from tests.records.sample import failed
from tests.reports.check.noise import record

TIMES_MS = (0.05, 0.6, 2.0, 6.0)
CALLS = 0.006


def made(
    seed: int, *, processes: float = 0.003, runs: int = 24, times_ms: Sequence[float] = TIMES_MS
) -> list[Run]:
    """Runs whose cases have an offset for each process, and noise of each call."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(runs):
        offsets = rng.normal(0, processes, len(times_ms))
        calls = rng.normal(0, CALLS, (len(times_ms), 100))
        times = np.array(times_ms)[:, None] * np.exp(offsets[:, None] + calls)
        found.append(
            named(number, [record(f"case{n}", row.tolist()) for n, row in enumerate(times)])
        )
    return found


def named(number: int, records: Sequence[Record]) -> Run:
    """A run with a command of its own, as recorded."""
    command = f"radialbench run noise.yaml -o run{number + 1:02}"
    return tuple(replace(r, environment=replace(r.environment, command=command)) for r in records)


def flat(runs: Sequence[Run]) -> list[Record]:
    return [one for run in runs for one in run]


def medians(suite: Sequence[Record]) -> list[float]:
    return [one.timing.median_ms for one in suite if one.timing]


def test_the_suite_is_of_our_kernels_and_samples_often_enough() -> None:
    cases = plan(load_suite(str(noise.SUITE)))
    assert 6 <= len(cases) <= 8
    assert {case.backend for case in cases} == {"hopper", "triton"}
    # Shorter samplings are made of the longer one: nothing but the number of calls may differ.
    for case in cases:
        assert case.protocol == replace(Protocol(), min_samples=recorded.CALLS)


def test_runs_are_told_apart_by_their_command() -> None:
    runs = made(1, runs=3)
    assert runs_of(flat(runs)) == runs
    with pytest.raises(ReportError, match="no runs"):
        runs_of([])
    with pytest.raises(ReportError, match=r"run02` is not whole"):
        runs_of([*runs[0], *runs[1][1:]])
    bad = replace(failed(case="case0"), environment=runs[1][0].environment)
    with pytest.raises(ReportError, match=r"run02` is not whole"):
        runs_of([*runs[0], bad, *runs[1][1:]])


def test_recording_goes_on_with_the_runs_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, path = made(1, runs=4), tmp_path / "results" / "noise.jsonl"
    asked: list[str] = []

    def one_run(suite: Path, name: str) -> Run:
        asked.append(name)
        return runs[int(name.removeprefix("run")) - 1]

    monkeypatch.setattr(noise, "_one_run", one_run)
    assert Recorder(noise.SUITE, path).record(2, 100.0)
    assert not Recorder(noise.SUITE, path).record(4, -1.0)
    assert Recorder(noise.SUITE, path).record(4, 100.0)
    assert asked == ["run01", "run02", "run03", "run04"]
    assert noise.recorded(path) == runs
    told = capsys.readouterr().out
    assert "run 3/4: " in told
    assert "the time is up; 2 runs are left" in told


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"device": "Another GPU"}, "another machine"),
        ({"python": "3.99"}, "another environment"),
        ({"host": "abcdef"}, "another machine of the same kind"),
    ],
)
def test_runs_of_elsewhere_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], why: str
) -> None:
    first, second = made(1, runs=2)
    other = tuple(replace(r, environment=replace(r.environment, **change)) for r in second)
    path = tmp_path / "noise.jsonl"
    write_whole(path, first)
    monkeypatch.setattr(noise, "_one_run", lambda suite, name: other)
    with pytest.raises(ReportError, match=why):
        Recorder(noise.SUITE, path).record(2, 100.0)
    assert noise.recorded(path) == [first]


def test_a_run_that_fails_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = made(1, runs=2)
    crashed = replace(
        failed(case="case0", status=Status.CRASHED), environment=second[0].environment
    )
    path = tmp_path / "noise.jsonl"
    write_whole(path, first)
    monkeypatch.setattr(noise, "_one_run", lambda suite, name: (crashed, *second[1:]))
    with pytest.raises(ReportError, match="not whole"):
        Recorder(noise.SUITE, path).record(2, 100.0)
    assert noise.recorded(path) == [first]


def test_a_run_is_a_process_that_runs_the_suite(tmp_path: Path) -> None:
    """The real one, on a suite that ends before anything is measured."""
    suite = tmp_path / "none.yaml"
    suite.write_text("name: none\ncases: 3\n", encoding="utf-8")
    with pytest.raises(ReportError, match=r"a run failed.*none\.yaml"):
        Recorder(suite, tmp_path / "noise.jsonl").record(1, 100.0)


def test_the_spread_of_runs_is_what_was_put_in() -> None:
    truth = sqrt(2) * 0.003
    found = [spreads(made(seed)) for seed in range(40)]
    for place in (0, -1):
        each = [one[place] for one in found]
        assert np.mean([one.runs for one in each]) == pytest.approx(truth, rel=0.05)
        held = [one.interval.low <= truth <= one.interval.high for one in each]
        assert sum(held) >= 0.85 * len(held)
    every = [one[-1] for one in found]
    # What the samples of a run show of their own median is told apart from what runs differ by.
    assert all(one.ratio > one.runs for one in every)
    assert np.mean([one.calls for one in every]) == pytest.approx(CALLS, rel=0.05)
    assert found[0][1].median_ms == pytest.approx(TIMES_MS[1], rel=0.01)


def test_runs_that_do_not_differ_have_no_spread() -> None:
    every = [spreads(made(seed, processes=0.0))[-1] for seed in range(10)]
    assert max(one.interval.low for one in every) == 0.0
    assert max(one.interval.high for one in every) < 0.001


@pytest.mark.parametrize(
    ("processes", "words"),
    [(0.001, "lies below"), (RUNS_GPU / sqrt(2), "holds"), (0.02, "lies above")],
)
def test_what_is_assumed_is_told_beside_it(processes: float, words: str) -> None:
    assert f", {words} the {RUNS_GPU:.1%} that" in told_beside(
        spreads(made(3, processes=processes))[-1]
    )


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


def _expected(runs: Sequence[Run]) -> float:
    """Of the ratio: two processes' medians, and the error of a median of 100 drawn calls each."""
    between = np.log([medians(run) for run in runs]).var(axis=0, ddof=1).mean()
    return float(sqrt(2 * (between + 1.5708 * CALLS**2 / 100)))


def test_drawn_calls_are_the_recorded_ones_with_what_was_read_beside_them() -> None:
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
    # An interval takes six samples, and these are alike enough.
    assert stopped.timing.samples_ms == (1.0, 1.001, 0.999, 1.0, 1.001, 0.999)
    assert stopped.timing.stopped == "precise"
    loud = record("a", [1.0, 1.5] * 30)
    assert as_stopped(loud, Protocol()) == loud
    for protocol in (Protocol(min_samples=20, min_seconds=0), Protocol(min_seconds=0.02)):
        least = as_stopped(quiet, protocol)
        assert least.timing is not None and len(least.timing.samples_ms) == 20


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
    assert "| 1 | 1.0" in apart_table([*early, *late]).replace("  ", "").replace("|1", "| 1")
    assert 0.015 < farthest([*early, *late]) < 0.025
    assert (apart_table(early), farthest(early)) == ("", 0.0)


def test_the_spread_is_that_of_runs_of_one_sitting() -> None:
    early, late = made(5, runs=12), later(made(6, runs=12), minutes=10, slower=1.05)
    apart = spreads([*early, *late])[-1]
    assert apart.runs == pytest.approx(sqrt(2) * 0.003, rel=0.3)


def test_drawn_pairs_are_of_one_sitting() -> None:
    early, late = made(5, runs=3), later(made(6, runs=4), minutes=10, slower=1.5)
    before, now = Resampled([early, late], 1).pair()
    ratios = [a / b for a, b in zip(medians(now), medians(before), strict=True)]
    assert max(ratios) < 1.1 and min(ratios) > 0.9
    assert max(medians(now)) > 1.3 * max(TIMES_MS)


def later(runs: Sequence[Run], *, minutes: int, slower: float) -> list[Run]:
    """Runs as of another sitting."""
    return [
        tuple(
            replace(
                one,
                created=(
                    datetime.fromisoformat(one.created) + timedelta(minutes=minutes)
                ).isoformat(),
                timing=replace(
                    one.timing, samples_ms=tuple(slower * ms for ms in one.timing.samples_ms)
                ),
            )
            for one in run
            if one.timing
        )
        for run in runs
    ]


def test_rates_stand_for_the_records_they_were_counted_from(tmp_path: Path) -> None:
    runs = made(6, times_ms=(0.5, 3.0))
    records, rates = tmp_path / "noise.jsonl", tmp_path / "rates.json"
    assert recorded.part(records, rates) == ""
    write_whole(records, flat(runs))
    assert recorded.stored_rates(records, rates) is None
    found = recorded.simulate(runs, comparisons=6)
    recorded.store(found, records, rates)
    assert recorded.stored_rates(records, rates) == found
    text = " ".join(recorded.part(records, rates).split())
    assert [row["rule"] for row in found] == [CHECK, CHECK, *OTHERS]
    assert "From recorded noise: 24 runs of the 2 cases" in text
    assert "on Example GPU; " in text and "radialbench run" not in text
    assert f"after {found[0]['taken']:.0f} calls in the mean" in text
    assert "276 of 276 pass with 100 calls a case" in text
    write_whole(records, flat(made(7)))
    assert recorded.stored_rates(records, rates) is None
    assert recorded.part(records, rates) == ""


def test_large_slowdowns_are_caught_and_noisy_runs_fail() -> None:
    quiet = recorded.simulate(made(8), comparisons=4)
    assert [row["caught"]["0.14"] for row in quiet] == [4] * 5
    assert [row["failed"] for row in quiet] == [0] * 5
    loud = recorded.simulate(made(8, processes=0.02), comparisons=4)
    assert loud[0]["failed"] == loud[1]["failed"] == 4


@pytest.mark.parametrize(
    ("failed", "of_3", "of_5", "end"),
    [
        (10, 900, 990, "it is met."),
        (11, 900, 990, "it is missed (1.1% of equal suites fail)."),
        (0, 899, 989, "it is missed (89.9% of 3%, 98.9% of 5%)."),
    ],
)
def test_the_aim_is_told_as_it_is(failed: int, of_3: int, of_5: int, end: str) -> None:
    row = {"comparisons": 1000, "failed": failed, "caught": {"0.03": of_3, "0.05": of_5}}
    assert recorded._aim(row).endswith(f": {end}")


def test_recorded_runs_are_whole_and_their_rates_are_counted() -> None:
    if not noise.RECORDS.exists():
        assert not recorded.RATES.exists()
        return
    assert read(noise.RECORDS).skipped == ()
    assert len(noise.recorded()) >= 20
    assert noise.RECORDS.stat().st_size < 2 << 20
    assert recorded.stored_rates() is not None, "run: python -m benchmarks.checks"


def test_what_is_told_of_a_capped_gpu_is_in_the_recorded_runs() -> None:
    (case,) = {one.case for one in noise.recorded()[0] if one.case.startswith("dense/17x")}
    calls = [
        np.array(one.timing.samples_ms)
        for run in noise.recorded()
        for one in run
        if one.case == case and one.timing
    ]
    middle = np.median([np.median(one) for one in calls])
    steps = np.array([np.median(one.reshape(-1, 5), axis=1) for one in calls]) / middle - 1
    told = " ".join((noise.ROOT / "docs" / "measurement.md").read_text(encoding="utf-8").split())
    assert f"dense attention of {middle:.1f} ms ran in steps" in told
    assert f"Ten calls, {10 * middle:.0f} ms, can lie within one step" in told
    assert f"up to {steps.max():.0%} slower for a while" in told
