"""The one comparer: records of a run beside those of a baseline, a verdict for each metric."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from radialbench.errors import ReportError
from radialbench.records.gate import Gate
from radialbench.records.result import RETRYABLE, Record, Status
from radialbench.reports.check.baseline import (
    config_diffs,
    environment_diff,
    mismatch_reason,
    same_devices,
)
from radialbench.reports.check.metrics import (
    METRICS,
    NO_GATES,
    Gates,
    MetricValue,
    cycles,
    describe_gates,
    format_value,
    gates_of,
)
from radialbench.reports.check.scaling import ExponentChange, exponent_changes, judge_exponent
from radialbench.reports.check.significance import Change, benjamini_hochberg, change_of
from radialbench.reports.check.verdict import (
    Bounds,
    CheckResult,
    Outcome,
    Verdict,
    apply_gate,
    worst_first,
)
from radialbench.reports.text import format_interval, printable

Pair = tuple[Record, Record]
"""A case in the baseline, and now."""


@dataclass(frozen=True, slots=True)
class _SampledChange:
    """A metric that varies from run to run, before chance is judged over all cases."""

    case: str
    metric: str
    gate: Gate
    before: MetricValue
    now: MetricValue
    change: Change
    cycles: Change | None  # For a time with clocks in both runs.


def check(
    current: Sequence[Record],
    baseline: Sequence[Record],
    gates: Gates = NO_GATES,
    *,
    source: str = "",
    baseline_source: str = "",
    across_versions: bool = False,
    noise_floor: float = 0.0,
) -> CheckResult:
    """Compare records with a baseline's: a verdict for every case and metric.

    The last record of a case counts.

    Args:
        current: Records to judge.
        baseline: What they are compared with; of several devices, those of the same ones.
        gates: The least change of a metric that counts, in place of the suite's.
        source: Where the records come from, for people.
        baseline_source: Where those of the baseline come from.
        across_versions: Whether libraries and system may differ.
        noise_floor: What two runs of the same code are known to differ by, as a standard deviation
            of the ratio; the larger of this and the built-in value holds.

    Raises:
        ReportError: The environments cannot be compared, no case is in both, or a gate of the suite
            cannot be read.
    """
    now, before = _latest(current), _latest(same_devices(baseline, current))
    pairs = [(before[key], one) for key, one in now.items() if key in before]
    changed = environment_diff(pairs, across_versions=across_versions)
    if not pairs:
        raise ReportError(
            f"none of the baseline's cases ({len(before)}) is among these ({len(now)}); "
            "give results of the same suite"
        )
    missing = [
        Verdict(one.case, "status", Outcome.MISSING, "only the baseline has this case")
        for key, one in before.items()
        if key not in now
    ]
    new = [
        Verdict(one.case, "status", Outcome.NEW, "the baseline does not have this case")
        for key, one in now.items()
        if key not in before
    ]
    results: list[Verdict | _SampledChange | ExponentChange] = []
    results += [one for pair in pairs for one in _compare(*pair, gates, noise_floor)]
    results += exponent_changes(before, now, gates, runs=noise_floor)
    return CheckResult(
        source,
        baseline_source,
        tuple(worst_first([*_judge_all(results), *missing, *new])),
        changed,
        describe_gates(current, gates),
        config_diffs(pairs),
    )


def paired_records(current: Iterable[Record], baseline: Iterable[Record]) -> list[Pair]:
    """Return the last records of the cases that both have: before, and now."""
    now, before = _latest(current), _latest(baseline)
    return [(before[key], one) for key, one in now.items() if key in before]


def _latest(records: Iterable[Record]) -> dict[tuple[str, str], Record]:
    # A suite may have been renamed, or be part of another one; the case names what was computed.
    return {(record.measure, record.case): record for record in records}


def _judge_all(results: Sequence[Verdict | _SampledChange | ExponentChange]) -> list[Verdict]:
    # Chance is judged for all cases together.
    open_results = [one for one in results if not isinstance(one, Verdict)]
    worse = benjamini_hochberg([one.change.worse_p for one in open_results])
    better = benjamini_hochberg([one.change.better_p for one in open_results])
    significant = iter(zip(worse, better, strict=True))
    return [
        one
        if isinstance(one, Verdict)
        else _judge_sampled(one, *next(significant))
        if isinstance(one, _SampledChange)
        else judge_exponent(one, *next(significant))
        for one in results
    ]


def _compare(
    old: Record, new: Record, gates: Gates, runs: float
) -> Iterable[Verdict | _SampledChange]:
    if verdict := _compare_status(old, new):
        yield verdict
        return
    if why := mismatch_reason(old, new):
        yield Verdict(new.case, "status", Outcome.INCONCLUSIVE, why)
        return
    case_gates = gates_of(new, gates)
    for name, metric in METRICS.items():
        gate, before, now = case_gates[name], metric.value_of(old), metric.value_of(new)
        if gate is None or before is None or now is None:
            continue
        if before.source != now.source:
            why = "measured in another way in the baseline"
            yield _inconclusive(new.case, name, before, now, why)
        elif not metric.sampled:
            yield _compare_exact(new.case, name, gate, before, now)
        elif change := change_of(before, now, runs):
            in_cycles = _cycles(old, new, runs) if name == "latency" else None
            yield _SampledChange(new.case, name, gate, before, now, change, in_cycles)
        else:
            why = "too few samples to tell: an interval takes six in both runs"
            yield _inconclusive(new.case, name, before, now, why)


def _cycles(old: Record, new: Record, runs: float) -> Change | None:
    before, now = cycles(old), cycles(new)
    return change_of(before, now, runs) if before and now else None


def _judge_sampled(one: _SampledChange, is_worse: bool, is_better: bool) -> Verdict:
    metric, change = METRICS[one.metric], one.change.estimate
    # The gate, or what two runs of the same code may differ by.
    least = max(one.gate.share, one.gate.least / one.before.value, 2 * one.change.runs)
    ratio, interval = _ratio(one.metric, one.before, one.now), metric.shown_interval(change)
    text = (
        f"{_describe(one.metric, change.value, ratio)} (95% {format_interval(interval, _percent)})"
    )
    bounds = Bounds(
        *(1, 1 / (1 + least), 1 + least, (1 + least) ** 2),
        *(f"{100 * least:.3g}%", f"{200 * least:.3g}%"),
    )
    outcome, why = apply_gate(change, bounds, is_worse, is_better, text)
    if outcome is Outcome.REGRESSED and (throttled := _throttled(one, least)):
        outcome, why = Outcome.INCONCLUSIVE, f"{text}, {throttled}"
    in_cycles = one.cycles.estimate.value if one.cycles else None
    if in_cycles is not None:
        why += f"; {_percent(in_cycles)} in cycles"
    return Verdict(
        case=one.case,
        metric=one.metric,
        outcome=outcome,
        reason=why,
        before=metric.shown(one.before.value),
        now=metric.shown(one.now.value),
        ratio=ratio,
        interval=interval,
        gate=one.gate,
        p=one.change.worse_p,
        cycles=in_cycles,
        worse=change.value,
        around=metric.shown_interval(one.now.interval),
    )


def _compare_exact(
    case: str, metric: str, gate: Gate, before: MetricValue, now: MetricValue
) -> Verdict:
    """Judge a metric that is the same in every run of the same code, or within known bounds."""
    least = max(gate.share, before.runs, now.runs)
    moved = abs(now.value - before.value)
    ratio = now.value / before.value if before.value else (inf if now.value else 1.0)
    counts = moved > 0 and moved >= max(gate.least, before.slack, now.slack)
    text = f"{_amount(metric, before.value)}, now {_amount(metric, now.value)}"
    if moved == 0:
        text = f"{_amount(metric, now.value)}, unchanged"
    elif before.value:
        text = f"{_describe(metric, ratio, ratio)}: {text}"
    outcome = Outcome.PASS
    if counts and ratio >= 1 + least:
        outcome = Outcome.REGRESSED
    elif counts and ratio <= 1 / (1 + least):
        outcome = Outcome.FASTER
    return Verdict(
        *(case, metric, outcome, text, before.value, now.value),
        ratio=None if ratio == inf else ratio,
        gate=gate,
        worse=ratio,
    )


def _compare_status(old: Record, new: Record) -> Verdict | None:
    """Judge how a case ended; None if it went well both times and its values are compared."""
    if old.timing and new.timing:
        return None
    was, now = old.status.value, new.status.value
    why = f": {printable(new.reason)}" if new.reason else ""
    text = f"{now} as before{why}" if was == now else f"was {was}, is {now}{why}"
    outcome = Outcome.REGRESSED if _severity(new) > _severity(old) else Outcome.PASS
    return Verdict(new.case, "status", outcome, text)


def _inconclusive(
    case: str, metric: str, before: MetricValue, now: MetricValue, why: str
) -> Verdict:
    shown = METRICS[metric].shown
    old, new = shown(before.value), shown(now.value)
    return Verdict(case, metric, Outcome.INCONCLUSIVE, why, old, new, _ratio(metric, before, now))


def _throttled(one: _SampledChange, least: float) -> str:
    """Describe by how much the clock was lower, if it did more than the work; empty if not."""
    if one.cycles is None:
        return ""
    time, in_cycles = one.change.estimate.value, one.cycles.estimate.value
    if in_cycles >= 1 + least or in_cycles**2 >= time:
        return ""
    slower = 1 - in_cycles / time
    return f"but at a clock {slower:.1%} lower: the GPU was held back; measure again"


def _ratio(metric: str, before: MetricValue, now: MetricValue) -> float | None:
    """Return the ratio of two values as people read them."""
    if METRICS[metric].share:
        return before.value / now.value
    return now.value / before.value if before.value else None


def _describe(metric: str, cost: float, ratio: float | None) -> str:
    """Describe a change: `3.2% slower`."""
    text = METRICS[metric].worse if cost >= 1 else METRICS[metric].better
    return f"{abs((ratio or cost) - 1):.1%} {text}"


def _percent(ratio: float) -> str:
    return f"{ratio - 1:+.1%}"


def _amount(metric: str, value: float) -> str:
    text = format_value(metric, value)
    return f"{text} of the tolerance" if metric == "accuracy" else text


def _severity(record: Record) -> int:
    if record.status == Status.OK:
        return 0
    return 2 if record.status in RETRYABLE else 1
