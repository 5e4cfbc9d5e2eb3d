"""Measure again what docs show, each GPU of the machine with a share of it and of the cores.

    python -m benchmarks.everything --list                    # what there is, and how long it takes
    python -m benchmarks.everything --only paper steps order  # by parts of the names
    python -m benchmarks.everything --gpus 0 1 --seconds 500  # begin nothing that would end later

What is there already under results/ is added to or replaced, as each job does. Output goes to
results/everything/NAME.log. Times are those of one H100 or H200, and only for planning.
"""

import argparse
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

LOGS = Path("results") / "everything"

LOCK = threading.Lock()
"""Taken to look for the next job."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something to measure.

    Attributes:
        name: Its name.
        seconds: About how long it takes.
        commands: What is run, one after the other; Python modules with their arguments.
    """

    name: str
    seconds: int
    commands: tuple[str, ...]


def _suite(name: str, seconds: int) -> Job:
    return Job(name, seconds, (f"radialbench run {name} -o results/{name} --resume -q",))


def _paper(name: str, seconds: int, words: str) -> Job:
    return Job(name, seconds, (f"benchmarks.paper_step -o results/{name}.jsonl {words}",))


SWEEP, TUNED = "benchmarks/tuning_sweep.yaml", "benchmarks/tuned.yaml"

JOBS = (
    Job(
        "tuning",
        600,
        (
            f"radialbench tune {SWEEP} --sampler exhaustive --record results/tuning_sweep.jsonl -q",
            f"radialbench tune {SWEEP} --reuse-trials results/tuning_sweep.jsonl -q",
            f"radialbench tune {TUNED} --trials 10 -q",
            f"radialbench tune {SWEEP} --verify",
            f"radialbench tune {TUNED} --verify",
        ),
    ),
    _suite("paper", 520),
    _paper("steps-hunyuanvideo", 440, "--step --only hunyuanvideo/1 --seconds 200"),
    _paper("steps-wan", 210, "--step --only wan2.1-14b/1 --seconds 90"),
    _paper("steps-mochi", 90, "--step --only mochi-1/1 --seconds 40"),
    _paper("blocks-1x", 110, "--only hunyuanvideo/1 wan2.1-14b/1 mochi-1/1 --seconds 20"),
    _paper("blocks-2x", 140, "--only hunyuanvideo/2 wan2.1-14b/2 mochi-1/2 --seconds 25"),
    _paper("blocks-4x-hunyuanvideo", 220, "--only hunyuanvideo/4 --seconds 50"),
    _paper("blocks-4x", 150, "--only wan2.1-14b/4 mochi-1/4 --seconds 40"),
    Job("order", 150, ("benchmarks.row_order -o results/row_order.jsonl",)),
    Job("kernels", 580, ("benchmarks.kernels -o results/kernels",)),
    Job("planted", 400, ("benchmarks.planted --timed",)),
    Job("noise", 450, ("benchmarks.noise -o results/noise.jsonl --seconds 420",)),
    Job("timers", 120, ("benchmarks.timers -o results/timers.json",)),
    *(_suite(name, 600) for name in ("scaling", "wan", "hunyuan", "mochi", "peers")),
)


class Lane(threading.Thread):
    """Does jobs on one GPU, the longest first, until there are none that end in time.

    Args:
        gpu: Number of the GPU.
        cores: The cores that its processes may use.
        left: Jobs that nobody has begun; lanes share it.
        deadline: Moment of the monotonic clock at which everything is to have ended.
    """

    def __init__(self, gpu: int, cores: set[int], left: list[Job], deadline: float) -> None:
        super().__init__()
        self.gpu, self.cores, self.left, self.deadline = gpu, cores, left, deadline
        self.done: list[tuple[Job, int, float]] = []

    def run(self) -> None:
        """Do jobs; each ends with the first of its commands that fails."""
        # Of this thread, and so of the processes it starts.
        os.sched_setaffinity(0, self.cores)
        while (job := self._next()) is not None:
            begun = time.monotonic()
            code = self._do(job)
            self.done.append((job, code, time.monotonic() - begun))
            print(told(job, self.gpu, code, self.done[-1][2]), flush=True)

    def _next(self) -> Job | None:
        with LOCK:
            room = self.deadline - time.monotonic()
            fitting = [job for job in self.left if job.seconds <= room]
            if not fitting:
                return None
            job = max(fitting, key=lambda one: one.seconds)
            self.left.remove(job)
            return job

    def _do(self, job: Job) -> int:
        LOGS.mkdir(parents=True, exist_ok=True)
        env = os.environ | {"CUDA_VISIBLE_DEVICES": str(self.gpu)}
        with (LOGS / f"{job.name}.log").open("w") as log:
            for command in job.commands:
                code = subprocess.run(
                    [sys.executable, "-m", *shlex.split(command)],
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                ).returncode
                if code:
                    return code
        return 0


def told(job: Job, gpu: int, code: int, seconds: float) -> str:
    """Say how a job ended."""
    end = "done" if code == 0 else f"FAILED with exit code {code}, see {LOGS / job.name}.log"
    return f"{job.name}: {end}, {seconds:.0f} s on GPU {gpu}"


def chosen(words: Iterable[str]) -> list[Job]:
    """Give the jobs whose name has one of some words; all if there are none."""
    words = list(words)
    return [job for job in JOBS if not words or any(word in job.name for word in words)]


def run(jobs: Sequence[Job], gpus: Sequence[int], seconds: float) -> int:
    """Do jobs; gives how many failed or were not begun."""
    left, deadline = list(jobs), time.monotonic() + seconds
    cores = sorted(os.sched_getaffinity(0))
    share = max(1, len(cores) // len(gpus))
    lanes = [
        Lane(gpu, set(cores[place * share : (place + 1) * share]) or set(cores), left, deadline)
        for place, gpu in enumerate(gpus)
    ]
    for lane in lanes:
        lane.start()
    try:
        for lane in lanes:
            lane.join()
    except KeyboardInterrupt:
        # What runs is interrupted too; nothing else begins.
        with LOCK:
            left.clear()
        raise
    for job in left:
        print(f"{job.name}: not begun, it takes about {job.seconds} s")
    return len(left) + sum(code != 0 for lane in lanes for _, code, _ in lane.done)


def main() -> int:
    """Do what was chosen."""
    parser = argparse.ArgumentParser(description="Measure again what docs show.")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="part of the names")
    parser.add_argument("--gpus", nargs="+", type=int, default=[0], metavar="NUMBER")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all of it")
    parser.add_argument("--list", action="store_true", help="only tell")
    options = parser.parse_args()
    jobs = chosen(options.only)
    if not jobs:
        parser.error(f"no job has {' or '.join(options.only)} in its name; try --list")
    if options.list:
        for job in jobs:
            print(f"{job.name:20} {job.seconds:5} s")
            for command in job.commands:
                print(f"    python -m {command}")
        return 0
    try:
        return int(run(jobs, options.gpus, options.seconds) > 0)
    except KeyboardInterrupt:
        print("stopped; what the jobs have written stays")
        return 130


if __name__ == "__main__":
    sys.exit(main())
