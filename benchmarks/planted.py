"""Plant slowdowns in our kernels, and see that both kinds of check catch them.

    python -m benchmarks.planted             # both checks of every plant, on an H100
    python -m benchmarks.planted --offline   # only the offline checks: no GPU, about a minute
    python -m benchmarks.planted --timed     # only the timed checks
    python -m benchmarks.planted --equal     # recorded runs of equal code must pass: no GPU

Each plant is a commit in a temporary repository of the package as it is here. It is compiled and
compared with the commit before (`radialbench check --offline --strict`), and timed beside it
(`radialbench check --against`). Both must exit with 1, and the timed one must name the planted
kernels and no others. Exits with 1 if one does not.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.noise import RECORDS, Run, recorded
from benchmarks.resampled import as_stopped
from radialbench.errors import RadialBenchError
from radialbench.records.store import RESULTS, write_whole
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from radialbench.suites.spec import Protocol

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "benchmarks" / "planted.yaml"
ROUNDS = 2
JUDGED = ("latency", "status")

LOOP = """\
    for step in range(1, full_count):
"""
WAIT = """\
        mbarrier.wait(v_full.index(step % BUFFERS), (step // BUFFERS) & 1)
"""


@dataclass(frozen=True, slots=True)
class Edit:
    """A text that takes the place of another, which the file holds once.

    Attributes:
        path: File in the package.
        old: The text.
        new: What takes its place.
    """

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Plant:
    """A slowdown.

    Attributes:
        name: What it is.
        backends: The kernels it slows down; what is timed of others is equal code.
        edits: The changes.
    """

    name: str
    backends: tuple[str, ...]
    edits: tuple[Edit, ...]


PLANTS = (
    Plant(
        "one stage fewer",
        ("hopper", "triton"),
        (
            Edit("kernels/launch.py", "BUFFERS=config.num_stages or 2", "BUFFERS=1"),
            Edit("kernels/offline.py", '"BUFFERS": config.num_stages or 2', '"BUFFERS": 1'),
            Edit(
                "kernels/defaults.py",
                "config.num_stages or stages}",
                "config.num_stages or max(1, stages - 1)}",
            ),
        ),
    ),
    # Values are awaited a step before they are used, so that no copy hides behind the products.
    Plant(
        "one barrier more",
        ("hopper",),
        (Edit("kernels/_block_sparse_fwd_hopper.py", LOOP, LOOP + WAIT),),
    ),
)


class Repository:
    """A temporary git repository of the package: as it is in the first commit, then planted.

    Args:
        root: Its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = root / "radialbench"

    def radialbench(self, *words: str | Path) -> tuple[int, str, str]:
        """Run the command line of its tree; gives exit code, output and errors."""
        path = os.pathsep.join([str(self.root), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, "-m", "radialbench", *map(str, words)],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    def plant(self, plant: Plant) -> None:
        """Change the tree, and commit that.

        Raises:
            SystemExit: A text is not there, or more than once.
        """
        for edit in plant.edits:
            path = self.package / edit.path
            text = path.read_text(encoding="utf-8")
            if text.count(edit.old) != 1:
                raise SystemExit(
                    f"{plant.name}: radialbench/{edit.path} holds {edit.old!r} "
                    f"{text.count(edit.old)} times, not once: plant another text"
                )
            path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
        self.commit(plant.name)

    def commit(self, message: str) -> None:
        """Commit everything in the tree."""
        author = (
            "-c",
            "user.name=planted",
            "-c",
            "user.email=planted@localhost",
            "-c",
            "commit.gpgsign=false",
        )
        self.git("add", "--all")
        self.git(*author, "commit", "--quiet", "--message", message)

    def git(self, *words: str) -> str:
        """Run git in the tree; gives what it says."""
        # What git's hooks set would send these commands to another repository.
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ["git", *words], cwd=self.root, env=env, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip()


@contextmanager
def repository(package: Path = ROOT / "radialbench") -> Iterator[Repository]:
    """Make a temporary repository of a package."""
    with tempfile.TemporaryDirectory(prefix="radialbench-") as folder:
        made = Repository(Path(folder) / "repository")
        shutil.copytree(package, made.package, ignore=shutil.ignore_patterns("__pycache__"))
        (made.root / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
        made.git("init", "--quiet")
        made.commit("as it is")
        yield made


def timed(plant: Plant, suite: Path, package: Path, *, rounds: int) -> str:
    """Time a plant beside what it was planted in; gives what is wrong, empty if it is caught."""
    with repository(package) as made:
        made.plant(plant)
        results = made.root.parent / "results"
        words = ("--against", "HEAD~1", "--rounds", str(rounds), "--results", results)
        code, out, err = made.radialbench("check", suite, *words, "--format", "json")
    if not out:
        return f"the timed check exits with {code}: {err}"
    verdicts = [one for one in json.loads(out)["verdicts"] if one["metric"] in JUDGED]
    for one in verdicts:
        print(f"    {one['case']}: {one['outcome']}, {one['reason']}", flush=True)
    return f"the timed check exits with {code}" if code != 1 else _wrongly_named(plant, verdicts)


def _wrongly_named(plant: Plant, verdicts: Sequence[dict[str, Any]]) -> str:
    backends = {case.id: case.backend or "" for case in plan(load_suite(str(SUITE)))}
    slow = {
        backends[one["case"]]
        for one in verdicts
        if (one["metric"], one["outcome"]) == ("latency", "regressed")
    }
    if slow == set(plant.backends):
        return ""
    return f"the timed check calls {sorted(slow)} slower, planted was {sorted(plant.backends)}"


def compiled(plant: Plant, suite: Path, package: Path) -> str:
    """Compile a plant and what it was planted in; gives what is wrong, empty if it is caught."""
    with repository(package) as made:
        baseline = made.root.parent / "before.jsonl"
        made.radialbench("check", "--offline", suite, "--write", baseline)
        words = ("check", "--offline", suite, "--baseline", baseline, "--strict")
        code, out, err = made.radialbench(*words)
        if code:
            return f"the offline check of equal code exits with {code}: {out}{err}"
        made.plant(plant)
        code, out, err = made.radialbench(*words)
    print("".join(f"    {line}\n" for line in out.splitlines()), end="", flush=True)
    if code != 1:
        return f"the offline check exits with {code}: {err}"
    silent = [name for name in plant.backends if f" kernel {name}@" not in " ".join(out.split())]
    return f"the offline check says nothing of {silent}" if silent else ""


def equal(runs: Sequence[Run]) -> list[int]:
    """Check every run but the first against the one before, by the command line; exit codes."""
    codes = []
    with tempfile.TemporaryDirectory(prefix="radialbench-") as folder:
        places = [Path(folder) / f"run{number}" for number in range(len(runs))]
        for place, run in zip(places, runs, strict=True):
            place.mkdir()
            write_whole(place / RESULTS, run)
        for before, now in pairwise(places):
            words = ("check", str(now), "--baseline", str(before))
            done = subprocess.run(
                [sys.executable, "-m", "radialbench", *words],
                cwd=ROOT,
                capture_output=True,
                text=True,
            )
            codes.append(done.returncode)
            if done.returncode:
                print(done.stdout + done.stderr, end="", flush=True)
    return codes


def _tell_equal(path: Path) -> bool:
    runs = recorded(path)
    shorter = [tuple(as_stopped(one, Protocol()) for one in run) for run in runs]
    good = True
    for what, each in (("as recorded", runs), ("as the default protocol stops", shorter)):
        codes = equal(each)
        print(f"equal code, {what}: {codes.count(0)} of {len(codes)} pass", flush=True)
        good &= not any(codes)
    return good


def _tell(what: str, wrong: str, begin: float) -> bool:
    print(f"{what}: {wrong or 'caught'} ({time.monotonic() - begin:.0f} s)", flush=True)
    return not wrong


def main() -> int:
    """Try every plant, or recorded runs of equal code."""
    parser = argparse.ArgumentParser(description="Planted slowdowns, and equal code.")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--offline", action="store_true", help="only the offline checks")
    kinds.add_argument("--timed", action="store_true", help="only the timed checks")
    kinds.add_argument("--equal", action="store_true", help="check recorded runs of equal code")
    parser.add_argument("--records", type=Path, default=RECORDS, help="the recorded runs")
    parser.add_argument("--only", default="", metavar="TEXT", help="plants whose name has it")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="processes of each version")
    options = parser.parse_args()
    if options.equal:
        try:
            return int(not _tell_equal(options.records))
        except RadialBenchError as error:
            print(error, file=sys.stderr)
            return 2
    good, package = True, ROOT / "radialbench"
    for plant in (one for one in PLANTS if options.only in one.name):
        begin = time.monotonic()
        if not options.timed:
            wrong = compiled(plant, SUITE, package)
            good &= _tell(f"{plant.name}, offline", wrong, begin)
        begin = time.monotonic()
        if not options.offline:
            wrong = timed(plant, SUITE, package, rounds=options.rounds)
            good &= _tell(f"{plant.name}, timed", wrong, begin)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
