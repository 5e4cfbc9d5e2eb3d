"""`radialbench check --against`: two versions measured, suspects measured again, verdicts."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from radialbench.cli import main
from radialbench.records.result import Record, Status
from radialbench.records.store import RESULTS, read
from radialbench.reports.check import verdict as verdicts
from radialbench.reports.check.verdict import TIMES_AGAIN, CheckResult, Outcome, Verdict
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from radialbench.suites.versus import PACKAGE, Version
from radialbench.suites.versus.rounds import ROUNDS
from tests.records.sample import failed
from tests.reports.check.noise import record
from tests.suites import small
from tests.suites.versions import fake

Capture = pytest.CaptureFixture[str]
STEADY = [1 + 0.002 * ((7 * call) % 11 - 5) / 5 for call in range(60)]
SLOW = "radial/3x3x5/h2d8f32/cpu@16x16"

Slowed = Callable[[Path, str], float]
"""How much slower a case is, in a folder of the new version's results."""


class Cli:
    """Runs the command line in this process, between versions that measure nothing."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capsys: Capture) -> None:
        self.suite, self.folder = small.written(folder), folder
        self.patch, self.capsys = patch, capsys
        self.cases = plan(load_suite(str(self.suite)))

    def __call__(self, slowed: Slowed, *words: object, **how: object) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error."""

        def made(folder: Path, ids: Sequence[str]) -> list[Record]:
            is_now = folder.name.startswith("now-")
            factors = {case: slowed(folder, case) if is_now else 1.0 for case in ids}
            return [self.record(case, factor) for case, factor in factors.items()]

        version = fake("a version", self.cases, made)

        @contextmanager
        def checked_out(ref: str) -> Iterator[Version]:
            yield version

        self.patch.setattr("radialbench.suites.versus.checked_out", checked_out)
        self.patch.setattr("radialbench.suites.versus.this_version", lambda: version)
        results = ["--results", str(self.folder / "out")]
        line = ["radialbench", "check", str(self.suite), "--against", "main", *results]
        self.patch.setattr(sys, "argv", [*line, *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = self.capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    def record(self, case: str, factor: float) -> Record:
        if factor == 0:
            return failed(
                case=case, status=Status.CRASHED, environment=record("a", [1]).environment
            )
        return record(case, [factor * ms for ms in STEADY])


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    return Cli(tmp_path, monkeypatch, capsys)


def test_equal_versions_pass_and_their_results_are_kept(cli: Cli) -> None:
    code, out, err = cli(lambda folder, case: 1.0)
    assert (code, out) == (0, "4 cases, 12 verdicts: 12 pass\n")
    assert err.startswith("round 1/4, shape 1/2, ")
    assert len(err.splitlines()) == 16
    for name in ("before", "now"):
        records = read(cli.folder / "out" / name / RESULTS).records
        assert len(records) == 4
        assert {len(one.timing.samples_ms) for one in records if one.timing} == {240}
    again = [
        "radialbench",
        "check",
        cli.folder / "out/now",
        "--baseline",
        cli.folder / "out/before",
    ]
    cli.patch.setattr(sys, "argv", list(map(str, again)))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0


def test_a_slowdown_that_repeats_is_a_regression(cli: Cli) -> None:
    code, out, err = cli(lambda folder, case: 1.05 if case == SLOW else 1.0, "--rounds", 2)
    assert code == 1
    assert out.startswith(f"regressed  {SLOW}: latency\n           measured again: 5.0% slower")
    assert " at first: 5.0% slower" in " ".join(out.split())
    assert f"suspected and measured again: {SLOW}" in err
    measured = read(cli.folder / "out" / "again" / "now" / RESULTS).records
    assert [one.case for one in measured] == [SLOW]


def test_a_slowdown_that_does_not_repeat_is_none(cli: Cli) -> None:
    def at_first(folder: Path, case: str) -> float:
        return 1.05 if case == SLOW and "again" not in folder.parts else 1.0

    file = cli.folder / "check.json"
    code, out, _ = cli(at_first, "-o", f"json={file}")
    assert (code, out) == (0, "4 cases, 12 verdicts: 12 pass\n")
    (printed,) = [
        one for one in json.loads(file.read_text())["verdicts"] if "again" in one["reason"]
    ]
    assert (printed["case"], printed["outcome"]) == (SLOW, "pass")
    assert printed["reason"].startswith("measured again: the same measurement as in the baseline")


def test_processes_that_differ_among_themselves_are_no_regression(cli: Cli) -> None:
    def noisy(folder: Path, case: str) -> float:
        return 1.04 if int(folder.name.partition("-")[2]) % 4 == 1 else 1.0

    code, out, err = cli(noisy)
    assert "suspected" not in err
    assert (code, out) == (0, "4 cases, 12 verdicts: 12 pass\n")


def test_what_is_inconclusive_is_measured_again_in_more_processes(cli: Cli) -> None:
    def at_first(folder: Path, case: str) -> float:
        slow = case == SLOW and "again" not in folder.parts
        return (1.0, 1.09, 1.0, 1.05)[int(folder.name[-1]) - 1] if slow else 1.001

    code, _, err = cli(at_first)
    assert code == 0
    assert f"suspected and measured again: {SLOW}" in err
    assert f"round 12/{TIMES_AGAIN * ROUNDS}, " in err


def test_a_crash_in_one_process_is_not_tried_away(cli: Cli) -> None:
    code, out, err = cli(lambda folder, case: float(folder.name != "now-3" or case != SLOW))
    assert code == 1
    assert f"regressed  {SLOW}: status" in out
    assert "(in 1 of 4 processes)" in out
    assert "suspected" not in err


def test_bad_input_is_reported_before_anything_is_measured(cli: Cli) -> None:
    def never(folder: Path, case: str) -> float:
        raise AssertionError

    bad: dict[str, list[object]] = {
        "does not take --baseline": ["--baseline", cli.suite],
        "does not take --strict": ["--strict"],
        "takes a suite once, got": ["smoke"],
        "unknown format": ["--format", "csv"],
        "cannot write": ["-o", "json=nowhere/file"],
    }
    for words, given in bad.items():
        code, out, err = cli(never, *given)
        assert (code, out) == (2, ""), words
        assert words in err
    (cli.folder / "out").mkdir(exist_ok=True)
    (cli.folder / "out" / "mine").touch()
    code, out, err = cli(never)
    assert (code, out) == (2, "")
    assert "is not empty; choose another folder with --results" in err


def test_no_more_are_measured_again_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def slower(case: str, worse: float, metric: str = "latency") -> Verdict:
        own = ("a/2x3", "a/4x3") if metric == "scaling" else ()
        return Verdict(case, metric, Outcome.REGRESSED, f"{worse}", worse=worse, cases=own)

    monkeypatch.setattr(verdicts, "MAX_REPEATED", 3)
    cases = ["a/2x3", "a/4x3", "b/2x3", "c/2x3", "d/2x3"]
    found = [slower("b/2x3", 1.5), slower("a/Fx3", 2.0, "scaling"), slower("c/2x3", 1.1)]
    found += [slower("d/2x3", 9.0, "status")]
    assert verdicts.cases_to_repeat(found, cases) == {"a/2x3", "a/4x3", "b/2x3"}
    second = [replace(found[0], reason="again"), replace(found[1], outcome=Outcome.PASS)]
    final = verdicts.merge_repeated(CheckResult("now", "before", tuple(found)), second).verdicts
    assert {(one.case, one.metric): one.outcome.value for one in final} == {
        ("b/2x3", "latency"): "regressed",
        ("a/Fx3", "scaling"): "pass",
        ("c/2x3", "latency"): "inconclusive",
        ("d/2x3", "status"): "regressed",
    }
    assert "measured again: again; at first: 1.5" in {one.reason for one in final}


def test_what_is_unchanged_is_not_timed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = frozenset(case.id for case in cli.cases[1:])
    monkeypatch.setattr(
        "radialbench.suites.versus.machine_code.unchanged", lambda suite, versions: kept
    )
    file = cli.folder / "check.json"
    words = ("--skip-unchanged", "-o", f"json={file}")
    code, out, err = cli(lambda folder, case: 1.0, *words)
    assert (code, out) == (0, "4 cases, 6 verdicts: 6 pass\n")
    assert "cases with unchanged machine code, which are not timed: 3" in err
    verdicts = json.loads(file.read_text())["verdicts"]
    printed = {
        one["case"] for one in verdicts if one["reason"] == "unchanged machine code, not timed"
    }
    assert printed == kept
    assert [one.case for one in read(cli.folder / "out/now" / RESULTS).records] == [cli.cases[0].id]


@pytest.mark.slow
def test_a_change_in_the_tree_is_measured_against_the_commit(tmp_path: Path) -> None:
    """Nothing is made up: the package in a repository, and a backend that waits."""
    top = tmp_path / "repository"
    shutil.copytree(PACKAGE, top / "radialbench", ignore=shutil.ignore_patterns("__pycache__"))
    (top / ".gitignore").write_text("__pycache__\n", encoding="utf-8")
    cpu = top / "radialbench" / "kernels" / "backends" / "cpu.py"
    text = cpu.read_text(encoding="utf-8")
    cpu.write_text(text + WAITS.format(slower=1), encoding="utf-8")
    git = ["git", "-C", str(top), "-c", "user.name=a", "-c", "user.email=a@b"]
    for step in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *step], check=True)
    cpu.write_text(text + WAITS.format(slower=10), encoding="utf-8")
    before = subprocess.run([*git, "status", "--short"], capture_output=True, check=True).stdout

    def sampled(document: dict[str, Any]) -> None:
        document["cases"][0]["grids"] = [{"frames": 2, "height": 3, "width": 5}]
        document["protocol"] = {"min_samples": 8, "max_samples": 8, "max_seconds": 600}

    suite = small.written(tmp_path, small.text_of(sampled))
    out = tmp_path / "out"
    words: list[str | Path] = [
        "check",
        suite,
        "--against",
        "HEAD",
        "--rounds",
        "1",
        "--results",
        out,
    ]
    code, printed, err = Version("now", top).run(["-m", "radialbench", *words])
    assert code == 1, printed + err
    assert "regressed  " in printed
    assert "changed: commit: " in printed
    assert subprocess.run([*git, "status", "--short"], capture_output=True).stdout == before
    trees = subprocess.run([*git, "worktree", "list"], capture_output=True, check=True).stdout
    assert len(trees.splitlines()) == 1
    assert read(out / "again" / "before" / RESULTS).records
    assert before.split() == [b"M", b"radialbench/kernels/backends/cpu.py"]


# Calls wait by turns for a short and a long time, many times what the case takes: samples that
# follow each other are never alike, however the machine's speed drifts.
WAITS = """
import itertools
import time

_plan = Cpu.plan
_waits = itertools.cycle((0.02, 0.03))


def plan(self, problem, table, config):
    run = _plan(self, problem, table, config)

    def slow(q, k, v):
        time.sleep({slower} * next(_waits))
        return run(q, k, v)

    return slow


Cpu.plan = plan
"""
