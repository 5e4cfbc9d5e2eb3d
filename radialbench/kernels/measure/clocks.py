"""Clocks for calls: the host's on a CPU, events on a GPU."""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from radialbench.kernels.measure.telemetry import Reading, counters

Calls = Sequence[Callable[[], object]]
Orders = Iterable[Sequence[int]]
"""For each round, the indices of the calls in the order in which they run."""

SHORT_MS = 2.0
"""Calls shorter than this are launched while the GPU sleeps, so that it never waits for the host
between the first event and the call."""

HOLD_S = 3e-4
"""Least seconds that the GPU sleeps before a call, and at least three times the host's last time
for it: the host's times vary, and a late host makes the call seem longer."""

WAKE_S = 3e-3
"""The same after a pause, when the host is slower too."""

CYCLES_PER_S = 2e9
"""Clock cycles of a GPU in a second, about as many as any has."""


@dataclass(frozen=True, slots=True)
class Round:
    """One sample of every call.

    Attributes:
        times_ms: Milliseconds of each call.
        reading: The GPU's counters at the end of the round; None on a CPU.
    """

    times_ms: list[float]
    reading: Reading | None = None

    @property
    def throttled(self) -> bool:
        """Whether heat or the hardware throttled the clocks."""
        return self.reading is not None and self.reading.throttled


@dataclass(frozen=True, slots=True)
class HostClock:
    """The host's monotonic clock, for calls that return when they are done.

    Attributes:
        timer: Name of the timer.
        cache: State of the cache at the start of a call: `cold` or `warm`.
        launches: `sustained` or `isolated`.
        settles: Whether the device needs some time under load before its times stay the same.
    """

    timer: ClassVar[str] = "perf_counter"
    cache: ClassVar[str] = "warm"
    launches: ClassVar[str] = "sustained"
    settles: ClassVar[bool] = False

    def rounds(self, runs: Calls, orders: Orders) -> Generator[Round]:
        """Yield rounds, each with one sample of every call, in the order given for it."""
        for order in orders:
            times = [0.0] * len(runs)
            for index in order:
                start = time.perf_counter_ns()
                runs[index]()
                times[index] = (time.perf_counter_ns() - start) / 1e6
            yield Round(times)


@dataclass(frozen=True, slots=True)
class EventClock:
    """CUDA events around each call, with the next round launched before the last one is read.

    So the GPU never idles, as under sustained load.

    Attributes:
        cold: Whether the L2 cache is overwritten before each call, outside the timed span.
        pause_s: Seconds in which the GPU idles before each call; 0 for launches without a pause.
    """

    cold: bool = True
    pause_s: float = 0.0

    timer: ClassVar[str] = "cuda_event"

    @property
    def cache(self) -> str:
        """State of the L2 cache at the start of a call."""
        return "cold" if self.cold else "warm"

    @property
    def launches(self) -> str:
        """`isolated` if each call follows a pause, else `sustained`."""
        return "isolated" if self.pause_s else "sustained"

    @property
    def settles(self) -> bool:
        """A GPU that idles before each call is not warmed up."""
        return not self.pause_s

    def rounds(self, runs: Calls, orders: Orders) -> Generator[Round]:
        """Yield rounds, each with one sample of every call, in the order given for it."""
        size = 2 * torch.cuda.get_device_properties().L2_cache_size if self.cold else 0
        filler = torch.empty(size, dtype=torch.uint8, device="cuda")
        short = [True] * len(runs)
        host_s = [0.0] * len(runs)
        pending: dict[int, tuple[Any, Any]] = {}
        least = WAKE_S if self.pause_s else HOLD_S
        with counters() as sensor:
            for order in orders:
                launched = {}
                for index in order:
                    hold_s = max(least, 3 * host_s[index])
                    held = short[index] or self.pause_s > 0
                    begin, end = self._prepare(filler, hold_s if held else 0.0)
                    start = time.perf_counter()
                    begin.record()
                    runs[index]()
                    end.record()
                    host_s[index] = time.perf_counter() - start
                    launched[index] = begin, end
                if pending:
                    for _, end in pending.values():
                        end.synchronize()
                    spans = (begin.elapsed_time(end) for _, (begin, end) in sorted(pending.items()))
                    # Events have a resolution of half a microsecond, as float32: digits below a
                    # nanosecond are noise, and would be most of a stored sample.
                    times = [round(ms, 6) for ms in spans]
                    short = [ms < SHORT_MS for ms in times]
                    yield Round(times, sensor.read())
                pending = launched

    def _prepare(self, filler: torch.Tensor, hold_s: float) -> tuple[Any, Any]:
        """Prepare the cache, let the GPU sleep, and return the events for a call."""
        if self.pause_s:
            torch.cuda.synchronize()
            time.sleep(self.pause_s)
        filler.zero_()
        if hold_s:
            torch.cuda._sleep(int(hold_s * CYCLES_PER_S))
        return torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)


Clock = HostClock | EventClock


def clock_of(device: str, *, cold: bool = True) -> Clock:
    """Return the clock for calls on a device; `cold` refers to the L2 cache of a GPU."""
    return HostClock() if device == "cpu" else EventClock(cold=cold)
