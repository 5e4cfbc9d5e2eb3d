"""A change that nearly all cases of two runs share: a finding about the machine, or about them all.

Where runs are not measured in turn, the machine may be another one at the second: other clocks,
other neighbours. Then every case moves by about the same, and each is judged beside that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, expm1, log, sqrt
from statistics import median

from radialbench.records.result import Record
from radialbench.records.statistics import INDEPENDENT_ERRORS, Estimate
from radialbench.reports.check.significance import Change, Z
from radialbench.reports.check.verdict import REACH, Outcome, Verdict, apply_gate, format_size
from radialbench.reports.text import format_interval

ALL = "all cases"
"""What takes the place of a case in the verdict."""

MIN_CASES = 8
"""Cases of which a share can be nearly all."""

NEARLY_ALL = 0.8

BEYOND = 4.0
"""Standard deviations that noise does not reach."""

ALIKE = 0.25
"""Cases change alike if they differ by half a gate at most, or by this share of their change."""


@dataclass(frozen=True, slots=True)
class CommonShift:
    """A change that nearly all cases share, before chance is judged over all cases.

    Attributes:
        change: The median of the cases' changes.
        gate: The least size that counts, the median of the cases'.
        cases: Ids of the cases.
        alike: How many of them change alike.
        clock: How the SMs' clock changed, as the logarithm of the ratio; None if not read.
        matmul: How the time of the matmul beside the cases changed, likewise.
    """

    change: Change
    gate: float
    cases: tuple[str, ...]
    alike: int
    clock: float | None
    matmul: float | None


def common_shift(
    times: Mapping[str, tuple[Change, float]], pairs: Iterable[tuple[Record, Record]]
) -> CommonShift | None:
    """Return the change that nearly all cases share; None if there is none, or too few cases.

    Args:
        times: How the latency of each case changed, and the size of its gate.
        pairs: The records of the cases: before, and now.
    """
    if len(times) < MIN_CASES:
        return None
    sizes = [change.size for change, _ in times.values()]
    gate, middle = median(gate for _, gate in times.values()), median(sizes)
    distances = [abs(size - middle) for size in sizes]
    alike = sum(one <= max(gate / 2, ALIKE * abs(middle)) for one in distances)
    # The standard error of a median, by the median distance from it.
    error = 1.2533 * 1.4826 * median(distances) / sqrt(len(sizes))
    if alike < NEARLY_ALL * len(sizes) or abs(middle) <= max(3 * error, gate / 4):
        return None
    # What two runs differ by may be the same for all cases: there is no less of it for many.
    seen, noise, freedom = (
        median(getattr(change, name) for change, _ in times.values())
        for name in ("seen", "noise", "freedom")
    )
    ends = exp(middle - Z * noise), exp(middle + Z * noise)
    estimate = Estimate(exp(middle), *ends, INDEPENDENT_ERRORS)
    records = [pair for pair in pairs if pair[1].case in times]
    return CommonShift(
        Change(estimate, middle, seen, noise, freedom),
        gate,
        tuple(times),
        alike,
        _moved([(_clock(old), _clock(new)) for old, new in records]),
        _moved([(_matmul(old), _matmul(new)) for old, new in records]),
    )


def scatter_of(changes: Sequence[Change]) -> float | None:
    """Return the standard deviation of changes by how far nine of ten reach from their median.

    Changes beyond what noise can do do not count. None if too few are left.
    """
    middle = median(one.size for one in changes)
    distances = sorted(
        distance for one in changes if (distance := abs(one.size - middle)) <= BEYOND * one.noise
    )
    if len(distances) < MIN_CASES:
        return None
    return distances[round(0.9 * (len(distances) - 1))] / REACH


def judge_shift(one: CommonShift, significant: tuple[bool, bool]) -> Verdict:
    """Judge a change of nearly all cases: as a case, unless the machine is seen to have changed."""
    size, ratio = one.change.size, one.change.estimate
    moved = f"{abs(expm1(size)):.1%} {'slower' if size > 0 else 'faster'}"
    text = f"{one.alike} of {len(one.cases)} cases are {moved} alike"
    text = f"{text} (95% {format_interval(ratio, lambda end: f'{end - 1:+.1%}')})"
    outcome, why = apply_gate(one.change, one.gate, significant, text, format_size)
    # What accounts for half of the change is named.
    causes = []
    if one.clock is not None and one.clock / -size >= 0.5:
        higher = "higher" if one.clock > 0 else "lower"
        causes.append(f"its clock is {abs(expm1(one.clock)):.1%} {higher}")
    if one.matmul is not None and one.matmul / size >= 0.5:
        slower = "slower" if one.matmul > 0 else "faster"
        causes.append(f"the matmul beside them is {abs(expm1(one.matmul)):.1%} {slower}")
    if causes and outcome is Outcome.REGRESSED:
        outcome = Outcome.INCONCLUSIVE
    cause = " and ".join(causes) or "or a change of all cases: --against measures both in turn"
    why = f"{why}; the machine, {cause}"
    return Verdict(
        case=ALL,
        metric="latency",
        outcome=outcome,
        reason=why,
        ratio=ratio.value,
        interval=ratio,
        p=one.change.worse_p,
        worse=ratio.value,
        cases=one.cases,
    )


def _moved(pairs: Iterable[tuple[float | None, float | None]]) -> float | None:
    """Return the median logarithm of the ratios; None if no pair has both values."""
    logs = [log(now / before) for before, now in pairs if before and now]
    return median(logs) if logs else None


def _clock(record: Record) -> float | None:
    clocks = record.timing.rounds.sm_mhz if record.timing and record.timing.rounds else ()
    return median(clocks) if clocks else None


def _matmul(record: Record) -> float | None:
    return record.ceiling.median_ms if record.ceiling else None
