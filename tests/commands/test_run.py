"""`radialbench run`: exit codes, messages, and runs that are killed or interrupted."""

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.progress import Task

from radialbench.commands.console import format_duration
from radialbench.commands.options import parse_seconds
from radialbench.commands.progress import TimeLeft, case_line, gpu_state
from radialbench.kernels.backends import BACKENDS
from radialbench.records.codec import to_dict
from radialbench.records.measurement import Rounds
from radialbench.records.store import RESULTS, read, reserved
from tests.commands.line import Capture, Cli
from tests.records.sample import RECORD, failed
from tests.suites import small


@pytest.fixture
def suite(tmp_path: Path) -> str:
    return str(small.written(tmp_path))


class RunCli(Cli):
    """Runs the command line in this process, and the cases of a run too."""

    def __call__(self, *words: object) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error."""
        return super().__call__(*words, *(["--in-process"] if words[0] == "run" else []))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> RunCli:
    return RunCli(monkeypatch, capsys)


def test_a_run_says_where_samples_are_fewer_than_asked_for(cli: RunCli, tmp_path: Path) -> None:
    protocol = {"min_samples": 3, "max_seconds": 1e-9}
    text = small.text_of(lambda document: document.update(protocol=protocol))
    path = small.written(tmp_path, text)
    code, out, _ = cli("run", path, "-o", tmp_path / "out")
    first = read(tmp_path / "out" / RESULTS).records[0].case
    assert code == 0
    assert out.startswith(
        f"max_seconds ended the sampling of 4 cases before min_samples: {first}, and 3 more; for "
        "more, raise max_seconds in the suite's protocol\nsmall: 4 ok\n"
    )


def test_a_run_says_what_came_of_it(cli: RunCli, suite: str, tmp_path: Path) -> None:
    code, out, err = cli("run", suite, "-o", tmp_path / "out")
    assert code == 0
    assert out == f"small: 4 ok\nresults: {tmp_path / 'out' / RESULTS}\n"
    lines = err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("[1/4] radial/2x3x5/h2d8f32/cpu@16x16  ")
    assert " ms (" in lines[0]


def test_results_lie_under_the_suites_name_if_no_folder_is_given(
    cli: RunCli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("run", suite, "-q")[0] == 0
    records = read(tmp_path / "results" / "small" / RESULTS).records
    assert {record.environment.command for record in records} == {
        f"radialbench run {suite} -o results/small"
    }


def test_quiet_shows_no_progress(cli: RunCli, suite: str, tmp_path: Path) -> None:
    assert cli("run", suite, "-o", tmp_path / "out", "--quiet")[2] == ""


def test_json_is_a_line_an_event(cli: RunCli, suite: str, tmp_path: Path) -> None:
    code, out, err = cli("run", suite, "-o", tmp_path / "out", "--json", "-f", "dense/")
    *events, done = map(json.loads, out.splitlines())
    assert code == 0
    assert len(err.splitlines()) == 2
    assert done == {
        "event": "done",
        "suite": "small",
        "results": str(tmp_path / "out" / RESULTS),
        "counts": {"ok": 2},
        "kept": 0,
        "again": 0,
        "left": 0,
        "skipped": [],
    }
    stored = read(tmp_path / "out" / RESULTS).records
    assert events == [
        event
        for place, record in enumerate(stored, start=1)
        for event in (
            {"event": "begins", "place": place, "total": 2, "case": record.case},
            {"event": "ends", "place": place, "total": 2, "record": to_dict(record)},
        )
    ]


@pytest.mark.slow
def test_json_comes_as_it_happens(tmp_path: Path) -> None:
    path = small.written(tmp_path, small.text_of(slow))
    command = [sys.executable, "-m", "radialbench", "run", str(path), "--json", "-q"]
    with subprocess.Popen(
        [*command, "-o", str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        events = [json.loads(process.stdout.readline()) for _ in range(3)]
        running = process.poll() is None
        process.kill()
    assert [event["event"] for event in events] == ["begins", "ends", "begins"]
    assert running


def test_a_limit_of_time_begins_no_more_cases_and_says_how_to_go_on(
    cli: RunCli, suite: str, tmp_path: Path
) -> None:
    words = ["run", suite, "-o", tmp_path / "out"]
    code, out, _ = cli(*words, "--time-limit", 0)
    again = f"radialbench run {suite} -o {tmp_path / 'out'} --time-limit 0 --resume"
    assert (code, out) == (
        0,
        "small: 4 not started within the time limit\n"
        f"results: {tmp_path / 'out' / RESULTS}\ncontinue with: {again}\n",
    )
    assert cli(*words, "--time-limit", "1h", "--resume")[:2] == (
        0,
        f"small: 4 ok\nresults: {tmp_path / 'out' / RESULTS}\n",
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1.5s", 1.5), ("2min", 120.0), ("1h", 3600.0)]
)
def test_times_are_read_in_their_units(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["-1", "2 weeks", "min", "inf", ""])
def test_a_time_that_is_none_says_what_one_looks_like(cli: RunCli, suite: str, text: str) -> None:
    code, out, err = cli("run", suite, f"--time-limit={text}")
    assert (code, out) == (2, "")
    assert "a time is such as 90 (seconds), 2min or 1h" in " ".join(err.replace("│", " ").split())


def test_a_limit_of_time_lets_the_case_that_runs_end(cli: RunCli, tmp_path: Path) -> None:
    path = small.written(tmp_path, small.text_of(slow))
    words = ["run", path, "-o", tmp_path / "out", "--json", "--in-process"]
    left = json.loads(cli(*words, "--time-limit", "1.2s")[1].splitlines()[-1])["left"]
    ended = read(tmp_path / "out" / RESULTS).records
    assert 0 < left < 10
    assert len(ended) == 10 - left
    done = json.loads(cli(*words, "--resume")[1].splitlines()[-1])
    assert (done["kept"], done["counts"], done["left"]) == (10 - left, {"ok": left}, 0)


def test_a_dry_run_tells_cases_time_and_memory_and_how(
    cli: RunCli, suite: str, tmp_path: Path
) -> None:
    words = ["run", suite, "-o", tmp_path / "out", "--dry-run"]
    code, out, err = cli(*words, "-f", "dense/")
    headings, _, first, second, total, how, rates = out.splitlines()
    assert (code, err) == (0, "")
    assert headings.split() == ["seconds", "GiB", "configuration", "case"]
    for line in (first, second):
        assert re.fullmatch(r" +\d+\.\d +\d+\.\d\d  suite +dense/\dx3x5/h2d8f32/cpu@16x16", line)
    assert total.startswith("small: 2 cases, at most ")
    assert how.startswith("An estimate, and an upper one: ")
    assert rates.startswith("Rates: cpu ")
    assert rates.endswith(" GFLOP/s (default).")
    facts = json.loads(cli(*words, "-f", "dense/", "--json")[1])
    assert [case["case"] for case in facts["cases"]] == [
        line.split()[-1] for line in (first, second)
    ]
    assert facts["seconds"] == pytest.approx(sum(case["seconds"] for case in facts["cases"]))
    assert {case["config_source"] for case in facts["cases"]} == {"suite"}
    assert {case["config"]["block_m"] for case in facts["cases"]} == {16}
    assert facts["method"] == how
    assert not (tmp_path / "out").exists()


def test_a_dry_run_without_the_device_says_so(
    cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    path = small.written(tmp_path, small.text_of(lambda d: d.update(device="cuda")))
    code, out, _ = cli("run", path, "-o", tmp_path / "out", "--dry-run")
    assert code == 0
    assert out.splitlines()[-1].startswith("This machine has no cuda device: here the cases of at")


def test_a_shard_has_a_folder_of_its_own(
    cli: RunCli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("run", suite, "-q", "--shard", "2/3")[0] == 0
    records = read(tmp_path / "results" / "small-2of3" / RESULTS).records
    assert {record.environment.command for record in records} == {
        f"radialbench run {suite} -o results/small-2of3 --shard 2/3"
    }


def test_going_on(cli: RunCli, suite: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli("run", suite, "-o", out, "-f", "radial")[0] == 0
    code, printed, _ = cli("run", suite, "-o", out, "--resume")
    assert (code, printed.splitlines()[0]) == (0, "small: 2 ok, 2 kept from before")
    code, printed, _ = cli("run", suite, "-o", out, "--resume")
    assert (code, printed.splitlines()[0]) == (0, "small: nothing left to run, 4 kept from before")


def test_a_line_that_was_cut_off_is_reported(cli: RunCli, suite: str, tmp_path: Path) -> None:
    cli("run", suite, "-o", tmp_path)
    results = tmp_path / RESULTS
    results.write_bytes(results.read_bytes()[:-9])
    code, out, _ = cli("run", suite, "-o", tmp_path, "--resume")
    assert code == 0
    assert out.splitlines()[:2] == [
        f"{results}: line 4: not JSON, or not all of it; skipped",
        "small: 1 ok, 3 kept from before",
    ]


def test_a_case_that_failed_is_reported_with_its_reason(
    cli: RunCli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(BACKENDS, "cpu", "tests.suites.small:Raising")
        code, out, err = cli("run", suite, "-o", tmp_path)
    assert code == 1
    assert out.splitlines()[:2] == [
        "failed, RuntimeError: the kernel fell over: radial/2x3x5/h2d8f32/cpu@16x16 and 3 more",
        "small: 4 failed, nothing was measured",
    ]
    assert "failed: RuntimeError: the kernel fell over" in err
    code, out, _ = cli("run", suite, "-o", tmp_path, "--resume")
    assert (code, out.splitlines()[0]) == (0, "small: 4 ok, 4 run again that had failed")


def test_a_suite_whose_cases_are_all_unsupported_is_done_but_says_so(
    cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    path = small.written(tmp_path, small.text_of(lambda d: d.update(device="cuda")))
    code, out, _ = cli("run", path, "-o", tmp_path / "out")
    assert code == 0
    assert out.splitlines()[:2] == [
        "unsupported, asks for device 'cuda', and PyTorch finds none on this machine: "
        "radial/2x3x5/h2d8f32/cpu@16x16 and 3 more",
        "small: 4 unsupported, nothing was measured",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "smok"], "unknown suite 'smok'; did you mean 'smoke'?"),
        (["run", "none.yaml"], "cannot read none.yaml: No such file or directory"),
        (["run", "smoke", "-f", "nothing-like-it"], "no case of smoke fits 'nothing-like-it'"),
        (["run", "smoke", "--shard", "3/2"], "a shard is i/n, from 1/n to n/n, such as 2/3, got"),
        (["run", "smoke", "--dry-run", "-f", "no-such"], "no case of smoke fits 'no-such'"),
        (["run", "smoke", "-o", "/dev/null/x"], "cannot write results to /dev/null/x: Not a dir"),
        (["run", "smoke", "-o", "/proc/x"], "cannot write results to /proc/x: No such file or"),
    ],
)
def test_bad_input(words: list[str], message: str, cli: RunCli) -> None:
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"radialbench: {message}")
    assert "Traceback" not in err


def test_bad_files(cli: RunCli, tmp_path: Path) -> None:
    path = small.written(tmp_path, "cases: [\n")
    assert cli("run", path)[::2] == (2, f"radialbench: {path}:2:1: not YAML: " + NOT_CLOSED)
    path = small.written(tmp_path, small.text_of(lambda d: d.update(casess=1)))
    assert cli("run", path)[0] == 2


NOT_CLOSED = "expected the node content, but found '<stream end>'\n"


def test_a_folder_that_holds_results(cli: RunCli, suite: str, tmp_path: Path) -> None:
    cli("run", suite, "-o", tmp_path)
    code, _, err = cli("run", suite, "-o", tmp_path)
    assert code == 2
    assert err == (
        f"radialbench: {tmp_path / RESULTS} already holds results; "
        "go on with --resume, or choose another folder\n"
    )


def test_a_folder_another_run_is_writing_to(cli: RunCli, suite: str, tmp_path: Path) -> None:
    with reserved(tmp_path / RESULTS):
        code, _, err = cli("run", suite, "-o", tmp_path)
    assert code == 2
    assert "another run is writing to" in err


def test_a_full_disk(
    cli: RunCli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    code, _, err = cli("run", suite, "-o", tmp_path, "-f", "ra*", "-q")
    assert code == 1
    assert err == (
        f"radialbench: cannot write {tmp_path / RESULTS}: No space left on device; what was "
        "written before is kept. Continue with: "
        f"radialbench run {suite} -o {tmp_path} -f 'ra*' --resume\n"
    )


def test_control_c_says_how_to_go_on(
    cli: RunCli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "an out"
    with monkeypatch.context() as patch:
        patch.setattr("radialbench.suites.attempt.attempt_batch", interrupt)
        code, out, err = cli("run", suite, "-o", folder, "-f", "dense", "-f", "r*")
    assert (code, out) == (130, "")
    again = f"radialbench run {suite} -o '{folder}' -f dense -f 'r*' --resume"
    assert err == f"radialbench: stopped; finished cases are kept. Continue with: {again}\n"
    assert cli(*shlex.split(again)[1:])[0] == 0
    assert len(read(folder / RESULTS).records) == 4


def slow(document: dict[str, Any]) -> None:
    """Make ten cases that take about a fifth of a second each."""
    document["protocol"] = {"target": 0, "max_seconds": 0.2, "max_samples": 10**9}
    document["cases"][0]["grids"] = [{"frames": [2, 3, 4, 5, 6], "height": 3, "width": 5}]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_loses_at_most_the_case_that_was_running(
    kind: signal.Signals, cli: RunCli, tmp_path: Path
) -> None:
    path = small.written(tmp_path, small.text_of(slow))
    results = tmp_path / "out" / RESULTS
    typed = ["run", str(path), "-o", str(results.parent)]
    command = [sys.executable, "-m", "radialbench", *typed]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        ended = [process.stderr.readline() for _ in range(2)]
        time.sleep(0.1)
        process.send_signal(kind)
        code = process.wait(timeout=600)
        printed = process.stderr.read()
    before = results.read_bytes()
    kept = read(results).records
    assert 2 <= len(kept) <= 4
    assert all(f"{record.case} " in line for record, line in zip(kept, ended, strict=False))
    assert read(results).skipped == ()
    if kind == signal.SIGINT:
        assert code == 130
        assert printed.endswith(f"Continue with: radialbench {shlex.join(typed)} --resume\n")
    code, out, _ = cli(*typed, "--resume", "-q")
    assert code == 0
    assert out.startswith(f"small: {10 - len(kept)} ok, {len(kept)} kept from before\n")
    assert results.read_bytes().startswith(before)
    assert len({record.case for record in read(results).records}) == 10


@pytest.mark.parametrize(
    ("done", "seconds", "elapsed", "left"),
    [
        (0, 0, 5, "-:--:-- left"),
        (25, 10, 10, "0:00:30 left"),
        (25, 10, 22, "0:00:18 left"),
        (25, 10, 70, "0:00:00 left"),
        (1, 40, 40, "1:06:00 left"),
    ],
)
def test_the_time_left_goes_by_what_is_done_and_runs_down(
    done: float, seconds: float, elapsed: float, left: str
) -> None:
    facts = {"completed": done, "total": 100, "elapsed": elapsed, "fields": {"seconds": seconds}}
    task = cast(Task, SimpleNamespace(**facts))
    assert TimeLeft().render(task).plain == left


def test_the_gpus_clock_and_temperature_are_those_beside_the_last_sample() -> None:
    assert RECORD.timing is not None
    assert gpu_state(RECORD) == ""
    assert gpu_state(failed()) == ""
    rounds = Rounds("nvml", sm_mhz=(1500, 1980, 1755), temperature_c=(40, 50, 56))
    assert (
        gpu_state(replace(RECORD, timing=replace(RECORD.timing, rounds=rounds)))
        == "1,755 MHz 56 °C"
    )
    unread = replace(RECORD, timing=replace(RECORD.timing, rounds=Rounds("none: no NVML")))
    assert gpu_state(unread) == ""
    assert case_line(3, 9, replace(RECORD, timing=replace(RECORD.timing, rounds=rounds))) == (
        "[3/9] radial/3x30x52/h1d128f32/cpu  2.00 ms (3 samples), 1,755 MHz 56 °C"
    )


@pytest.mark.parametrize(
    ("seconds", "printed"),
    [(0.2, "1 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")],
)
def test_times_are_written_for_people(seconds: float, printed: str) -> None:
    assert format_duration(seconds) == printed


def test_a_bar_on_a_terminal_shows_the_time_left(suite: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "radialbench", "run", suite, "-o", str(tmp_path / "out")]
    leader, follower = os.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "150"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        command, stderr=follower, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(leader)
    text = shown.decode()
    assert process.returncode == 0
    assert "0:00:00 left" in text
    assert "4/4" in text
    assert "[1/4] radial/2x3x5/h2d8f32/cpu@16x16" in text
    assert out.startswith("small: 4 ok\n")
