"""Whether results are worse than a baseline's: a verdict for every case and metric."""

from collections.abc import Iterable

from radialbench.errors import ReportError
from radialbench.records.result import Record
from radialbench.reports.check.alike import unlike
from radialbench.reports.check.chance import Change, change_of, discoveries
from radialbench.reports.check.decide import Sampled, apart, ended, exactly, sampled
from radialbench.reports.check.figures import METRICS, cycles
from radialbench.reports.check.gates import GATES, Gates
from radialbench.reports.check.verdict import Outcome, Verdict

Pair = tuple[Record, Record]
"""A case in the baseline, and now."""


def check(
    current: Iterable[Record],
    baseline: Iterable[Record],
    gates: Gates = GATES,
    *,
    runs: float = 0.0,
) -> tuple[Verdict, ...]:
    """Give a verdict for every case and metric; the last record of a case counts.

    Whether the environments may be compared at all is for `alike.differences` to say.

    Args:
        current: Records to judge.
        baseline: What they are compared with.
        gates: The least change of each metric that counts.
        runs: What two runs of the same code are known to differ by, as a standard deviation of the
            ratio; what is assumed anyway holds as well.

    Raises:
        ReportError: They have no case in common.
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
    return (*_judged(pairs, gates, runs), *missing, *new)


def common(current: Iterable[Record], baseline: Iterable[Record]) -> list[Pair]:
    """Give the last records of the cases that both have: before, and now."""
    now, before = _latest(current), _latest(baseline)
    return [(before[key], one) for key, one in now.items() if key in before]


def _latest(records: Iterable[Record]) -> dict[tuple[str, str], Record]:
    # A suite may have been renamed, or be part of another one; the case says what was computed.
    return {(record.measure, record.case): record for record in records}


def _judged(pairs: Iterable[Pair], gates: Gates, runs: float) -> list[Verdict]:
    found = [one for pair in pairs for one in _compared(*pair, gates, runs)]
    # What chance could have done is judged for all cases together.
    waiting = [one for one in found if isinstance(one, Sampled)]
    worse = discoveries([one.change.worse_p for one in waiting])
    better = discoveries([one.change.better_p for one in waiting])
    real = iter(zip(worse, better, strict=True))
    return [sampled(one, *next(real)) if isinstance(one, Sampled) else one for one in found]


def _compared(old: Record, new: Record, gates: Gates, runs: float) -> Iterable[Verdict | Sampled]:
    if verdict := ended(old, new):
        yield verdict
        return
    if why := unlike(old, new):
        yield Verdict(new.case, "status", Outcome.INCONCLUSIVE, why)
        return
    for name, metric in METRICS.items():
        gate, before, now = gates.get(name), metric.figure(old), metric.figure(new)
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
