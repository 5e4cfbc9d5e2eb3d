"""What a check does with noise alone, and with slowdowns in it, in made-up suites of 50 cases."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.checks import AGAINST, MISSED, TWO_RUNS, counted
from benchmarks.noise import KINDS, Noise, Suite
from benchmarks.parts import timing_of
from radialbench.records.measurement import Rounds
from radialbench.reports.check.compare import check
from radialbench.reports.check.shift import ALL
from radialbench.reports.check.verdict import Outcome, Verdict, exit_code
from tests.reports.check.noise import GPU_RECORD, record
from tests.reports.factory import on_gpu

SUITES = 40


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [TWO_RUNS, AGAINST])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_code_does_not_fail_and_slowdowns_do_not_pass(kind: str, protocol: str) -> None:
    """Two results failed in 99% of suites where cases sat in clock states, and passed 3% in 9%."""
    row = counted(kind, protocol, Noise(GPU_RECORD, 2, kind=kind), SUITES)
    # At most one in a hundred; of so few suites that is one at most, in nine of ten tests.
    assert row["failed"] <= 1
    for size, most in MISSED.items():
        assert row["passed"][f"{size:g}"] <= most * SUITES + 3 * (most * (1 - most) * SUITES) ** 0.5


def test_several_processes_tell_what_two_results_do_not() -> None:
    """One suite under each kind of noise: 10% is caught, and 5% by several processes."""
    for kind in KINDS:
        row = counted(kind, AGAINST, Noise(GPU_RECORD, 3, kind=kind), 2)
        assert (row["failed"], row["caught"]["0.05"], row["caught"]["0.1"]) == (0, 2, 2), kind
        assert counted(kind, TWO_RUNS, Noise(GPU_RECORD, 3, kind=kind), 2)["failed"] == 0


@pytest.mark.slow
def test_a_quiet_gpu_is_not_inconclusive() -> None:
    noise = Noise(GPU_RECORD, 1)
    codes = [exit_code(check(*noise.pair()).verdicts) for _ in range(SUITES)]
    assert codes.count(0) >= 0.95 * SUITES


def moved(cases: int, factor: float, seed: int = 0) -> Suite:
    """As many cases of a time with noise of 1%, all slower by a factor."""
    rng = np.random.default_rng(seed)
    return [
        record(f"case{n}", (factor * np.exp(rng.normal(0, 0.01, 60))).tolist())
        for n in range(cases)
    ]


def common(verdicts: Sequence[Verdict]) -> Verdict:
    (one,) = [verdict for verdict in verdicts if verdict.case == ALL]
    return one


def test_a_change_of_all_cases_is_one_finding() -> None:
    before, now = moved(20, 1.0), moved(20, 1.03, seed=1)
    found = check(now, before)
    one = common(found.verdicts)
    assert one.outcome is Outcome.INCONCLUSIVE
    assert one.reason.startswith("20 of 20 cases are 3.")
    assert one.reason.endswith(
        "the machine, or a change of all cases: --against measures both in turn"
    )
    assert len(one.cases) == 20
    others = [verdict for verdict in found.verdicts if verdict.metric == "latency"]
    assert {verdict.outcome for verdict in others if verdict is not one} == {Outcome.PASS}
    assert "beside the change of all cases" in others[-1].reason
    assert found.headline.startswith("20 cases, 61 verdicts: ")
    # Measured in turn it is no change of the machine: each case has its own.
    assert ALL not in {verdict.case for verdict in check(now, before, in_turn=True).verdicts}


def test_one_case_stands_out_of_a_change_of_all() -> None:
    before, now = moved(20, 1.0), moved(20, 1.008, seed=1)
    now[3] = record("case3", [1.16 * ms for ms in timing_of(before[3]).samples_ms])
    found = {one.case: one for one in check(now, before).verdicts if one.metric == "latency"}
    assert found["case3"].outcome is Outcome.REGRESSED
    assert {one.outcome for case, one in found.items() if case != "case3"} == {Outcome.PASS}


def test_a_large_change_of_all_cases_fails_unless_the_machine_is_seen_to_change() -> None:
    before, now = moved(20, 1.0), moved(20, 1.1, seed=1)
    assert common(check(now, before).verdicts).outcome is Outcome.REGRESSED

    def clocked(suite: Suite, mhz: float) -> Suite:
        rounds = Rounds("nvml", sm_mhz=(mhz,) * 60)
        return [replace(one, timing=replace(timing_of(one), rounds=rounds)) for one in suite]

    slow = common(check(clocked(now, 1800.0), clocked(before, 1980.0)).verdicts)
    assert slow.outcome is Outcome.INCONCLUSIVE
    assert slow.reason.endswith("; the machine, its clock is 9.1% lower")


def test_a_matmul_beside_the_cases_names_the_machine() -> None:
    before, now = on_gpu(moved(20, 1.0)), on_gpu(moved(20, 1.1, seed=1), ceiling_ms=1.54)
    slow = common(check(now, before).verdicts)
    assert slow.outcome is Outcome.INCONCLUSIVE
    assert slow.reason.endswith("; the machine, the matmul beside them is 10.0% slower")


def test_a_change_of_most_cases_by_different_amounts_is_none_of_the_machine() -> None:
    before = moved(20, 1.0)
    now = [moved(20, 1 + n / 50, seed=2)[n] for n in range(20)]
    assert ALL not in {one.case for one in check(now, before).verdicts}
