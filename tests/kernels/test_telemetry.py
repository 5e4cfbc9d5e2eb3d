"""What is made of a GPU's counters."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pynvml
import pytest
import torch

from radialbench.kernels.measure import telemetry
from radialbench.kernels.measure.telemetry import (
    Reading,
    Sensor,
    _Readings,
    counters,
    process_bytes,
    rounds_of,
    slowed_by,
    watch,
)


def test_energy_is_counted_between_two_ticks_of_the_counter() -> None:
    readings = _Readings(handle=None)
    readings.energy = [(0.0, 0), (0.03, 100_000), (0.53, 300_000), (1.03, 500_000)]
    readings.power = [1.0]
    summary = readings.summary(calls=10, seconds=2.0)
    assert summary.power_w == pytest.approx(400)
    assert summary.energy_j == pytest.approx(400 * 2.0 / 10)


def test_too_few_ticks_give_no_energy_but_the_power_that_was_read() -> None:
    readings = _Readings(handle=None)
    readings.energy = [(0.0, 0), (0.03, 100_000), (0.53, 300_000)]
    readings.power = [300.0, 500.0]
    summary = readings.summary(calls=2, seconds=1.0)
    assert (summary.energy_j, summary.power_w) == (None, 400)
    assert (summary.sm_mhz, summary.temperature_c, summary.slowed_by) == (None, None, ())


def test_what_slows_a_gpu_is_named() -> None:
    assert slowed_by(0x0) == ()
    assert slowed_by(0x1) == ()  # idle
    assert slowed_by(0x4 | 0x40) == ("power cap", "thermal limit (hardware)")


def test_without_nvml_a_reading_says_why_there_is_nothing() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with counters() as sensor:
        reading = sensor.read()
    assert reading.source.startswith("none: ")
    assert reading == Reading(reading.source)
    assert not reading.throttled


def test_a_reading_stands_until_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    times, asked = iter([0.0, 0.04, 0.05, 0.09, 0.11]), iter(range(10))
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    monkeypatch.setattr(
        telemetry, "_reading", lambda handle, source: Reading(source, sm_mhz=next(asked))
    )
    sensor = Sensor(handle=object(), source="nvml")
    assert [sensor.read().sm_mhz for _ in range(5)] == [0, 0, 1, 1, 2]


def test_only_heat_and_hardware_throttle() -> None:
    assert not Reading("nvml", slowed_by=slowed_by(0x4)).throttled
    for bit in (0x08, 0x20, 0x40, 0x80):
        assert Reading("nvml", slowed_by=slowed_by(0x4 | bit)).throttled


def test_readings_stand_beside_the_samples_as_columns() -> None:
    readings = [Reading("nvml", 1400, 600, None, ("power cap",)), Reading("nvml", 1500, 500, 40)]
    found = rounds_of(readings)
    assert found is not None
    assert (found.sm_mhz, found.power_w) == ((1400, 1500), (600, 500))
    assert found.temperature_c == ()  # not reported every time
    assert found.slowed_by == ("power cap", "")
    assert rounds_of([None, None]) is None


def test_only_the_memory_of_this_process_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def some() -> Iterator[tuple[object, str]]:
        yield object(), "nvml"

    own, other = (SimpleNamespace(pid=os.getpid() + i, usedGpuMemory=7 + i) for i in range(2))
    listed = [other, own]
    monkeypatch.setattr(telemetry, "nvml", some)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda handle: listed)
    assert process_bytes() == 7
    listed.remove(own)
    assert process_bytes() is None


def test_a_counter_that_a_gpu_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(handle: object, *arguments: int) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", lambda handle: 612_345)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetClockInfo", lacks)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTemperature", lambda handle, kind: 61)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCurrentClocksEventReasons", lambda handle: 0x24)
    found = telemetry._reading(object(), "nvml")
    assert found == Reading("nvml", None, 612, 61, ("power cap", "thermal limit (software)"))


def test_a_package_without_the_counters_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = SimpleNamespace(nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 0x40)
    monkeypatch.setitem(sys.modules, "pynvml", empty)
    slowed = ("thermal limit (hardware)",)
    assert telemetry._reading(object(), "nvml") == Reading("nvml", slowed_by=slowed)
    readings = _Readings(handle=object())
    readings.take()
    summary = readings.summary(calls=1, seconds=1.0)
    assert (summary.power_w, summary.sm_mhz, summary.slowed_by) == (None, None, slowed)
    telemetry.keep_open()
    with counters() as sensor:
        assert sensor.read().source.startswith("none: AttributeError")


@pytest.mark.gpu
def test_a_gpu_under_load_draws_power() -> None:
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    seen = watch(lambda: a @ a, seconds=1.0)
    assert seen is not None
    assert seen.calls > 10
    assert seen.seconds >= 1
    assert seen.power_w is not None and seen.energy_j is not None
    assert 100 < seen.power_w < 2000
    assert seen.energy_j == pytest.approx(seen.power_w * seen.seconds / seen.calls)
    assert seen.sm_mhz is not None and seen.sm_mhz > 500
