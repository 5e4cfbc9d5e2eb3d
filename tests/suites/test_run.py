"""A run leaves one record a case, loses at most the case that was running, and can go on."""

import errno
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from radialbench.errors import RecordError, SuiteError
from radialbench.kernels.backends import BACKENDS
from radialbench.records.result import Status
from radialbench.records.store import RESULTS, WriteError, append, read, reserved
from radialbench.reports.rows import rows_of
from radialbench.suites import run as module
from radialbench.suites.estimate import estimate_run
from radialbench.suites.plan import plan
from radialbench.suites.read import parse_suite
from radialbench.suites.run import CaseEnded, CaseStarted, RunEvent
from radialbench.suites.schema import SuiteSpec
from tests.records.sample import RECORD
from tests.suites import small

run = partial(module.run, in_process=True)

IDS = [case.id for case in plan(small.suite())]


def ids(folder: Path) -> list[str]:
    return [record.case for record in read(folder / RESULTS).records]


def test_every_case_has_a_record_in_the_order_of_the_plan(tmp_path: Path) -> None:
    outcome = run(small.suite(), tmp_path / "new" / "folder", command="typed")
    assert ids(tmp_path / "new" / "folder") == IDS
    assert [record.case for record in outcome.records] == IDS
    assert read(outcome.results).records == outcome.records
    assert (outcome.kept, outcome.again, outcome.skipped) == (0, 0, ())
    assert outcome.ok
    assert outcome.count(Status.OK) == 4
    assert {record.suite for record in outcome.records} == {"small"}
    assert {record.environment.command for record in outcome.records} == {"typed"}


def test_records_hold_the_gates_of_the_suite(tmp_path: Path) -> None:
    suite = small.suite(lambda document: document.update(gates={"latency": "5%", "energy": False}))
    records = run(suite, tmp_path).records
    assert {record.gates for record in records} == {("energy=off", "latency=5%")}
    assert read(tmp_path / RESULTS).records == records


def test_a_filter_keeps_what_fits(tmp_path: Path) -> None:
    run(small.suite(), tmp_path, filter=["dense/"])
    assert ids(tmp_path) == [case for case in IDS if case.startswith("dense")]


def test_events_tell_where_a_run_is(tmp_path: Path) -> None:
    events: list[RunEvent] = []
    run(small.suite(), tmp_path, on_event=events.append)
    begins = [event for event in events if isinstance(event, CaseStarted)]
    ends = [event for event in events if isinstance(event, CaseEnded)]
    assert [event.case.id for event in begins] == [event.record.case for event in ends] == IDS
    assert [event.place for event in begins] == [1, 2, 3, 4]
    assert [event.work_done for event in begins[1:]] == [event.work_done for event in ends[:-1]]
    assert begins[0].work_done == 0
    assert ends[-1].work_done == pytest.approx(begins[0].work_total)


def test_a_record_is_on_the_disk_when_its_case_ends(tmp_path: Path) -> None:
    def look(event: RunEvent) -> None:
        if isinstance(event, CaseEnded):
            assert ids(tmp_path) == IDS[: event.place]

    run(small.suite(), tmp_path, on_event=look)


def test_a_failing_case_is_a_record_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "sdpa", "tests.suites.small:Raising")
    outcome = run(small.matrix(backends=["sdpa", "cpu"]), tmp_path)
    assert Counter(record.status for record in outcome.records) == {"ok": 4, "failed": 4}
    assert not outcome.ok


@pytest.mark.parametrize(
    ("kind", "sound"),
    [("Wrong", False), ("Unsupported", True), ("OutOfPythonMemory", True)],
)
def test_what_makes_a_run_fail(
    kind: str, sound: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "cpu", f"tests.suites.small:{kind}")
    assert run(small.suite(), tmp_path).ok is sound


def test_an_interrupted_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    def interrupt(event: RunEvent) -> None:
        if isinstance(event, CaseStarted) and event.place == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small.suite(), tmp_path, on_event=interrupt)
    assert ids(tmp_path) == IDS[:2]
    outcome = run(small.suite(), tmp_path, resume=True)
    assert ids(tmp_path) == IDS
    assert (outcome.kept, len(outcome.records), outcome.again) == (2, 2, 0)


def test_a_line_that_was_cut_off_is_reported_and_its_case_run_again(tmp_path: Path) -> None:
    run(small.suite(), tmp_path)
    whole = (tmp_path / RESULTS).read_bytes()
    (tmp_path / RESULTS).write_bytes(whole[:-200])
    outcome = run(small.suite(), tmp_path, resume=True)
    assert outcome.skipped == ("line 4: not JSON, or not all of it",)
    assert [record.case for record in outcome.records] == IDS[3:]
    found = read(tmp_path / RESULTS)
    assert [record.case for record in found.records] == IDS
    assert len(found.skipped) == 1


def test_nothing_is_left_to_do(tmp_path: Path) -> None:
    run(small.suite(), tmp_path)
    before = (tmp_path / RESULTS).read_bytes()
    outcome = run(small.suite(), tmp_path, resume=True)
    assert (outcome.kept, outcome.records) == (4, ())
    assert (tmp_path / RESULTS).read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "again"),
    [("Raising", 4), ("Wrong", 4), ("Unsupported", 0), ("OutOfPythonMemory", 0)],
)
def test_failed_and_inaccurate_cases_are_tried_again(
    kind: str, again: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(BACKENDS, "cpu", f"tests.suites.small:{kind}")
        run(small.suite(), tmp_path)
    outcome = run(small.suite(), tmp_path, resume=True)
    assert (outcome.again, len(outcome.records), outcome.kept) == (again, again, 4 - again)
    assert outcome.ok


def test_a_new_run_into_old_results_is_refused(tmp_path: Path) -> None:
    run(small.suite(), tmp_path)
    with pytest.raises(SuiteError, match=r"already holds results; go on with --resume, or choose"):
        run(small.suite(), tmp_path)
    assert ids(tmp_path) == IDS


@pytest.mark.parametrize("resume", [True, False])
def test_results_of_another_suite_are_not_mixed(tmp_path: Path, resume: bool) -> None:
    def masks(*names: str) -> SuiteSpec:
        return small.suite(lambda document: document["cases"][0].update(masks=names))

    run(masks("dense"), tmp_path)
    with pytest.raises(SuiteError, match=r"holds dense/.* of a suite 'small', which small.yaml do"):
        run(masks("radial"), tmp_path, resume=resume)
    with pytest.raises(SuiteError, match="of a suite 'small', which small.yaml does not have"):
        run(replace(masks("dense"), name="other"), tmp_path, resume=resume)
    assert estimate_run(masks("radial", "dense"), tmp_path, resume=True).seconds > 0
    with pytest.raises(SuiteError, match="of a suite 'small'"):
        estimate_run(masks("radial"), tmp_path, resume=True)


def test_resuming_an_empty_folder_is_a_new_run(tmp_path: Path) -> None:
    assert run(small.suite(), tmp_path / "none", resume=True).kept == 0
    assert ids(tmp_path / "none") == IDS


def test_results_of_a_suite_that_has_changed_are_not_mixed(tmp_path: Path) -> None:
    def other(document: dict[str, Any]) -> None:
        mask = {"name": "radial", "params": {"decay": 0.5}, "label": "radial"}
        document["cases"][0]["masks"] = [mask, "dense"]

    run(small.suite(), tmp_path)
    with pytest.raises(SuiteError, match=r"holds radial/.* for another mask or shape; the suite"):
        run(small.suite(other), tmp_path, resume=True)


def test_results_that_are_unknown_to_the_suite_stay_alone(tmp_path: Path) -> None:
    append(tmp_path / RESULTS, RECORD)
    with pytest.raises(SuiteError, match="of a suite 'smoke', which small.yaml does not have"):
        run(small.suite(), tmp_path, resume=True)
    assert ids(tmp_path) == [RECORD.case]


def test_a_second_run_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    results = tmp_path / RESULTS
    with (
        reserved(results),
        pytest.raises(RecordError, match=r"another run is writing to .*results.jsonl; wait"),
    ):
        run(small.suite(), tmp_path, resume=True)
    assert run(small.suite(), tmp_path, resume=True).ok


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match=r"cannot write results to .*file/out: Not a directory"):
        run(small.suite(), tmp_path / "file" / "out")


def test_a_folder_without_permission(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    nobody, me = 65534, os.geteuid()
    if me == 0:
        os.seteuid(nobody)
    try:
        with pytest.raises(SuiteError, match=r"cannot write results to .*: Permission denied; ch"):
            run(small.suite(), folder)
    finally:
        os.seteuid(me)


def test_results_that_are_a_folder(tmp_path: Path) -> None:
    (tmp_path / RESULTS).mkdir()
    with pytest.raises(SuiteError, match=r"cannot write results to .*: Is a directory"):
        run(small.suite(), tmp_path)


def test_a_disk_that_fills_up_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 5000
    write = os.write

    def limited(handle: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(handle, data[:room])
        room -= done
        return done

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", limited)
        with pytest.raises(WriteError, match="No space left on device; what was written before"):
            run(small.suite(), tmp_path)
    kept = ids(tmp_path)
    assert 0 < len(kept) < 4
    assert kept == IDS[: len(kept)]
    assert read(tmp_path / RESULTS).skipped == ()
    run(small.suite(), tmp_path, resume=True)
    assert ids(tmp_path) == IDS


def test_a_disk_that_is_full_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(WriteError, match="cannot write results to .*: No space left on device"):
        run(small.suite(), tmp_path / "out")


def test_past_frames_are_keys_of_a_cache(tmp_path: Path) -> None:
    (tmp_path / "tiled.yaml").write_text(
        "name: tiled\nmask: dt <= 2\norder: {tiles: [2, 2, 2]}\n", encoding="utf-8"
    )
    grid = {"frames": 6, "height": 3, "width": 5, "queries": "4-5"}
    text = small.text_of(
        lambda document: document["cases"][0].update(
            masks=["dense", "causal_chunks", "tiled.yaml"], grids=[grid]
        )
    )
    suite = parse_suite(text, "small.yaml", folder=tmp_path)
    records = run(suite, tmp_path / "results").records
    assert [(record.status, record.reason) for record in records] == [(Status.OK, None)] * 3
    assert {(r.problem.q_len, r.problem.seq_len, r.problem.grid.label) for r in records} == {
        (30, 90, "6x3x5 q4-5")
    }
    assert [record.table.pairs for record in records if record.table] == [2700, 2700, 1575]
    assert read(tmp_path / "results" / RESULTS).records == records
    rows, _ = rows_of(records)
    assert [row.speedup is not None for row in rows] == [True] * 3


def test_segments_run(tmp_path: Path) -> None:
    grid = {"segments": {"text": "5of7", "reference": "1x2x3", "video": "3x3x5", "audio": 9}}
    suite = small.matrix(masks=["dense", "radial", "sta"], grids=[grid])
    records = run(suite, tmp_path).records
    assert [(record.status, record.reason) for record in records] == [(Status.OK, None)] * 3
    assert {record.problem.grid.label for record in records} == {
        "text=5of7+reference=1x2x3+video=3x3x5+audio=9"
    }
    assert {record.problem.seq_len for record in records} == {67}
    assert read(tmp_path / RESULTS).records == records
