"""The one comparer: records of a run beside those of a baseline, a verdict for each metric."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, log1p

from radialbench.errors import ReportError
from radialbench.records.gate import Gate
from radialbench.records.result import RETRYABLE, Record, Status
from radialbench.records.statistics import EXACT, Estimate
from radialbench.reports.check.baseline import (
    another_machine,
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
    NoiseFloor,
    cycles,
    describe_gates,
    format_value,
    gates_of,
    known_noise,
)
from radialbench.reports.check.scaling import ExponentChange, exponent_changes, judge_exponent
from radialbench.reports.check.shift import CommonShift, common_shift, judge_shift, scatter_of
from radialbench.reports.check.significance import Change, benjamini_hochberg, change_of
from radialbench.reports.check.verdict import (
    MISSED,
    CheckResult,
    Outcome,
    Verdict,
    apply_gate,
    format_size,
    resolution_of,
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
    shift: float = 0.0  # Of nearly all cases, as the logarithm of the ratio.
    scatter: float | None = None  # What the cases' changes differ by.

    @property
    def least(self) -> float:
        """The gate as a size of the change."""
        return log1p(max(self.gate.share, self.gate.least / self.before.value))


_Result = Verdict | _SampledChange | ExponentChange | CommonShift


def check(
    current: Sequence[Record],
    baseline: Sequence[Record],
    gates: Gates = NO_GATES,
    *,
    source: str = "",
    baseline_source: str = "",
    across_versions: bool = False,
    across_machines: bool = False,
    in_turn: bool = False,
    noise_floor: NoiseFloor = None,
    allow_missing: bool = False,
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
        across_machines: Whether machines may differ: then only what does not depend on them is
            compared.
        in_turn: Whether both were measured in turn, so that the machine cannot have changed between
            them.
        noise_floor: What two processes of the same code are known to differ by, in place of what is
            assumed.
        allow_missing: Whether all cases may have other names than those of the baseline.

    Raises:
        ReportError: The environments cannot be compared, no case is in both, or a gate of the suite
            cannot be read.
    """
    now, before = _latest(current), _latest(same_devices(baseline, current))
    pairs = [(before[key], one) for key, one in now.items() if key in before]
    if not (pairs or allow_missing):
        raise ReportError(
            f"none of the baseline's cases ({len(before)}) is among these ({len(now)}); "
            "give results of the same suite, or allow that with --allow-missing"
        )
    # Without a case in common the machines have to be the same all the same.
    changed = environment_diff(
        pairs or [*zip(before.values(), now.values(), strict=False)],
        across_versions=across_versions,
        across_machines=across_machines,
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
    results: list[_Result] = [one for pair in pairs for one in _compare(*pair, gates, noise_floor)]
    if not in_turn:
        results = _beside_shift(results, pairs)
    results = _with_scatter(results)
    results += exponent_changes(before, now, gates, noise_floor=noise_floor)
    return CheckResult(
        source,
        baseline_source,
        tuple(worst_first([*_judge_all(results), *missing, *new])),
        changed,
        describe_gates(current, gates),
        config_diffs(pairs),
        _resolution([one for one in results if isinstance(one, _SampledChange)]),
    )


def paired_records(current: Iterable[Record], baseline: Iterable[Record]) -> list[Pair]:
    """Return the last records of the cases that both have: before, and now."""
    now, before = _latest(current), _latest(baseline)
    return [(before[key], one) for key, one in now.items() if key in before]


def _latest(records: Iterable[Record]) -> dict[tuple[str, str], Record]:
    # A suite may have been renamed, or be part of another one; the case names what was computed.
    return {(record.measure, record.case): record for record in records}


def _judge_all(results: Sequence[_Result]) -> list[Verdict]:
    # Chance is judged for all cases together.
    open_results = [one for one in results if not isinstance(one, Verdict)]
    worse = benjamini_hochberg([one.change.worse_p for one in open_results])
    better = benjamini_hochberg([one.change.better_p for one in open_results])
    significant = iter(zip(worse, better, strict=True))
    return [one if isinstance(one, Verdict) else _judge(one, next(significant)) for one in results]


def _judge(
    one: _SampledChange | ExponentChange | CommonShift, significant: tuple[bool, bool]
) -> Verdict:
    if isinstance(one, _SampledChange):
        return _judge_sampled(one, significant)
    if isinstance(one, CommonShift):
        return judge_shift(one, significant)
    return judge_exponent(one, significant)


def _beside_shift(results: Sequence[_Result], pairs: Sequence[Pair]) -> list[_Result]:
    """Judge latencies beside a change that nearly all share, which is a result of its own."""
    times = {
        one.case: (one.change, one.least)
        for one in results
        if isinstance(one, _SampledChange) and one.metric == "latency"
    }
    shift = common_shift(times, pairs)
    if shift is None:
        return [*results]
    size = shift.change.size
    beside = [
        replace(one, change=one.change.without(size), shift=size)
        if isinstance(one, _SampledChange) and one.metric == "latency"
        else one
        for one in results
    ]
    return [*beside, shift]


def _with_scatter(results: Sequence[_Result]) -> list[_Result]:
    """Add what the cases' changes differ by: noise that samples of one process need not show."""
    changes: dict[str, list[Change]] = {}
    for one in results:
        if isinstance(one, _SampledChange):
            changes.setdefault(one.metric, []).append(one.change)
    found = {metric: scatter_of(each) for metric, each in changes.items()}
    return [
        replace(one, scatter=found[one.metric]) if isinstance(one, _SampledChange) else one
        for one in results
    ]


def _resolution(changes: Sequence[_SampledChange]) -> tuple[str, ...]:
    """Describe where noise hides changes that are larger than a gate."""
    coarse: dict[tuple[str, str], list[float]] = {}
    for one in changes:
        if (resolution := resolution_of(one.change)) > one.least:
            gate = format_size(one.least)
            coarse.setdefault((one.metric, gate), []).append(resolution)
    lines = []
    for (metric, gate), sizes in coarse.items():
        ends = " to ".join(dict.fromkeys((format_size(min(sizes)), format_size(max(sizes)))))
        cases = f"{len(sizes)} case{'s' * (len(sizes) != 1)}"
        lines.append(
            f"{metric}: noise hides changes below {ends} in {cases}, the gate is {gate}; more "
            "processes tell more (--against), or what two are known to differ by (--noise-floor)"
        )
    return tuple(lines)


def _compare(
    old: Record, new: Record, gates: Gates, floor: NoiseFloor
) -> Iterable[Verdict | _SampledChange]:
    if verdict := _compare_status(old, new):
        yield verdict
        return
    if why := mismatch_reason(old, new):
        yield Verdict(new.case, "status", Outcome.INCONCLUSIVE, why)
        return
    case_gates = gates_of(new, gates)
    runs = known_noise(floor, new.case)
    machines = another_machine(old, new)
    for name, metric in METRICS.items():
        gate, before, now = case_gates[name], metric.value_of(old), metric.value_of(new)
        if gate is None or before is None:
            continue
        if now is None:
            yield _vanished(new, name)
        elif before.source != now.source:
            why = "measured in another way in the baseline"
            yield _inconclusive(new.case, name, before, now, why)
        elif metric.sampled and machines:
            why = f"measured on another machine ({printable(machines)})"
            yield _inconclusive(new.case, name, before, now, why)
        elif metric.sampled and old.timing == new.timing:
            yield _identical(new.case, name, gate, before, now)
        elif not metric.sampled:
            yield _compare_exact(new.case, name, gate, before, now)
        elif change := change_of(before, now, runs):
            in_cycles = _cycles(old, new, runs) if name == "latency" else None
            yield _SampledChange(new.case, name, gate, before, now, change, in_cycles)
        else:
            why = "too few samples to tell: an interval takes six in both runs"
            yield _inconclusive(new.case, name, before, now, why)


def _vanished(new: Record, metric: str) -> Verdict:
    """Return the verdict on a metric that only the baseline has."""
    if metric == "energy" and new.telemetry:
        # Calls that waited for something else have no energy of their own.
        why = "no energy, as the GPU was not busy while it was read"
        return Verdict(new.case, metric, Outcome.INCONCLUSIVE, why)
    return Verdict(
        new.case, metric, Outcome.MISSING, f"only the baseline has {metric} of this case"
    )


def _identical(
    case: str, metric: str, gate: Gate, before: MetricValue, now: MetricValue
) -> Verdict:
    """Return the verdict on one measurement beside itself."""
    shown = METRICS[metric].shown
    why = "the same measurement as in the baseline"
    exact = Estimate(1.0, 1.0, 1.0, EXACT)
    return Verdict(
        *(case, metric, Outcome.PASS, why, shown(before.value), shown(now.value)),
        ratio=1.0,
        interval=exact,
        gate=gate,
        worse=1.0,
        around=METRICS[metric].shown_interval(now.interval),
    )


def _cycles(old: Record, new: Record, runs: float | None) -> Change | None:
    before, now = cycles(old), cycles(new)
    return change_of(before, now, runs) if before and now else None


def _judge_sampled(one: _SampledChange, significant: tuple[bool, bool]) -> Verdict:
    metric, change = METRICS[one.metric], one.change.estimate
    ratio, interval = _ratio(one.metric, one.before, one.now), metric.shown_interval(change)
    text = f"{_describe(one.metric, change.value)} (95% {format_interval(interval, _percent)})"
    if one.shift:
        raw = _describe(one.metric, one.now.value / one.before.value)
        text = f"{raw}, and beside the change of all cases {text}"
    outcome, why = apply_gate(one.change, one.least, significant, text, format_size, one.scatter)
    if outcome is Outcome.REGRESSED and (throttled := _throttled(one)):
        outcome, why = Outcome.INCONCLUSIVE, f"{text}, {throttled}"
    elif outcome is Outcome.PASS and one.cycles and one.cycles.size >= MISSED * one.least:
        higher = one.cycles.estimate.value / change.value - 1
        hidden = f"but at a clock {higher:.1%} higher, which may hide a slowdown; measure again"
        outcome, why = Outcome.INCONCLUSIVE, f"{text}, {hidden}"
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
    was, is_ = map(METRICS[metric].shown, (before.value, now.value))
    text = f"{_amount(metric, was)}, now {_amount(metric, is_)}"
    if moved == 0:
        text = f"{_amount(metric, is_)}, unchanged"
    elif before.value:
        text = f"{_describe(metric, ratio)}: {text}"
    outcome = Outcome.PASS
    if counts and ratio >= 1 + least:
        outcome = Outcome.REGRESSED
    elif counts and ratio <= 1 / (1 + least):
        outcome = Outcome.FASTER
    return Verdict(
        *(case, metric, outcome, text, was, is_),
        ratio=_ratio(metric, before, now),
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


def _throttled(one: _SampledChange) -> str:
    """Describe by how much the clock was lower, if it did more than the work; empty if not."""
    if one.cycles is None:
        return ""
    time, in_cycles = one.change.estimate.value, one.cycles.estimate.value
    if one.cycles.size >= one.least or in_cycles**2 >= time:
        return ""
    slower = 1 - in_cycles / time
    return f"but at a clock {slower:.1%} lower: the GPU was held back; measure again"


def _ratio(metric: str, before: MetricValue, now: MetricValue) -> float | None:
    """Return the ratio of two values as people read them."""
    was, is_ = map(METRICS[metric].shown, (before.value, now.value))
    return is_ / was if was else None


def _describe(metric: str, cost: float) -> str:
    """Describe a change of a cost: `3.2% slower`, or `unchanged` where that rounds to nothing."""
    shown = METRICS[metric]
    ratio = 1 / cost if shown.share and cost else cost
    text = f"{abs(ratio - 1):.1%} {shown.worse if cost > 1 else shown.better}"
    return "unchanged" if text.startswith("0.0%") else text


def _percent(ratio: float) -> str:
    return f"{ratio - 1:+.1%}"


def _amount(metric: str, value: float) -> str:
    text = format_value(metric, value)
    return f"{text} of the tolerance" if metric == "accuracy" else text


def _severity(record: Record) -> int:
    if record.status == Status.OK:
        return 0
    return 2 if record.status in RETRYABLE else 1
