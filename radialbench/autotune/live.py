"""Live: configurations tried on this machine, in the process in which suites try their cases."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from radialbench.autotune.space import format_config
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.kernels.measure.environment import cores, gpus
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.result import Record, Status
from radialbench.suites.plan import Case
from radialbench.suites.pool import Failed, JobPool
from radialbench.suites.schema import Protocol
from radialbench.suites.worker import Worker

if TYPE_CHECKING:
    from radialbench.kernels.triton.precompile import Built

GIVE_UP = 1.4
"""Calls that take this many times as long as the best are not sampled further."""

QUICK = {"min_samples": 8, "max_samples": 10, "min_seconds": 0.0, "max_seconds": 0.4}
RUNOFF = {"min_samples": 15, "max_samples": 40, "max_seconds": 5.0, "target": 0.002, "warmups": 2}

TIMEOUTS = {"cpu": 300.0, "cuda": 60.0}
"""Seconds to prepare a trial, by device: tensors and what the definition makes of them included."""

COMPILE_SECONDS = 60.0
"""What takes longer to compile is given up."""

FREE_CORES = 2
"""Cores on which nothing is compiled: those of the process that measures, and of this one."""

OUTCOMES = {
    Status.OK: TrialOutcome.OK,
    Status.UNSUPPORTED: TrialOutcome.REJECTED,
    Status.OOM: TrialOutcome.REJECTED,
    Status.INACCURATE: TrialOutcome.WRONG,
    Status.TIMEOUT: TrialOutcome.TIMEOUT,
    Status.CRASHED: TrialOutcome.CRASHED,
    Status.FAILED: TrialOutcome.CRASHED,
}
"""What the end of a case says of its configuration, unless its error says more."""

ERRORS = {
    "CompilationError": TrialOutcome.COMPILE_FAILED,
    "PTXASError": TrialOutcome.COMPILE_FAILED,
    "RuntimeError: PassManager": TrialOutcome.COMPILE_FAILED,
    "OutOfResources": TrialOutcome.REJECTED,
}
"""What errors of Triton's say of it, by how they begin."""


@dataclass(frozen=True, slots=True)
class Preload:
    """Import what compiling takes, PyTorch above all, before there is something to compile.

    Attributes:
        child: Each child has one of its own: equal jobs are done once.
    """

    child: int

    def run(self) -> None:
        """Import it, in a child process of a pool."""
        import_module("radialbench.kernels.triton.precompile")
        import_module("radialbench.kernels.triton.forward")


@dataclass(frozen=True, slots=True)
class Precompile:
    """Compile the block table and the kernel of a configuration, before a GPU gets to it.

    Attributes:
        mask: The mask.
        grid: The token layout.
        problem: What is computed.
        backend: What computes it.
        config: The configuration.
        arch: Compute capability of the GPU, times ten.
        folder: Where the table goes; the kernel goes to Triton's cache.
    """

    mask: MaskSpec
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

    They are started at once, and no PyTorch is imported here for it: who enters a pool first, and
    finds out what to tune then, waits for all of them at the same time.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        folder: Where tables are left for the process that measures.
        worker: The process that measures.
    """

    def __init__(self, device: str, command: str = "") -> None:
        self.device = device
        self._command = command

    def __enter__(self) -> "WorkerPool":
        with ExitStack() as begun:
            self.folder = Path(begun.enter_context(tempfile.TemporaryDirectory()))
            worker = Worker(self.device, self._command, tables=self.folder)
            self.worker = begun.enter_context(worker)
            children = max(1, cores() - FREE_CORES)
            # It has no children until there is a job.
            self._jobs = begun.enter_context(JobPool(children, limit_s=COMPILE_SECONDS))
            if self.device != "cpu" and gpus()[0]:
                # That NVML knows a GPU is told at once; whether PyTorch does, takes its import.
                self._jobs.add(map(Preload, range(children)))
            self._open = begun.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes, all at the same time."""
        self.worker.hang_up()
        self._open.__exit__(kind, error, trace)

    @cached_property
    def arch(self) -> int | None:
        """Compute capability of the GPU, times ten; None where nothing is compiled ahead.

        Raises:
            BackendError: The machine has no such device.
        """
        return _arch(self.device)

    @cached_property
    def jobs(self) -> JobPool | None:
        """The processes that compile ahead; None where none do."""
        if self.arch is None:
            # On a CPU compiling would disturb what is timed.
            self._jobs.close()
            return None
        return self._jobs


class Live:
    """Tries configurations of one problem in the processes of a pool.

    Args:
        case: The problem, and the backend that computes it on a device.
        pool: The processes.
        then: What is needed first after this problem; compiled while its last ones are timed, so
            that the GPU does not wait for it.
    """

    def __init__(self, case: Case, pool: WorkerPool, *, then: Sequence[Case] = ()) -> None:
        self._case = case
        self._pool = pool
        self._then = then
        self._wanted: list[Precompile] = []
        self._first: dict[str, KernelConfig] = {}
        self._unasked: KernelConfig | None = None

    def prepare(self, configs: Sequence[KernelConfig]) -> None:
        """Have configurations compiled, in this order, once the first is tried; return at once."""
        if self._pool.jobs is not None:
            self._wanted += [self._precompile(self._case, config) for config in configs]

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        """Time a configuration, unless compiling it spoke against it, or its result is wrong.

        The first of all is not compiled before: its process would do nothing else meanwhile.

        Raises:
            WorkerError: The process that measures cannot be started.
        """
        if self._pool.jobs is not None:
            self._pool.jobs.add(self._wanted)
            self._wanted = []
        if best_ms is None and self._unasked is None:
            self._unasked = config
        elif (refused := self._refused(config)) is not None:
            return refused
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
        """Compile nothing more that was asked for."""
        if self._pool.jobs is not None:
            self._pool.jobs.drop()

    def built(self, config: KernelConfig) -> "Built | Failed | None":
        """Return what a configuration's kernel takes, once it is compiled; None if unknown.

        Compiles nothing where nothing is compiled before its trial.
        """
        if self._pool.jobs is None:
            return None
        found: Built | Failed = self._pool.jobs.result(self._precompile(self._case, config))
        return found

    def _precompile(self, case: Case, config: KernelConfig) -> Precompile:
        assert self._pool.arch is not None and case.backend is not None
        what = case.mask, case.grid, case.problem, case.backend
        return Precompile(*what, config, self._pool.arch, self._pool.folder)

    def _refused(self, config: KernelConfig) -> Trial | None:
        built = self.built(config)
        if built is None:
            return None
        if isinstance(built, Failed):
            return Trial(config, TrialOutcome.COMPILE_FAILED, built.reason)
        from radialbench.kernels.triton.precompile import over_limits

        assert self._pool.arch is not None
        if self._unasked is not None:
            other = self.built(self._unasked)
            if other is not None and not isinstance(other, Failed):
                self._first.setdefault(other.code, self._unasked)
        reason = over_limits(built, self._pool.arch)
        twin = self._first.setdefault(built.code, config)
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
    """Return what the end of a case means for its configuration.

    Samples taken while heat or the hardware held the clocks back are left out, if there are others;
    of cases that were sampled in turn, the same ones of all.
    """
    if record.timing is not None:
        return Trial(config, TrialOutcome.OK, None, record.timing.steady_ms)
    reason = record.reason or record.status.value
    told = [outcome for start, outcome in ERRORS.items() if reason.startswith(start)]
    return Trial(config, told[0] if told else OUTCOMES[record.status], reason)


def _arch(device: str) -> int | None:
    if device == "cpu":
        return None
    from radialbench.kernels.arch import find_device, target_of

    return target_of(find_device(device)).arch
