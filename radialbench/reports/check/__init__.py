"""Whether results are worse than a baseline's: a verdict for every case and metric."""

from collections.abc import Iterable, Sequence

from radialbench.errors import ReportError
from radialbench.records.result import Record
from radialbench.reports.check.alike import unlike
from radialbench.reports.check.chance import Change, change_of, discoveries
from radialbench.reports.check.decide import Sampled, apart, ended, exactly, sampled
from radialbench.reports.check.figures import METRICS, cycles
from radialbench.reports.check.gates import NONE, Gates, gates_of
from radialbench.reports.check.scaling import Grown, grown, sweeps
from radialbench.reports.check.verdict import Outcome, Verdict

Pair = tuple[Record, Record]
"""A case in the baseline, and now."""


def check(
    current: Iterable[Record],
    baseline: Iterable[Record],
    gates: Gates = NONE,
    *,
    runs: float = 0.0,
) -> tuple[Verdict, ...]:
    """Give a verdict for every case and metric; the last record of a case counts.

    Whether the environments may be compared at all is for `alike.differences` to say.

    Args:
        current: Records to judge.
        baseline: What they are compared with.
        gates: The least change of a metric that counts, where it is not to be that of the suite.
        runs: What two runs of the same code are known to differ by, as a standard deviation of the
            ratio; what is assumed anyway holds as well.

    Raises:
        ReportError: They have no case in common, or a gate of the suite cannot be read.
    """
    now, before = _latest(current), _latest(baseline)
    pairs = [(before[key], one) for key, one in now.items() if key in before]
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
    found: list[Verdict | Sampled | Grown] = []
    found += [one for pair in pairs for one in _compared(*pair, gates, runs)]
    found += sweeps(before, now, gates, runs=runs)
    return (*_judged(found), *missing, *new)


def common(current: Iterable[Record], baseline: Iterable[Record]) -> list[Pair]:
    """Give the last records of the cases that both have: before, and now."""
    now, before = _latest(current), _latest(baseline)
    return [(before[key], one) for key, one in now.items() if key in before]


def _latest(records: Iterable[Record]) -> dict[tuple[str, str], Record]:
    # A suite may have been renamed, or be part of another one; the case says what was computed.
    return {(record.measure, record.case): record for record in records}


def _judged(found: Sequence[Verdict | Sampled | Grown]) -> list[Verdict]:
    # What chance could have done is judged for all cases together.
    waiting = [one for one in found if not isinstance(one, Verdict)]
    worse = discoveries([one.change.worse_p for one in waiting])
    better = discoveries([one.change.better_p for one in waiting])
    real = iter(zip(worse, better, strict=True))
    return [one if isinstance(one, Verdict) else _judge(one, *next(real)) for one in found]


def _judge(one: Sampled | Grown, is_worse: bool, is_better: bool) -> Verdict:
    if isinstance(one, Sampled):
        return sampled(one, is_worse, is_better)
    return grown(one, is_worse, is_better)


def _compared(old: Record, new: Record, gates: Gates, runs: float) -> Iterable[Verdict | Sampled]:
    if verdict := ended(old, new):
        yield verdict
        return
    if why := unlike(old, new):
        yield Verdict(new.case, "status", Outcome.INCONCLUSIVE, why)
        return
    own = gates_of(new, gates)
    for name, metric in METRICS.items():
        gate, before, now = own[name], metric.figure(old), metric.figure(new)
        if gate is None or before is None or now is None:
            continue
        if before.source != now.source:
            yield apart(new.case, name, before, now, "measured in another way in the baseline")
        elif not metric.sampled:
            yield exactly(new.case, name, gate, before, now)
        elif change := change_of(before, now, runs):
            beside = _cycles(old, new, runs) if name == "latency" else None
            yield Sampled(new.case, name, gate, before, now, change, beside)
        else:
            few = "too few samples to tell: an interval takes six in both runs"
            yield apart(new.case, name, before, now, few)


def _cycles(old: Record, new: Record, runs: float) -> Change | None:
    before, now = cycles(old), cycles(new)
    return change_of(before, now, runs) if before and now else None
