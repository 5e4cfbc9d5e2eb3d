"""The scaling exponent: found, compared, and told where it cannot be."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from radialbench.records.result import Record
from radialbench.reports.check.compare import check
from radialbench.reports.check.metrics import NO_GATES, set_gates
from radialbench.reports.check.verdict import Outcome, Verdict
from tests.reports.factory import elsewhere, made

FRAMES = (5, 9, 17, 33)
SWEEP = "radial/Fx30x52/h1d128f32/triton"


def sweep(
    power: float = 1.5,
    frames: Sequence[int] = FRAMES,
    *,
    calls: int = 40,
    seed: int | None = None,
    noise: float = 0.003,
    bend: float = 0.0,
) -> list[Record]:
    """A sweep on a GPU whose times grow like a power of the tokens, from 1 ms at 5 frames on."""
    rng = np.random.default_rng(seed)
    found = []
    for count in frames:
        longer = np.log(count / 5)
        middle = np.exp(power * longer + bend * longer**2)
        offset = 0.0 if seed is None else rng.normal(0, noise)
        spread = np.linspace(-0.004, 0.004, calls)
        times = middle * np.exp(offset + rng.permutation(spread))
        found.append(made(frames=count, samples=times.tolist(), backend="triton"))
    return elsewhere(found, device="Example GPU")


def samples(record: Record) -> tuple[float, ...]:
    assert record.timing is not None
    return record.timing.samples_ms


def timed(record: Record, times: Sequence[float]) -> Record:
    assert record.timing is not None
    return replace(record, timing=replace(record.timing, samples_ms=tuple(times)))


def judged(now: list[Record], before: list[Record], *gates: str) -> list[Verdict]:
    found = check(now, before, set_gates(NO_GATES, gates))
    return [one for one in found.verdicts if one.metric == "scaling"]


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        (1.5, Outcome.PASS),
        (1.53, Outcome.PASS),
        (1.6, Outcome.REGRESSED),
        (1.4, Outcome.FASTER),
    ],
)
def test_the_exponent(now: float, outcome: Outcome) -> None:
    (verdict,) = judged(sweep(now), sweep())
    assert (verdict.case, verdict.outcome) == (SWEEP, outcome)
    assert verdict.before == pytest.approx(1.5, abs=0.002)
    assert verdict.now == pytest.approx(now, abs=0.002)
    assert verdict.interval and verdict.around and verdict.now
    assert verdict.interval.holds(now / 1.5)
    assert verdict.around.holds(verdict.now)
    assert verdict.reason.startswith(f"1.50, now {now:.2f}: {now - 1.5:+.2f}")
    assert verdict.reason.endswith("over 4 lengths of 5–33 frames")


def test_a_sweep_is_no_case_more() -> None:
    found = check(sweep(), sweep())
    assert found.headline.startswith("4 cases, 13 verdicts: ")
    (verdict,) = judged(sweep(calls=1), sweep(calls=1))
    assert (verdict.outcome, verdict.reason) == (
        Outcome.PASS, "the same measurements as in the baseline"
    )  # fmt: skip


def test_exponents_of_two_machines_are_not_compared() -> None:
    there = elsewhere(sweep(1.7), device="Other GPU")
    found = check(sweep(), there, across_machines=True).verdicts
    assert {one.outcome for one in found if one.metric == "scaling"} == {Outcome.INCONCLUSIVE}


def test_a_gate_decides_what_counts() -> None:
    now, before = sweep(1.58), sweep()
    assert judged(now, before)[0].outcome is Outcome.REGRESSED
    assert judged(now, before, "scaling=0.1")[0].outcome is Outcome.PASS
    assert judged(now, before, "scaling=6%")[0].outcome is Outcome.PASS
    assert judged(now, before, "scaling=off") == []
    own = [replace(record, gates=("scaling=0.1",)) for record in now]
    assert judged(own, before)[0].outcome is Outcome.PASS


def test_what_bends_a_sweep_is_no_uncertainty_of_its_change() -> None:
    straight, bent = (
        judged(sweep(1.6, bend=bend), sweep(1.5, bend=bend))[0] for bend in (0.0, 0.15)
    )
    assert straight.outcome is bent.outcome is Outcome.REGRESSED
    assert straight.reason.split(": ")[1] == bent.reason.split(": ")[1]


def test_a_constant_factor_is_no_growth() -> None:
    slower = [timed(record, [2 * ms for ms in samples(record)]) for record in sweep()]
    assert judged(slower, sweep())[0].outcome is Outcome.PASS


def test_the_same_code_holds_the_gate_and_chance_is_as_likely_as_stated() -> None:
    found = [judged(sweep(seed=2 * k), sweep(seed=2 * k + 1))[0] for k in range(300)]
    assert {one.outcome for one in found} == {Outcome.PASS}
    ends = [one.interval for one in found if one.interval]
    inside = sum(each.holds(1) for each in ends)
    # Runs differ by 0.42% here, and 0.5% is assumed: 95 of 100 is a lower bound.
    assert inside >= 0.94 * len(found)


def test_too_few_lengths_are_reported() -> None:
    assert judged(sweep(frames=(5, 9)), sweep(frames=(5, 9))) == []
    assert judged(sweep(frames=(5, 6, 7)), sweep(frames=(5, 6, 7))) == []
    (verdict,) = judged(sweep(frames=(5, 9)), sweep())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason.startswith("2 of the baseline's 4 lengths can be compared")
    (verdict,) = judged(sweep(), sweep(frames=(5, 9)))
    assert verdict.outcome is Outcome.NEW
    assert "too short for an exponent" in verdict.reason


def test_lengths_of_few_samples_do_not_count() -> None:
    few = [*sweep(frames=(5, 9)), *sweep(frames=(17, 33), calls=4)]
    (verdict,) = judged(few, sweep())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "with six samples in both runs" in verdict.reason
    enough = [*sweep(frames=(5, 9, 17)), *sweep(frames=(33,), calls=4)]
    (verdict,) = judged(enough, sweep())
    assert verdict.outcome is Outcome.PASS
    assert verdict.reason.endswith("over 3 lengths of 5–17 frames")


def test_noise_that_hides_a_change_is_inconclusive() -> None:
    def noisy(power: float, seed: int) -> list[Record]:
        rng = np.random.default_rng(seed)
        found = []
        for record in sweep(power, calls=8):
            factors = np.exp(rng.normal(0, 0.3, len(samples(record))))
            found.append(timed(record, (factors * samples(record)).tolist()))
        return found

    outcomes = {judged(noisy(1.5, k), noisy(1.5, 100 + k))[0].outcome for k in range(20)}
    assert outcomes == {Outcome.INCONCLUSIVE}


def test_each_mask_backend_and_resolution_has_its_own() -> None:
    other = [
        replace(record, case=record.case.replace("/triton", "/hopper"), backend="hopper")
        for record in sweep(1.6)
    ]
    before = [timed(one, samples(one)[::-1]) for one in other]
    found = judged([*sweep(), *other], [*before, *sweep()])
    reasons = {one.case: one.reason.split(",")[0] for one in found}
    assert reasons == {SWEEP: "1.50", SWEEP.replace("triton", "hopper"): "1.60"}
