"""`radialbench run`: exit codes, messages, and runs that are killed or interrupted."""

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.progress import Task

from radialbench.cli import main
from radialbench.cli._progress import _TimeLeft
from radialbench.kernels.backend import BACKENDS
from radialbench.records.codec import to_dict
from radialbench.records.store import RESULTS, read, reserved
from tests.suites import small

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def suite(tmp_path: Path) -> str:
    return str(small.written(tmp_path))


class Cli:
    """Runs the command line in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        """Give exit code, standard output and standard error."""
        self.monkeypatch.setattr(sys, "argv", ["radialbench", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        told = self.capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    return Cli(monkeypatch, capsys)


def test_a_run_says_what_came_of_it(cli: Cli, suite: str, tmp_path: Path) -> None:
    code, out, err = cli("run", suite, "-o", tmp_path / "out")
    assert code == 0
    assert out == f"small: 4 ok\nresults: {tmp_path / 'out' / RESULTS}\n"
    lines = err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("[1/4] radial/2x3x5/h2d8f32/cpu@16x16  ")
    assert " ms (" in lines[0]


def test_results_lie_under_the_suites_name_if_no_folder_is_given(
    cli: Cli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("run", suite, "-q")[0] == 0
    records = read(tmp_path / "results" / "small" / RESULTS).records
    assert {record.environment.command for record in records} == {
        f"radialbench run {suite} -o results/small"
    }


def test_quiet_shows_no_progress(cli: Cli, suite: str, tmp_path: Path) -> None:
    assert cli("run", suite, "-o", tmp_path / "out", "--quiet")[2] == ""


def test_json_holds_the_records(cli: Cli, suite: str, tmp_path: Path) -> None:
    code, out, _ = cli("run", suite, "-o", tmp_path / "out", "--json", "-f", "dense/")
    facts = json.loads(out)
    assert code == 0
    assert facts["suite"] == "small"
    assert facts["counts"] == {"ok": 2}
    assert (facts["kept"], facts["again"], facts["skipped"]) == (0, 0, [])
    stored = read(Path(facts["results"])).records
    assert facts["records"] == [to_dict(record) for record in stored]


def test_going_on(cli: Cli, suite: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli("run", suite, "-o", out, "-f", "radial")[0] == 0
    code, told, _ = cli("run", suite, "-o", out, "--resume")
    assert (code, told.splitlines()[0]) == (0, "small: 2 ok, 2 kept from before")
    code, told, _ = cli("run", suite, "-o", out, "--resume")
    assert (code, told.splitlines()[0]) == (0, "small: nothing left to run, 4 kept from before")


def test_a_line_that_was_cut_off_is_told(cli: Cli, suite: str, tmp_path: Path) -> None:
    cli("run", suite, "-o", tmp_path)
    results = tmp_path / RESULTS
    results.write_bytes(results.read_bytes()[:-9])
    code, out, _ = cli("run", suite, "-o", tmp_path, "--resume")
    assert code == 0
    assert out.splitlines()[:2] == [
        f"{results}: line 4: not a whole line of JSON; skipped",
        "small: 1 ok, 3 kept from before",
    ]


def test_a_case_that_failed_is_told_with_its_reason(
    cli: Cli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        (["run", "smoke", "-o", "/dev/null/x"], "cannot write results to /dev/null/x: Not a dir"),
        (["run", "smoke", "-o", "/proc/x"], "cannot write results to /proc/x: No such file or"),
    ],
)
def test_bad_input(words: list[str], message: str, cli: Cli) -> None:
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"radialbench: {message}")
    assert "Traceback" not in err


def test_bad_files(cli: Cli, tmp_path: Path) -> None:
    path = small.written(tmp_path, "cases: [\n")
    assert cli("run", path)[::2] == (2, f"radialbench: {path}:2:1: not YAML: " + NOT_CLOSED)
    path = small.written(tmp_path, small.text_of(lambda d: d.update(casess=1)))
    assert cli("run", path)[0] == 2


NOT_CLOSED = "expected the node content, but found '<stream end>'\n"


def test_a_folder_that_holds_results(cli: Cli, suite: str, tmp_path: Path) -> None:
    cli("run", suite, "-o", tmp_path)
    code, _, err = cli("run", suite, "-o", tmp_path)
    assert code == 2
    assert err == (
        f"radialbench: {tmp_path / RESULTS} already holds results; "
        "go on with --resume, or choose another folder\n"
    )


def test_a_folder_another_run_is_writing_to(cli: Cli, suite: str, tmp_path: Path) -> None:
    with reserved(tmp_path / RESULTS):
        code, _, err = cli("run", suite, "-o", tmp_path)
    assert code == 2
    assert "another run is writing to" in err


def test_a_full_disk(cli: Cli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    code, _, err = cli("run", suite, "-o", tmp_path, "-f", "ra*", "-q")
    assert code == 1
    assert err == (
        f"radialbench: cannot write {tmp_path / RESULTS}: No space left on device; what was "
        "written before is kept. Go on with: "
        f"radialbench run {suite} -o {tmp_path} -f 'ra*' --resume\n"
    )


def test_control_c_says_how_to_go_on(
    cli: Cli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "an out"
    with monkeypatch.context() as patch:
        patch.setattr("radialbench.suites.run.attempt", interrupt)
        code, out, err = cli("run", suite, "-o", folder, "-f", "dense", "-f", "r*")
    assert (code, out) == (130, "")
    again = f"radialbench run {suite} -o '{folder}' -f dense -f 'r*' --resume"
    assert err == f"radialbench: stopped; the cases that ended are kept. Go on with: {again}\n"
    assert cli(*shlex.split(again)[1:])[0] == 0
    assert len(read(folder / RESULTS).records) == 4


def slow(document: dict[str, Any]) -> None:
    """Make ten cases that take about a fifth of a second each."""
    document["protocol"] = {"target": 0, "max_seconds": 0.2, "max_samples": 10**9}
    document["cases"][0]["grids"] = [{"frames": [2, 3, 4, 5, 6], "height": 3, "width": 5}]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_loses_at_most_the_case_that_was_running(
    kind: signal.Signals, cli: Cli, tmp_path: Path
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
        code = process.wait(timeout=30)
        told = process.stderr.read()
    before = results.read_bytes()
    kept = read(results).records
    assert 2 <= len(kept) <= 4
    assert all(f"{record.case} " in line for record, line in zip(kept, ended, strict=False))
    assert read(results).skipped == ()
    if kind == signal.SIGINT:
        assert code == 130
        assert told.endswith(f"Go on with: radialbench {shlex.join(typed)} --resume\n")
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
    assert _TimeLeft().render(task).plain == left


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
