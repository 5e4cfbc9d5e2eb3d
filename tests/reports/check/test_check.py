"""Verdicts of single cases: which outcome, and why."""

from dataclasses import replace
from typing import Any

import pytest

from radialbench.errors import ReportError
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.measurement import Accuracy, Measurement, Memory, Rounds
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Record, Status
from radialbench.reports.check.baseline import environment_diff
from radialbench.reports.check.compare import check
from radialbench.reports.check.metrics import ALL_CASES, CPU_LATENCY, GATES, gates_of, set_gates
from radialbench.reports.check.verdict import Outcome, Verdict, exit_code
from tests.reports.check.noise import GPU_RECORD, record
from tests.reports.factory import elsewhere, ended, kept, made, on_gpu

STEADY = [1 + 0.002 * ((7 * call) % 11 - 5) / 5 for call in range(60)]


def gpu(factor: float = 1.0, case: str = "a", **changes: Any) -> Record:
    return replace(record(case, [factor * ms for ms in STEADY]), **changes)


def only(metric: str, now: Record, before: Record, *gates: str) -> Verdict:
    found = check([now], [before], set_gates(GATES, gates)).verdicts
    (verdict,) = [one for one in found if one.metric == metric]
    return verdict


@pytest.mark.parametrize(
    ("factor", "outcome"),
    [
        (1.008, Outcome.PASS),
        (1.012, Outcome.INCONCLUSIVE),
        (1.03, Outcome.INCONCLUSIVE),
        (1.06, Outcome.REGRESSED),
        (0.988, Outcome.PASS),
        (0.94, Outcome.FASTER),
    ],
)
def test_latency(factor: float, outcome: Outcome) -> None:
    verdict = only("latency", gpu(factor), gpu())
    assert verdict.outcome is outcome
    assert verdict.ratio == pytest.approx(factor)
    assert verdict.interval is not None
    assert verdict.interval.holds(factor)
    word = "slower" if factor >= 1 else "faster"
    assert verdict.reason.startswith(f"{abs(factor - 1):.1%} {word} (95% ")


def test_a_gate_decides_what_counts() -> None:
    assert only("latency", gpu(1.06), gpu(), "latency=8%").outcome is Outcome.PASS
    assert only("latency", gpu(1.06), gpu(), "latency=0.1ms").outcome is Outcome.PASS
    assert only("latency", gpu(1.06), gpu(), "latency=0.01ms").outcome is Outcome.REGRESSED
    found = check([gpu()], [gpu()], {"latency": None}).verdicts
    assert "latency" not in {one.metric for one in found}


def test_what_lies_between_the_gate_and_what_noise_can_tell_is_inconclusive() -> None:
    """It was `pass`, within a gate that nobody had asked for."""
    for factor in (1.004, 1.02, 1.03):
        verdict = only("latency", gpu(factor), gpu(), "latency=0.3%")
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert "at least 0.3%; noise hides changes below 3.3" in verdict.reason
    held = only("latency", gpu(1.001), gpu(), "latency=0.3%")
    assert held.outcome is Outcome.PASS
    assert "within 0.3%; noise hides changes below 3.3" in held.reason


def test_where_noise_hides_more_than_a_gate_the_result_says_so() -> None:
    found = check([gpu(case=name) for name in "ab"], [gpu(1.001, case=name) for name in "ab"])
    (line,) = found.resolution
    assert line.startswith("latency: noise hides changes below 3.3")
    assert "in 2 cases, the gate is 2%" in line
    assert (f"resolution: {line}", ()) in found.notes
    assert check([gpu()], [gpu(1.001)], noise_floor=0.005).resolution == ()


def test_a_known_noise_holds_in_place_of_what_is_assumed() -> None:
    (verdict, *_) = check([gpu(1.045)], [gpu()], noise_floor=0.03).verdicts
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.interval is not None
    assert verdict.interval.holds(1.045 * 1.059)
    (verdict, *_) = check([gpu(1.10)], [gpu()], noise_floor=0.03).verdicts
    assert verdict.outcome is Outcome.REGRESSED
    # It lowers as well as raises.
    (verdict, *_) = check([gpu(1.03)], [gpu()], noise_floor=0.004).verdicts
    assert verdict.outcome is Outcome.REGRESSED
    (verdict, *_) = check([gpu(1.03)], [gpu()], noise_floor={ALL_CASES: 0.02, "a": 0.004}).verdicts
    assert verdict.outcome is Outcome.REGRESSED


def test_on_a_cpu_a_slowdown_of_5_9_percent_is_not_within_2() -> None:
    slow, base = (made(samples=[factor * ms for ms in STEADY]) for factor in (1.059, 1.0))
    assert only("latency", slow, base, "latency=2%").outcome is Outcome.INCONCLUSIVE
    (equal,) = (made(samples=[1.001 * ms for ms in STEADY]),)
    assert only("latency", equal, base, "latency=2%").outcome is Outcome.PASS
    assert gates_of(slow, {})["latency"] == CPU_LATENCY


def test_a_measurement_beside_itself_passes_whatever_its_noise() -> None:
    for samples in ([1.0], [1 + 0.3 * ((7 * call) % 11 - 5) / 5 for call in range(12)]):
        verdict = only("latency", record("a", samples), record("a", samples))
        assert verdict.outcome is Outcome.PASS
        assert verdict.reason == "the same measurement as in the baseline"


def test_a_change_that_may_be_chance_is_not_called_one() -> None:
    noisy = [1.3 if call % 3 == 0 else 0.8 + 0.01 * (call % 7) for call in range(12)]
    verdict = only("latency", record("a", [1.03 * ms for ms in noisy]), record("a", noisy))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "measure again" in verdict.reason


def test_too_wide_to_tell() -> None:
    noisy = [1 + 0.3 * ((7 * call) % 11 - 5) / 5 for call in range(12)]
    verdict = only("latency", record("a", noisy), record("a", noisy[::-1]))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason.startswith("unchanged (95% -")
    assert "too wide to tell, 3% is not ruled out" in verdict.reason


def test_too_few_samples() -> None:
    verdict = only("latency", record("a", [1.0] * 5), record("a", [1.0] * 4))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "takes six" in verdict.reason


def clocked(factor: float, mhz: float) -> Record:
    rounds = Rounds("nvml", sm_mhz=(mhz,) * len(STEADY))
    timing = Measurement(
        tuple(factor * ms for ms in STEADY), 1, "cold", "cuda_event", None, rounds=rounds
    )
    return gpu(timing=timing)


@pytest.mark.parametrize(
    ("mhz", "outcome"), [(1980 / 1.03, Outcome.REGRESSED), (1980 / 1.06, Outcome.INCONCLUSIVE)]
)
def test_of_a_lower_clock_and_more_work_the_larger_counts(mhz: float, outcome: Outcome) -> None:
    # 9% slower, of which the clock explains 3% or 6%: the cycles alone do not reach the gate.
    now, before = clocked(1.09, mhz), clocked(1.0, 1980.0)
    assert only("latency", now, before, "latency=7%").outcome is outcome


def test_a_higher_clock_may_hide_a_slowdown() -> None:
    hidden = only("latency", clocked(1.005, 1980.0), clocked(1.0, 1900.0))
    assert hidden.outcome is Outcome.INCONCLUSIVE
    assert "but at a clock 4.2% higher, which may hide a slowdown" in hidden.reason
    assert only("latency", clocked(1.005, 1920.0), clocked(1.0, 1900.0)).outcome is Outcome.PASS


def test_a_lower_clock_is_no_regression() -> None:
    held = only("latency", clocked(1.1, 1800.0), clocked(1.0, 1980.0))
    assert held.outcome is Outcome.INCONCLUSIVE
    assert held.cycles == pytest.approx(1.0)
    assert "at a clock 9.1% lower" in held.reason
    slower = only("latency", clocked(1.1, 1980.0), clocked(1.0, 1980.0))
    assert slower.outcome is Outcome.REGRESSED
    assert slower.cycles == pytest.approx(1.1)
    assert "+10.0% in cycles" in slower.reason


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [
        (100 << 20, 100 << 20, Outcome.PASS),
        (100 << 20, (100 << 20) + 1, Outcome.PASS),
        (100 << 20, 103 << 20, Outcome.REGRESSED),
        (103 << 20, 100 << 20, Outcome.FASTER),
        (1 << 10, 2 << 10, Outcome.PASS),
        (0, 5 << 20, Outcome.REGRESSED),
        (0, 0, Outcome.PASS),
    ],
)
def test_memory_must_grow_in_both_respects(before: int, now: int, outcome: Outcome) -> None:
    old, new = (gpu(memory=Memory(size, "allocator")) for size in (before, now))
    assert only("memory", new, old).outcome is outcome


@pytest.mark.parametrize(
    ("now", "outcome"), [(7 << 20, Outcome.PASS), (14 << 20, Outcome.REGRESSED)]
)
def test_a_resident_set_may_differ_by_some_mebibytes(now: int, outcome: Outcome) -> None:
    old, new = (gpu(memory=Memory(size, "peak resident set")) for size in (5 << 20, now))
    assert only("memory", new, old).outcome is outcome


def test_memory_that_was_measured_in_another_way_is_not_compared() -> None:
    now, before = gpu(memory=Memory(9, "allocator")), gpu(memory=Memory(1, "resident set"))
    assert only("memory", now, before).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("now", "outcome"), [(1.4e-5, Outcome.PASS), (2e-5, Outcome.REGRESSED), (1e-6, Outcome.FASTER)]
)
def test_accuracy_is_a_share_of_the_tolerance(now: float, outcome: Outcome) -> None:
    one, other = (
        gpu(accuracy=Accuracy(error, 0.0, 0.0, 1e-4, 1, 1, "definition")) for error in (now, 1e-5)
    )
    assert only("accuracy", one, other).outcome is outcome


def test_energy_and_share_of_the_ceiling() -> None:
    (before,) = on_gpu([gpu()])
    (now,) = on_gpu([gpu(1.25)])
    assert only("energy", now, before).outcome is Outcome.REGRESSED
    share = only("ceiling", now, before)
    assert share.outcome is Outcome.REGRESSED
    assert share.ratio == pytest.approx(0.8)
    assert share.interval is not None
    assert share.interval.holds(0.8)
    assert share.reason.startswith("20.0% less of the ceiling (95% -")


@pytest.mark.parametrize(
    ("now", "outcome", "text"),
    [
        (0.93, Outcome.PASS, "93.00%, unchanged"),
        (0.926, Outcome.PASS, "5.7% more mass lost: 93.00%, now 92.60%"),
        (0.92, Outcome.REGRESSED, "14.3% more mass lost: 93.00%, now 92.00%"),
        (0.94, Outcome.FASTER, "14.3% less mass lost: 93.00%, now 94.00%"),
    ],
)
def test_mass_kept_is_compared_in_points(now: float, outcome: Outcome, text: str) -> None:
    before, after = (made(samples=STEADY, fidelity=kept(mass)) for mass in (0.93, now))
    verdict = only("mass_kept", after, before)
    assert (verdict.outcome, verdict.reason) == (outcome, text)
    assert verdict.before == pytest.approx(0.93)
    assert verdict.now == pytest.approx(now)
    # A dense mask has lost nothing that a ratio could be taken of.
    nothing, something = (made(samples=STEADY, fidelity=kept(mass)) for mass in (1.0, 0.98))
    lost = replace(nothing, fidelity=replace(kept(1.0), heads=kept(1.0, heads=1).heads))
    assert only("mass_kept", something, lost).outcome == Outcome.REGRESSED


def test_the_error_of_a_mask_has_a_gate_and_inputs_must_be_the_same() -> None:
    def of(error: float, digest: str = "aa") -> Record:
        return made(samples=STEADY, fidelity=kept(0.9, error, digest=digest))

    assert only("output_error", of(0.104), of(0.1)).outcome == Outcome.PASS
    assert only("output_error", of(0.106), of(0.1)).outcome == Outcome.REGRESSED
    assert only("output_error", of(0.106), of(0.1), "output_error=10%").outcome == Outcome.PASS
    assert only("output_error", of(0.2, "bb"), of(0.1)).outcome == Outcome.INCONCLUSIVE
    assert only("mass_kept", made(samples=STEADY), of(0.1)).outcome == Outcome.MISSING


def test_compiling_has_a_gate_of_its_own() -> None:
    before = made(backend=None, samples=STEADY)
    now = made(backend=None, samples=[1.5 * ms for ms in STEADY])
    (verdict,) = [one for one in check([now], [before]).verdicts if one.metric != "memory"]
    assert (verdict.metric, verdict.outcome) == ("compile", Outcome.REGRESSED)


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [
        ("ok", "crashed", Outcome.REGRESSED),
        ("ok", "unsupported", Outcome.REGRESSED),
        ("unsupported", "failed", Outcome.REGRESSED),
        ("crashed", "crashed", Outcome.PASS),
        ("oom", "oom", Outcome.PASS),
        ("inaccurate", "ok", Outcome.PASS),
    ],
)
def test_how_a_case_ended(before: str, now: str, outcome: Outcome) -> None:
    old, new = (
        gpu() if word == "ok" else ended(Status(word), "for a reason", gpu())
        for word in (before, now)
    )
    (verdict,) = check([new], [old]).verdicts
    assert (verdict.metric, verdict.outcome) == ("status", outcome)
    assert now in verdict.reason


def test_the_same_scale_written_twice_is_the_same_problem() -> None:
    problem = gpu().problem
    before = gpu(problem=replace(problem, sm_scale=problem.scale))
    assert only("latency", gpu(), before).outcome is Outcome.PASS


def test_suites_may_have_other_names() -> None:
    assert only("latency", gpu(suite="one"), gpu(suite="other")).outcome is Outcome.PASS


def test_configurations_that_changed_are_named_with_their_cases() -> None:
    before = [gpu(case=case, config=KernelConfig(block_n=64)) for case in "ab"]
    found = check([gpu(), gpu(case="b"), gpu(case="c")], [*before, gpu(case="c")])
    assert found.configs == {"block_n: 64 and 128": ("a", "b")}
    assert ("configuration changed: block_n: 64 and 128", ("a", "b")) in found.notes


def test_cases_of_one_side_alone() -> None:
    found = check([gpu(), gpu(case="b")], [gpu(), gpu(case="c")]).verdicts
    alone = {one.case: one.outcome for one in found if one.metric == "status"}
    assert alone == {"b": Outcome.NEW, "c": Outcome.MISSING}
    with pytest.raises(ReportError, match="none of the baseline's cases.*--allow-missing"):
        check([gpu(case="b")], [gpu(case="c")])
    renamed = check([gpu(case="b")], [gpu(case="c")], allow_missing=True).verdicts
    assert {one.case: one.outcome for one in renamed} == {"b": Outcome.NEW, "c": Outcome.MISSING}
    there = elsewhere([gpu(case="c")], device="Other GPU")
    with pytest.raises(ReportError, match="of another machine"):
        check([gpu(case="b")], there, allow_missing=True)


def test_a_metric_that_vanishes_is_missing() -> None:
    """It passed: 12 pass, exit 0, with `memory: null`."""
    before = gpu(memory=Memory(9 << 20, "allocator"))
    result = check([gpu(memory=None)], [before])
    assert ("missing: only the baseline has memory of this case", ("a",)) in result.notes
    assert exit_code(result.verdicts) == 2
    found = check([gpu(memory=None)], [before], {"memory": None}).verdicts
    assert "memory" not in {one.metric for one in found}
    (before,) = on_gpu([gpu()])
    assert only("ceiling", replace(before, ceiling=None), before).outcome is Outcome.MISSING
    assert only("energy", replace(before, telemetry=None), before).outcome is Outcome.MISSING
    assert before.telemetry is not None
    idle = replace(before, telemetry=replace(before.telemetry, seconds=1e3))
    assert only("energy", idle, before).outcome is Outcome.INCONCLUSIVE


def test_the_last_record_of_a_case_counts() -> None:
    assert only("latency", gpu(), gpu()).ratio == 1
    found = check([gpu(1.5), gpu()], [gpu(2.0), gpu()]).verdicts
    assert {one.outcome for one in found} == {Outcome.PASS}


def test_another_problem_and_another_way_of_measuring_are_not_compared() -> None:
    problem = replace(GPU_RECORD.problem, mask_fingerprint="beef")
    other = gpu(problem=problem, mask=MaskIdentity("radial", "beef"))
    (verdict,) = check([gpu()], [other]).verdicts
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "its mask_fingerprint changed" in verdict.reason
    timing = gpu().timing
    assert timing is not None
    (verdict,) = check([gpu()], [gpu(timing=replace(timing, cache="warm"))]).verdicts
    assert "cache: warm and cold" in verdict.reason


def test_another_device_is_refused_and_another_version_must_be_allowed() -> None:
    here = gpu()
    (there,) = elsewhere([here], device="Other GPU")
    for allowed in (False, True):
        with pytest.raises(ReportError, match="device: Other GPU and Example GPU"):
            environment_diff([(there, here)], across_versions=allowed)
    (there,) = elsewhere([here], versions={"torch": "2.12.0", "numpy": "2.3.5"})
    with pytest.raises(ReportError, match=r"torch: 2.12.0 and 2.13.0.*--across-versions"):
        environment_diff([(there, here)])
    assert environment_diff([(there, here)], across_versions=True) == ("torch: 2.12.0 and 2.13.0",)


def test_another_gpu_of_the_same_kind_is_reported() -> None:
    here = GPU_RECORD
    there, now = (elsewhere([here], card=card)[0] for card in ("0123abc", "4567def"))
    assert environment_diff([(here, now), (there, there)]) == ()
    (diff,) = environment_diff([(there, now)])
    assert diff.startswith("card: 0123abc and 4567def, two GPUs of one kind")


def test_our_own_version_and_commit_may_differ_and_a_gpu_may_stand_elsewhere() -> None:
    here = gpu()
    versions = here.environment.versions | {"radialbench": "0.0.1"}
    (there,) = elsewhere([here], commit="feed", versions=versions)
    diff = environment_diff([(there, here)])
    assert diff == ("radialbench: 0.0.1 and none", "commit: feed and 0123abc")
    (there,) = elsewhere([here], cores=64)
    assert environment_diff([(there, here)], across_versions=True) == ("cores: 64 and 2",)


def test_another_processor_is_another_machine_where_it_computes() -> None:
    here = made(samples=STEADY)
    (there,) = elsewhere([here], cores=64)
    with pytest.raises(ReportError, match="of another machine .*cores: 64 and 2"):
        environment_diff([(there, here)], across_versions=True)


def test_of_another_machine_all_but_times_are_compared() -> None:
    here, (there,) = made(samples=STEADY), elsewhere([made(samples=STEADY)], cpu="Other CPU")
    found = check([here], [there], across_machines=True)
    outcomes = {one.metric: one.outcome for one in found.verdicts}
    assert outcomes == {
        "latency": Outcome.INCONCLUSIVE, "memory": Outcome.PASS, "accuracy": Outcome.PASS
    }  # fmt: skip
    (latency,) = [one for one in found.verdicts if one.metric == "latency"]
    assert latency.reason == "measured on another machine (cpu: Other CPU and Example 3000)"
    assert found.changed == ("cpu: Other CPU and Example 3000",)
    wrong = replace(here, status=Status.FAILED, reason="why", timing=None)
    (verdict,) = check([wrong], [there], across_machines=True).verdicts
    assert (verdict.metric, verdict.outcome) == ("status", Outcome.REGRESSED)


def test_the_worst_outcome_decides() -> None:
    def code(*outcomes: Outcome, allow_missing: bool = False) -> int:
        verdicts = [Verdict("a", "latency", one, "why") for one in outcomes]
        return exit_code(verdicts, allow_missing=allow_missing)

    assert code(Outcome.PASS, Outcome.FASTER, Outcome.NEW) == 0
    assert code(Outcome.PASS, Outcome.INCONCLUSIVE) == 3
    assert code(Outcome.INCONCLUSIVE, Outcome.MISSING) == 2
    assert code(Outcome.INCONCLUSIVE, Outcome.MISSING, allow_missing=True) == 3
    assert code(Outcome.MISSING, Outcome.INCONCLUSIVE, Outcome.REGRESSED) == 1


def test_the_worst_comes_first() -> None:
    found = check(
        [gpu(1.1, "a"), gpu(1.3, "b"), gpu(0.5, "c"), gpu(1.0, "d")],
        [gpu(case=name) for name in "abcd"],
    )
    latencies = [one.case for one in found.verdicts if one.metric == "latency"]
    assert latencies == ["b", "a", "c", "d"]
