"""Jobs of benchmarks/everything.py: shared out over GPUs, each with its own cores and log."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import everything
from benchmarks.everything import JOBS, Job, chosen
from radialbench.suites.read import load_suite

ROOT = Path(everything.__file__).parents[1]


def test_every_job_is_something_there_is() -> None:
    assert len({job.name for job in JOBS}) == len(JOBS)
    for job in JOBS:
        for command in job.commands:
            module, *words = command.split()
            assert find_spec(module) is not None
            if module == "radialbench":
                assert load_suite(words[1]).cases


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The second number is of jobs: it waits until as many have begun.
    text = "import os, sys, time\n"
    text += f"while len(os.listdir({str(tmp_path / 'logs')!r})) < int(sys.argv[2]):\n"
    text += "    time.sleep(0.01)\n"
    text += "print(os.environ['CUDA_VISIBLE_DEVICES'], sorted(os.sched_getaffinity(0)))\n"
    text += "sys.exit(int(sys.argv[1]))\n"
    (tmp_path / "told.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(everything, "LOGS", tmp_path / "logs")
    return tmp_path


def test_jobs_are_shared_out_over_gpus(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [Job(name, 9 - place, ("told 0 2",)) for place, name in enumerate("abcd")]
    assert everything.run(jobs, [3, 5], 6000) == 0
    logs = {
        job.name: (here / "logs" / f"{job.name}.log").read_text().split(None, 1) for job in jobs
    }
    assert {gpu for gpu, _ in logs.values()} == {"3", "5"}
    assert {logs["a"][0], logs["b"][0]} == {"3", "5"}
    if len(os.sched_getaffinity(0)) > 1:
        assert len({cores for _, cores in logs.values()}) == 2
    assert capsys.readouterr().out.count(": done, ") == 4


def test_what_fails_or_would_end_late_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [Job("bad", 1, ("told 3 1", "told 0 1")), Job("long", 10_000, ("told 0 1",))]
    assert everything.run(jobs, [0], 5_000) == 2
    out = capsys.readouterr().out
    assert "bad: FAILED with exit code 3, see " in out
    assert "long: not begun, it takes about 10000 s" in out
    assert len((here / "logs" / "bad.log").read_text().splitlines()) == 1


def test_ctrl_c_ends_what_runs_and_begins_nothing_else(here: Path) -> None:
    text = "from benchmarks import everything\nfrom pathlib import Path\n"
    text += "everything.LOGS = Path('logs')\n"
    text += "everything.JOBS = [everything.Job(n, 1, ('slow 0',)) for n in 'ab']\n"
    text += "raise SystemExit(everything.main())\n"
    slow = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(3600)\n"
    (here / "slow.py").write_text(slow, encoding="utf-8")
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=here,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(here)])},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (here / "begun").exists() and time.monotonic() - begun < 600:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "stopped; what the jobs have written stays" in out
    assert [path.name for path in (here / "logs").iterdir()] == ["a.log"]


def test_names_are_found_by_parts() -> None:
    assert [job.name for job in chosen(["steps"])] == [
        "steps-hunyuanvideo", "steps-wan", "steps-mochi"
    ]  # fmt: skip
    assert chosen([]) == list(JOBS)
    assert chosen(["none of these"]) == []
