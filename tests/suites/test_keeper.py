"""What a process starts and makes ends with it, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from radialbench.errors import SuiteError
from radialbench.suites.keeper import run_kept, temporary_folder
from radialbench.suites.pool import Failed, JobPool
from tests.processes import gone

LIVES = """
import os, subprocess, sys, time
from radialbench.suites.keeper import run_kept, temporary_folder

child = '''
import os, subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1e6)"])
print(os.getpid(), other.pid, flush=True)
END
'''
undo = ["touch", sys.argv[2]]
with temporary_folder(undo=[undo]) as folder:
    print(folder, flush=True)
    run_kept([sys.executable, "-c", child.replace("END", sys.argv[1])], stdout=1)
"""


def started(
    ends: str, undone: Path, *prefix: str
) -> tuple["subprocess.Popen[str]", Path, list[int]]:
    """Start a process with a folder, a child, and a child of that one."""
    process = subprocess.Popen(
        [sys.executable, "-c", LIVES, ends, str(undone)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    return process, folder, list(map(int, process.stdout.readline().split()))


def removed(folder: Path) -> bool:
    """Wait for a folder to be removed."""
    end = time.monotonic() + 600
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return not folder.exists()


def test_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    process, folder, others = started("time.sleep(1e6)", tmp_path / "undone")
    assert folder.is_dir()
    process.kill()
    assert all(map(gone, others))
    assert removed(folder)
    assert (tmp_path / "undone").exists()
    process.communicate()


def test_an_ended_process_leaves_nothing(tmp_path: Path) -> None:
    process, folder, others = started("", tmp_path / "undone")
    assert process.wait(600) == 0
    assert all(map(gone, others))
    assert not folder.exists()
    # What undoes things is for those that are killed.
    assert not (tmp_path / "undone").exists()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_verb_as_ctrl_c_does(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        # These tests may themselves be run with nohup, which children inherit.
        f"import signal; signal.signal({int(number)}, signal.SIG_DFL)\n"
        "import time, radialbench.cli as cli\n"
        "def verb(**given):\n"
        "    try:\n"
        "        print('begun', flush=True)\n"
        "        while True: time.sleep(1)\n"
        "    finally:\n"
        "        print('cleaned up', flush=True)\n"
        "cli.app = verb\n"
        "cli.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    process.send_signal(number)
    assert process.communicate(timeout=600)[0] == "cleaned up\n"
    assert process.returncode == 130


def test_nohup_is_kept() -> None:
    code = (
        "import os, signal, radialbench.cli as cli\n"
        "cli.app = lambda **given: os.kill(os.getpid(), signal.SIGHUP)\n"
        "cli.main(); print('goes on')"
    )
    command = ["nohup", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stdout == "goes on\n"


def test_output_is_returned() -> None:
    done = run_kept([sys.executable, "-c", "print(1); exit(3)"], stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (3, "1\n")


def test_no_folder_for_temporary_files_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", none)
    said = "temporary folder: No usable .*; set TMPDIR to a folder"
    with pytest.raises(SuiteError, match=said), temporary_folder():
        pass
    with pytest.raises(SuiteError, match="set TMPDIR"):
        JobPool(1, limit_s=1)


class Job:
    """A job that cannot be sent to another process."""

    def run(self) -> object:
        return None

    def __reduce__(self) -> str:
        raise TypeError("no way to send it")


def test_a_job_that_cannot_be_sent_ends_nobodys_wait() -> None:
    with JobPool(1, limit_s=600) as pool:
        for _ in range(2):
            reason = "cannot be done in a process of its own: no way to send it"
            assert pool.result(Job()) == Failed(reason)


class Leaves:
    """A job whose process is killed while it has a temporary file."""

    def run(self) -> object:
        import tempfile

        tempfile.mkdtemp()
        os.kill(os.getpid(), signal.SIGKILL)
        return None


def test_a_pool_leaves_no_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with JobPool(1, limit_s=600) as pool:
        assert isinstance(pool.result(Leaves()), Failed)
        assert any(tmp_path.iterdir())
    assert not any(tmp_path.iterdir())
