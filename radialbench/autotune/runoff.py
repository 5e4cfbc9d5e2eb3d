"""The end of a search: the best few and the default, sampled in turn until the order is certain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from radialbench.autotune.trials import Evaluator, Trial, TrialOutcome
from radialbench.errors import AutotuneError
from radialbench.records.problem import KernelConfig
from radialbench.records.statistics import EXACT, Estimate, estimate_median, paired_ratio

BEST = 3
"""How many are measured again."""

ROUNDS = 3
"""How often at most, until the order is certain."""

NOISE_FLOOR = 0.005
"""Gains up to this are none: clocks and temperatures differ by as much from day to day."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to run, and why.

    Attributes:
        config: The fastest that is surely faster than the default; else the default.
        source: `tuned` or `default`.
        reason: Why, in a few words.
        ms: Its time.
        default_ms: The default's time.
        ratio: Of the default's time over its own, sample by sample; 1 if it is the default.
        noise: By how much it had to be faster: the floor, or how much the default differed from
            itself.
    """

    config: KernelConfig
    source: str
    reason: str
    ms: Estimate
    default_ms: Estimate
    ratio: Estimate
    noise: float


def measure_finals(
    evaluator: Evaluator, default: KernelConfig, best: Sequence[KernelConfig]
) -> list[Trial]:
    """Measure the default twice, and the best few, in turn; again until the order is certain.

    Returns:
        The two of the default, then the others: all with as many samples, taken side by side, or
        none if one did not end well.

    Raises:
        AutotuneError: The default does not run.
    """
    finals = _paired(evaluator.runoff([default, default, *best]))
    for _ in range(ROUNDS - 1):
        if is_certain(finals):
            break
        places = [place for place, one in enumerate(finals) if one.outcome == TrialOutcome.OK]
        more = _paired(evaluator.runoff([finals[place].config for place in places]))
        for place, new in zip(places, more, strict=True):
            finals[place] = _joined(finals[place], new)
    return finals


def is_certain(finals: Sequence[Trial]) -> bool:
    """Return whether more samples could change the decision.

    They could not when each of the others is surely faster than the default or surely is not, and
    the best is surely ahead of the next, or no more than the noise floor from it.
    """
    default, _, *others = [one for one in finals if one.outcome == TrialOutcome.OK]
    floor = 1 + _noise(finals)
    gains = [_ratio(default, one) for one in others]
    if not all(gain.surely_above(floor) or gain.surely_below(floor) for gain in gains):
        return False
    ahead = sorted((gain.value, place) for place, gain in enumerate(gains))[-2:]
    if len(ahead) < 2 or gains[ahead[-1][1]].value <= floor:
        return True
    lead = _ratio(others[ahead[0][1]], others[ahead[1][1]])
    return lead.surely_above(1) or lead.surely_below(1 + NOISE_FLOOR)


def decide(finals: Sequence[Trial]) -> Decision:
    """Choose by what was measured: the default stays unless another is surely faster."""
    default, _, *others = finals
    noise = _noise(finals)
    default_ms = estimate_median(default.samples_ms)
    gains = [(_ratio(default, one), one) for one in others if one.outcome == TrialOutcome.OK]
    sure = [(gain, one) for gain, one in gains if gain.surely_above(1 + noise)]
    if sure:
        gain, one = max(sure, key=lambda pair: pair[0].value)
        reason = f"surely more than {noise:.1%} faster than the default"
        ms = estimate_median(one.samples_ms)
        return Decision(one.config, "tuned", reason, ms, default_ms, gain, noise)
    reason = "nothing else could be measured in the end"
    if gains:
        gain, _ = max(gains, key=lambda pair: pair[0].value)
        reason = f"the best other was {gain:.3f} times as fast, not surely above {1 + noise:.3f}"
    same = Estimate(1.0, 1.0, 1.0, EXACT)
    return Decision(default.config, "default", reason, default_ms, default_ms, same, noise)


def format_ms(time: Estimate) -> str:
    """Return a time in words, with half the width of its interval if there is one."""
    return f"{time.value:.4g} ms" + (f" ±{time.half_width:.1%}" if time.ends else "")


def _ratio(above: Trial, below: Trial) -> Estimate:
    return paired_ratio(above.samples_ms, below.samples_ms)


def _noise(finals: Sequence[Trial]) -> float:
    default, again, *_ = finals
    return max(NOISE_FLOOR, abs(_ratio(default, again).value - 1))


def _joined(old: Trial, new: Trial) -> Trial:
    if new.outcome != TrialOutcome.OK:
        return new
    return Trial(old.config, TrialOutcome.OK, None, old.samples_ms + new.samples_ms)


def _paired(finals: Sequence[Trial]) -> list[Trial]:
    """Leave out the end of the longer ones, which has nothing beside it.

    Raises:
        AutotuneError: The default does not run.
    """
    for one in finals[:2]:
        if one.outcome != TrialOutcome.OK:
            raise AutotuneError(
                f"the default configuration does not run, so that nothing can be compared with it: "
                f"{one.outcome.value}, {one.reason}"
            )
    count = min(len(one.samples_ms) for one in finals if one.outcome == TrialOutcome.OK)
    return [replace(one, samples_ms=one.samples_ms[:count]) for one in finals]
