"""What a GPU's own counters say while a call is made again and again."""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

import torch

from radialbench.records.measurement import POWER_CAP, Rounds, Telemetry

QUEUED_S = 0.02
"""Calls that take this long together are launched ahead, at least two: more than the host ever
needs to come back, so that the GPU never waits for it."""

READ_EVERY_S = 0.01

BESIDE_EVERY_S = 0.05
"""Beside samples the counters are read more seldom: asking takes some milliseconds, in which a GPU
with short calls has nothing to do."""

NVML = "nvml"


def watch(run: Callable[[], object], *, seconds: float = 1.0) -> Telemetry | None:
    """Repeat a call without pauses for some seconds, reading the GPU's counters meanwhile.

    Reads only: no clock, power limit or mode is changed.

    Args:
        run: A call on the current CUDA device.
        seconds: How long, at least.

    Returns:
        None where NVML does not answer for the device.
    """
    with nvml() as (handle, _):
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
def nvml() -> Iterator[tuple[Any, str]]:
    """Yield NVML's handle of the current CUDA device and `nvml`; None and why if there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:
        yield None, f"none: {type(error).__name__}: {error}"
        return
    try:
        handle, source = None, NVML
        try:
            uuid = f"GPU-{torch.cuda.get_device_properties().uuid}"
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except Exception as error:
            source = f"none: {type(error).__name__}: {error}"
        yield handle, source
    finally:
        pynvml.nvmlShutdown()


def keep_open() -> None:
    """Leave NVML open until this process ends: opened for each case anew, it takes its time."""
    with suppress(Exception):
        import pynvml

        pynvml.nvmlInit()


@dataclass(frozen=True, slots=True)
class Reading:
    """What the counters said at one moment.

    Attributes:
        source: `nvml`, or why nothing was read.
        sm_mhz: Clock of the SMs; None where the GPU does not report it, as for the others.
        power_w: Watts drawn.
        temperature_c: Degrees Celsius.
        slowed_by: What held the clocks back.
    """

    source: str
    sm_mhz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    slowed_by: tuple[str, ...] = ()

    @property
    def throttled(self) -> bool:
        """Whether anything but the power cap held the clocks back."""
        return any(word != POWER_CAP for word in self.slowed_by)


class Sensor:
    """Reads the counters now and then; in between, the last reading stands."""

    def __init__(self, handle: Any, source: str) -> None:
        self._handle = handle
        self._last = Reading(source)
        self._at = -math.inf

    def read(self) -> Reading:
        """Return a reading no older than `BESIDE_EVERY_S`."""
        now = time.perf_counter()
        if self._handle is not None and now - self._at >= BESIDE_EVERY_S:
            self._at, self._last = now, _reading(self._handle, self._last.source)
        return self._last


@contextmanager
def counters() -> Iterator[Sensor]:
    """Yield the sensor of the current CUDA device; without NVML its readings say why not."""
    with nvml() as (handle, source):
        yield Sensor(handle, source)


def _reading(handle: Any, source: str) -> Reading:
    import pynvml

    def ask(name: str, *arguments: int) -> int | None:
        try:
            return int(getattr(pynvml, name)(handle, *arguments))
        except pynvml.NVMLError:
            return None

    milliwatts = ask("nvmlDeviceGetPowerUsage")
    return Reading(
        source,
        sm_mhz=ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_SM),
        power_w=None if milliwatts is None else round(milliwatts / 1e3),
        temperature_c=ask("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU),
        slowed_by=slowed_by(ask("nvmlDeviceGetCurrentClocksEventReasons") or 0),
    )


def rounds_of(readings: Sequence[Reading | None]) -> Rounds | None:
    """Put readings beside the samples of a measurement; None if nothing was to be read.

    A figure that the GPU did not report every time is left out.
    """
    found = [one for one in readings if one is not None]
    if not found or len(found) < len(readings):
        return None

    def column(name: str) -> tuple[float, ...]:
        values = [getattr(one, name) for one in found]
        return () if None in values else tuple(values)

    reported = found[0].source == NVML
    return Rounds(
        source=found[0].source,
        sm_mhz=column("sm_mhz"),
        power_w=column("power_w"),
        temperature_c=column("temperature_c"),
        slowed_by=tuple(", ".join(one.slowed_by) for one in found) if reported else (),
    )


def process_bytes() -> int | None:
    """Return what memory of the current CUDA device this process holds, by NVML.

    None where NVML does not answer, or knows the process by another number, as from within a
    container.
    """
    with nvml() as (handle, _):
        if handle is None:
            return None
        import pynvml

        try:
            processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except pynvml.NVMLError:
            return None
        own = [one.usedGpuMemory for one in processes if one.pid == os.getpid()]
        return own[0] if own else None


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
    0x04: POWER_CAP,
    0x08: "hardware slowdown",
    0x20: "thermal limit (software)",
    0x40: "thermal limit (hardware)",
    0x80: "power brake",
}
"""NVML's bits for what holds clocks back (nvmlClocksEventReason…); the others are no limit."""


def slowed_by(reasons: int) -> tuple[str, ...]:
    """Return the names of what NVML's bits say held the clocks back."""
    return tuple(word for bit, word in SLOWING.items() if reasons & bit)
