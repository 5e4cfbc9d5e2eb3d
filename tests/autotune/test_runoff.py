"""The decision: another configuration than the default only if it is surely faster."""

import random
from collections.abc import Sequence

import pytest

from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.autotune.tuner import (
    NOISE_FLOOR,
    ROUNDS,
    decide,
    is_certain,
    measure_finals,
)
from radialbench.errors import AutotuneError
from radialbench.records.problem import KernelConfig
from tests.autotune.fake import DEFAULT, Fake

ONE, TWO, THREE = KernelConfig(64), KernelConfig(32), KernelConfig(256)


def sampled(times: Sequence[float], *, noise: float, count: int = 20, seed: int = 0) -> list[Trial]:
    """Sample the default twice, then others, in turn; half of the noise strikes all at once."""
    draw = random.Random(seed)
    columns: list[list[float]] = [[] for _ in range(len(times) + 1)]
    for _ in range(count):
        shared = draw.gauss(1, noise)
        for column, time in zip(columns, [times[0], *times], strict=True):
            column.append(time * shared * draw.gauss(1, noise))
    configs = [DEFAULT, DEFAULT, ONE, TWO, THREE]
    return [
        Trial(config, TrialOutcome.OK, None, tuple(column))
        for config, column in zip(configs, columns, strict=False)
    ]


def test_a_clear_winner_is_tuned() -> None:
    decision = decide(sampled([1.2, 1.1, 1.0], noise=0.01))
    assert (decision.config, decision.source) == (TWO, "tuned")
    assert decision.ratio.low is not None and decision.ratio.low > 1 + decision.noise
    assert decision.ratio.value == pytest.approx(1.2, rel=0.01)
    assert decision.default_ms.value == pytest.approx(1.2, rel=0.02)
    assert decision.ms.value == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.05])
def test_equals_are_hardly_ever_tuned(noise: float) -> None:
    """Three that are as fast as the default, looked at as often as a search looks at most."""
    tuned = 0
    for seed in range(300):
        same = Fake(noise=noise, time=lambda config: 1.0, seed=seed)
        finals = measure_finals(same, DEFAULT, [ONE, TWO, THREE])
        tuned += decide(finals).source == "tuned"
    assert tuned <= 300 * 0.02


def test_a_gain_within_the_noise_floor_is_none() -> None:
    decision = decide(sampled([1 + NOISE_FLOOR / 2, 1.0], noise=0.0001))
    assert (decision.config, decision.source) == (DEFAULT, "default")
    assert decision.reason.startswith("the best other was 1.00")
    assert (decision.ratio.low, decision.ratio.value, decision.ratio.high) == (1, 1, 1)
    assert decide(sampled([1 + NOISE_FLOOR * 2, 1.0], noise=0.0001)).source == "tuned"


def test_a_default_that_differs_from_itself_raises_the_bar() -> None:
    default, again, other = sampled([1.03, 1.0], noise=0.0001)
    slower = Trial(DEFAULT, TrialOutcome.OK, None, tuple(ms * 1.04 for ms in again.samples_ms))
    decision = decide([default, slower, other])
    assert decision.source == "default"
    assert decision.noise == pytest.approx(0.04, rel=0.05)


def test_few_samples_decide_nothing() -> None:
    finals = sampled([2.0, 1.0], noise=0.0001, count=5)
    assert decide(finals).source == "default"
    assert not is_certain(finals)


def test_what_crashes_in_the_end_is_not_chosen() -> None:
    finals = sampled([1.2, 1.1], noise=0.001)
    finals.append(Trial(TWO, TrialOutcome.CRASHED, "ended by SIGSEGV"))
    assert decide(finals).config == ONE
    assert decide([*finals[:2], finals[3]]).reason == "nothing else could be measured in the end"


def test_measuring_ends_when_the_order_is_certain() -> None:
    sure = Fake(noise=0.0005)
    finals = measure_finals(sure, DEFAULT, [ONE, TWO])
    assert sure.finals == [[DEFAULT, DEFAULT, ONE, TWO]]
    assert {len(one.samples_ms) for one in finals} == {20}
    unsure = Fake(noise=0.3)
    finals = measure_finals(unsure, DEFAULT, [ONE, TWO])
    assert len(unsure.finals) == ROUNDS
    assert {len(one.samples_ms) for one in finals} == {20 * ROUNDS}


def test_a_tie_of_the_best_needs_no_more() -> None:
    equal = Fake(noise=0.0005, time=lambda config: 1.2 if config == DEFAULT else 1.0)
    measure_finals(equal, DEFAULT, [ONE, TWO])
    assert len(equal.finals) == 1


class Failing(Fake):
    """Fails one configuration from the second round on, and gives others more samples."""

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        trials = super().runoff(configs)
        for place, one in enumerate(trials):
            if one.config == TWO and len(self.finals) > 1:
                trials[place] = Trial(TWO, TrialOutcome.TIMEOUT, "stopped")
            elif place == 0:
                trials[0] = Trial(one.config, one.outcome, None, (*one.samples_ms, 9.0, 9.0))
        return trials


def test_what_fails_later_is_left_out_and_pairs_stay_pairs() -> None:
    failing = Failing(noise=0.3)
    finals = measure_finals(failing, DEFAULT, [ONE, TWO])
    assert [TWO in configs for configs in failing.finals] == [True, True, False]
    assert finals[3].outcome == TrialOutcome.TIMEOUT
    assert {len(one.samples_ms) for one in finals if one.ms} == {20 * ROUNDS}
    assert 9.0 not in finals[0].samples_ms


def test_a_default_that_does_not_run_is_an_error() -> None:
    broken = Fake({DEFAULT: (TrialOutcome.WRONG, "errors of 1.0")})
    with pytest.raises(AutotuneError, match=r"default .* does not run.*: wrong, errors of 1\.0"):
        measure_finals(broken, DEFAULT, [ONE])
