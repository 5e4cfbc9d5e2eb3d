"""What a call does to the device: clocks, power and heat of a GPU, and memory at its peak."""

import ctypes
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any, TypeVar

import torch

from radialbench.kernels.measure.nvml import NvmlError, answer, clock_reasons, number, opened
from radialbench.records.measurement import POWER_CAP, Memory, Rounds, Telemetry

QUEUED_S = 0.02
"""Calls launched ahead take this long together, and are at least two, so that the GPU never waits
for the host."""

READ_EVERY_S = 0.01

SAMPLE_EVERY_S = 0.05
"""Between samples the counters are read less often: a query takes some milliseconds, in which a GPU
with short calls would idle."""

NVML = "nvml"

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

T = TypeVar("T")


def watch(run: Callable[[], object], *, seconds: float = 1.0) -> Telemetry | None:
    """Repeat a call without pauses for at least some seconds, and read the GPU's counters.

    Changes no clock, power limit or mode. Returns None if NVML does not report the current device.
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
    """Yield NVML's handle of the current CUDA device and `nvml`; or None and the reason."""
    with opened() as problem:
        if problem:
            yield None, f"none: {problem}"
            return
        handle, source = None, NVML
        try:
            uuid = f"GPU-{torch.cuda.get_device_properties().uuid}"
            handle = answer("nvmlDeviceGetHandleByUUID", uuid)
        except NvmlError as error:
            source = f"none: {error}"
        except Exception as error:  # PyTorch without CUDA, or before 2.4, has no UUID.
            source = f"none: {type(error).__name__}: {error}"
        yield handle, source


def keep_open() -> None:
    """Keep NVML open until this process ends: opening it for each case is slow."""
    with suppress(NvmlError):
        answer("nvmlInit")


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment.

    Attributes:
        source: `nvml`, or why nothing was read.
        sm_mhz: Clock of the SMs; None if the GPU does not report it, as for the others.
        power_w: Watts drawn.
        temperature_c: Degrees Celsius.
        slowed_by: What throttled the clocks.
    """

    source: str
    sm_mhz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    slowed_by: tuple[str, ...] = ()

    @property
    def throttled(self) -> bool:
        """Whether anything but the power cap throttled the clocks."""
        return any(cause != POWER_CAP for cause in self.slowed_by)


class Sensor:
    """Reads the counters at most every `SAMPLE_EVERY_S`; in between it repeats the last reading."""

    def __init__(self, handle: Any, source: str) -> None:
        self._handle = handle
        self._last = Reading(source)
        self._read_at = -math.inf

    def read(self) -> Reading:
        """Return a reading no older than `SAMPLE_EVERY_S`."""
        now = time.perf_counter()
        if self._handle is not None and now - self._read_at >= SAMPLE_EVERY_S:
            self._read_at, self._last = now, _reading(self._handle, self._last.source)
        return self._last


@contextmanager
def counters() -> Iterator[Sensor]:
    """Yield the sensor of the current CUDA device; without NVML its readings state the reason."""
    with nvml() as (handle, source):
        yield Sensor(handle, source)


def _power_w(handle: Any) -> float | None:
    milliwatts = number("nvmlDeviceGetPowerUsage", handle)
    return None if milliwatts is None else milliwatts / 1e3


def _clock(handle: Any, kind: str) -> int | None:
    return number("nvmlDeviceGetClockInfo", handle, constant=kind)


def _heat(handle: Any) -> int | None:
    return number("nvmlDeviceGetTemperature", handle, constant="NVML_TEMPERATURE_GPU")


def _reading(handle: Any, source: str) -> Reading:
    watts = _power_w(handle)
    return Reading(
        source,
        sm_mhz=_clock(handle, "NVML_CLOCK_SM"),
        power_w=None if watts is None else round(watts),
        temperature_c=_heat(handle),
        slowed_by=slowed_by(clock_reasons(handle)),
    )


def rounds_of(readings: Sequence[Reading | None]) -> Rounds | None:
    """Return the readings beside the samples of a measurement, by column; None without readings.

    A column is empty if the GPU did not report it every time.
    """
    present = [reading for reading in readings if reading is not None]
    if not present or len(present) < len(readings):
        return None

    def column(name: str) -> tuple[float, ...]:
        values = [getattr(reading, name) for reading in present]
        return () if None in values else tuple(values)

    source = present[0].source
    return Rounds(
        source=source,
        sm_mhz=column("sm_mhz"),
        power_w=column("power_w"),
        temperature_c=column("temperature_c"),
        slowed_by=tuple(", ".join(one.slowed_by) for one in present) if source == NVML else (),
    )


def process_bytes() -> int | None:
    """Return the memory of the current CUDA device that this process holds, by NVML.

    None if NVML does not report it, or does not know the process, as in a container.
    """
    with nvml() as (handle, _):
        if handle is None:
            return None
        try:
            processes = answer("nvmlDeviceGetComputeRunningProcesses", handle)
        except NvmlError:
            return None
        own = [one.usedGpuMemory for one in processes if one.pid == os.getpid()]
        return own[0] if own else None


@dataclass
class _Readings:
    """Readings during one call of `watch`."""

    handle: Any
    last: float = 0.0
    energy: list[tuple[float, int]] = field(default_factory=list)
    power: list[float] = field(default_factory=list)
    sm: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    heat: list[float] = field(default_factory=list)
    reasons: int = 0

    def take(self) -> None:
        """Read all counters, at most every `READ_EVERY_S`."""
        now = time.perf_counter()
        if now - self.last < READ_EVERY_S:
            return
        self.last, handle = now, self.handle
        energy = number("nvmlDeviceGetTotalEnergyConsumption", handle)
        if energy is not None and (not self.energy or self.energy[-1][1] != energy):
            self.energy.append((now, energy))
        for values, value in (
            (self.power, _power_w(handle)),
            (self.sm, _clock(handle, "NVML_CLOCK_SM")),
            (self.memory, _clock(handle, "NVML_CLOCK_MEM")),
            (self.heat, _heat(handle)),
        ):
            if value is not None:
                values.append(value)
        self.reasons |= clock_reasons(handle)

    def summary(self, calls: int, seconds: float) -> Telemetry:
        """Summarize the readings; `seconds` is for all calls."""
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
        """Return the mean power between two ticks of the energy counter, where it is exact."""
        ticks = self.energy[1:]  # The first reading is not a tick.
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
"""NVML's bits of what throttles clocks (nvmlClocksEventReason…); the others are not limits."""


def slowed_by(reasons: int) -> tuple[str, ...]:
    """Return what throttled the clocks, by NVML's bits."""
    return tuple(cause for bit, cause in SLOWING.items() if reasons & bit)


def peak_memory(run: Callable[[], T], *, device: str = "cpu") -> tuple[T, Memory]:
    """Call once, and measure by how much that raises the peak of the memory in use.

    On a GPU this is the memory that PyTorch's allocator allocates, with and without the outputs,
    and what the process holds by NVML. On a CPU it is the resident memory by Linux's high-water
    mark, reset just before the call; memory that the allocator keeps is returned first, if the C
    library can.
    """
    return _host(run) if device == "cpu" else _gpu(run)


def _gpu(run: Callable[[], T]) -> tuple[T, Memory]:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = run()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    # The result still exists: what is allocated beyond `before` is the outputs.
    workspace = max(0, peak - max(before, torch.cuda.memory_allocated()))
    source = "growth of the peak of PyTorch's allocator over one call"
    return result, Memory(max(0, peak - before), source, workspace, process_bytes())


def _host(run: Callable[[], T]) -> tuple[T, Memory]:
    with suppress(AttributeError, OSError, TypeError):  # The C library may lack it.
        ctypes.CDLL(None).malloc_trim(0)
    before = _resident_bytes()
    result = run()
    if before is None:
        return result, Memory(None, "not measured: the system has no resettable high-water mark")
    source = "growth of the resident set's high-water mark (/proc/self) over one call"
    return result, Memory(max(0, _status_bytes("VmHWM") - before), source)


def _resident_bytes() -> int | None:
    """Reset the high-water mark to the resident memory, and return that."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
        return _status_bytes("VmRSS")
    except (OSError, KeyError):
        return None


def _status_bytes(key: str) -> int:
    pairs = (line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines())
    return int(dict(pair for pair in pairs if len(pair) == 2)[key].split()[0]) * 1024
