"""The one comparer: records of a run beside those of a baseline."""

from collections.abc import Iterable, Sequence

from radialbench.errors import ReportError
from radialbench.records.result import Record
from radialbench.reports.check.baseline import of_the_same_devices
from radialbench.reports.check.decide import (
    SampledChange,
    compare_exact,
    compare_sampled,
    compare_status,
    inconclusive,
)
from radialbench.reports.check.environment_diff import config_diffs, environment_diff, why_unlike
from radialbench.reports.check.gates import NO_GATES, Gates, describe_gates, gates_of
from radialbench.reports.check.metrics import METRICS, cycles
from radialbench.reports.check.scaling import ExponentChange, exponent_changes, judge_exponent
from radialbench.reports.check.significance import Change, benjamini_hochberg, change_of
from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict, worst_first

Pair = tuple[Record, Record]
"""A case in the baseline, and now."""


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
        gates: The least change of a metric that counts, where it is not to be that of the suite.
        source: Where the records come from, for people.
        baseline_source: Where those of the baseline come from.
        across_versions: Whether libraries and system may differ.
        noise_floor: What two runs of the same code are known to differ by, as a standard deviation
            of the ratio; what is assumed anyway holds as well.

    Raises:
        ReportError: The environments are unlike, no case is in both, or a gate of the suite cannot
            be read.
    """
    now, before = _latest(current), _latest(of_the_same_devices(baseline, current))
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
    found: list[Verdict | SampledChange | ExponentChange] = []
    found += [one for pair in pairs for one in _compare(*pair, gates, noise_floor)]
    found += exponent_changes(before, now, gates, runs=noise_floor)
    verdicts = worst_first([*_judged(found), *missing, *new])
    told = describe_gates(current, gates)
    return CheckResult(source, baseline_source, tuple(verdicts), changed, told, config_diffs(pairs))


def common(current: Iterable[Record], baseline: Iterable[Record]) -> list[Pair]:
    """Return the last records of the cases that both have: before, and now."""
    now, before = _latest(current), _latest(baseline)
    return [(before[key], one) for key, one in now.items() if key in before]


def _latest(records: Iterable[Record]) -> dict[tuple[str, str], Record]:
    # A suite may have been renamed, or be part of another one; the case says what was computed.
    return {(record.measure, record.case): record for record in records}


def _judged(found: Sequence[Verdict | SampledChange | ExponentChange]) -> list[Verdict]:
    # What chance could have done is judged for all cases together.
    waiting = [one for one in found if not isinstance(one, Verdict)]
    worse = benjamini_hochberg([one.change.worse_p for one in waiting])
    better = benjamini_hochberg([one.change.better_p for one in waiting])
    real = iter(zip(worse, better, strict=True))
    return [one if isinstance(one, Verdict) else _judge(one, *next(real)) for one in found]


def _judge(one: SampledChange | ExponentChange, is_worse: bool, is_better: bool) -> Verdict:
    if isinstance(one, SampledChange):
        return compare_sampled(one, is_worse, is_better)
    return judge_exponent(one, is_worse, is_better)


def _compare(
    old: Record, new: Record, gates: Gates, runs: float
) -> Iterable[Verdict | SampledChange]:
    if verdict := compare_status(old, new):
        yield verdict
        return
    if why := why_unlike(old, new):
        yield Verdict(new.case, "status", Outcome.INCONCLUSIVE, why)
        return
    own = gates_of(new, gates)
    for name, metric in METRICS.items():
        gate, before, now = own[name], metric.value_of(old), metric.value_of(new)
        if gate is None or before is None or now is None:
            continue
        if before.source != now.source:
            yield inconclusive(
                new.case, name, before, now, "measured in another way in the baseline"
            )
        elif not metric.sampled:
            yield compare_exact(new.case, name, gate, before, now)
        elif change := change_of(before, now, runs):
            beside = _cycles(old, new, runs) if name == "latency" else None
            yield SampledChange(new.case, name, gate, before, now, change, beside)
        else:
            few = "too few samples to tell: an interval takes six in both runs"
            yield inconclusive(new.case, name, before, now, few)


def _cycles(old: Record, new: Record, runs: float) -> Change | None:
    before, now = cycles(old), cycles(new)
    return change_of(before, now, runs) if before and now else None
