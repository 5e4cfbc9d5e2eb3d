"""`radialbench history`: order, output, pictures, and what is wrong with what it is given."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.cli import main
from radialbench.records.store import RESULTS, append
from tests.reports.check.noise import record
from tests.reports.factory import elsewhere
from tests.test_import import HELP, loaded

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
LAST = "2026-05-01T12:00:00+00:00"
SLOW = 5
"""Place of the first run that is slower, of ten."""


def put(folder: Path, place: int, *, commit: str | None = None, day: int | None = None) -> Path:
    """Results of a run that is the slower the later."""
    factor = 1.0 if place < SLOW else 1.05
    calls = [factor * (1 + 0.001 * ((place + 7 * call) % 11 - 5) / 5) for call in range(30)]
    created = f"2026-03-{(place if day is None else day) + 1:02}T12:00:00+00:00"
    (one,) = elsewhere([replace(record("a", calls), created=created)], commit=commit)
    path = folder / f"run{place}" / RESULTS
    path.parent.mkdir()
    append(path, one)
    return path.parent


def asked(monkeypatch: Patch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["radialbench", "history", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code
    return 0


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [put(tmp_path, place) for place in range(10)]


def first_slow(printed: str) -> str:
    """Where the results come from of the run that a change begins with."""
    facts = json.loads(printed)
    by_metric = {one["metric"]: one for one in facts["series"]}
    (change,) = by_metric["latency"]["changes"]
    source: str = facts["runs"][change["run"]]["source"]
    return Path(source).parent.name


def test_a_change_is_reported(runs: list[Path], monkeypatch: Patch, capsys: Capture) -> None:
    assert asked(monkeypatch, *runs) == 0
    out, printed = capsys.readouterr()
    assert out.startswith("regressed  a: latency\n           1.00 ms, then 1.05 ms (+5.0%)")
    assert out.endswith("10 results: 1 change in 1 case\n")
    assert "in the order in which they were measured, as some name no commit" in printed


def test_gates(runs: list[Path], monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "gates.yaml").write_text("latency: 6%\n")
    for gates in (("--gate", "latency=6%"), ("--gates", tmp_path / "gates.yaml")):
        assert asked(monkeypatch, *runs, *gates) == 0
        printed = capsys.readouterr().out
        assert printed == "10 results: no changes in 1 case\ngates: latency 6% (asked for)\n"


def test_results_stand_in_the_order_of_measuring_unless_asked_otherwise(
    runs: list[Path], monkeypatch: Patch, capsys: Capture
) -> None:
    mixed = [*runs[::2], *runs[1::2]]
    assert asked(monkeypatch, *mixed, "--json") == 0
    assert first_slow(capsys.readouterr().out) == f"run{SLOW}"
    assert asked(monkeypatch, *runs[::-1], "--json", "--keep-order") == 0
    # Backwards the first of the quicker runs is the last before the change.
    assert first_slow(capsys.readouterr().out) == f"run{SLOW - 1}"


def commits(folder: Path, count: int) -> Sequence[str]:
    """Make a repository, and give its commits, the earliest first."""
    who = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
    names = {f"GIT_{each}": "x" for each in who}

    def git(*words: str, day: int = 1) -> str:
        when = f"2026-04-{day:02}T12:00:00+00:00"
        dates = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
        command = ["git", "-C", str(folder), *words]
        ran = subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | names | dates
        )
        return ran.stdout.strip()

    git("init", "--quiet")
    found = []
    for place in range(count):
        git("commit", "--quiet", "--allow-empty", "-m", str(place), day=place + 1)
        found.append(git("rev-parse", "--short=12", "HEAD"))
    return found


def test_commits_that_git_knows_give_the_order(
    tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    (tmp_path / "source").mkdir()
    known = commits(tmp_path / "source", 10)
    # Measured backwards, as in a search for the commit that is to blame.
    runs = [
        put(tmp_path, place, commit=known[place] + "+" * (place % 2), day=9 - place)
        for place in range(10)
    ]
    monkeypatch.chdir(tmp_path / "source")
    assert asked(monkeypatch, *runs[::-1], "--json") == 0
    out, printed = capsys.readouterr()
    assert (first_slow(out), printed) == (f"run{SLOW}", "")
    monkeypatch.chdir(tmp_path)
    assert asked(monkeypatch, *runs[::-1], "--json") == 0
    out, printed = capsys.readouterr()
    assert first_slow(out) == f"run{SLOW - 1}"
    assert f"git does not know commit {known[9]}" in printed


def test_pictures(runs: list[Path], monkeypatch: Patch, tmp_path: Path, capsys: Capture) -> None:
    assert asked(monkeypatch, *runs, "-o", tmp_path / "new" / "pictures") == 0
    names = {path.name for path in (tmp_path / "new" / "pictures").iterdir()}
    assert names == {"latency-a.png", "latency-a.svg"}
    capsys.readouterr()
    assert asked(monkeypatch, *runs, "-o", runs[0] / RESULTS) == 2
    assert "choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("one", "two sets of results or more"),
        ("missing", "there are no results at"),
        ("cut", "not JSON, or not all of it"),
        ("gate", "metric=size"),
    ],
)
def test_bad_input_is_2(
    how: str, why: str, runs: list[Path], monkeypatch: Patch, capsys: Capture
) -> None:
    given: list[str | Path] = [*runs]
    if how == "one":
        given = given[:1]
    if how == "missing":
        given.append(runs[0] / "gone")
    if how == "cut":
        (runs[3] / RESULTS).write_text('{"schema": 1')
    if how == "gate":
        given += ["--gate", "5%"]
    assert asked(monkeypatch, *given, "--keep-order") == 2
    out, printed = capsys.readouterr()
    assert not out
    assert printed.startswith("radialbench: ")
    assert printed.count("\n") == 1
    assert why in printed


def test_results_with_nothing_in_common_have_no_history(
    runs: list[Path], monkeypatch: Patch, capsys: Capture, tmp_path: Path
) -> None:
    (b, c) = (replace(record(name, [1.0, 1.01, 1.02]), created=LAST) for name in "bc")
    other = tmp_path / "other" / RESULTS
    other.parent.mkdir()
    append(other, b)
    assert asked(monkeypatch, *runs, other.parent, "--keep-order") == 2
    printed = capsys.readouterr().err
    assert f"{other} has no case in common with the other results" in printed
    both = tmp_path / "both" / RESULTS
    both.parent.mkdir()
    append(both, b)
    append(both, c)
    assert asked(monkeypatch, other.parent, *runs[:1], both.parent, "--keep-order") == 0
    assert capsys.readouterr().out.splitlines() == [
        "3 results: no changes in 1 case",
        "with fewer than 8 results a change cannot be distinguished from chance",
        "left out: 1 case, in the last result only",
        "left out: 1 case, not in the last result",
    ]


def test_a_history_needs_no_torch(runs: list[Path]) -> None:
    code = HELP.format(arguments=["history", *map(str, runs), "--keep-order"])
    assert not loaded(code) & {"torch", "triton", "optuna", "matplotlib", "pandas"}


def test_a_page_has_every_machine(
    runs: list[Path], monkeypatch: Patch, capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = [put(tmp_path / "other", place) for place in (0, 1)]
    for folder in other:
        (path,) = folder.glob("*.jsonl")
        path.write_text(path.read_text().replace('"Example GPU"', '"Other GPU"'))
    page = tmp_path / "pages" / "page.html"
    assert asked(monkeypatch, *other, *runs, "--keep-order", "-o", page) == 0
    out, printed = capsys.readouterr()
    assert out.endswith("10 results: 1 change in 1 case\n")
    assert printed.endswith("page.html has the results of Other GPU, too\n")
    text = page.read_text(encoding="utf-8")
    assert ">Other GPU</h2>" in text and ">Example GPU</h2>" in text
    # Without a page, two machines are refused as before, and nothing is written.
    assert asked(monkeypatch, *other, *runs, "--keep-order", "-o", tmp_path / "none") == 2
    assert not (tmp_path / "none").exists()
