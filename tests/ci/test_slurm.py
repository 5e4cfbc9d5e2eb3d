"""The script for Slurm runs every shard once, continues, and merges: with the variables it sets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from radialbench.records.store import RESULTS, read
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from tests.ci.runner import ROOT
from tests.suites import small


def submitted(*words: object, **variables: object) -> subprocess.CompletedProcess[str]:
    python = str(Path(sys.executable).parent)
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{python}:{os.environ['PATH']}"}
    env |= {name: str(value) for name, value in variables.items()}
    command = ["bash", str(ROOT / "ci" / "slurm.sbatch"), *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_shards_make_the_whole(tmp_path: Path) -> None:
    suite, out = small.written(tmp_path), tmp_path / "out"
    for place in (1, 2, 1):  # The first is requeued after it ended.
        array = {"SLURM_ARRAY_TASK_ID": place, "SLURM_ARRAY_TASK_COUNT": 2}
        done = submitted("run", suite, out, "--backend", "cpu", **array)
        assert done.returncode == 0, done.stderr
    done = submitted("merge", suite, out)
    assert done.returncode == 0, done.stderr
    cases = [record.case for record in read(out / RESULTS).records]
    assert sorted(cases) == sorted(case.id for case in plan(load_suite(str(suite))))


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        ((), {}, "run or merge"),
        (("run", "smoke", "out"), {}, "submit it as an array, --array=1-8"),
        (
            ("run", "smoke", "out"),
            {"SLURM_ARRAY_TASK_ID": 0, "SLURM_ARRAY_TASK_COUNT": 4, "SLURM_ARRAY_TASK_MIN": 0},
            "counted from 1 to their number: submit it with --array=1-4",
        ),
        (("walk", "smoke", "out"), {}, "the first word is run or merge, got walk"),
    ],
)
def test_what_is_missing_is_said(
    words: tuple[str, ...], variables: dict[str, int], message: str
) -> None:
    done = submitted(*words, **variables)
    assert done.returncode
    assert message in done.stderr
