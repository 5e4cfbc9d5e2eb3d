"""Time every configuration of our kernels on a GPU, so that searches can be replayed without one.

    python -m benchmarks.tuning_sweep             # measure: under eight minutes on an H100
    python -m benchmarks.tuning_sweep --dry-run   # what that would take

Goes through the problems of benchmarks/tuning_sweep.yaml, the default configuration first, then
what is near it, with the same trials as `radialbench tune`: kernels are compiled ahead on all
cores, results are compared with the definition, and what is far slower than the best so far is
timed once. Each trial is a line of benchmarks/results/tuning_sweep.jsonl as soon as it ends;
started again, it goes on with those that are missing.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from math import log2
from pathlib import Path

from radialbench.autotune.evaluator import Task, Trial
from radialbench.autotune.live import Live, Rig
from radialbench.autotune.space import candidates
from radialbench.autotune.sweep import SCHEMA, SweepTrial, read_sweep
from radialbench.autotune.tasks import tasks_of
from radialbench.autotune.words import config_words
from radialbench.errors import AutotuneError, RadialBenchError
from radialbench.kernels.device import find_device
from radialbench.kernels.environment import cores
from radialbench.kernels.sources import compiler_version, source_hash
from radialbench.kernels.tuned import processor
from radialbench.records.problem import KernelConfig
from radialbench.records.store import append, write_whole
from radialbench.records.tuning import TuningKey, key_of
from radialbench.suites.plan import plan
from radialbench.suites.pool import Failed
from radialbench.suites.read import load_suite
from radialbench.suites.tables import shared_table

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "benchmarks" / "tuning_sweep.yaml"
RESULTS = ROOT / "benchmarks" / "results" / "tuning_sweep.jsonl"

TRIAL_SECONDS = 0.2
KERNEL_SECONDS = 2.0
"""What a trial takes on a GPU, and a kernel to compile on one core; for the estimate alone."""


def in_order(configs: Iterable[KernelConfig], default: KernelConfig) -> list[KernelConfig]:
    """Put the default first, then what is near it, so that the best so far is a good one early."""

    def distance(config: KernelConfig) -> float:
        steps = abs(log2(config.block_m / default.block_m))
        steps += abs(log2(config.block_n / default.block_n))
        if config.num_warps and default.num_warps:
            steps += abs(log2(config.num_warps / default.num_warps))
        if config.num_stages and default.num_stages:
            steps += abs(config.num_stages - default.num_stages) / 2
        return steps

    return sorted(configs, key=lambda config: (config != default, distance(config)))


class Sweep:
    """Tries what is missing of a file of trials.

    Args:
        tasks: What is computed.
        path: The file.
    """

    def __init__(self, tasks: Sequence[Task], path: Path) -> None:
        self.path = path
        device = processor(tasks[0].device)
        self.keys = {task: key_of(task.problem, task.backend, device) for task in tasks}
        self.known = _known(path, {task.backend for task in tasks})
        self.todo = {task: self._missing(task) for task in tasks}

    def run(self, rig: Rig, deadline: float) -> Counter[str]:
        """Try what is missing, until a moment of the monotonic clock; counts outcomes."""
        counts: Counter[str] = Counter()
        lives = {task: Live(task, rig) for task in self.todo}
        for task, live in lives.items():
            live.prepare(self.todo[task])
        for task, live in lives.items():
            best = min(self._times(task), default=None)
            for config in self.todo[task]:
                if time.monotonic() >= deadline:
                    return counts
                trial = live.quick(config, best_ms=best)
                append(self.path, self._line(task, trial, live, rig.folder))
                counts[trial.outcome] += 1
                if trial.ms is not None and (best is None or trial.ms < best):
                    best = trial.ms
                    print(f"  {best:8.3f} ms  {config_words(config)}", flush=True)
            print(f"{_name(task)}: {dict(counts)}", flush=True)
        return counts

    def _missing(self, task: Task) -> list[KernelConfig]:
        try:
            found = candidates(task.problem, task.backend, task.device)
        except AutotuneError as error:
            print(f"{_name(task)}: left out, {error}")
            return []
        key = self.keys[task]
        return [
            config
            for config in in_order(found.feasible, found.default)
            if (key, config) not in self.known
        ]

    def _times(self, task: Task) -> list[float]:
        key = self.keys[task]
        return [trial.ms for (of, _), trial in self.known.items() if of == key and trial.ms]

    def _line(self, task: Task, trial: Trial, live: Live, folder: Path) -> SweepTrial:
        built = live.built(trial.config)
        known = None if isinstance(built, Failed) else built
        return SweepTrial(
            schema=SCHEMA,
            key=self.keys[task],
            mask=task.mask.identity,
            config=trial.config,
            outcome=trial.outcome,
            reason=trial.reason,
            samples_ms=trial.samples_ms,
            block_density=_block_density(task, trial.config.block_m, trial.config.block_n, folder),
            registers=known.registers if known else None,
            stack_bytes=known.stack_bytes if known else None,
            shared_bytes=known.shared_bytes if known else None,
            kernel=source_hash(task.backend),
            versions=compiler_version(task.backend),
        )


@cache
def _block_density(task: Task, block_m: int, block_n: int, folder: Path) -> float:
    table = shared_table(folder, task.mask, task.grid, KernelConfig(block_m, block_n))
    return table.block_density


def _known(path: Path, backends: Iterable[str]) -> dict[tuple[TuningKey, KernelConfig], Trial]:
    """Read the trials so far; they must be of the kernels as they are now."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return {}
    lines = read_sweep(path)
    for line in lines:
        if line.key.backend in backends and line.kernel != source_hash(line.key.backend):
            raise AutotuneError(
                f"{path} holds trials of another version of the {line.key.backend} kernel; move "
                "it away, or choose another file with -o"
            )
    # Without a last line that was cut off.
    write_whole(path, lines)
    return {(line.key, line.config): line.trial for line in lines}


def _name(task: Task) -> str:
    problem = task.problem
    return f"{task.mask.label} {problem.grid.label} {problem.heads} heads {task.backend}"


def _forecast(todo: dict[Task, list[KernelConfig]]) -> str:
    count = sum(map(len, todo.values()))
    children = max(1, cores() - 2)
    for task, configs in todo.items():
        print(f"{len(configs):5}  {_name(task)}")
    return (
        f"{count} trials are missing: about {count * TRIAL_SECONDS / 60:.1f} minutes of the GPU, "
        f"while {children} cores compile for up to {count * KERNEL_SECONDS / children / 60:.1f}"
    )


def main() -> int:
    """Measure what is missing, or say what it takes."""
    parser = argparse.ArgumentParser(description="Time every configuration of our kernels.")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="file of trials")
    parser.add_argument("--suite", default=str(SUITE), help="problems")
    parser.add_argument("--filter", action="append", default=[], help="part of the case ids")
    parser.add_argument("--backend", action="append", default=[], help="instead of the suite's")
    parser.add_argument("--seconds", type=float, default=470.0, help="begin no trial after this")
    parser.add_argument("--dry-run", action="store_true", help="only estimate")
    options = parser.parse_args()
    begin = time.monotonic()
    try:
        spec = load_suite(options.suite)
        cases = plan(spec, options.filter)
        tasks = tasks_of(cases, find_device(spec.device), options.backend)
        sweep = Sweep(tasks, options.out)
        if options.dry_run:
            print(_forecast(sweep.todo))
            return 0
        with Rig(tasks[0].device, "python -m benchmarks.tuning_sweep") as rig:
            counts = sweep.run(rig, begin + options.seconds)
    except RadialBenchError as error:
        print(f"tuning_sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; started again it goes on", file=sys.stderr)
        return 130
    left = sum(map(len, sweep.todo.values())) - counts.total()
    print(f"{dict(counts)}, {left} left, {time.monotonic() - begin:.0f} s; {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
