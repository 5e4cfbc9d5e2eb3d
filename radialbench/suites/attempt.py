"""One case tried: compile, plan, check, measure; whatever happens becomes a finding."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from time import perf_counter

from radialbench.errors import BackendError, RadialBenchError
from radialbench.kernels.accuracy import WRONG, compare, expected, leave_nans
from radialbench.kernels.backend import Backend, Run, load_backend
from radialbench.kernels.checks import check_result
from radialbench.kernels.clocks import clock_of
from radialbench.kernels.device import find_device
from radialbench.kernels.inputs import Inputs, make_inputs, permutation, permute
from radialbench.kernels.peak import peak_memory
from radialbench.kernels.timing import measure
from radialbench.maskgen.compile import compile_mask
from radialbench.maskgen.table import BlockTable
from radialbench.records.measurement import Accuracy, Measurement, Memory
from radialbench.records.result import Status, TableStats
from radialbench.suites.memory import available_bytes, needed_bytes
from radialbench.suites.plan import Case
from radialbench.suites.tables import Tables, table_stats

PERMUTE_SECONDS = 0.2
ROWS = {"cpu": 1024, "cuda": 4096}
"""Query rows of a case that are compared with the definition."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What trying a case gave; the part of a record that is not known before.

    Attributes:
        status: How it ended.
        reason: Why it did not end well.
        table: The block table's figures.
        accuracy: Distance from the definition.
        timing: Samples.
        permute_ms: Time of the token order.
        plan_ms: Time of planning.
        memory: Peak memory of a call.
    """

    status: Status = Status.OK
    reason: str | None = None
    table: TableStats | None = None
    accuracy: Accuracy | None = None
    timing: Measurement | None = None
    permute_ms: float | None = None
    plan_ms: float | None = None
    memory: Memory | None = None

    def ended(self, status: Status, reason: str) -> "Finding":
        """The same, without a time and with the reason."""
        line = " ".join(reason.split()) or status.value
        return replace(self, status=status, reason=line[:1000], timing=None)


class _EndError(Exception):
    """A case that ends early, with what is known of it."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def attempt(case: Case, tables: Tables) -> Finding:
    """Try a case. Never raises for what the case does: that is in the finding.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    steps = _Steps(case, tables)
    try:
        steps.go()
    except _EndError as error:
        return steps.found.ended(error.status, str(error))
    except Exception as error:
        if _interrupted(error):
            raise KeyboardInterrupt from error
        if _out_of_memory(error):
            return steps.found.ended(Status.OOM, _line(error))
        return steps.found.ended(Status.FAILED, _line(error))
    return steps.found


class _Steps:
    """The steps of one case, and what they have found so far."""

    def __init__(self, case: Case, tables: Tables) -> None:
        self.case = case
        self.tables = tables
        self.found = Finding()

    def go(self) -> None:
        if self.case.measure == "compile":
            self._compile_alone()
        else:
            self._attend()

    def _compile_alone(self) -> None:
        begin = perf_counter()
        table, memory = peak_memory(self._compile)
        stats = table_stats(table, self.case.problem, (perf_counter() - begin) * 1e3)
        self.found = replace(self.found, table=stats, memory=memory)
        self._time(self._compile, "cpu")

    def _compile(self) -> BlockTable:
        config = self.case.config
        return compile_mask(self.case.mask, self.case.grid, config.block_m, config.block_n)

    def _attend(self) -> None:
        backend, device = self._supported()
        table = self._compiled()
        self._room(permuted=table.order.kind != "raster", device=device)
        run = self._planned(backend, table)
        inputs = self._ordered(table, device)
        self._checked(run, inputs, table, device)
        self._time(lambda: run(*inputs), device)

    def _supported(self) -> tuple[Backend, str]:
        try:
            device = find_device(self.case.device)
            backend = load_backend(self.case.backend or "")
        except (BackendError, ImportError) as error:
            raise _EndError(Status.UNSUPPORTED, _line(error)) from None
        if reasons := backend.unsupported_reasons(self.case.problem, device):
            raise _EndError(Status.UNSUPPORTED, "; ".join(reasons))
        return backend, device

    def _compiled(self) -> BlockTable:
        table, compile_ms = self.tables.table(self.case.mask, self.case.grid, self.case.config)
        stats = table_stats(table, self.case.problem, compile_ms)
        self.found = replace(self.found, table=stats)
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
        self.found = replace(self.found, plan_ms=(perf_counter() - begin) * 1e3)
        return run

    def _ordered(self, table: BlockTable, device: str) -> Inputs:
        """Make q, k, v and bring them into the table's order, timing that and the way back."""
        raster = make_inputs(self.case.problem, device=device)
        if table.order.kind == "raster":
            self.found = replace(self.found, permute_ms=0.0)
            return raster
        there, back = permutation(table, device=device)

        def order() -> Inputs:
            q, k, v = raster
            return permute(q, there), permute(k, there), permute(v, there)

        ordered = order()
        timing = measure(
            lambda: (order(), permute(ordered[0], back)),
            min_samples=1,
            max_seconds=PERMUTE_SECONDS,
            warmups=1,
            clock=clock_of(device),
        )
        self.found = replace(self.found, permute_ms=timing.median_ms)
        return ordered

    def _checked(self, run: Run, inputs: Inputs, table: BlockTable, device: str) -> None:
        if device != "cpu":
            run(*inputs)  # What the first call compiles and sets up is not the call's memory.
            leave_nans(inputs[0])
        result, memory = peak_memory(lambda: run(*inputs), device=device)
        self.found = replace(self.found, memory=memory)
        problem = self.case.problem
        wanted = expected(inputs, table=table, sm_scale=problem.scale, rows=ROWS[device])
        accuracy = compare(check_result(problem, result), wanted)
        self.found = replace(self.found, accuracy=accuracy)
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

    def _time(self, call: Callable[[], object], device: str) -> None:
        """Sample a call that has been made once: that call is the first warm-up."""
        protocol = asdict(self.case.protocol)
        protocol["warmups"] = max(protocol["warmups"] - 1, 0)
        timing = measure(call, clock=clock_of(device), **protocol)
        self.found = replace(self.found, timing=replace(timing, warmups=timing.warmups + 1))


def _interrupted(error: BaseException | None) -> bool:
    """Tell an error that Ctrl-C led to: one that strikes while a lock is taken breaks the lock."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _out_of_memory(error: Exception) -> bool:
    """Tell a failed allocation from other errors; PyTorch's CPU allocator has no type for it."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(
        error
    )


def _line(error: Exception) -> str:
    if isinstance(error, RadialBenchError):
        return str(error)
    return f"{type(error).__name__}: {error}"
