"""How the time of a call is taken: by the host's clock on a CPU, by events on a GPU."""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

from radialbench.kernels.measure.telemetry import Reading, counters

Calls = Sequence[Callable[[], object]]
Orders = Iterable[Sequence[int]]
"""For each round, the places of the calls in the order in which they are made."""

SHORT_MS = 2.0
"""Calls shorter than this are launched while the GPU is held back, so that it never waits for the
host between the first event and the call."""

HOLD_S = 3e-4
"""Seconds that a call is held back for at least, and three times what the host took for it before:
the host's times vary, and a call it is late for seems as long as the host took."""

WAKE_S = 3e-3
"""The same after a pause, when the host has gone cold too."""

CYCLES_PER_S = 2e9
"""Clock cycles of a GPU in a second, about as many as any has."""


@dataclass(frozen=True, slots=True)
class Round:
    """Every call made once.

    Attributes:
        times_ms: Milliseconds of each call.
        reading: What the GPU's counters said when the round had ended; None on a CPU.
    """

    times_ms: list[float]
    reading: Reading | None = None

    @property
    def throttled(self) -> bool:
        """Whether heat or the hardware held the clocks back."""
        return self.reading is not None and self.reading.throttled


class Clock(Protocol):
    """Takes the time of calls."""

    @property
    def timer(self) -> str:
        """What measures."""

    @property
    def cache(self) -> str:
        """State of the cache when a call begins: `cold` or `warm`."""

    @property
    def launches(self) -> str:
        """`sustained` or `isolated`."""

    @property
    def settles(self) -> bool:
        """Whether the device needs some time under load before its times stay the same."""

    def rounds(self, runs: Calls, orders: Orders) -> Generator[Round]:
        """Make every call once a round, in the order given for it."""


@dataclass(frozen=True, slots=True)
class HostClock:
    """The host's monotonic clock, around calls that return when they are done."""

    timer: ClassVar[str] = "perf_counter"
    cache: ClassVar[str] = "warm"
    launches: ClassVar[str] = "sustained"
    settles: ClassVar[bool] = False

    def rounds(self, runs: Calls, orders: Orders) -> Generator[Round]:
        """Make every call once a round, in the order given for it."""
        for order in orders:
            times = [0.0] * len(runs)
            for place in order:
                start = time.perf_counter_ns()
                runs[place]()
                times[place] = (time.perf_counter_ns() - start) / 1e6
            yield Round(times)


@dataclass(frozen=True, slots=True)
class EventClock:
    """CUDA events around each call, with the next round launched before the last one is read.

    So the GPU goes on without a pause, and what it does is what it does under lasting load.

    Attributes:
        cold: Whether the L2 cache is filled with something else before each call, outside the time.
        pause_s: Seconds in which the GPU rests before each call; 0 for launches without a pause.
    """

    cold: bool = True
    pause_s: float = 0.0

    timer: ClassVar[str] = "cuda_event"

    @property
    def cache(self) -> str:
        """State of the L2 cache when a call begins."""
        return "cold" if self.cold else "warm"

    @property
    def launches(self) -> str:
        """Whether each call follows a pause."""
        return "isolated" if self.pause_s else "sustained"

    @property
    def settles(self) -> bool:
        """A GPU that is to rest before each call is not warmed up."""
        return not self.pause_s

    def rounds(self, runs: Calls, orders: Orders) -> Generator[Round]:
        """Make every call once a round, in the order given for it."""
        size = 2 * torch.cuda.get_device_properties().L2_cache_size if self.cold else 0
        other = torch.empty(size, dtype=torch.uint8, device="cuda")
        short = [True] * len(runs)
        host_s = [0.0] * len(runs)
        behind: dict[int, tuple[Any, Any]] = {}
        least = WAKE_S if self.pause_s else HOLD_S
        with counters() as sensor:
            for order in orders:
                launched = {}
                for place in order:
                    hold_s = max(least, 3 * host_s[place])
                    held = short[place] or self.pause_s > 0
                    begin, end = self._prepared(other, hold_s if held else 0.0)
                    start = time.perf_counter()
                    begin.record()
                    runs[place]()
                    end.record()
                    host_s[place] = time.perf_counter() - start
                    launched[place] = begin, end
                if behind:
                    times = _read(behind)
                    short = [ms < SHORT_MS for ms in times]
                    yield Round(times, sensor.read())
                behind = launched

    def _prepared(self, other: torch.Tensor, hold_s: float) -> tuple[Any, Any]:
        """Bring the cache into its state, keep the GPU busy, and give the events for a call."""
        if self.pause_s:
            torch.cuda.synchronize()
            time.sleep(self.pause_s)
        other.zero_()
        if hold_s:
            torch.cuda._sleep(int(hold_s * CYCLES_PER_S))
        return torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)


def _read(launched: dict[int, tuple[Any, Any]]) -> list[float]:
    for _, end in launched.values():
        end.synchronize()
    times = (begin.elapsed_time(end) for _, (begin, end) in sorted(launched.items()))
    # Events tick in half microseconds and give a float32: what is beyond a nanosecond is its noise,
    # and would be most of a stored sample.
    return [round(ms, 6) for ms in times]


def clock_of(device: str, *, cold: bool = True) -> Clock:
    """Return the clock for calls on a device; `cold` is of a GPU's L2 cache."""
    return HostClock() if device == "cpu" else EventClock(cold=cold)
