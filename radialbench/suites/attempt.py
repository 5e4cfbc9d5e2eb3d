"""Cases tried: compiled, planned, checked and timed, alone or in turn; each becomes its record."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from radialbench.errors import BackendError, RadialBenchError
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.kernels.arch import DeviceLostError, device_lost, find_device
from radialbench.kernels.backends import (
    BACKENDS,
    Backend,
    InRaster,
    Run,
    Selects,
    load_backend,
    plan_table,
)
from radialbench.kernels.checks import DTYPES, check_result
from radialbench.kernels.measure.accuracy import (
    WRONG,
    Expected,
    Inputs,
    compare,
    draw_like,
    expected,
    leave_nans,
)
from radialbench.kernels.measure.clocks import Clock, EventClock, HostClock, clock_of
from radialbench.kernels.measure.environment import environment
from radialbench.kernels.measure.gradients import compare_gradients
from radialbench.kernels.measure.table_stats import table_stats
from radialbench.kernels.measure.telemetry import peak_memory, watch
from radialbench.kernels.measure.timing import ceiling_matmul, measure_together
from radialbench.kernels.reorder import Reorder, reorder
from radialbench.maskgen.compiler import compile_any
from radialbench.maskgen.head_tables import AnyTable
from radialbench.records.fidelity import Fidelity
from radialbench.records.measurement import Accuracy, Measurement, Memory
from radialbench.records.result import Record, Status, TableStats
from radialbench.suites.plan import Case, Preparing, Sampling, Step, ended
from radialbench.suites.resources import ROWS, Workbench, available_bytes, needed_bytes

PAUSE_S = 0.15
"""Rest of the GPU before an isolated launch: long enough that its clock is up again."""


class _EndError(Exception):
    """A case ends early, with a status and a reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def attempt_batch(
    cases: Sequence[Case], bench: Workbench, on_step: Callable[[Step], None]
) -> list[Record]:
    """Try the cases of a batch: in turn if their protocol asks for it, else it is one case.

    Args:
        cases: The cases.
        bench: What they share with one another, and with earlier ones.
        on_step: Called with each step before it.

    Raises:
        DeviceLostError: An error has left the GPU unusable for this process.
        KeyboardInterrupt: Ctrl-C.
    """
    if cases[0].in_turn:
        return attempt_together(cases, bench, on_step)
    return [attempt(cases[0], bench, on_step)]


def attempt(
    case: Case, bench: Workbench, on_step: Callable[[Step], None] = lambda step: None
) -> Record:
    """Try one case; arguments and errors as in `attempt_batch`."""
    on_step(Preparing(0))
    call = _Guarded(*prepare(case, bench))
    if call.call is None:
        return call.record
    on_step(Sampling((call.record,), (True,)))
    clock: Clock = HostClock()
    if case.measure == "attention":
        clock = clock_of(find_device(case.device), cold=case.protocol.cache == "cold")
    try:
        (timing,) = measure_together([call.call], clock=clock, **_sampling(case))
    except Exception as error:
        return _failed(call.record, error)
    call.add_timing(timing)
    _check_last([call])
    return call.record


def attempt_together(
    cases: Sequence[Case], bench: Workbench, on_step: Callable[[Step], None]
) -> list[Record]:
    """Try cases of one shape and protocol, sampled in turn; else as `attempt_batch`."""
    calls = []
    for place, case in enumerate(cases):
        on_step(Preparing(place))
        calls.append(_Guarded(*prepare(case, bench)))
    ready = [call for call in calls if call.call is not None]
    if ready:
        sampled = tuple(call.call is not None for call in calls)
        on_step(Sampling(tuple(call.record for call in calls), sampled))
        _sample(cases[0], ready)
        _check_last(ready)
    return [call.record for call in calls]


class _Guarded:
    """A case's call, which is no longer made once it failed: the others go on."""

    def __init__(self, record: Record, call: Callable[[], object] | None) -> None:
        self.record = record
        self.call = call

    def __call__(self) -> None:
        if self.call is None:
            return
        try:
            self.call()
        except Exception as error:
            self.call = None
            self.record = _failed(self.record, error)

    def add(self, **parts: Any) -> None:
        """Add to the record, unless the call has failed meanwhile."""
        if self.call is not None:
            self.record = replace(self.record, **parts)

    def add_timing(self, timing: Measurement) -> None:
        """Make the record that of a case that ended well; its first call counts as a warm-up."""
        timing = replace(timing, warmups=timing.warmups + 1)
        self.add(status=Status.OK, reason=None, timing=timing)

    def end(self, status: Status, reason: str, **parts: Any) -> None:
        """End the case with a reason, unless it has ended."""
        if self.call is not None:
            self.call, self.record = None, replace(ended(self.record, status, reason), **parts)


def _sample(case: Case, ready: list[_Guarded]) -> None:
    """Sample ready calls by the protocol they share, and add that to the record of each."""
    protocol, device = case.protocol, find_device(case.device)
    cold = protocol.cache == "cold"
    calls: list[Callable[[], object]] = [*ready]
    ceiling = protocol.ceiling and device != "cpu"
    if ceiling:
        calls.append(ceiling_matmul(DTYPES[case.problem.dtype], device))
    timings = measure_together(calls, clock=clock_of(device, cold=cold), **_sampling(case))
    for call, timing in zip(ready, timings, strict=False):
        call.add_timing(timing)
        call.add(ceiling=timings[-1] if ceiling else None)
    if device == "cpu":
        return
    for call in ready:
        if protocol.isolated_samples and call.call is not None:
            (alone,) = measure_together(
                [call],
                target=0.0,
                max_samples=protocol.isolated_samples,
                max_seconds=protocol.max_seconds,
                warmups=0,
                clock=EventClock(cold=cold, pause_s=PAUSE_S),
            )
            call.add(isolated=alone)
        if protocol.telemetry_seconds and call.call is not None:
            call.add(telemetry=watch(call, seconds=protocol.telemetry_seconds))


def prepare(case: Case, bench: Workbench) -> tuple[Record, Callable[[], object] | None]:
    """Do everything but the timing: compile, plan, check; errors as in `attempt_batch`.

    Returns:
        The record, and the call to time, which was made once. Without a call the record has the
        reason; with one its status is that of a case that was not tried.
    """
    steps = _Steps(case, bench)
    try:
        call = steps.run()
    except _EndError as error:
        return ended(steps.record, error.status, str(error)), None
    except Exception as error:
        return _failed(steps.record, error), None
    return steps.record, call


class _Attention:
    """A backend's call on the tensors of a case, whose result can be checked.

    Attributes:
        found: What the last check found; None before the first.
        memory: The memory of its call.
    """

    def __init__(self, run: Run, case: Case, table: AnyTable, bench: Workbench, device: str):
        self._run, self._case, self._table = run, case, table
        self._bench, self._device = bench, device
        self._moves: Reorder | None = None
        if isinstance(run, InRaster):
            self._moves = reorder(table, case.problem.heads, case.problem.key_heads, device)
        given = None if isinstance(run, InRaster) else table
        inputs, self.permute_ms = bench.inputs(case, given, device)
        # Tensors of its own on the same memory: a backend may not reshape those of others.
        self._inputs: Inputs = (inputs[0].detach(), inputs[1].detach(), inputs[2].detach())
        self._direction = case.problem.direction
        self._dout: Tensor | None = None
        self._graph: tuple[Tensor, Tensor] | None = None
        if self._direction != "forward":
            for x in self._inputs:
                x.requires_grad_()
            self._dout = draw_like(self._inputs[0])
        self.found: Accuracy | None = None
        self.memory: Memory | None = None
        self._selected: Expected | None = None

    def __call__(self) -> tuple[Tensor, ...]:
        if self._dout is None:
            return self._run(*self._inputs)
        if self._graph is None or self._direction == "both":
            self._graph = self._run(*self._inputs)
        return torch.autograd.grad(
            self._graph[0], self._inputs, self._dout, retain_graph=self._direction == "backward"
        )

    def restore_inputs(self) -> list[str]:
        """Return which of q, k and v were written to since they were made; all are restored."""
        return self._bench.restore_inputs(self._case, self._device)

    def selected(self) -> AnyTable:
        """Return the table that defines the result: the mask's, or what the call chooses."""
        run = self._run
        return run.selected(*self._inputs[:2]) if isinstance(run, Selects) else self._table

    def _expected(self) -> Expected:
        if not isinstance(self._run, Selects):
            return self._bench.expected(self._case, self._table, self._device)
        if self._selected is None:
            self._selected = expected(
                self._inputs,
                table=self.selected(),
                sm_scale=self._case.problem.scale,
                rows=ROWS[self._device],
            )
        return self._selected

    def check(self, call: str = "") -> None:
        """Make a call, and compare its result with the definition; `call` says which, in reasons.

        Raises:
            _EndError: The result is not accurate, or the backend has written to its inputs.
        """
        if self._device != "cpu":
            leave_nans(self._inputs[0])
        result, self.memory = peak_memory(self, device=self._device)
        if changed := self.restore_inputs():
            raise _EndError(
                Status.FAILED, f"the backend writes into {' and '.join(changed)}, its inputs"
            )
        forward = result if self._dout is None else self._graph
        out, lse = check_result(self._case.problem, self._table, forward)
        if self._moves is not None:
            out, lse = self._moves.queried(out), self._moves.queried(lse[..., None])[..., 0]
        forward = out, lse
        found = self.found = compare(forward, self._expected())
        if self._dout is not None and found.passed:
            dq, dk, dv = result
            found = self.found = compare_gradients(
                *((dq, dk, dv), self._inputs, forward, self._dout),
                table=self.selected(),
                sm_scale=self._case.problem.scale,
                rows=ROWS[self._device],
            )
        if max(found.max_abs_error, found.max_lse_error) >= WRONG:
            raise _EndError(
                Status.INACCURATE,
                f"{call}the result is nan or infinite where the definition is finite",
            )
        if not found.passed:
            raise _EndError(
                Status.INACCURATE,
                f"{call}errors of {found.max_abs_error:.2e} in the output and "
                f"{found.max_lse_error:.2e} in the lse, tolerance {found.tolerance:.2e}"
                if "gradients" not in found.reference
                else f"{call}errors of {found.max_abs_error:.2e}, tolerance "
                f"{found.tolerance:.2e}, in {found.reference}",
            )


def _check_last(calls: Sequence[_Guarded]) -> None:
    """Check one more call of each case after its samples, and end those that are wrong by now."""
    checked = [(call, call.call) for call in calls if isinstance(call.call, _Attention)]
    changed: list[str] | None = None
    writes = False
    for call, attention in checked:
        try:
            if changed is None:
                changed = attention.restore_inputs()
            attention.check("after the samples ")
        except _EndError as error:
            writes |= error.status == Status.FAILED
            call.end(error.status, str(error), accuracy=attention.found)
        except Exception as error:
            call.call, call.record = None, _failed(call.record, error)
    if changed and not writes:
        # One call does not show whose it was.
        for call, _ in checked:
            call.end(
                Status.FAILED, f"{' and '.join(changed)}, the inputs, changed during the samples"
            )


def _failed(record: Record, error: Exception) -> Record:
    """Return the record of a case that an error has ended.

    Raises:
        DeviceLostError: The error has left the GPU unusable for this process.
        KeyboardInterrupt: Ctrl-C is what led to the error.
    """
    if _interrupted(error):
        raise KeyboardInterrupt from error
    if device_lost():
        raise DeviceLostError(format_error(error)) from error
    status = Status.OOM if is_out_of_memory(error) else Status.FAILED
    return ended(record, status, format_error(error))


def _sampling(case: Case) -> dict[str, Any]:
    """Return how `measure_together` samples a call that was made once, its first warm-up."""
    protocol = case.protocol
    names = ("target", "min_samples", "max_samples", "min_seconds", "max_seconds")
    return {name: getattr(protocol, name) for name in names} | {
        "warmups": max(protocol.warmups - 1, 0),
        "give_up_ms": math.inf if case.give_up_ms is None else case.give_up_ms,
    }


def _table_stats(table: AnyTable, case: Case, compile_ms: float) -> TableStats:
    problem = case.problem
    heads = problem.batch * problem.heads
    return table_stats(table, heads, problem.head_dim, compile_ms, matmuls=problem.matmuls)


class _Steps:
    """The steps of one case, and its record so far."""

    def __init__(self, case: Case, bench: Workbench) -> None:
        self.case = case
        self.bench = bench
        self.record = case.record(bench.environment)

    def run(self) -> Callable[[], object]:
        if self.case.measure == "compile":
            return self._compile_alone()
        case = self.case
        backend, device = self._supported()
        table, compile_ms = self.bench.tables.table(case.mask, case.grid, case.config)
        self.record = replace(self.record, table=_table_stats(table, case, compile_ms))
        self._check_memory(permuted=case.mask.permuted, device=device)
        begin = perf_counter()
        try:
            run = plan_table(backend, case.problem, table, case.config)
        except BackendError as error:
            raise _EndError(Status.UNSUPPORTED, str(error)) from None
        self.record = replace(self.record, plan_ms=(perf_counter() - begin) * 1e3)
        try:
            call = _Attention(run, case, table, self.bench, device)
        except BackendError as error:
            raise _EndError(Status.UNSUPPORTED, str(error)) from None
        self.record = replace(self.record, permute_ms=call.permute_ms)
        if isinstance(run, Selects):
            stats = _table_stats(call.selected(), case, compile_ms)
            self.record = replace(self.record, table=stats)
        if device != "cpu":
            call()  # What the first call compiles and sets up is not the call's memory.
        try:
            call.check()
        finally:
            self.record = replace(self.record, memory=call.memory, accuracy=call.found)
        if case.fidelity is not None:
            self.record = replace(self.record, fidelity=self._fidelity(run, table, device))
        return call

    def _fidelity(self, run: Run, table: AnyTable, device: str) -> Fidelity:
        if not isinstance(run, Selects):
            return self.bench.fidelity(self.case, lambda inputs: table, device)
        chooser: Selects = run

        def chosen(inputs: AttentionInputs) -> AnyTable:
            moves = reorder(table, inputs.q.shape[1], inputs.k.shape[1], device)
            q, k, v = inputs.q, inputs.k, inputs.v
            q, k, _ = (q, k, v) if moves is None else moves.inputs(q, k, v)
            return chooser.selected(q, k)

        return self.bench.fidelity(self.case, chosen, device, backend=self.case.backend)

    def _compile_alone(self) -> Callable[[], object]:
        case = self.case

        def compile_case() -> AnyTable:
            return compile_any(case.mask, case.grid, case.config.block_m, case.config.block_n)

        begin = perf_counter()
        table, memory = peak_memory(compile_case)
        stats = _table_stats(table, case, (perf_counter() - begin) * 1e3)
        self.record = replace(self.record, table=stats, memory=memory)
        return compile_case

    def _supported(self) -> tuple[Backend, str]:
        try:
            device = find_device(self.case.device)
            backend = load_backend(self.case.backend or "", self.bench.backends)
        except (BackendError, ImportError) as error:
            raise _EndError(Status.UNSUPPORTED, format_error(error)) from None
        if reasons := backend.unsupported_reasons(self.case.problem, device):
            raise _EndError(Status.UNSUPPORTED, "; ".join(reasons))
        return backend, device

    def _check_memory(self, *, permuted: bool, device: str) -> None:
        needed = needed_bytes(self.case.problem, permuted=permuted)
        free = available_bytes(device)
        if free is not None and needed > free:
            needs, has = (f"{size / 2**30:.1f} GiB" for size in (needed, free))
            raise _EndError(Status.OOM, f"not tried: needs at least {needs}, {has} are free")


class InProcess:
    """Tries cases in this process, which a case can then crash or hold up.

    Attributes:
        environment: What the cases run in.
    """

    def __init__(
        self,
        device: str,
        command: str,
        *,
        tables: Path | None = None,
        backends: Mapping[str, str] = BACKENDS,
    ) -> None:
        try:
            device = find_device(device)
        except BackendError:
            # Cases of the device that is not there become unsupported.
            device = "cpu"
        self.environment = environment(command, device=device)
        self._bench = Workbench(self.environment, tables, backends)

    def attempt(self, cases: Sequence[Case], on_case: Callable[[Case], None]) -> list[Record]:
        """Try the cases of a batch; `on_case` is called before each."""

        def on_step(step: Step) -> None:
            if isinstance(step, Preparing):
                on_case(cases[step.place])

        return self.attempt_steps(cases, on_step)

    def attempt_steps(self, cases: Sequence[Case], on_step: Callable[[Step], None]) -> list[Record]:
        """Try the cases of a batch; `on_step` is called before every step."""
        return attempt_batch(cases, self._bench, on_step)


def _interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C led to an error, such as a lock that it broke."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed; PyTorch's CPU allocator has no type for it."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(
        error
    )


def format_error(error: Exception) -> str:
    """Return an error's message, with its type unless it is one of ours."""
    if isinstance(error, RadialBenchError):
        return str(error)
    return f"{type(error).__name__}: {error}"
