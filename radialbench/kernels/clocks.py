"""How the time of a call is taken: by the host's clock on a CPU, by events on a GPU."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Calls = Sequence[Callable[[], object]]
Orders = Iterable[Sequence[int]]
"""For each round, the places of the calls in the order in which they are made."""

SHORT_MS = 2.0
"""Calls shorter than this are launched while the GPU is held back, so that it never waits for the
host between the first event and the call."""

HOLD_CYCLES = 500_000
"""Clock cycles of the GPU that a call is held back for: about 0.3 ms, several launches long."""

WAKE_CYCLES = 10 * HOLD_CYCLES
"""The same after a pause, when the host has gone cold too."""


@dataclass(frozen=True, slots=True)
class HostClock:
    """The host's monotonic clock, around calls that return when they are done."""

    timer = "perf_counter"
    cache = "warm"

    def rounds(self, runs: Calls, orders: Orders) -> Iterator[list[float]]:
        """Make every call once a round, in the order given for it.

        Yields:
            Milliseconds of each call.
        """
        for order in orders:
            times = [0.0] * len(runs)
            for place in order:
                start = time.perf_counter_ns()
                runs[place]()
                times[place] = (time.perf_counter_ns() - start) / 1e6
            yield times


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

    timer = "cuda_event"

    @property
    def cache(self) -> str:
        """State of the L2 cache when a call begins."""
        return "cold" if self.cold else "warm"

    def rounds(self, runs: Calls, orders: Orders) -> Iterator[list[float]]:
        """Make every call once a round, in the order given for it.

        Yields:
            Milliseconds of each call.
        """
        size = 2 * torch.cuda.get_device_properties().L2_cache_size if self.cold else 0
        other = torch.empty(size, dtype=torch.uint8, device="cuda")
        short = [True] * len(runs)
        behind: dict[int, tuple[Any, Any]] = {}
        for order in orders:
            launched = {
                place: self._launch(runs[place], other, hold=short[place]) for place in order
            }
            if behind:
                times = _read(behind)
                short = [ms < SHORT_MS for ms in times]
                yield times
            behind = launched

    def _launch(
        self, run: Callable[[], object], other: torch.Tensor, *, hold: bool
    ) -> tuple[Any, Any]:
        if self.pause_s:
            torch.cuda.synchronize()
            time.sleep(self.pause_s)
        other.zero_()
        if hold or self.pause_s:
            torch.cuda._sleep(WAKE_CYCLES if self.pause_s else HOLD_CYCLES)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        return begin, end


def _read(launched: dict[int, tuple[Any, Any]]) -> list[float]:
    for _, end in launched.values():
        end.synchronize()
    return [launched[place][0].elapsed_time(launched[place][1]) for place in sorted(launched)]


Clock = HostClock | EventClock


def clock_of(device: str) -> Clock:
    """Give the clock for calls on a device."""
    return HostClock() if device == "cpu" else EventClock()
