"""Histories: series in order, changes that count, and what is left out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.noise import Noise
from radialbench.errors import ReportError
from radialbench.records.gate import Gate
from radialbench.records.measurement import Memory
from radialbench.records.result import Record
from radialbench.reports.check.history import (
    History,
    headline,
    history,
    history_document,
    history_text,
    run_of,
)
from radialbench.reports.check.metrics import NO_GATES, set_gates
from radialbench.reports.check.verdict import Outcome
from radialbench.reports.history_chart import write_pictures
from tests.reports.check.noise import GPU_RECORD, record
from tests.reports.factory import elsewhere

FLAT = [1.0] * 12
STEP = [1.0] * 7 + [1.05] * 5


def runs(*series: Sequence[float], noise: float = 0.001, seed: int = 0) -> list[list[Record]]:
    """Runs of cases a, b, … whose true times are these."""
    rng = np.random.default_rng(seed)
    found = []
    for place, times in enumerate(zip(*series, strict=True)):
        cases = [
            record("abcdef"[case], (ms * np.exp(rng.normal(0, noise) + CALLS)).tolist())
            for case, ms in enumerate(times)
        ]
        found.append(elsewhere(cases, commit=f"{place:07x}"))
    return found


CALLS = np.linspace(-0.003, 0.003, 20)


def found(results: Sequence[Sequence[Record]], *gates: str, noise: float = 0.0) -> History:
    given = [run_of(f"run{place}", records) for place, records in enumerate(results)]
    return history(given, set_gates(NO_GATES, gates), noise_floor=noise)


def test_the_end_of_a_run_is_told_by_the_time_and_not_by_how_it_is_written() -> None:
    times = {"a": "2026-12-01T09:30:00+09:00", "b": "2026-12-01T01:00:00+00:00"}
    records = [replace(record(case, [1.0]), created=time) for case, time in times.items()]
    assert run_of("run", records).created == times["b"]


def test_a_step_is_found_with_its_run_and_what_changed() -> None:
    one = found(runs(FLAT, STEP))
    (series,) = one.changed
    (change,) = series.changes
    assert (series.case, series.metric, series.gate) == ("b", "latency", Gate(0.02))
    assert (change.since, change.run, change.outcome) == (6, 7, Outcome.REGRESSED)
    assert (change.before, change.after) == pytest.approx((1.0, 1.05), rel=0.002)
    assert change.changed == ("commit: 0000006 and 0000007",)
    assert change.p <= 0.01
    assert [point.run for point in series.points] == list(range(12))
    assert all(p.interval and p.interval.holds(p.value) for p in series.points)
    assert headline(one) == "12 results: 1 change in 2 cases"


def test_a_step_down_is_faster() -> None:
    (series,) = found(runs([1.0] * 6 + [0.9] * 6)).changed
    assert [change.outcome for change in series.changes] == [Outcome.FASTER]


def test_only_changes_as_large_as_the_gate_are_reported() -> None:
    results = runs(STEP)
    assert found(results, "latency=6%").changed == ()
    assert found(results, "latency=0.2ms").changed == ()
    assert found(results, "latency=4%").changed
    assert found(results, noise=0.03).changed == ()
    last = [replace(one, gates=("latency=6%",)) for one in results[-1]]
    own = found([*results[:-1], last])
    assert own.changed == ()
    assert own.gates == ("latency 6% (suite)",)


def test_what_has_no_samples_has_steps_too() -> None:
    sizes = [100 << 20] * 6 + [103 << 20] * 6
    results = [
        [replace(one, memory=Memory(size, "allocator")) for one in records]
        for size, records in zip(sizes, runs(FLAT), strict=True)
    ]
    (series,) = found(results).changed
    assert (series.metric, series.changes[0].before) == ("memory", 100 << 20)
    assert found(results, "memory=1%,4MiB").changed == ()


@pytest.mark.parametrize("noise", [0.003, 0.006])
def test_equal_code_almost_never_changes(noise: float) -> None:
    """As in the docs: 50 cases in 12 runs whose offsets are those assumed, or twice them."""
    drawn = Noise(GPU_RECORD, 7, calls=30, offset=noise)
    assert found([drawn.run() for _ in range(12)]).changed == ()


def test_few_results_say_that_they_cannot_tell() -> None:
    few = found(runs([1.0] * 3 + [2.0] * 4))
    assert few.changed == ()
    assert "with fewer than 8 results a change cannot be distinguished from chance" in history_text(
        few
    )


def test_runs_without_a_case_or_measured_differently_are_no_points() -> None:
    results = runs(FLAT, STEP)
    results[2] = results[2][:1]
    timing = results[3][1].timing
    assert timing is not None
    results[3][1] = replace(results[3][1], timing=replace(timing, cache="warm"))
    one = found(results)
    (series,) = one.changed
    assert [point.run for point in series.points] == [0, 1, *range(4, 12)]
    assert series.changes[0].run == 7
    assert one.left_out == {"measured differently (cache: warm and cold)": 1}
    assert "left out: 1 case, measured differently" in history_text(one)


def test_another_machine_is_refused_by_name() -> None:
    results = runs(FLAT)
    results[4] = elsewhere(results[4], device="Other GPU")
    with pytest.raises(ReportError, match="run4 beside run11: .*device: Other GPU and Example GPU"):
        found(results)
    with pytest.raises(ReportError, match="two sets of results or more"):
        found(results[:1])


def test_versions_that_changed_are_told_beside_a_change() -> None:
    results = runs(STEP)
    new = [elsewhere(one, versions={"torch": "2.14.0"}) for one in results[7:]]
    (series,) = found([*results[:7], *new]).changed
    assert any("2.14.0" in words for words in series.changes[0].changed)


def test_text_and_facts() -> None:
    one = found(runs(FLAT, STEP))
    text = history_text(one)
    assert text.startswith("regressed  b: latency\n           1.00 ms, then 1.05 ms (+")
    assert "from result 8 on, 0000007, " in text
    assert text.endswith("12 results: 1 change in 2 cases\n")
    assert max(map(len, text.splitlines())) <= 100
    document = history_document(one)
    assert [run["commit"] for run in document["runs"]][:2] == ["0000000", "0000001"]
    by_name = {(each["case"], each["metric"]): each for each in document["series"]}
    assert by_name["a", "latency"]["changes"] == []
    assert by_name["b", "latency"]["changes"][0]["run"] == 7
    assert by_name["b", "latency"]["gate"] == "2%"
    assert len(by_name["a", "latency"]["points"]) == 12


def test_each_change_has_a_picture_and_stored_text_does_nothing_in_it(tmp_path: Path) -> None:
    results = runs(STEP)
    hostile = "a/$x^{$<script>\x1b"
    named = [[replace(one, case=hostile) for one in records] for records in results]
    write_pictures(found(named), tmp_path)
    svg = (tmp_path / "latency-a-x-script.svg").read_bytes()
    assert (tmp_path / "latency-a-x-script.png").read_bytes().startswith(b"\x89PNG")
    assert b"<script" not in svg
    ElementTree.fromstring(svg)
