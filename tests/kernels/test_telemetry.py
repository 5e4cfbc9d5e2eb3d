"""What is made of a GPU's counters."""

import pytest

from radialbench.kernels.telemetry import _Readings, slowed_by, watch


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


@pytest.mark.gpu
def test_a_gpu_under_load_draws_power() -> None:
    import torch

    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    seen = watch(lambda: a @ a, seconds=1.0)
    assert seen is not None
    assert seen.calls > 10
    assert seen.seconds >= 1
    assert seen.power_w is not None and seen.energy_j is not None
    assert 100 < seen.power_w < 2000
    assert seen.energy_j == pytest.approx(seen.power_w * seen.seconds / seen.calls)
    assert seen.sm_mhz is not None and seen.sm_mhz > 500
