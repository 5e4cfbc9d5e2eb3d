"""Record what runs of the same code differ by: one suite again and again, each run a process.

    python -m benchmarks.noise                  # 24 runs, or what fits into 220 seconds
    python -m benchmarks.noise --print          # only tell what the recorded runs differ by
    python -m benchmarks.noise --suite tiny.yaml --runs 3 -o noise.jsonl    # another suite

Each run of benchmarks/noise.yaml is a `radialbench run` of its own; when it has ended its records
are added to benchmarks/results/noise.jsonl, which tells runs apart by their command (`-o run07`).
Started again, it goes on with the runs that are missing; if the time was up before there were all,
it exits with 3. `python -m benchmarks.checks` then simulates checks from these records.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from benchmarks.sittings import sittings_of
from benchmarks.spread import FEWEST, spread_table
from radialbench.errors import RadialBenchError, ReportError
from radialbench.records.result import Record, Status
from radialbench.records.store import RESULTS, read, write_whole
from radialbench.reports.check.compare import check
from radialbench.reports.check.environment_diff import environment_diff
from radialbench.reports.check.verdict import exit_code

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "benchmarks" / "noise.yaml"
RECORDS = ROOT / "benchmarks" / "results" / "noise.jsonl"
RUNS = 24
SECONDS = 220.0

Run = tuple[Record, ...]
"""The records of one process, in the order of its suite."""


def runs_of(records: Sequence[Record]) -> list[Run]:
    """Tell runs apart, in the order they were made.

    Raises:
        ReportError: There are none, or one lacks a case of the others or one that went well.
    """
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.environment.command, []).append(record)
    runs = [tuple(run) for run in found.values()]
    if not runs:
        raise ReportError("no runs were recorded; record some: python -m benchmarks.noise")
    cases = [one.case for one in runs[0]]
    for command, run in zip(found, runs, strict=True):
        if [one.case for one in run] != cases or any(one.status != Status.OK for one in run):
            raise ReportError(
                f"the run of `{command}` is not whole: each has a record of every case, and all "
                "of them ended well. Delete its lines, and record another one"
            )
    return runs


def recorded(path: Path = RECORDS) -> list[Run]:
    """Read recorded runs.

    Raises:
        RecordError: The file cannot be read.
        ReportError: It holds something else.
    """
    found = read(path)
    if found.skipped:
        raise ReportError(f"{path} holds lines that are no records: {found.skipped[0]}")
    return runs_of(found.records)


def equal_codes(runs: Sequence[Run]) -> list[int]:
    """Check every run against each one before it in its sitting; gives the exit codes."""
    return [
        exit_code(check(now, before).verdicts)
        for part in sittings_of(runs)
        for before, now in combinations(part, 2)
    ]


class Recorder:
    """Makes the runs that are missing of a file.

    Args:
        suite: The suite's file.
        path: The file of records.
    """

    def __init__(self, suite: Path, path: Path) -> None:
        self.suite, self.path = suite, path
        self.runs = recorded(path) if path.exists() else []

    def record(self, count: int, seconds: float) -> bool:
        """Make runs until there are `count`, or the time is up; tells each, and whether all are.

        Raises:
            ReportError: A run failed, or is of another machine or environment than those before.
        """
        begin, longest = time.monotonic(), 0.0
        while len(self.runs) < count:
            start = time.monotonic()
            if start - begin + longest > seconds:
                print(f"the time is up; {count - len(self.runs)} runs are left: start it again")
                return False
            self._add(_one_run(self.suite, f"run{len(self.runs) + 1:02}"))
            took = time.monotonic() - start
            # The first one compiles what the others find compiled.
            longest = max(longest, took) if longest else 0.6 * took
            print(f"run {len(self.runs)}/{count}: {took:.1f} s", flush=True)
        return True

    def _add(self, run: Run) -> None:
        every = [record for each in (*self.runs, run) for record in each]
        runs_of(every)
        if self.runs:
            earlier = self.runs[0]
            environment_diff(zip(earlier, run, strict=True))
            if earlier[0].environment.host != run[0].environment.host:
                raise ReportError(
                    f"{self.path} holds runs of another machine of the same kind; record all runs "
                    "on one, in another file with -o"
                )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, every)
        self.runs.append(run)


def _one_run(suite: Path, name: str) -> Run:
    """Run the suite in a process of its own, whose command is the same wherever it runs."""
    with tempfile.TemporaryDirectory(prefix="radialbench-") as folder:
        shutil.copy(suite, folder)
        words = [sys.executable, "-m", "radialbench", "run", suite.name, "-o", name, "--quiet"]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        here = os.environ | {"PYTHONPATH": path}
        done = subprocess.run(words, cwd=folder, env=here, capture_output=True, text=True)
        if done.returncode:
            told = (done.stderr or done.stdout).strip()
            raise ReportError(f"a run failed, those before it are kept: {told}")
        return read(Path(folder) / name / RESULTS).records


def main() -> int:
    """Record what is missing, and tell what runs differ by."""
    parser = argparse.ArgumentParser(description="Record the noise of one GPU.")
    parser.add_argument("--runs", type=int, default=RUNS, help="how many there shall be")
    parser.add_argument("--suite", type=Path, default=SUITE, help="what is run")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="begin none after that")
    parser.add_argument("-o", "--out", type=Path, default=RECORDS, help="the file of records")
    parser.add_argument("--print", action="store_true", help="record nothing")
    options = parser.parse_args()
    whole = True
    try:
        if not options.print:
            recorder = Recorder(options.suite, options.out)
            whole = recorder.record(options.runs, options.seconds)
        runs = recorded(options.out)
        if len(runs) >= FEWEST:
            print(f"\n{spread_table(runs)}\n")
            codes = Counter(equal_codes(runs))
            print(f"exit codes of checks of two runs of a sitting: {dict(codes)}")
    except KeyboardInterrupt:
        print("stopped; the runs that ended are kept")
        return 130
    except (RadialBenchError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if whole else 3


if __name__ == "__main__":
    sys.exit(main())
