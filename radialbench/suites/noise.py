"""Repeated runs of the same code: one suite again and again, each run in its own process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from radialbench.errors import SuiteError
from radialbench.records.result import Environment, Record, Status
from radialbench.records.store import RESULTS, read, reserved, write_whole
from radialbench.suites.keeper import run_kept, temporary_folder

RUNS = 12
"""Runs that are recorded, if nothing else is asked for."""


class RunFailedError(SuiteError):
    """A run failed; those before it are kept."""


RunRecords = tuple[Record, ...]
"""The records of one process, in the order of its suite; unsupported cases are left out."""

MAY_DIFFER = ("command", "card", "load")
"""What may differ between the environments of runs of one file: their commands name them, one
machine can have several GPUs of a kind, and the load of a machine is never the same."""


def runs_of(records: Sequence[Record]) -> list[RunRecords]:
    """Group records by run, which the command identifies, in the order of the file.

    Raises:
        SuiteError: There are none, or one lacks a case of the others or one that went well.
    """
    by_command: dict[str, list[Record]] = {}
    for record in records:
        run = by_command.setdefault(record.environment.command, [])
        if record.status != Status.UNSUPPORTED:
            run.append(record)
    runs = [tuple(run) for run in by_command.values()]
    if not runs or not runs[0]:
        raise SuiteError("no runs were recorded; record some: radialbench noise SUITE")
    cases = [one.case for one in runs[0]]
    for command, one in zip(by_command, runs, strict=True):
        if [each.case for each in one] != cases or any(each.status != Status.OK for each in one):
            raise SuiteError(
                f"the run of `{command}` is not whole: each has a record of every case, and all "
                "of them ended well. Delete its lines, and record another one"
            )
    return runs


def read_runs(path: Path) -> list[RunRecords]:
    """Read a file of recorded runs.

    Raises:
        RecordError: The file cannot be read.
        SuiteError: It holds something else than whole runs.
    """
    stored = read(path)
    if stored.skipped:
        raise SuiteError(f"{path} holds lines that are no records: {stored.skipped[0]}")
    return runs_of(stored.records)


def record_runs(
    suite: str,
    path: Path,
    count: int = RUNS,
    *,
    time_limit: float | None = None,
    on_run: Callable[[int, float], None] = lambda number, seconds: None,
) -> list[RunRecords]:
    """Run a suite until a file holds as many runs; each is in the file as soon as it ends.

    Args:
        suite: A shipped suite, or a file.
        path: The file; runs that it holds are kept and counted.
        count: Number of runs.
        time_limit: No run starts after so many seconds.
        on_run: Called after each run with its number, from 1, and the seconds it took.

    Returns:
        All runs of the file; fewer than `count` if the time was up.

    Raises:
        RunFailedError: A run failed.
        SuiteError: A run is of another machine or version than those before, or not whole.
        RecordError: The file cannot be read, or another process writes it.
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with reserved(path.with_name(f"{path.name}.lock")):
        runs = read_runs(path) if path.exists() else []
        while len(runs) < count:
            run_start = time.monotonic()
            if time_limit is not None and run_start - start >= time_limit:
                break
            run = _one_run(suite, path, len(runs) + 1)
            every = runs_of([record for each in (*runs, run) for record in each])
            here, first = run[0].environment, every[0][0].environment
            names = [one.name for one in fields(Environment) if one.name not in MAY_DIFFER]
            if changed := [name for name in names if getattr(here, name) != getattr(first, name)]:
                raise SuiteError(
                    f"{path} holds runs of another machine or version: its {', '.join(changed)} "
                    "differ. Record all runs with one, in another file with -o"
                )
            write_whole(path, [record for each in every for record in each])
            runs = every
            on_run(len(runs), time.monotonic() - run_start)
    return runs


def _one_run(suite: str, path: Path, number: int) -> RunRecords:
    """Run the suite in a process of its own, and delete its folder."""
    with temporary_folder(f"{path.stem}-", folder=path.parent) as made:
        folder = Path(os.path.relpath(made)) / f"run{number:02}"
        command = ["radialbench", "run", suite, "-o", str(folder), "--quiet"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "errors": "replace"}
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = run_kept([sys.executable, "-P", "-m", *command], env=os.environ | paths, **pipes)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["it printed nothing"]
            reason = lines[-1].removeprefix("radialbench: ")
            raise RunFailedError(f"a run failed, and those before it are kept: {reason}")
        return read(folder / RESULTS).records
