"""Live: configurations tried on this machine, in the process in which suites try their cases."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from radialbench.autotune.ahead import Ahead, Load
from radialbench.autotune.evaluator import Outcome, Task, Trial
from radialbench.autotune.words import config_words
from radialbench.kernels.environment import cores, gpus
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Status
from radialbench.suites.finding import Finding
from radialbench.suites.plan import Case
from radialbench.suites.pool import Failed, Pool
from radialbench.suites.spec import Protocol
from radialbench.suites.worker import Worker

if TYPE_CHECKING:
    from radialbench.kernels.precompile import Built

GIVE_UP = 1.4
"""Calls that take this many times as long as the best are not sampled further."""

QUICK = {"min_samples": 8, "max_samples": 10, "min_seconds": 0.0, "max_seconds": 0.4}
FINAL = {"min_samples": 15, "max_samples": 40, "max_seconds": 5.0, "target": 0.002, "warmups": 2}

TIMEOUTS = {"cpu": 300.0, "cuda": 60.0}
"""Seconds to prepare a trial, by device: tensors and what the definition makes of them included."""

COMPILE_SECONDS = 60.0
"""What takes longer to compile is given up."""

FREE_CORES = 2
"""Cores on which nothing is compiled: those of the process that measures, and of this one."""

OUTCOMES = {
    Status.OK: Outcome.OK,
    Status.UNSUPPORTED: Outcome.REJECTED,
    Status.OOM: Outcome.REJECTED,
    Status.INACCURATE: Outcome.WRONG,
    Status.TIMEOUT: Outcome.TIMEOUT,
    Status.CRASHED: Outcome.CRASHED,
    Status.FAILED: Outcome.CRASHED,
}
"""What the end of a case says of its configuration, unless its error says more."""

ERRORS = {
    "CompilationError": Outcome.COMPILE_FAILED,
    "PTXASError": Outcome.COMPILE_FAILED,
    "RuntimeError: PassManager": Outcome.COMPILE_FAILED,
    "OutOfResources": Outcome.REJECTED,
}
"""What errors of Triton's say of it, by how they begin."""


class Rig:
    """The processes that trials need, for one task after the other.

    They are started at once, and no PyTorch is imported here for it: who enters a rig first, and
    finds out what to tune then, waits for all of them at the same time.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        folder: Where tables are left for the process that measures.
        worker: The process that measures.
    """

    def __init__(self, device: str, command: str = "") -> None:
        self.device = device
        self._command = command

    def __enter__(self) -> "Rig":
        with ExitStack() as begun:
            self.folder = Path(begun.enter_context(tempfile.TemporaryDirectory()))
            worker = Worker(self.device, self._command, tables=self.folder)
            self.worker = begun.enter_context(worker)
            children = max(1, cores() - FREE_CORES)
            # It has no children until there is a job.
            self._pool = begun.enter_context(Pool(children, limit_s=COMPILE_SECONDS))
            if self.device != "cpu" and gpus()[0]:
                # That NVML knows a GPU is told at once; whether PyTorch does, takes its import.
                self._pool.add(map(Load, range(children)))
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
    def pool(self) -> Pool | None:
        """The processes that compile ahead; None where none do."""
        if self.arch is None:
            # On a CPU compiling would disturb what is timed.
            self._pool.close()
            return None
        return self._pool


class Live:
    """Tries configurations of one task in the processes of a rig.

    Args:
        task: The task.
        rig: The processes.
        then: What is needed first after this task; compiled while its last ones are timed, so that
            the GPU does not wait for it.
    """

    def __init__(
        self, task: Task, rig: Rig, *, then: Sequence[tuple[Task, KernelConfig]] = ()
    ) -> None:
        self._task = task
        self._rig = rig
        self._then = then
        self._wanted: list[Ahead] = []
        self._first: dict[str, KernelConfig] = {}
        self._unasked: KernelConfig | None = None

    def prepare(self, configs: Sequence[KernelConfig]) -> None:
        """Have configurations compiled, in this order, once the first is tried; return at once."""
        if self._rig.pool is not None:
            self._wanted += [self._ahead(self._task, config) for config in configs]

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        """Time a configuration, unless compiling it spoke against it, or its result is wrong.

        The first of all is not compiled ahead: its process would do nothing else meanwhile.

        Raises:
            WorkerError: The process that measures cannot be started.
        """
        if self._rig.pool is not None:
            self._rig.pool.add(self._wanted)
            self._wanted = []
        if best_ms is None and self._unasked is None:
            self._unasked = config
        elif (refused := self._refused(config)) is not None:
            return refused
        give_up = None if best_ms is None else GIVE_UP * best_ms
        (trial,) = self._tried([config], give_up_ms=give_up, **QUICK)
        return trial

    def final(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        """Time configurations in turn: sample i of each was taken beside sample i of the others.

        Raises:
            WorkerError: The process that measures cannot be started.
        """
        self.close()
        if self._rig.pool is not None:
            self._rig.pool.add([self._ahead(task, config) for task, config in self._then])
        return self._tried(configs, interleave=True, **FINAL)

    def close(self) -> None:
        """Compile nothing more that was asked for."""
        if self._rig.pool is not None:
            self._rig.pool.drop()

    def built(self, config: KernelConfig) -> "Built | Failed | None":
        """Give what a configuration's kernel takes, once it is compiled; None if that is not known.

        Compiles nothing where nothing is compiled ahead.
        """
        if self._rig.pool is None:
            return None
        found: Built | Failed = self._rig.pool.result(self._ahead(self._task, config))
        return found

    def _ahead(self, task: Task, config: KernelConfig) -> Ahead:
        assert self._rig.arch is not None
        return Ahead(task, config, self._rig.arch, self._rig.folder)

    def _refused(self, config: KernelConfig) -> Trial | None:
        built = self.built(config)
        if built is None:
            return None
        if isinstance(built, Failed):
            return Trial(config, Outcome.COMPILE_FAILED, built.reason)
        from radialbench.kernels.precompile import over_limits

        assert self._rig.arch is not None
        if self._unasked is not None:
            other = self.built(self._unasked)
            if other is not None and not isinstance(other, Failed):
                self._first.setdefault(other.code, self._unasked)
        reason = over_limits(built, self._rig.arch)
        twin = self._first.setdefault(built.code, config)
        if reason is None and twin != config:
            reason = f"compiles to the same code as {config_words(twin)}"
        return None if reason is None else Trial(config, Outcome.REJECTED, reason)

    def _tried(self, configs: Sequence[KernelConfig], **protocol: Any) -> list[Trial]:
        sampled = Protocol(timeout_seconds=TIMEOUTS[self._task.device], **protocol)
        cases = [_case(self._task, config, place, sampled) for place, config in enumerate(configs)]
        found = self._rig.worker.attempt(cases, lambda case: None)
        return [trial_of(config, one) for config, one in zip(configs, found, strict=True)]


def trial_of(config: KernelConfig, found: Finding) -> Trial:
    """Say what the end of a case means for its configuration.

    Samples taken while heat or the hardware held the clocks back are left out, if there are others;
    of cases that were sampled in turn, the same ones of all.
    """
    if found.timing is not None:
        return Trial(config, Outcome.OK, None, found.timing.steady_ms)
    reason = found.reason or found.status.value
    told = [outcome for start, outcome in ERRORS.items() if reason.startswith(start)]
    return Trial(config, told[0] if told else OUTCOMES[found.status], reason)


def _case(task: Task, config: KernelConfig, place: int, protocol: Protocol) -> Case:
    return Case(
        id=f"{task.mask.label}/{task.problem.grid.label}/{task.backend}/{place}",
        measure="attention",
        identity=task.mask.identity,
        mask=task.mask,
        model=None,
        problem=task.problem,
        backend=task.backend,
        config=config,
        config_source="tune",
        device=task.device,
        protocol=protocol,
    )


def _arch(device: str) -> int | None:
    if device == "cpu":
        return None
    from radialbench.kernels.defaults import capability
    from radialbench.kernels.device import find_device

    found = capability(find_device(device))
    return None if found is None else 10 * found[0] + found[1]
