from dataclasses import replace
from typing import Any

import pytest

from radialbench.errors import RecordError
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.measurement import Accuracy, Measurement, Memory, Rounds
from radialbench.records.problem import KernelConfig, Problem, group_id
from radialbench.records.result import Status
from tests.records.sample import ENVIRONMENT, RECORD, failed

PROBLEM = RECORD.problem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 0}, "Problem.heads must be a whole number of at least 1, got 0"),
        ({"kv_heads": 2}, "Problem.kv_heads must divide the 1 heads, got 2"),
        ({"kv_heads": -1}, "Problem.kv_heads must be a whole number of at least 1, got -1"),
        ({"dtype": "float23"}, "did you mean 'float32'"),
        ({"direction": "sideways"}, "known: backward, both, forward"),
        ({"sm_scale": float("nan")}, "Problem.sm_scale must be a finite number above 0"),
        ({"mask_fingerprint": ""}, "Problem.mask_fingerprint must be text"),
    ],
)
def test_a_problem_refuses_what_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        replace(PROBLEM, **change)


def test_there_are_as_many_key_heads_as_heads_unless_given() -> None:
    plain = Problem("f00d", TokenGrid(3, 30, 52), 1, 12, 128, "float32")
    grouped = Problem("f00d", TokenGrid(3, 30, 52), 1, 12, 128, "float32", kv_heads=4)
    assert (plain.key_heads, grouped.key_heads) == (12, 4)
    assert Problem("f00d", TokenGrid(3, 30, 52), 1, 12, 128, "float32", kv_heads=12) == plain
    assert replace(plain, heads=3).key_heads == 3
    assert from_dict(Problem, to_dict(grouped)) == grouped
    former = {name: value for name, value in to_dict(plain).items() if name != "kv_heads"}
    assert from_dict(Problem, former) == plain
    assert group_id(grouped, None) == "3x30x52/h12kv4d128f32"
    assert group_id(plain, None) == "3x30x52/h12d128f32"


def test_the_scale_is_given_or_follows_from_the_head() -> None:
    assert PROBLEM.scale == pytest.approx(1 / 128**0.5)
    assert replace(PROBLEM, sm_scale=0.5).scale == 0.5


def test_values_are_equal_and_hashable() -> None:
    again = Problem("f00d", TokenGrid(3, 30, 52), 1, 1, 128, "float32")
    assert {PROBLEM, again} == {PROBLEM}
    assert hash(RECORD) == hash(replace(RECORD))
    with pytest.raises(RecordError, match=r"KernelConfig.num_warps"):
        KernelConfig(num_warps=0)


def test_an_environment_is_equal_whatever_the_order_of_its_versions() -> None:
    turned = dict(reversed(ENVIRONMENT.versions.items()))
    assert replace(ENVIRONMENT, versions=turned) == ENVIRONMENT
    assert list(ENVIRONMENT.versions) == ["numpy", "torch"]


def test_a_measurement_derives_its_figures_from_all_samples() -> None:
    measured = Measurement((4.0, 1.0, 2.0, 3.0), 0, "cold", "timer", None)
    assert measured.median_ms == 2.5
    assert measured.iqr_ms == 1.5
    assert Measurement((4.0,), 0, "cold", "timer", None).iqr_ms == 0.0


@pytest.mark.parametrize("samples", [(), (0.0,), (1.0, float("inf")), (float("nan"),), (-1.0,)])
def test_a_measurement_needs_real_samples(samples: tuple[float, ...]) -> None:
    with pytest.raises(RecordError, match="samples_ms"):
        Measurement(samples, 0, "cold", "timer", None)


def test_figures_are_of_the_samples_that_were_not_throttled() -> None:
    slowed_by = ("", "power cap", "power cap, thermal limit (hardware)", "hardware slowdown")
    rounds = Rounds("nvml", (1700.0,) * 4, slowed_by=slowed_by)
    measured = Measurement((1.0, 3.0, 50.0, 70.0), 0, "cold", "timer", None, rounds=rounds)
    assert measured.throttled == (False, False, True, True)
    assert measured.steady_ms == (1.0, 3.0)
    assert (measured.median_ms, measured.iqr_ms) == (2.0, 1.0)
    hot = replace(measured, rounds=replace(rounds, slowed_by=("hardware slowdown",) * 4))
    assert hot.median_ms == 26.5
    assert replace(measured, rounds=None).throttled == (False,) * 4


def test_what_stands_beside_samples_is_as_long_as_they_are() -> None:
    with pytest.raises(RecordError, match=r"Rounds.power_w must hold one entry for each of the 2"):
        Measurement((1.0, 2.0), 0, "cold", "t", None, rounds=Rounds("nvml", power_w=(300.0,)))
    with pytest.raises(RecordError, match=r"Measurement.stopped"):
        Measurement((1.0, 2.0), 0, "cold", "t", None, stopped="tired")


def test_measurements_taken_differently_are_unlike() -> None:
    warm = Measurement((1.0,), 0, "warm", "perf_counter", None)
    cold = replace(warm, cache="cold", clocks="1980 MHz")
    assert warm.protocol_diff(replace(warm, samples_ms=(9.0,), warmups=5)) == []
    assert warm.protocol_diff(cold) == ["cache: warm and cold", "clocks: None and 1980 MHz"]


@pytest.mark.parametrize(
    ("output", "lse", "passed"),
    [(1e-4, 1e-4, True), (2e-4, 0, False), (0, 2e-4, False), (float("nan"), 0, False)],
)
def test_accuracy_passes_only_within_the_tolerance(output: float, lse: float, passed: bool) -> None:
    assert Accuracy(output, 0.0, lse, 1e-4, 5, 5, "definition").passed is passed


def test_accuracy_and_memory_refuse_what_cannot_be() -> None:
    with pytest.raises(RecordError, match=r"Accuracy.rows_total"):
        Accuracy(0, 0, 0, 1e-4, 5, 4, "definition")
    with pytest.raises(RecordError, match=r"Memory.peak_bytes"):
        Memory(-1, "guess")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timing": None}, "timing is set exactly when a case is ok"),
        ({"reason": "slow"}, "reason is set exactly when a case is not ok"),
        ({"status": Status.FAILED, "reason": "no"}, "timing is set exactly when a case is ok"),
        ({"accuracy": None}, "no time without an accurate result"),
        ({"accuracy": Accuracy(9.0, 0.0, 0.0, 1e-4, 5, 5, "definition")}, "no time without"),
        ({"backend": None}, "attention needs a backend"),
        ({"measure": "compile"}, "compiling has no backend"),
        ({"measure": "guess"}, "Record.measure"),
        ({"created": "yesterday"}, "ISO 8601"),
        ({"created": "2026-01-02T03:04:05"}, "with its zone"),
    ],
)
def test_a_record_keeps_its_invariants(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        replace(RECORD, **change)


def test_a_failed_record_needs_a_reason() -> None:
    assert failed().reason == "it broke"
    with pytest.raises(RecordError, match="reason is set exactly"):
        failed(reason="")
