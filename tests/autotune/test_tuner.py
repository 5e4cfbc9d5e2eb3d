"""The loop: what is counted, what is kept, and what comes of it."""

import pytest

from radialbench.autotune.space import Candidates
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.autotune.tuner import Progress, best_of, tune
from radialbench.errors import AutotuneError
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import Outcomes, TuningRecord
from tests.autotune import landscape
from tests.autotune.fake import BEST, DEFAULT, SPACE, Fake, among

ENDS = {
    KernelConfig(32, 32): (TrialOutcome.CRASHED, "ended by SIGABRT"),
    KernelConfig(32, 64): (TrialOutcome.WRONG, "errors of 1.0"),
    KernelConfig(256, 32): (TrialOutcome.TIMEOUT, "stopped"),
    KernelConfig(256, 64): (TrialOutcome.COMPILE_FAILED, "out of registers"),
    KernelConfig(256, 128): (TrialOutcome.REJECTED, "spills 900 times"),
}


def test_all_of_a_small_space_is_tried() -> None:
    fake = Fake(ENDS)
    tuned = tune(among(), fake)
    assert (tuned.decision.config, tuned.decision.source) == (BEST, "tuned")
    assert tuned.search == "exhaustive"
    assert fake.tried == [DEFAULT, *(c for c in SPACE.configs() if c != DEFAULT)]
    assert tuned.outcomes == Outcomes(1, 1, 1, 1, 1, 7)
    assert fake.finals[0][:3] == [DEFAULT, DEFAULT, BEST]
    assert len(fake.finals[0]) == 5


def test_the_best_time_so_far_is_told() -> None:
    fake = Fake(ENDS, noise=0)
    tune(among(), fake)
    assert fake.bests[0] is None
    known = [b for b in fake.bests if b is not None]
    assert known == sorted(known, reverse=True)
    assert min(known) == pytest.approx(1.01)


def test_everything_is_compiled_ahead_in_the_order_of_need() -> None:
    fake = Fake()
    tune(among(), fake, search="random", trials=4, seed=3)
    assert fake.tried == fake.prepared[:4]
    assert sorted(fake.prepared, key=repr) == sorted(SPACE.configs(), key=repr)


def test_trials_are_limited_and_rejected_ones_cost_none() -> None:
    rejected = dict.fromkeys(list(SPACE.configs())[1:6], (TrialOutcome.REJECTED, "spills"))
    fake = Fake(rejected)
    tuned = tune(among(), fake, search="random", trials=5)
    assert tuned.outcomes.ok == 5
    assert tuned.outcomes.rejected == len(fake.tried) - 5
    with pytest.raises(AutotuneError, match="trials must be at least 1, got 0"):
        tune(among(), fake, trials=0)


def test_rejections_are_counted_by_kind() -> None:
    configs = list(SPACE.configs())
    spilled = {configs[0]: ("registers", "takes 300")}
    some = Candidates(SPACE, DEFAULT, tuple(configs[1:]), spilled)
    tuned = tune(some, Fake(ENDS))
    assert tuned.rejections == {"registers": 1, "trying": 1}
    assert tuned.outcomes.rejected == 2
    assert configs[0] not in [trial.config for trial in tuned.trials]


def test_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    seen: list[Progress] = []

    class Slow(Fake):
        def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
            now[0] += 10
            return super().quick(config, best_ms=best_ms)

    tuned = tune(among(), Slow(), seconds=35, watch=seen.append)
    assert len(tuned.trials) == 4
    assert tuned.search == "tpe"
    left = [one.seconds_left for one in seen if one.stage == "search"]
    assert left == [35, 25, 15, 5, 0]
    assert len(tune(among(), Slow(), seconds=0).trials) == 1


def test_progress_is_told() -> None:
    seen: list[Progress] = []
    tune(among(), Fake(ENDS), watch=seen.append)
    assert [one.stage for one in seen] == ["search"] * 13 + ["final"]
    assert [one.measured for one in seen][:3] == [0, 1, 2]
    assert {one.planned for one in seen} == {12}
    assert seen[0].trial is None and seen[0].best is None and seen[0].seconds_left is None
    assert seen[1].trial == seen[1].default == seen[1].best
    assert seen[-1].best is not None and seen[-1].best.config == BEST
    assert seen[-1].outcomes == Outcomes(1, 1, 1, 1, 1, 7)


def test_where_nothing_is_faster_the_default_stays() -> None:
    tuned = tune(among(), Fake(time=lambda config: 1.0))
    assert (tuned.decision.config, tuned.decision.source) == (DEFAULT, "default")
    alone = Candidates(SPACE, DEFAULT, (DEFAULT,))
    tuned = tune(alone, Fake())
    assert (tuned.decision.source, len(tuned.trials)) == ("default", 1)


def test_where_all_others_fail_the_default_stays() -> None:
    ends = {c: (TrialOutcome.CRASHED, "SIGABRT") for c in SPACE.configs() if c != DEFAULT}
    tuned = tune(among(), Fake(ends))
    assert tuned.decision.source == "default"
    assert tuned.outcomes == Outcomes(crashed=11, ok=1)


def test_an_error_of_the_evaluator_is_passed_on() -> None:
    class Broken(Fake):
        def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(among(), Broken())


def test_neighbours_are_tried_after_the_default() -> None:
    fake = Fake()
    tune(among(), fake, trials=3, neighbours=[KernelConfig(32, 64), KernelConfig(7, 7)])
    assert fake.tried[:2] == [DEFAULT, KernelConfig(32, 64)]


def test_what_is_known_is_not_tried_again() -> None:
    whole = Fake(ENDS, noise=0)
    expected = tune(among(), whole)
    known = [Fake(ENDS, noise=0).quick(config, best_ms=None) for config in SPACE.configs()]
    elsewhere = Trial(KernelConfig(7, 7), TrialOutcome.OK, None, (0.1,))
    fake = Fake(ENDS, noise=0)
    tuned = tune(among(), fake, trials=3, known=[elsewhere, *known])
    assert (fake.tried, fake.prepared, fake.finals[0]) == ([], [], whole.finals[0])
    assert tuned.decision == expected.decision
    # All was tried, by whomever.
    assert (tuned.search, tuned.outcomes) == ("exhaustive", expected.outcomes)
    part = tune(among(), fake, trials=7, known=[known[0], *known[4:8]])
    assert len(fake.tried) == 2
    assert (part.search, part.outcomes.total) == ("tpe", 7)


def test_the_best_few() -> None:
    trials = [Trial(DEFAULT, TrialOutcome.OK, None, (0.5,))]
    trials += [
        Trial(config, TrialOutcome.OK, None, (1.0 + place,))
        for place, config in enumerate(reversed(list(SPACE.configs())[:5]))
    ]
    trials.append(Trial(KernelConfig(256, 32), TrialOutcome.WRONG, "nan"))
    assert best_of(trials, DEFAULT) == list(reversed(list(SPACE.configs())[2:5]))


def test_what_is_stored() -> None:
    tuned = tune(among(), Fake(ENDS), seed=3)
    key = landscape.key(0, landscape.shape(0))
    made = tuned.record(
        key,
        mask=MaskIdentity("radial", key.mask_fingerprint),
        kernel="ab12",
        versions={"torch": "2.13.0"},
        created="2026-01-01T00:00:00+00:00",
    )
    assert (made.config, made.default, made.source) == (BEST, DEFAULT, "tuned")
    assert (made.sampler, made.seed, made.trials) == ("exhaustive", 3, Outcomes(1, 1, 1, 1, 1, 7))
    assert from_dict(TuningRecord, to_dict(made)) == made


def test_trials_say_what_they_are() -> None:
    with pytest.raises(AutotuneError, match="a reason when it is not; got crashed"):
        Trial(DEFAULT, TrialOutcome.CRASHED, None)
    with pytest.raises(AutotuneError, match="a trial has samples when it is ok"):
        Trial(DEFAULT, TrialOutcome.OK, None, ())
    with pytest.raises(AutotuneError):
        Trial(DEFAULT, TrialOutcome.WRONG, "nan", (1.0,))
    assert Trial(DEFAULT, TrialOutcome.OK, None, (3.0, 1.0, 2.0)).ms == 2.0
