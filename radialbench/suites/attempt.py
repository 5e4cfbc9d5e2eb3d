"""One case tried: compile, plan, check, measure; whatever happens becomes its record."""

import math
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

from radialbench.errors import BackendError, RadialBenchError
from radialbench.kernels.arch import DeviceLostError, device_lost, find_device
from radialbench.kernels.backends import Backend, Run, load_backend
from radialbench.kernels.checks import check_result
from radialbench.kernels.measure.accuracy import WRONG, compare, leave_nans
from radialbench.kernels.measure.clocks import Clock, HostClock, clock_of
from radialbench.kernels.measure.inputs import Inputs
from radialbench.kernels.measure.memory import peak_memory
from radialbench.kernels.measure.timing import measure
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.table import BlockTable
from radialbench.records.measurement import Measurement
from radialbench.records.result import Record, Status
from radialbench.suites.plan import Case, ended
from radialbench.suites.resources import Workbench, available_bytes, needed_bytes, table_stats
from radialbench.suites.worker import Begins, Samples, Step


class _EndError(Exception):
    """A case that ends early, with what is known of it."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def attempt(
    case: Case, bench: Workbench, *, tell: Callable[[Step], None] = lambda step: None
) -> Record:
    """Try a case. What it does is in the record, unless it leaves the GPU unusable.

    Args:
        case: The case.
        bench: What it shares with other cases.
        tell: Told how far it is.

    Raises:
        DeviceLostError: An error has left the GPU unusable for this process.
        KeyboardInterrupt: Ctrl-C.
    """
    tell(Begins(0))
    record, call = prepare(case, bench)
    if call is None:
        return record
    tell(Samples((record,), (True,)))
    protocol = case.protocol
    clock: Clock = HostClock()
    if case.measure == "attention":
        clock = clock_of(find_device(case.device), cold=protocol.cache == "cold")
    try:
        timing = measure(call, clock=clock, **sampling(case))
    except Exception as error:
        return failed(record, error)
    return timed(record, timing)


def prepare(case: Case, bench: Workbench) -> tuple[Record, Callable[[], object] | None]:
    """Do everything but the timing: compile, plan, check.

    Returns:
        The record, and the call to time, which was made once. Without a call the record says why;
        with one it says that the case was not tried, until `timed` gives it samples.

    Raises:
        DeviceLostError: An error has left the GPU unusable for this process.
        KeyboardInterrupt: Ctrl-C.
    """
    steps = _Steps(case, bench)
    try:
        call = steps.go()
    except _EndError as error:
        return ended(steps.record, error.status, str(error)), None
    except Exception as error:
        return failed(steps.record, error), None
    return steps.record, call


def timed(record: Record, timing: Measurement) -> Record:
    """Return the record of a case that has ended well; its first call counts as a warm-up."""
    timing = replace(timing, warmups=timing.warmups + 1)
    return replace(record, status=Status.OK, reason=None, timing=timing)


def failed(record: Record, error: Exception) -> Record:
    """Return the record of a case that an error has ended.

    Raises:
        DeviceLostError: The error has left the GPU unusable for this process.
        KeyboardInterrupt: Ctrl-C is what led to the error.
    """
    if _interrupted(error):
        raise KeyboardInterrupt from error
    if device_lost():
        raise DeviceLostError(line_of(error)) from error
    status = Status.OOM if out_of_memory(error) else Status.FAILED
    return ended(record, status, line_of(error))


def sampling(case: Case) -> dict[str, Any]:
    """Return the arguments of `measure` for a call that has been made once, its first warm-up."""
    protocol = case.protocol
    names = ("target", "min_samples", "max_samples", "min_seconds", "max_seconds")
    return {name: getattr(protocol, name) for name in names} | {
        "warmups": max(protocol.warmups - 1, 0),
        "give_up_ms": math.inf if case.give_up_ms is None else case.give_up_ms,
    }


class _Steps:
    """The steps of one case, and its record so far."""

    def __init__(self, case: Case, bench: Workbench) -> None:
        self.case = case
        self.bench = bench
        self.record = case.record(bench.environment)

    def go(self) -> Callable[[], object]:
        if self.case.measure == "compile":
            return self._compile_alone()
        return self._attend()

    def _compile_alone(self) -> Callable[[], object]:
        begin = perf_counter()
        table, memory = peak_memory(self._compile)
        stats = table_stats(table, self.case.problem, (perf_counter() - begin) * 1e3)
        self.record = replace(self.record, table=stats, memory=memory)
        return self._compile

    def _compile(self) -> BlockTable:
        config = self.case.config
        return compile_mask(self.case.mask, self.case.grid, config.block_m, config.block_n)

    def _attend(self) -> Callable[[], object]:
        backend, device = self._supported()
        table = self._compiled()
        self._room(permuted=table.order.kind != "raster", device=device)
        run = self._planned(backend, table)
        inputs, permute_ms = self.bench.inputs(self.case.problem, table, device)
        self.record = replace(self.record, permute_ms=permute_ms)
        self._checked(run, inputs, table, device)
        return lambda: run(*inputs)

    def _supported(self) -> tuple[Backend, str]:
        try:
            device = find_device(self.case.device)
            backend = load_backend(self.case.backend or "", self.bench.backends)
        except (BackendError, ImportError) as error:
            raise _EndError(Status.UNSUPPORTED, line_of(error)) from None
        if reasons := backend.unsupported_reasons(self.case.problem, device):
            raise _EndError(Status.UNSUPPORTED, "; ".join(reasons))
        return backend, device

    def _compiled(self) -> BlockTable:
        table, compile_ms = self.bench.tables.table(
            self.case.mask, self.case.grid, self.case.config
        )
        stats = table_stats(table, self.case.problem, compile_ms)
        self.record = replace(self.record, table=stats)
        return table

    def _room(self, *, permuted: bool, device: str) -> None:
        needed = needed_bytes(self.case.problem, permuted=permuted)
        free = available_bytes(device)
        if free is not None and needed > free:
            needs, has = (f"{size / 2**30:.1f} GiB" for size in (needed, free))
            raise _EndError(Status.OOM, f"not tried: needs at least {needs}, {has} are free")

    def _planned(self, backend: Backend, table: BlockTable) -> Run:
        begin = perf_counter()
        try:
            run = backend.plan(self.case.problem, table, self.case.config)
        except BackendError as error:
            raise _EndError(Status.UNSUPPORTED, str(error)) from None
        self.record = replace(self.record, plan_ms=(perf_counter() - begin) * 1e3)
        return run

    def _checked(self, run: Run, inputs: Inputs, table: BlockTable, device: str) -> None:
        if device != "cpu":
            run(*inputs)  # What the first call compiles and sets up is not the call's memory.
            leave_nans(inputs[0])
        result, memory = peak_memory(lambda: run(*inputs), device=device)
        self.record = replace(self.record, memory=memory)
        problem = self.case.problem
        wanted = self.bench.expected(problem, table, device)
        accuracy = compare(check_result(problem, result), wanted)
        self.record = replace(self.record, accuracy=accuracy)
        if max(accuracy.max_abs_error, accuracy.max_lse_error) >= WRONG:
            raise _EndError(
                Status.INACCURATE, "the result is nan or infinite where the definition is finite"
            )
        if not accuracy.passed:
            raise _EndError(
                Status.INACCURATE,
                f"errors of {accuracy.max_abs_error:.2e} in the output and "
                f"{accuracy.max_lse_error:.2e} in the lse, tolerance {accuracy.tolerance:.2e}",
            )


def _interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C led to an error; striking while a lock is taken, it breaks the lock."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed; PyTorch's CPU allocator has no type for it."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(
        error
    )


def line_of(error: Exception) -> str:
    """Return an error's message, with its kind unless it is one of ours."""
    if isinstance(error, RadialBenchError):
        return str(error)
    return f"{type(error).__name__}: {error}"
