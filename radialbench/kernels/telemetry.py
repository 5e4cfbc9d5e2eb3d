"""What a GPU's own counters say while a call is made again and again."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

import torch

from radialbench.records.measurement import Telemetry

QUEUED_S = 0.02
"""Calls that take this long together are launched ahead, at least two: more than the host ever
needs to come back, so that the GPU never waits for it."""

READ_EVERY_S = 0.01


def watch(run: Callable[[], object], *, seconds: float = 1.0) -> Telemetry | None:
    """Make a call without pauses for some seconds, reading the GPU's counters meanwhile.

    Reads only: no clock, power limit or mode is changed.

    Args:
        run: A call on the current CUDA device.
        seconds: How long, at least.

    Returns:
        None where NVML does not answer for the device.
    """
    with _handle() as handle:
        if handle is None:
            return None
        readings = _Readings(handle)
        ahead = max(2, math.ceil(QUEUED_S / _seconds(run)))
        begin, calls = time.perf_counter(), 0
        pending: deque[Any] = deque()
        while time.perf_counter() - begin < seconds or calls < 2:
            run()
            calls += 1
            pending.append(torch.cuda.Event())
            pending[-1].record()
            if len(pending) > ahead:
                _wait(pending.popleft(), readings)
        for event in pending:
            _wait(event, readings)
        return readings.summary(calls, time.perf_counter() - begin)


def _seconds(run: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def _wait(event: Any, readings: "_Readings") -> None:
    while not event.query():
        readings.take()
        time.sleep(0.0005)
    readings.take()


@contextmanager
def _handle() -> Iterator[Any]:
    """NVML's handle of the current CUDA device; None where there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        yield None
        return
    try:
        uuid = f"GPU-{torch.cuda.get_device_properties().uuid}"
        yield pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:
        yield None
    finally:
        pynvml.nvmlShutdown()


@dataclass
class _Readings:
    """Readings of one stretch."""

    handle: Any
    last: float = 0.0
    energy: list[tuple[float, int]] = field(default_factory=list)
    power: list[float] = field(default_factory=list)
    sm: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    heat: list[float] = field(default_factory=list)
    reasons: int = 0

    def take(self) -> None:
        """Read everything, unless that was just done."""
        import pynvml

        now = time.perf_counter()
        if now - self.last < READ_EVERY_S:
            return
        self.last, handle = now, self.handle
        with suppress(pynvml.NVMLError):
            joules = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            if not self.energy or self.energy[-1][1] != joules:
                self.energy.append((now, joules))
        with suppress(pynvml.NVMLError):
            self.power.append(pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
        for kind, values in ((pynvml.NVML_CLOCK_SM, self.sm), (pynvml.NVML_CLOCK_MEM, self.memory)):
            with suppress(pynvml.NVMLError):
                values.append(pynvml.nvmlDeviceGetClockInfo(handle, kind))
        with suppress(pynvml.NVMLError):
            self.heat.append(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
        with suppress(pynvml.NVMLError):
            self.reasons |= pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)

    def summary(self, calls: int, seconds: float) -> Telemetry:
        """Sum up; `seconds` for all calls."""
        watts = self._watts()
        return Telemetry(
            calls=calls,
            seconds=seconds,
            energy_j=None if watts is None else watts * seconds / calls,
            power_w=watts if watts is not None else mean(self.power) if self.power else None,
            sm_mhz=median(self.sm) if self.sm else None,
            memory_mhz=median(self.memory) if self.memory else None,
            temperature_c=max(self.heat, default=None),
            slowed_by=slowed_by(self.reasons),
        )

    def _watts(self) -> float | None:
        """Mean power between two ticks of the energy counter, in whose steps it is exact."""
        ticks = self.energy[1:]  # The first reading is no tick.
        if len(ticks) < 3:
            return None
        (begin, first), (end, last) = ticks[0], ticks[-1]
        return (last - first) / 1e3 / (end - begin)


SLOWING = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal limit (software)",
    0x40: "thermal limit (hardware)",
    0x80: "power brake",
}
"""NVML's bits for what holds clocks back (nvmlClocksEventReason…); the others are no limit."""


def slowed_by(reasons: int) -> tuple[str, ...]:
    """Name what NVML's bits say held the clocks back."""
    return tuple(word for bit, word in SLOWING.items() if reasons & bit)
