"""The verdict of a check on one metric of one case, on all of them, and on those measured again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import expm1
from typing import TYPE_CHECKING

from radialbench.records.gate import Gate
from radialbench.records.statistics import Estimate
from radialbench.reports.text import plural

if TYPE_CHECKING:
    from radialbench.reports.check.significance import Change


class Outcome(StrEnum):
    """How a metric of a case came out, the worst first."""

    REGRESSED = "regressed"
    MISSING = "missing"
    INCONCLUSIVE = "inconclusive"
    NEW = "new"
    FASTER = "faster"
    PASS = "pass"


TIMES = ("latency", "compile")
"""Metrics that are the time of a case; a case has one of them at most."""

PLACES = {outcome: place for place, outcome in enumerate(Outcome)}

EXIT_CODES = {Outcome.REGRESSED: 1, Outcome.MISSING: 2, Outcome.INCONCLUSIVE: 3}
"""What a check exits with if the outcome is the worst there is; 0 for the others."""

MAX_REPEATED = 20
"""Cases that are measured again, at most: where so many are slower, noise is not the reason."""

TIMES_AGAIN = 3
"""How often as many processes measure what is measured again: few cases, which have to be told."""

UNCHANGED = "unchanged machine code, not timed"

MISSED = 1.5
"""A change of so many gates is to pass in one of twenty measurements at most."""

REACH = 1.6449
"""Standard deviations below the mean that one of twenty normal values exceeds."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One metric of one case.

    Attributes:
        case: The case's id.
        metric: A name of `GATES`, or `status` for how the case ended.
        outcome: How it came out.
        reason: Why, for people.
        before: The value in the baseline, in the metric's unit; None where there is none.
        now: The value now, likewise.
        ratio: `now` over `before`.
        interval: 95% interval of the ratio, differences between runs included; None for what has
            no samples.
        gate: The least change that counts.
        p: How likely a value this much worse is if nothing changed; None for what has no samples.
        cycles: The ratio of the times in cycles of the SMs, where both runs read the clock.
        worse: The ratio as a cost: above 1 is worse, whatever the metric.
        around: 95% interval of `now` from its own samples; None for what has none.
        cases: Ids of the cases of a sweep; empty where `case` is the id of one.
    """

    case: str
    metric: str
    outcome: Outcome
    reason: str
    before: float | None = None
    now: float | None = None
    ratio: float | None = None
    interval: Estimate | None = None
    gate: Gate | None = None
    p: float | None = None
    cycles: float | None = None
    worse: float | None = None
    around: Estimate | None = None
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """All verdicts of a check.

    Attributes:
        source: Where the records come from, for people.
        baseline: Where the baseline's records come from.
        verdicts: The worst first.
        changed: What else differs between the two runs, such as `commit: 0123abc and 4567def`.
        gates: Those that are not the default ones, such as `latency 5% (suite)`.
        configs: Cases whose kernel's configuration differs, by how, such as `block_n: 128 and 64`.
        resolution: Where noise hides changes that are larger than a gate, for people.
    """

    source: str
    baseline: str
    verdicts: tuple[Verdict, ...]
    changed: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    configs: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    resolution: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """A count of all verdicts: `2 cases, 6 verdicts: 1 regressed, 5 pass`."""
        # The verdict on a sweep, or on all cases, is not one on a case.
        verdicts = [one for one in self.verdicts if one.metric != "scaling" and not one.cases]
        cases = len({one.case for one in verdicts})
        counted = f"{plural(cases, 'case')}, {plural(len(self.verdicts), 'verdict')}"
        return f"{counted}: {count_outcomes(self.verdicts)}"

    @property
    def notable(self) -> tuple[Verdict, ...]:
        """All but what passes."""
        return tuple(one for one in self.verdicts if one.outcome is not Outcome.PASS)

    @property
    def compared(self) -> tuple[Verdict, ...]:
        """Verdicts on two values: on the time of every case, and what else does not just pass."""
        return tuple(
            one
            for one in self.verdicts
            if one.before is not None and (one.metric in TIMES or one.outcome is not Outcome.PASS)
        )

    @property
    def notes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What was not compared and why, and what else differs, each with its cases."""
        reasons: dict[str, tuple[str, ...]] = {}
        for one in self.notable:
            if one.before is None:
                why = f"{one.outcome}: {one.reason}"
                reasons[why] = (*reasons.get(why, ()), one.case)
        return (
            *reasons.items(),
            *((f"changed: {text}", ()) for text in self.changed),
            *((f"configuration changed: {text}", cases) for text, cases in self.configs.items()),
            *((f"gate: {text}", ()) for text in self.gates),
            *((f"resolution: {text}", ()) for text in self.resolution),
        )

    @property
    def by_case(self) -> dict[str, Verdict]:
        """The verdict on the time of each case, or on how it ended, by the case's id."""
        return {one.case: one for one in self.verdicts if one.metric in (*TIMES, "status")}


def resolution_of(change: "Change") -> float:
    """Return the size of a change that noise reaches in one of twenty measurements."""
    return REACH * change.noise


def format_size(size: float) -> str:
    """Format the size of a change of a cost: `2%`."""
    percent = 100 * expm1(size)
    return f"{percent:.3g}%" if abs(percent) > 10 else f"{percent:.2g}%"


def apply_gate(
    change: "Change",
    gate: float,
    significant: tuple[bool, bool],
    text: str,
    shown: Callable[[float], str],
    scatter: float | None = None,
) -> tuple[Outcome, str]:
    """Return the outcome of a change of a cost that varies from run to run, and the reason.

    What reaches the gate and is not significant is inconclusive, whatever hides it. What does not
    reach it passes if one of twenty measurements of a change of one and a half gates would be as
    small, at most, by the noise that was seen. That of the suite's cases may be all of a few, which
    are not known: where it is so large that no change would not pass, nothing does. Where cases are
    too few to see it, what is assumed in its place asks for half the gate at most.

    Args:
        change: The change.
        gate: The least size that counts.
        significant: Whether chance is ruled out over all cases, for the worse and for the better.
        text: The change for people.
        shown: Formats a size for people.
        scatter: What the suite's cases differ by in how they changed, as a standard deviation; None
            if they are too few.
    """
    is_worse, is_better = significant
    resolution = resolution_of(change)
    hidden = f"; noise hides changes below {shown(resolution)} here" if resolution > gate else ""
    if change.size >= gate and is_worse:
        return Outcome.REGRESSED, f"{text}, at least {shown(gate)}"
    if change.size >= gate:
        chance = hidden if change.size < resolution else ""
        chance = chance or "; among so many figures this may be chance"
        return Outcome.INCONCLUSIVE, f"{text}, at least {shown(gate)}{chance}; measure again"
    if change.size <= -gate and is_better:
        return Outcome.FASTER, f"{text}, at least {shown(gate)}"
    missed = MISSED * gate
    bound = min(gate, missed - REACH * max(change.seen, scatter or 0.0))
    if scatter is None:
        bound = min(bound, max(gate / 2, missed - REACH * change.noise))
    if change.size > bound or REACH * (scatter or 0.0) > missed:
        wide = f"too wide to tell, {shown(missed)} is not ruled out"
        if scatter is not None and scatter > change.seen:
            wide += f" where nine of ten cases changed by up to {shown(REACH * scatter)}"
        return Outcome.INCONCLUSIVE, f"{text}: {wide}; measure more, or again{hidden}"
    return Outcome.PASS, f"{text}, within {shown(gate)}{hidden}"


def worst_first(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Sort by outcome, then by how much worse it is."""
    return sorted(verdicts, key=lambda one: (PLACES[one.outcome], -(one.worse or 1)))


def count_outcomes(verdicts: Iterable[Verdict]) -> str:
    """Count the verdicts by outcome: `1 regressed, 49 pass`."""
    outcomes = [one.outcome for one in verdicts]
    return ", ".join(f"{outcomes.count(one)} {one}" for one in Outcome if one in outcomes)


def exit_code(verdicts: Iterable[Verdict], *, allow_missing: bool = False) -> int:
    """Return what a check exits with: 0 pass, 1 regression, 2 cases are gone, 3 inconclusive."""
    outcomes = {one.outcome for one in verdicts}
    if allow_missing:
        outcomes.discard(Outcome.MISSING)
    return next((code for outcome, code in EXIT_CODES.items() if outcome in outcomes), 0)


def suspects(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return what may be noise, the worst first: regressions, and what samples do not decide.

    How a case ended is not, nor what more samples would not decide.
    """
    return [
        one
        for one in worst_first(verdicts)
        if (one.outcome is Outcome.REGRESSED and one.metric != "status")
        or (one.outcome is Outcome.INCONCLUSIVE and one.p is not None)
    ]


def cases_to_repeat(verdicts: Iterable[Verdict], cases: Sequence[str]) -> set[str]:
    """Return the cases of the worst suspects, `MAX_REPEATED` of them at most."""
    chosen: set[str] = set()
    for verdict in suspects(verdicts):
        more = chosen | (set(cases) & set(verdict.cases or (verdict.case,)))
        if len(more) <= MAX_REPEATED:
            chosen = more
    return chosen


def merge_repeated(first: CheckResult, again: Iterable[Verdict]) -> CheckResult:
    """Return the verdicts after the second measurement, which decides on suspects.

    It is judged alone, as the first was chosen for being high. A suspect that was not measured
    again is inconclusive.

    Args:
        first: The first measurement, of all cases.
        again: Verdicts of the second.
    """
    second = {(one.case, one.metric): one for one in again}
    suspected = suspects(first.verdicts)

    def decide(one: Verdict) -> Verdict:
        if one not in suspected:
            return one
        repeated = second.get((one.case, one.metric)) or second.get((one.case, "status"))
        if repeated is None:
            reason = f"{one.reason}; not measured again, as too many others are worse"
            return replace(one, outcome=Outcome.INCONCLUSIVE, reason=reason)
        reason = f"measured again: {repeated.reason}; at first: {one.reason}"
        return replace(repeated, reason=reason)

    return replace(first, verdicts=tuple(worst_first(map(decide, first.verdicts))))


def mark_unrepeated(result: CheckResult) -> CheckResult:
    """Add to the reasons of regressions of stored results that they were not measured again."""
    verdicts = [
        replace(one, reason=f"{one.reason}; not measured again")
        if one.outcome is Outcome.REGRESSED and one.metric != "status"
        else one
        for one in result.verdicts
    ]
    return replace(result, verdicts=tuple(verdicts))


def passed_unchanged(cases: Iterable[str]) -> list[Verdict]:
    """Return the verdicts of cases whose machine code did not change."""
    return [Verdict(case, "status", Outcome.PASS, UNCHANGED) for case in sorted(cases)]
