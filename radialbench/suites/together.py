"""Cases of one shape tried together: each prepared, then all sampled in turn."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from radialbench.kernels.arch import find_device
from radialbench.kernels.checks import DTYPES
from radialbench.kernels.clocks import Clock, EventClock, clock_of
from radialbench.kernels.inputs import ceiling_matmul
from radialbench.kernels.telemetry import watch
from radialbench.kernels.timing import measure_together
from radialbench.suites.attempt import attempt, failed, prepare, sampling
from radialbench.suites.common import Common
from radialbench.suites.finding import Begins, Finding, Samples, Step
from radialbench.suites.plan import Case
from radialbench.suites.tables import Tables

PAUSE_S = 0.15
"""Rest of the GPU before an isolated launch: long enough that its clock is up again."""


def attempt_batch(
    cases: Sequence[Case], tables: Tables, common: Common, tell: Callable[[Step], None]
) -> list[Finding]:
    """Try the cases of a batch: in turn if their protocol says so, else it holds one.

    Args:
        cases: The cases.
        tables: Tables compiled so far.
        common: What cases of one shape share.
        tell: Told how far they are.

    Raises:
        DeviceLostError: An error has left the GPU unusable for this process.
        KeyboardInterrupt: Ctrl-C.
    """
    if cases[0].in_turn:
        return attempt_together(cases, tables, common, tell)
    return [attempt(cases[0], tables, common, tell=tell)]


def attempt_together(
    cases: Sequence[Case], tables: Tables, common: Common, tell: Callable[[Step], None]
) -> list[Finding]:
    """Try cases of one shape and protocol, sampling them in turn; else as `attempt_batch`."""
    calls = []
    for place, case in enumerate(cases):
        tell(Begins(place))
        calls.append(_Guarded(*prepare(case, tables, common)))
    ready = [call for call in calls if call.call is not None]
    if ready:
        tell(Samples(tuple(call.found for call in calls)))
        _sample(cases[0], ready)
    return [call.found for call in calls]


class _Guarded:
    """A case's call, which stops being made when it fails: the others go on."""

    def __init__(self, found: Finding, call: Callable[[], object] | None) -> None:
        self.found = found
        self.call = call

    def __call__(self) -> None:
        if self.call is None:
            return
        try:
            self.call()
        except Exception as error:
            self.call = None
            self.found = failed(self.found, error)


def _sample(case: Case, ready: list[_Guarded]) -> None:
    """Sample ready calls by the protocol they share, and add that to what is found of each."""
    protocol, device = case.protocol, find_device(case.device)
    calls: list[Callable[[], object]] = [*ready]
    ceiling = protocol.ceiling and device != "cpu"
    if ceiling:
        calls.append(ceiling_matmul(DTYPES[case.problem.dtype], device))
    clock: Clock = clock_of(device, cold=protocol.cache == "cold")
    timed = measure_together(calls, clock=clock, **sampling(protocol))
    for call, timing in zip(ready, timed, strict=False):
        timing = replace(timing, warmups=timing.warmups + 1)
        _add(call, timing=timing, ceiling=timed[-1] if ceiling else None)
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
            _add(call, isolated=alone)
        if protocol.telemetry_seconds and call.call is not None:
            _add(call, telemetry=watch(call, seconds=protocol.telemetry_seconds))


def _add(call: _Guarded, **parts: object) -> None:
    """Add to what is found, unless the call has failed meanwhile."""
    if call.call is not None:
        call.found = replace(call.found, **parts)  # type: ignore[arg-type]
