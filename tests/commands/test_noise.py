"""`radialbench noise`: what is printed, and how checks use what it records."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.records.result import Record
from radialbench.records.store import RESULTS, write_whole
from radialbench.suites import noise as recording
from radialbench.suites.noise import RunFailedError, RunRecords
from tests.commands.line import Capture, Cli
from tests.reports.check.noise import flat, made
from tests.suites import small

RUNS = made(3, processes=0.02, runs=9)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    monkeypatch.setattr(recording, "_one_run", lambda suite, path, number: RUNS[number - 1])
    return Cli(monkeypatch, capsys)


def test_the_noise_is_printed_once_there_are_enough_runs(cli: Cli, tmp_path: Path) -> None:
    suite, path = small.written(tmp_path), tmp_path / "noise.jsonl"
    words = ("noise", suite, "-o", path)
    code, printed, err = cli(*words, "--runs", 3)
    assert code == 0
    assert [line.split(":")[0] for line in err.splitlines()] == ["run 1/3", "run 2/3", "run 3/3"]
    assert printed.splitlines() == [
        f"runs: {path}, 3 of Example GPU", "differences between runs need 8 of them: give --runs 8"
    ]  # fmt: skip
    code, printed, err = cli(*words, "--runs", 9, "--quiet")
    assert (code, err) == (0, "")
    lines = printed.splitlines()
    assert lines[0].split() == [
        *("case", "ms", "calls", "in", "turn", "two", "medians", "two", "runs", "95%", "of", "it")
    ]
    assert lines[2].split()[0] == "case0"
    assert lines[6].startswith("all cases")
    assert "holds the 2.0% that a check assumes" in lines[7]
    assert lines[8].startswith("checks of each run against each one before it in its sitting: ")
    assert lines[9] == f"runs: {path}, 9 of Example GPU"
    assert lines[10] == f"check with it: radialbench check RESULTS --noise-floor {path}"


def test_as_json(cli: Cli, tmp_path: Path) -> None:
    suite, path = small.written(tmp_path), tmp_path / "noise.jsonl"
    words = ("noise", suite, "-o", path, "--quiet", "--json")
    facts = json.loads(cli(*words, "--runs", 9)[1])
    assert (facts["runs"], facts["device"], len(facts["exit_codes"])) == (9, "Example GPU", 36)
    assert [one["case"] for one in facts["spreads"]] == [
        *(f"case{place}" for place in range(4)), "all cases"
    ]  # fmt: skip
    assert facts["spreads"][-1]["runs"]["value"] == pytest.approx(0.02 * 2**0.5, rel=0.4)


def test_a_limit_of_time_says_how_to_go_on(cli: Cli, tmp_path: Path) -> None:
    suite, path = small.written(tmp_path), tmp_path / "noise.jsonl"
    code, printed, _ = cli("noise", suite, "-o", path, "--time-limit", 0)
    again = f"radialbench noise {suite} -o {path} --runs 12"
    assert (code, printed) == (0, f"the time limit was reached; continue with: {again}\n")


def test_a_run_that_fails_is_no_bad_input(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(suite: str, path: Path, number: int) -> RunRecords:
        raise RunFailedError("a run failed, and those before it are kept: 1 crashed")

    monkeypatch.setattr(recording, "_one_run", failing)
    code, printed, err = cli("noise", small.written(tmp_path), "-o", tmp_path / "noise.jsonl")
    assert (code, printed) == (1, "")
    assert err == "radialbench: a run failed, and those before it are kept: 1 crashed\n"
    assert cli("noise", "nowhere")[0] == 2


def test_checks_take_the_noise_that_was_recorded(cli: Cli, tmp_path: Path) -> None:
    path, before, now = tmp_path / "noise.jsonl", tmp_path / "before", tmp_path / "now"
    write_whole(path, flat(RUNS))
    for folder, factor in ((before, 1.0), (now, 1.06)):
        folder.mkdir()
        write_whole(folder / RESULTS, [_slower(one, factor) for one in RUNS[0]])
    words = ("check", now, "--baseline", before)
    assert cli(*words)[0] == 1
    assert cli(*words, "--noise-floor", path)[0] == 3
    assert cli("history", before, now, "--noise-floor", path, "--keep-order")[0] == 0


def _slower(record: Record, factor: float) -> Record:
    assert record.timing is not None
    times = tuple(factor * ms for ms in record.timing.samples_ms)
    return replace(record, timing=replace(record.timing, samples_ms=times))


def test_noise_of_something_else_is_refused(cli: Cli, tmp_path: Path) -> None:
    path, now = tmp_path / "noise.jsonl", tmp_path / "now"
    now.mkdir()
    write_whole(now / RESULTS, RUNS[0])
    elsewhere = [
        replace(one, environment=replace(one.environment, device="Another GPU"))
        for one in flat(RUNS)
    ]
    write_whole(path, elsewhere)
    words = ("check", now, "--baseline", now, "--noise-floor")
    wrong = {
        path: f"{path} has the noise of Another GPU, and the results are of Example GPU",
        "60": "--noise-floor is at most 50 (percent), got 60",
        "loud": "--noise-floor takes a percentage or a file that `radialbench noise` wrote, got",
    }
    for given, message in wrong.items():
        code, printed, err = cli(*words, given)
        assert (code, printed) == (2, "")
        assert message in err
