"""Runs of the same code are recorded whole, one after the other, and not mixed with others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from radialbench.errors import SuiteError
from radialbench.records.result import Status
from radialbench.records.store import write_whole
from radialbench.suites import noise
from radialbench.suites.noise import RunFailedError, RunRecords, read_runs, record_runs, runs_of
from tests.records.sample import failed
from tests.reports.check.noise import flat, made
from tests.suites import small


def giving(monkeypatch: pytest.MonkeyPatch, runs: list[RunRecords]) -> list[int]:
    """Have runs given instead of made; returns the numbers that were asked for."""
    asked: list[int] = []

    def one_run(suite: str, path: Path, number: int) -> RunRecords:
        asked.append(number)
        return runs[number - 1]

    monkeypatch.setattr(noise, "_one_run", one_run)
    return asked


def test_runs_are_told_apart_by_their_command() -> None:
    runs = made(1, runs=3)
    assert runs_of(flat(runs)) == runs
    with pytest.raises(SuiteError, match="no runs"):
        runs_of([])
    with pytest.raises(SuiteError, match=r"run02` is not whole"):
        runs_of([*runs[0], *runs[1][1:]])
    bad = replace(failed(case="case0"), environment=runs[1][0].environment)
    with pytest.raises(SuiteError, match=r"run02` is not whole"):
        runs_of([*runs[0], bad, *runs[1][1:]])


def test_what_is_not_supported_is_left_out() -> None:
    runs = made(1, runs=2)
    gone = [
        replace(failed(case="case9", status=Status.UNSUPPORTED), environment=run[0].environment)
        for run in runs
    ]
    assert runs_of([*runs[0], gone[0], gone[1], *runs[1]]) == runs
    with pytest.raises(SuiteError, match="no runs"):
        runs_of(gone)


def test_recording_goes_on_with_the_runs_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, path = made(1, runs=4), tmp_path / "results" / "noise.jsonl"
    asked = giving(monkeypatch, runs)
    seen: list[int] = []
    on_run: Callable[[int, float], None] = lambda number, seconds: seen.append(number)  # noqa: E731
    assert record_runs("suite", path, 2, on_run=on_run) == runs[:2]
    assert record_runs("suite", path, 4, time_limit=0.0) == runs[:2]
    assert record_runs("suite", path, 4, on_run=on_run) == runs
    assert record_runs("suite", path, 3) == runs
    assert asked == seen == [1, 2, 3, 4]
    assert read_runs(path) == runs


@pytest.mark.parametrize(
    "change", [{"device": "Another GPU"}, {"python": "3.99"}, {"host": "abcdef"}, {"commit": "no"}]
)
def test_runs_of_elsewhere_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    first, second = made(1, runs=2)
    other = tuple(replace(r, environment=replace(r.environment, **change)) for r in second)
    path = tmp_path / "noise.jsonl"
    write_whole(path, first)
    giving(monkeypatch, [first, other])
    with pytest.raises(SuiteError, match=f"another machine or version: its {next(iter(change))} d"):
        record_runs("suite", path, 2)
    assert read_runs(path) == [first]


def test_another_gpu_of_the_machine_is_another_sitting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = made(1, runs=2)
    other = tuple(replace(r, environment=replace(r.environment, card="b")) for r in second)
    giving(monkeypatch, [first, other])
    assert record_runs("suite", tmp_path / "noise.jsonl", 2) == [first, other]


def test_a_run_that_is_not_whole_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = made(1, runs=2)
    crashed = replace(
        failed(case="case0", status=Status.CRASHED), environment=second[0].environment
    )
    path = tmp_path / "noise.jsonl"
    write_whole(path, first)
    giving(monkeypatch, [first, (crashed, *second[1:])])
    with pytest.raises(SuiteError, match="not whole"):
        record_runs("suite", path, 2)
    assert read_runs(path) == [first]


def test_a_run_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    """The real one, on a suite that ends before anything is measured."""
    suite = tmp_path / "none.yaml"
    suite.write_text("name: none\ncases: 3\n", encoding="utf-8")
    with pytest.raises(RunFailedError, match=r"a run failed.*none\.yaml"):
        record_runs(str(suite), tmp_path / "noise.jsonl", 1)
    assert {path.name for path in tmp_path.iterdir()} == {"none.yaml"}


@pytest.mark.slow
def test_each_run_is_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    suite = small.written(tmp_path)
    found = record_runs(str(suite), Path("noise.jsonl"), 2)
    assert len(found) == 2
    commands = [one[0].environment.command for one in found]
    assert commands[0] != commands[1]
    assert all(one.startswith(f"radialbench run {suite} -o noise-") for one in commands)
    assert read_runs(Path("noise.jsonl")) == found
