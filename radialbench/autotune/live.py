"""LiveEvaluator: configurations tried on this machine, in the worker process of suites."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radialbench.autotune.space import format_config
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.kernels.measure.environment import gpus
from radialbench.machine import cores
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.heads import AnyMask
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.result import Record, Status
from radialbench.suites.keeper import temporary_folder
from radialbench.suites.plan import Case
from radialbench.suites.pool import Failed, JobPool
from radialbench.suites.schema import Protocol
from radialbench.suites.worker import Worker

if TYPE_CHECKING:
    from radialbench.kernels.triton.precompile import Built

GIVE_UP = 1.4
"""Sampling ends after the first call that takes this many times as long as the best."""

QUICK = {"min_samples": 8, "max_samples": 10, "min_seconds": 0.0, "max_seconds": 0.4}
RUNOFF = {"min_samples": 15, "max_samples": 40, "max_seconds": 5.0, "target": 0.002, "warmups": 2}

TIMEOUTS = {"cpu": 300.0, "cuda": 60.0}
"""Seconds to prepare a trial, by device, with its tensors and the result by the definition."""

COMPILE_SECONDS = 60.0
"""Limit for compiling a configuration."""

FREE_CORES = 2
"""Cores for the process that measures and for this one; the others compile."""

OUTCOMES = {
    Status.OK: TrialOutcome.OK,
    Status.UNSUPPORTED: TrialOutcome.REJECTED,
    Status.OOM: TrialOutcome.REJECTED,
    Status.INACCURATE: TrialOutcome.WRONG,
    Status.TIMEOUT: TrialOutcome.TIMEOUT,
    Status.CRASHED: TrialOutcome.CRASHED,
    Status.FAILED: TrialOutcome.CRASHED,
}
"""Outcome of a trial by the status of its case, unless `ERRORS` has its error."""

ERRORS = {
    "CompilationError": TrialOutcome.COMPILE_FAILED,
    "PTXASError": TrialOutcome.COMPILE_FAILED,
    "RuntimeError: PassManager": TrialOutcome.COMPILE_FAILED,
    "OutOfResources": TrialOutcome.REJECTED,
}
"""Outcome of a trial by the start of Triton's error message."""


@dataclass(frozen=True, slots=True)
class Preload:
    """Import PyTorch and Triton before there is something to compile.

    Attributes:
        child: Number of the child, so that each has a job of its own.
    """

    child: int

    def run(self) -> None:
        """Import them, in a child process of a pool."""
        import_module("radialbench.kernels.triton.precompile")
        import_module("radialbench.kernels.triton.forward")


@dataclass(frozen=True, slots=True)
class Precompile:
    """Compile the block table and the kernel of a configuration before its trial.

    The table goes to the folder, and the kernel to Triton's cache.
    """

    mask: AnyMask
    grid: TokenGrid
    problem: Problem
    backend: str
    config: KernelConfig
    arch: int
    folder: Path

    def run(self) -> "Built":
        """Compile both, in a child process of a pool.

        Raises:
            SpecError: The mask does not fit the grid.
            BackendError: The kernel cannot be compiled.
        """
        from radialbench.kernels.triton.precompile import precompile
        from radialbench.suites.resources import shared_table

        table = shared_table(self.folder, self.mask, self.grid, self.config)
        return precompile(self.backend, self.problem, table, self.config, arch=self.arch)


class WorkerPool:
    """The processes that trials need, for one problem after the other.

    All start at once, without importing PyTorch here, so that this process can read the suite
    while they start.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        folder: Folder of tables for the process that measures.
        worker: The process that measures.
    """

    def __init__(self, device: str, command: str = "") -> None:
        self.device = device
        self._command = command

    def __enter__(self) -> "WorkerPool":
        with ExitStack() as stack:
            self.folder = stack.enter_context(temporary_folder())
            worker = Worker(self.device, self._command, tables=self.folder)
            self.worker = stack.enter_context(worker)
            children = max(1, cores() - FREE_CORES)
            self._jobs = stack.enter_context(JobPool(children, limit_s=COMPILE_SECONDS))
            if self.device != "cpu" and gpus()[0]:
                # NVML reports a GPU at once; PyTorch only after its import.
                self._jobs.add(map(Preload, range(children)))
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        """End the processes, all at the same time."""
        self.worker.hang_up()
        self._open.__exit__(kind, *error)

    @cached_property
    def arch(self) -> int | None:
        """Compute capability of the GPU, times ten; None where nothing is precompiled.

        Raises:
            BackendError: The machine has no such device.
        """
        return _arch(self.device)

    @cached_property
    def jobs(self) -> JobPool | None:
        """The processes that precompile; None where none do."""
        if self.arch is None:
            # On a CPU compiling would disturb the timing.
            self._jobs.close()
            return None
        return self._jobs


class LiveEvaluator:
    """Tries configurations of one problem in the processes of a pool.

    Args:
        case: The problem, and the backend that computes it on a device.
        pool: The processes.
        then: The first trials of the next problem; compiled during the runoff, so that the GPU does
            not wait for them.
    """

    def __init__(self, case: Case, pool: WorkerPool, *, then: Sequence[Case] = ()) -> None:
        self._case = case
        self._pool = pool
        self._then = then
        self._wanted: list[Precompile] = []
        self._by_code: dict[str, KernelConfig] = {}
        self._first: KernelConfig | None = None

    def prepare(self, configs: Sequence[KernelConfig]) -> None:
        """Compile configurations, in this order, once the first is tried; return at once."""
        if self._pool.jobs is not None:
            self._wanted += [self._precompile(self._case, config) for config in configs]

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        """Time a configuration, unless its kernel is rejected or its result is wrong.

        The first of all is not precompiled: the process that measures would only wait for it.

        Raises:
            WorkerError: The process that measures cannot be started.
        """
        if self._pool.jobs is not None:
            self._pool.jobs.add(self._wanted)
            self._wanted = []
        if best_ms is None and self._first is None:
            self._first = config
        elif (rejected := self._rejected(config)) is not None:
            return rejected
        give_up = None if best_ms is None else GIVE_UP * best_ms
        (trial,) = self._tried([config], give_up_ms=give_up, **QUICK)
        return trial

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        """Time configurations in turn: sample i of each was taken beside sample i of the others.

        Raises:
            WorkerError: The process that measures cannot be started.
        """
        self.close()
        if self._pool.jobs is not None:
            self._pool.jobs.add([self._precompile(case, case.config) for case in self._then])
        return self._tried(configs, interleave=True, **RUNOFF)

    def close(self) -> None:
        """Drop the configurations that wait to be compiled."""
        if self._pool.jobs is not None:
            self._pool.jobs.drop()

    def built(self, config: KernelConfig) -> "Built | Failed | None":
        """Return a configuration's kernel, once it is compiled; None where none is precompiled."""
        if self._pool.jobs is None:
            return None
        built: Built | Failed = self._pool.jobs.result(self._precompile(self._case, config))
        return built

    def _precompile(self, case: Case, config: KernelConfig) -> Precompile:
        assert self._pool.arch is not None and case.backend is not None
        kernel = case.mask, case.grid, case.problem, case.backend
        return Precompile(*kernel, config, self._pool.arch, self._pool.folder)

    def _rejected(self, config: KernelConfig) -> Trial | None:
        built = self.built(config)
        if built is None:
            return None
        if isinstance(built, Failed):
            return Trial(config, TrialOutcome.COMPILE_FAILED, built.reason)
        from radialbench.kernels.triton.precompile import over_limits

        assert self._pool.arch is not None
        if self._first is not None:
            other = self.built(self._first)
            if other is not None and not isinstance(other, Failed):
                self._by_code.setdefault(other.code, self._first)
        reason = over_limits(built, self._pool.arch)
        twin = self._by_code.setdefault(built.code, config)
        if reason is None and twin != config:
            reason = f"compiles to the same code as {format_config(twin)}"
        return None if reason is None else Trial(config, TrialOutcome.REJECTED, reason)

    def _tried(
        self, configs: Sequence[KernelConfig], *, give_up_ms: float | None = None, **protocol: Any
    ) -> list[Trial]:
        sampled = Protocol(timeout_seconds=TIMEOUTS[self._case.device], **protocol)
        cases = [
            replace(
                self._case,
                id=f"{self._case.id}/{place}",
                config=config,
                config_source="tune",
                protocol=sampled,
                give_up_ms=give_up_ms,
            )
            for place, config in enumerate(configs)
        ]
        records = self._pool.worker.attempt(cases, lambda case: None)
        return [trial_of(config, one) for config, one in zip(configs, records, strict=True)]


def trial_of(config: KernelConfig, record: Record) -> Trial:
    """Return the trial of a configuration from the record of its case.

    Samples taken while the clocks were throttled are left out, if there are others; of cases that
    were sampled in turn, the same ones of all.
    """
    if record.timing is not None:
        return Trial(config, TrialOutcome.OK, None, record.timing.steady_ms)
    reason = record.reason or record.status.value
    known = [outcome for start, outcome in ERRORS.items() if reason.startswith(start)]
    return Trial(config, known[0] if known else OUTCOMES[record.status], reason)


def _arch(device: str) -> int | None:
    if device == "cpu":
        return None
    from radialbench.kernels.arch import find_device, target_of

    return target_of(find_device(device)).arch
