"""Scaling exponents along sweeps over frames, and how they changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from radialbench.maskgen.identity import told_apart
from radialbench.records.gate import Gate
from radialbench.records.problem import backend_id, group_id, plain_config
from radialbench.records.result import Record
from radialbench.records.statistics import FEWEST_SIZES, Estimate, exponent
from radialbench.reports.check.environment_diff import why_unlike
from radialbench.reports.check.gates import Gates, gates_of
from radialbench.reports.check.metrics import latency
from radialbench.reports.check.significance import Change, change_of, slope_of
from radialbench.reports.check.verdict import Outcome, Verdict
from radialbench.reports.scaling import LEAST_SPAN
from radialbench.reports.text import format_range

METRIC = "scaling"

Records = Mapping[tuple[str, str], Record]
"""The last record of each case, by measure and case."""


@dataclass(frozen=True, slots=True)
class ExponentChange:
    """The exponents of a sweep, before it is known what chance could have done.

    Attributes:
        case: The cases' id, with an F in place of the frames.
        gate: The least change that counts.
        before: Exponent of the time in the tokens, in the baseline.
        now: The same now.
        change: How it changed.
        frames: Of the lengths it goes through.
        cases: Ids of all cases of the sweep.
    """

    case: str
    gate: Gate
    before: Estimate
    now: Estimate
    change: Change
    frames: tuple[int, ...]
    cases: tuple[str, ...]


def exponent_changes(
    before: Records, now: Records, asked: Gates, *, runs: float = 0.0
) -> Iterator[ExponentChange | Verdict]:
    """Compare the exponents of every mask, backend and resolution that both sets have in common.

    An exponent goes through the medians of at least three lengths, the longest 1.5 times the
    shortest. The change of it goes through the ratios of the same lengths in both sets, so that
    what bends a sweep, which is no power law, is no uncertainty of it.

    Args:
        before: The baseline.
        now: What is judged.
        asked: Gates, as for `check`.
        runs: What two runs of the same code differ by at least, as a share.
    """
    old, new = _sweeps(before), _sweeps(now)
    for case in (each for each in new if each in old):
        gate = gates_of(next(iter(new[case].values())), asked)[METRIC]
        common = old[case].keys() & new[case].keys()
        if gate is None or not common or not (_long(old[case]) or _long(new[case])):
            continue
        pairs = {frames: (old[case][frames], new[case][frames]) for frames in sorted(common)}
        changes = {
            frames: change for frames, pair in pairs.items() if (change := _change(*pair, runs))
        }
        compared = {frames: new[case][frames] for frames in changes}
        if _long(compared):
            cases = tuple(record.case for record in new[case].values())
            yield _exponent_change(case, gate, pairs, changes, cases)
        elif _long(old[case]):
            yield Verdict(case, METRIC, Outcome.INCONCLUSIVE, _short(len(changes), len(old[case])))
        else:
            why = "the baseline's sweep over frames is too short for an exponent"
            yield Verdict(case, METRIC, Outcome.NEW, why)


def judge_exponent(one: ExponentChange, is_worse: bool, is_better: bool) -> Verdict:
    """Judge a change of an exponent.

    Args:
        one: What is known of it.
        is_worse: Whether chance is ruled out as why it is higher, over all figures.
        is_better: The same for lower.
    """
    slope, before, now = one.change.estimate, one.before.value, one.now.value
    low, high = slope.ends or (slope.value, slope.value)
    least = max(one.gate.share * abs(before), one.gate.least, 2 * one.change.runs)
    ends = f"95% {low:+.3f} to {high:+.3f}"
    told = f"{before:z.2f}, now {now:z.2f}: {slope.value:+z.3f} ({ends})"
    outcome, why = Outcome.PASS, f"{told}, within {least:.2g}"
    if slope.value >= least and is_worse:
        outcome, why = Outcome.REGRESSED, f"{told}, at least {least:.2g}"
    elif slope.value >= least:
        outcome = Outcome.INCONCLUSIVE
        why = f"{told}: among so many figures this may be chance; measure again"
    elif slope.value <= -least and is_better:
        outcome, why = Outcome.FASTER, f"{told}, at least {least:.2g}"
    elif low <= 0 and high >= 2 * least:
        outcome = Outcome.INCONCLUSIVE
        why = f"{told}: too wide to tell, even {2 * least:.2g} is not ruled out; take more samples"
    above = before > 0
    return Verdict(
        case=one.case,
        metric=METRIC,
        outcome=outcome,
        reason=f"{why}; over {len(one.frames)} lengths of {format_range(list(one.frames))} frames",
        before=before,
        now=now,
        ratio=now / before if above else None,
        interval=slope.times(1 / before).plus(1) if above else None,
        gate=one.gate,
        p=one.change.worse_p,
        worse=1 + slope.value,
        around=one.now,
        cases=one.cases,
    )


def _sweeps(records: Records) -> dict[str, dict[int, Record]]:
    """Cases that went well, by what is the same along a sweep, and then by frames."""
    found: dict[str, dict[int, Record]] = {}
    names = told_apart(record.mask for record in records.values())
    for record in records.values():
        if record.timing and record.measure == "attention":
            case = _sweep_id(record, names[record.mask.label, record.mask.fingerprint])
            found.setdefault(case, {})[record.problem.frames] = record
    return found


def _sweep_id(record: Record, mask: str) -> str:
    """Write a case's id with an F in place of its frames."""
    suites = record.config_source == "suite"
    config = record.config if suites else plain_config(record.backend)
    group = group_id(record.problem, record.model, sweep=True)
    return f"{mask}/{group}/{backend_id(record.backend, config)}"


def _long(sweep: Mapping[int, Record]) -> bool:
    tokens = [record.problem.seq_len for record in sweep.values()]
    return len(tokens) >= FEWEST_SIZES and max(tokens) >= LEAST_SPAN * min(tokens)


def _change(old: Record, new: Record, runs: float) -> Change | None:
    """How the time of a length changed; None if the two are not compared, or have few samples."""
    before, now = latency(old), latency(new)
    if why_unlike(old, new) or before is None or now is None or before.source != now.source:
        return None
    return change_of(before, now, runs)


def _exponent_change(
    case: str,
    gate: Gate,
    pairs: Mapping[int, tuple[Record, Record]],
    changes: Mapping[int, Change],
    cases: tuple[str, ...],
) -> ExponentChange:
    tokens = [pairs[frames][1].problem.seq_len for frames in changes]
    old, new = (
        exponent(tokens, [_samples(pairs[frames][side]) for frames in changes]) for side in (0, 1)
    )
    assert old is not None and new is not None
    slope = slope_of(tokens, list(changes.values()))
    return ExponentChange(case, gate, old, new, slope, tuple(changes), cases)


def _samples(record: Record) -> tuple[float, ...]:
    assert record.timing is not None
    return tuple(record.timing.steady_ms)


def _short(compared: int, lengths: int) -> str:
    return (
        f"{compared} of the baseline's {lengths} lengths can be compared, with six samples in both "
        f"runs: an exponent takes {FEWEST_SIZES}, the longest {LEAST_SPAN:g} times the shortest"
    )
