"""Runs steps of CI as its runners do: in bash, with variables and files set, and Python found."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")
EXPRESSION = re.compile(r"\$\{\{ (?:inputs\.([\w-]+)|steps\.([\w-]+)\.outputs\.([\w-]+)) \}\}")

# pip is only asked: what it would install is on the path already.
PYTHON = f"""#!/bin/sh
case " $* " in *" -m pip "*) echo "$@" >>"$PIP_ASKED"; exit 0 ;; esac
exec {sys.executable} "$@"
"""


@dataclass
class Job:
    """What is left when steps have run.

    Attributes:
        code: The exit code of the last step that ran.
        log: Standard output and standard error.
        summary: What is shown on the job's page.
        outputs: Of the action.
        asked: What pip was asked for.
    """

    code: int = 0
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    asked: str = ""


def read(name: str) -> dict[str, Any]:
    """Read a YAML file of the repository; YAML 1.1's `on` is a key as any other."""
    found: dict[str, Any] = yaml.load((ROOT / name).read_text(encoding="utf-8"), yaml.BaseLoader)
    return found


def tools(folder: Path, *, gpu: bool = False) -> dict[str, str]:
    """Give the environment of a runner: a `python` that is this one, and maybe a GPU's tool."""
    path = folder / "bin"
    path.mkdir(parents=True)
    (path / "python").write_text(PYTHON)
    if gpu:
        (path / "nvidia-smi").write_text("#!/bin/sh\n")
    for tool in path.iterdir():
        tool.chmod(0o755)
    inherited = ("HOME", "LANG", "OMP_NUM_THREADS", "TRITON_CACHE_DIR")
    kept = {name: os.environ[name] for name in inherited if name in os.environ}
    roots = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {
        "PATH": f"{path}:/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(roots),
        "PIP_ASKED": str(folder / "asked"),
    }


def act(inputs: Mapping[str, str], folder: Path, workspace: Path, *, gpu: bool = False) -> Job:
    """Run the action's steps one after the other, until one fails."""
    action, job = read("action.yml"), Job()
    unknown = set(inputs) - set(action["inputs"])
    assert not unknown, unknown
    given = {name: one.get("default", "") for name, one in action["inputs"].items()}
    given |= inputs
    env = tools(folder, gpu=gpu) | {
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_WORKSPACE": str(workspace),
        "RUNNER_TEMP": str(folder),
    }
    steps: dict[str, dict[str, str]] = {}
    for step in action["runs"]["steps"]:
        files = {name: folder / f"{step['id']}-{name}" for name in ("output", "step_summary")}
        for name, file in files.items():
            file.touch()
            env[f"GITHUB_{name.upper()}"] = str(file)
        own = {name: resolved(text, given, steps) for name, text in step.get("env", {}).items()}
        job.code, log = run_script(step["run"], env | own, workspace)
        job.log += log
        job.summary += files["step_summary"].read_text(encoding="utf-8")
        lines = files["output"].read_text(encoding="utf-8").splitlines()
        steps[step["id"]] = dict(line.split("=", 1) for line in lines)
        if job.code:
            break
    job.outputs = {
        name: resolved(one["value"], given, steps) for name, one in action["outputs"].items()
    }
    job.asked = Path(env["PIP_ASKED"]).read_text() if Path(env["PIP_ASKED"]).exists() else ""
    return job


def resolved(text: str, inputs: Mapping[str, str], steps: Mapping[str, Mapping[str, str]]) -> str:
    """Put values in the place of expressions; what a step did not give is empty."""

    def value(found: re.Match[str]) -> str:
        name, step, output = found.groups()
        return inputs[name] if name else steps.get(step, {}).get(output, "")

    told = EXPRESSION.sub(value, text)
    assert "${{" not in told, told
    return told


def run_script(script: str, env: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Run a script; give its exit code and all it says."""
    done = subprocess.run(
        [*BASH, script],
        env=dict(env),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    return done.returncode, done.stdout
