"""Cases of one shape tried together: each prepared, then all sampled in turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from radialbench.errors import BackendError
from radialbench.kernels.arch import find_device
from radialbench.kernels.backends import BACKENDS
from radialbench.kernels.checks import DTYPES
from radialbench.kernels.measure.clocks import Clock, EventClock, clock_of
from radialbench.kernels.measure.environment import environment
from radialbench.kernels.measure.telemetry import watch
from radialbench.kernels.measure.timing import ceiling_matmul, measure_together
from radialbench.records.result import Record
from radialbench.suites.attempt import attempt, failed, prepare, sampling, timed
from radialbench.suites.plan import Case
from radialbench.suites.resources import Workbench
from radialbench.suites.worker import Begins, Samples, Step

PAUSE_S = 0.15
"""Rest of the GPU before an isolated launch: long enough that its clock is up again."""


def attempt_batch(
    cases: Sequence[Case], bench: Workbench, tell: Callable[[Step], None]
) -> list[Record]:
    """Try the cases of a batch: in turn if their protocol says so, else it holds one.

    Args:
        cases: The cases.
        bench: What they share with one another, and with earlier ones.
        tell: Told how far they are.

    Raises:
        DeviceLostError: An error has left the GPU unusable for this process.
        KeyboardInterrupt: Ctrl-C.
    """
    if cases[0].in_turn:
        return attempt_together(cases, bench, tell)
    return [attempt(cases[0], bench, tell=tell)]


def attempt_together(
    cases: Sequence[Case], bench: Workbench, tell: Callable[[Step], None]
) -> list[Record]:
    """Try cases of one shape and protocol, sampling them in turn; else as `attempt_batch`."""
    calls = []
    for place, case in enumerate(cases):
        tell(Begins(place))
        calls.append(_Guarded(*prepare(case, bench)))
    ready = [call for call in calls if call.call is not None]
    if ready:
        sampled = tuple(call.call is not None for call in calls)
        tell(Samples(tuple(call.record for call in calls), sampled))
        _sample(cases[0], ready)
    return [call.record for call in calls]


class _Guarded:
    """A case's call, which stops being made when it fails: the others go on."""

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
            self.record = failed(self.record, error)

    def add(self, **parts: Any) -> None:
        """Add to the record, unless the call has failed meanwhile."""
        if self.call is not None:
            self.record = replace(self.record, **parts)


def _sample(case: Case, ready: list[_Guarded]) -> None:
    """Sample ready calls by the protocol they share, and add that to the record of each."""
    protocol, device = case.protocol, find_device(case.device)
    calls: list[Callable[[], object]] = [*ready]
    ceiling = protocol.ceiling and device != "cpu"
    if ceiling:
        calls.append(ceiling_matmul(DTYPES[case.problem.dtype], device))
    clock: Clock = clock_of(device, cold=protocol.cache == "cold")
    timings = measure_together(calls, clock=clock, **sampling(case))
    for call, timing in zip(ready, timings, strict=False):
        if call.call is not None:
            call.record = timed(call.record, timing)
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
                clock=EventClock(cold=protocol.cache == "cold", pause_s=PAUSE_S),
            )
            call.add(isolated=alone)
        if protocol.telemetry_seconds and call.call is not None:
            call.add(telemetry=watch(call, seconds=protocol.telemetry_seconds))


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
        self.environment = environment(command, device=_present(device))
        self._bench = Workbench(self.environment, tables, backends)

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to end."""

    def attempt(self, cases: Sequence[Case], begins: Callable[[Case], None]) -> list[Record]:
        """Try the cases of a batch; `begins` is told of each."""

        def tell(step: Step) -> None:
            if isinstance(step, Begins):
                begins(cases[step.place])

        return self.steps(cases, tell)

    def steps(self, cases: Sequence[Case], tell: Callable[[Step], None]) -> list[Record]:
        """Try the cases of a batch; `tell` is told every step."""
        return attempt_batch(cases, self._bench, tell)


def _present(device: str) -> str:
    """Return the device; the CPU without the one asked for, where cases only say unsupported."""
    try:
        return find_device(device)
    except BackendError:
        return "cpu"
