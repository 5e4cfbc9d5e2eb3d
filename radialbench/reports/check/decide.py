"""From figures to an outcome and the reason in words."""

from dataclasses import dataclass
from math import inf

from radialbench.records.gate import Gate
from radialbench.records.result import UNSOUND, Record, Status
from radialbench.records.statistics import Estimate
from radialbench.reports.check.metrics import METRICS, MetricValue, format_value
from radialbench.reports.check.significance import Change
from radialbench.reports.check.verdict import Outcome, Verdict
from radialbench.reports.text import format_interval, printable


@dataclass(frozen=True, slots=True)
class SampledChange:
    """A metric that varies from run to run, before it is known what chance could have done.

    Attributes:
        case: The case's id.
        metric: A name of `METRICS`.
        gate: The least change that counts.
        before: The figure in the baseline.
        now: The figure now.
        change: How it changed.
        cycles: How the cycles did, for a time whose clocks both runs read.
    """

    case: str
    metric: str
    gate: Gate
    before: MetricValue
    now: MetricValue
    change: Change
    cycles: Change | None


def compare_sampled(one: SampledChange, is_worse: bool, is_better: bool) -> Verdict:
    """Judge a metric that varies from run to run.

    Args:
        one: What is known of it.
        is_worse: Whether chance is ruled out as why it is worse, over all cases.
        is_better: The same for better.
    """
    change, least = one.change.estimate, _least(one)
    *_, ratio, ends = _shown(one.metric, one.before, one.now, change)
    told = _told(one.metric, change.value, ratio)
    interval = f"95% {format_interval(ends, _percent)}"
    gate = f"{100 * least:.3g}%"
    outcome, why = Outcome.PASS, f"{told} ({interval}), within {gate}"
    if change.value >= 1 + least and is_worse:
        outcome, why = Outcome.REGRESSED, f"{told} ({interval}), at least {gate}"
        if throttled := _throttled(one, least):
            outcome, why = Outcome.INCONCLUSIVE, f"{told} ({interval}), {throttled}"
    elif change.value >= 1 + least:
        outcome, why = (
            Outcome.INCONCLUSIVE,
            (f"{told} ({interval}): among so many figures this may be chance; measure again"),
        )
    elif change.value <= 1 / (1 + least) and is_better:
        outcome, why = Outcome.FASTER, f"{told} ({interval}), at least {gate}"
    elif _wide(change, least):
        outcome, why = (
            Outcome.INCONCLUSIVE,
            (
                f"{told} ({interval}): too wide to tell, even {200 * least:.3g}% is not "
                f"ruled out; take more samples"
            ),
        )
    if one.cycles is not None:
        why += f"; {_percent(one.cycles.estimate.value)} in cycles"
    return _verdict(one, outcome, why)


def compare_exact(
    case: str, metric: str, gate: Gate, before: MetricValue, now: MetricValue
) -> Verdict:
    """Judge a metric that is the same in every run of the same code, or within known bounds."""
    least = max(gate.share, before.runs, now.runs)
    moved = abs(now.value - before.value)
    ratio = now.value / before.value if before.value else (inf if now.value else 1.0)
    counts = moved > 0 and moved >= max(gate.least, before.slack, now.slack)
    told = f"{_amount(metric, before.value)}, now {_amount(metric, now.value)}"
    if moved == 0:
        told = f"{_amount(metric, now.value)}, unchanged"
    elif before.value:
        told = f"{_told(metric, ratio, ratio)}: {told}"
    outcome = Outcome.PASS
    if counts and ratio >= 1 + least:
        outcome = Outcome.REGRESSED
    elif counts and ratio <= 1 / (1 + least):
        outcome = Outcome.FASTER
    return Verdict(
        case=case,
        metric=metric,
        outcome=outcome,
        reason=told,
        before=before.value,
        now=now.value,
        ratio=None if ratio == inf else ratio,
        gate=gate,
        worse=ratio,
    )


def compare_status(old: Record, new: Record) -> Verdict | None:
    """Judge how a case ended; None if it went well both times, so that its figures say more."""
    if old.timing and new.timing:
        return None
    was, now = old.status.value, new.status.value
    why = f": {printable(new.reason)}" if new.reason else ""
    told = f"{now} as before{why}" if was == now else f"was {was}, is {now}{why}"
    outcome = Outcome.REGRESSED if _badness(new) > _badness(old) else Outcome.PASS
    return Verdict(new.case, "status", outcome, told)


def inconclusive(
    case: str, metric: str, before: MetricValue, now: MetricValue, why: str
) -> Verdict:
    """Return the verdict on two values that say nothing of each other, with the reason."""
    old, new, ratio, _ = _shown(metric, before, now, None)
    return Verdict(case, metric, Outcome.INCONCLUSIVE, why, old, new, ratio)


def _least(one: SampledChange) -> float:
    """The least change that counts: the gate, or what two runs of the same code may differ by."""
    return max(one.gate.share, one.gate.least / one.before.value, 2 * one.change.runs)


def _throttled(one: SampledChange, least: float) -> str:
    """Describe by how much the clock was lower, if it did more than the work; empty if not."""
    if one.cycles is None:
        return ""
    time, cycles = one.change.estimate.value, one.cycles.estimate.value
    if cycles >= 1 + least or cycles**2 >= time:
        return ""
    slower = 1 - cycles / time
    return f"but at a clock {slower:.1%} lower: the GPU was held back; measure again"


def _wide(ratio: Estimate, least: float) -> bool:
    """Whether neither no change nor one of twice the gate is ruled out."""
    low, high = ratio.ends or (ratio.value, ratio.value)
    return low <= 1 and high >= (1 + least) ** 2


def _verdict(one: SampledChange, outcome: Outcome, why: str) -> Verdict:
    before, now, ratio, interval = _shown(one.metric, one.before, one.now, one.change.estimate)
    return Verdict(
        case=one.case,
        metric=one.metric,
        outcome=outcome,
        reason=why,
        before=before,
        now=now,
        ratio=ratio,
        interval=interval,
        gate=one.gate,
        p=one.change.worse_p,
        cycles=one.cycles.estimate.value if one.cycles else None,
        worse=one.change.estimate.value,
        around=_turned(one.now.interval) if METRICS[one.metric].share else one.now.interval,
    )


def _shown(
    metric: str, before: MetricValue, now: MetricValue, interval: Estimate | None
) -> tuple[float, float, float | None, Estimate | None]:
    """Both figures, their ratio and its interval, as people read them."""
    if METRICS[metric].share:
        return 1 / before.value, 1 / now.value, before.value / now.value, _turned(interval)
    ratio = now.value / before.value if before.value else None
    return before.value, now.value, ratio, interval


def _turned(estimate: Estimate | None) -> Estimate | None:
    """Estimate of one over a figure."""
    return estimate.inverse() if estimate else None


def _told(metric: str, cost: float, ratio: float | None) -> str:
    """A change in words: `3.2% slower`."""
    words = METRICS[metric].worse if cost >= 1 else METRICS[metric].better
    return f"{abs((ratio or cost) - 1):.1%} {words}"


def _percent(ratio: float) -> str:
    return f"{ratio - 1:+.1%}"


def _amount(metric: str, value: float) -> str:
    words = format_value(metric, value)
    return f"{words} of the tolerance" if metric == "accuracy" else words


def _badness(record: Record) -> int:
    if record.status == Status.OK:
        return 0
    return 2 if record.status in UNSOUND else 1
