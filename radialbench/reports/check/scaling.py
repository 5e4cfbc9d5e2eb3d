"""Scaling exponents along sweeps over frames, and how they changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from radialbench.maskgen.identity import distinct_names
from radialbench.records.gate import Gate
from radialbench.records.problem import backend_id, group_id, plain_config
from radialbench.records.result import Record
from radialbench.records.statistics import MIN_SIZES, Estimate, exponent
from radialbench.reports.check.baseline import another_machine, mismatch_reason
from radialbench.reports.check.metrics import Gates, NoiseFloor, gates_of, known_noise, latency
from radialbench.reports.check.significance import Change, change_of, slope_of
from radialbench.reports.check.verdict import Outcome, Verdict, apply_gate
from radialbench.reports.scaling import LEAST_SPAN
from radialbench.reports.text import format_range

METRIC = "scaling"

Records = Mapping[tuple[str, str], Record]
"""The last record of each case, by measure and case."""


@dataclass(frozen=True, slots=True)
class ExponentChange:
    """The exponents of a sweep, before chance is judged over all cases.

    Attributes:
        case: The cases' id, with an F in place of the frames.
        gate: The least change that counts.
        before: Exponent of the time in the tokens, in the baseline.
        now: The same now.
        change: How it changed.
        frames: Of the lengths that were compared.
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
    before: Records, now: Records, asked: Gates, *, noise_floor: NoiseFloor = None
) -> Iterator[ExponentChange | Verdict]:
    """Compare the exponents of every mask, backend and resolution that both sets have in common.

    An exponent is fitted to the medians of at least three lengths, the longest 1.5 times the
    shortest. Its change is fitted to the ratios of the same lengths in both sets: the deviation of
    a sweep from a power law is in both, and adds no uncertainty.

    Args:
        before: The baseline.
        now: The records to judge.
        asked: Gates, as for `check`.
        noise_floor: What two processes of the same code are known to differ by.
    """
    old, new = _sweeps(before), _sweeps(now)
    for case in (each for each in new if each in old):
        gate = gates_of(next(iter(new[case].values())), asked)[METRIC]
        common = old[case].keys() & new[case].keys()
        if gate is None or not common or not (_long(old[case]) or _long(new[case])):
            continue
        pairs = {frames: (old[case][frames], new[case][frames]) for frames in sorted(common)}
        if all(was.timing == now_is.timing for was, now_is in pairs.values()):
            why = "the same measurements as in the baseline"
            yield Verdict(case, METRIC, Outcome.PASS, why, gate=gate)
            continue
        found = {frames: _change(*pair, noise_floor) for frames, pair in pairs.items()}
        changes = {frames: change for frames, change in found.items() if change}
        if _long({frames: new[case][frames] for frames in changes}):
            tokens = [new[case][frames].problem.seq_len for frames in changes]
            was, now_is = (
                exponent(tokens, [one.timing.steady_ms for one in records if one.timing])
                for records in zip(*(pairs[frames] for frames in changes), strict=True)
            )
            assert was is not None and now_is is not None
            slope = slope_of(tokens, list(changes.values()))
            cases = tuple(record.case for record in new[case].values())
            yield ExponentChange(case, gate, was, now_is, slope, tuple(changes), cases)
        elif _long(old[case]):
            why = (
                f"{len(changes)} of the baseline's {len(old[case])} lengths can be compared, with "
                f"six samples in both runs: an exponent takes {MIN_SIZES}, the longest "
                f"{LEAST_SPAN:g} times the shortest"
            )
            yield Verdict(case, METRIC, Outcome.INCONCLUSIVE, why)
        else:
            why = "the baseline's sweep over frames is too short for an exponent"
            yield Verdict(case, METRIC, Outcome.NEW, why)


def judge_exponent(one: ExponentChange, significant: tuple[bool, bool]) -> Verdict:
    """Judge a change of an exponent; whether chance is ruled out is known over all cases."""
    slope, before, now = one.change.estimate, one.before.value, one.now.value
    low, high = slope.ends or (slope.value, slope.value)
    least = max(one.gate.share * abs(before), one.gate.least)
    text = f"{before:z.2f}, now {now:z.2f}: {slope.value:+z.3f} (95% {low:+.3f} to {high:+.3f})"
    outcome, why = apply_gate(one.change, least, significant, text, "{:.2g}".format)
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
    """Group the cases that went well by sweep, and then by frames."""
    sweeps: dict[str, dict[int, Record]] = {}
    names = distinct_names(record.mask for record in records.values())
    for record in records.values():
        if record.timing and record.measure == "attention":
            # The case's id with an F in place of its frames.
            suites = record.config_source == "suite"
            config = record.config if suites else plain_config(record.backend)
            mask = names[record.mask.label, record.mask.fingerprint]
            group = group_id(record.problem, record.model, record.inputs, sweep=True)
            case = f"{mask}/{group}/{backend_id(record.backend, config)}"
            sweeps.setdefault(case, {})[record.problem.frames] = record
    return sweeps


def _long(sweep: Mapping[int, Record]) -> bool:
    tokens = [record.problem.seq_len for record in sweep.values()]
    return len(tokens) >= MIN_SIZES and max(tokens) >= LEAST_SPAN * min(tokens)


def _change(old: Record, new: Record, floor: NoiseFloor) -> Change | None:
    """Compare the times of a length; None if that is not possible."""
    before, now = latency(old), latency(new)
    if mismatch_reason(old, new) or another_machine(old, new):
        return None
    if before is None or now is None or before.source != now.source:
        return None
    return change_of(before, now, known_noise(floor, new.case))
