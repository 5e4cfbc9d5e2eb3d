"""The verdict of a check on one metric of one case, on all of them, and on those measured again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from radialbench.records.gate import Gate
from radialbench.records.statistics import Estimate


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

UNCHANGED = "unchanged machine code, not timed"


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
    """

    source: str
    baseline: str
    verdicts: tuple[Verdict, ...]
    changed: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    configs: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def headline(self) -> str:
        """A count of all verdicts: `2 cases: 1 regressed, 5 pass`."""
        # The verdict on a sweep is not one on a case.
        cases = len({one.case for one in self.verdicts if one.metric != "scaling"})
        return f"{cases} case{'s' * (cases != 1)}: {count_outcomes(self.verdicts)}"

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
        )

    @property
    def by_case(self) -> dict[str, Verdict]:
        """The verdict on the time of each case, or on how it ended, by the case's id."""
        return {one.case: one for one in self.verdicts if one.metric in (*TIMES, "status")}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Values of a change, a ratio or a difference, at the gate; with text of the gate.

    Attributes:
        none: No change.
        better: The largest change that counts as better.
        worse: The smallest that counts as worse.
        twice: A change of twice the gate.
        gate: The gate, for people.
        twice_gate: Twice the gate.
    """

    none: float
    better: float
    worse: float
    twice: float
    gate: str
    twice_gate: str


def apply_gate(
    change: Estimate, bounds: Bounds, is_worse: bool, is_better: bool, text: str
) -> tuple[Outcome, str]:
    """Return the outcome of a change of a cost that varies from run to run, and the reason.

    `is_worse` and `is_better` are whether chance is ruled out, over all cases; `text` is the change
    for people.
    """
    low, high = change.ends or (change.value, change.value)
    reached = f"{text}, at least {bounds.gate}"
    if change.value >= bounds.worse and is_worse:
        return Outcome.REGRESSED, reached
    if change.value >= bounds.worse:
        chance = "among so many figures this may be chance; measure again"
        return Outcome.INCONCLUSIVE, f"{text}: {chance}"
    if change.value <= bounds.better and is_better:
        return Outcome.FASTER, reached
    if low <= bounds.none and high >= bounds.twice:
        wide = f"too wide to tell, even {bounds.twice_gate} is not ruled out; take more samples"
        return Outcome.INCONCLUSIVE, f"{text}: {wide}"
    return Outcome.PASS, f"{text}, within {bounds.gate}"


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
    """Return the regressions that may be noise, the worst first; how a case ended is not."""
    regressed = [one for one in verdicts if one.outcome is Outcome.REGRESSED]
    return [one for one in worst_first(regressed) if one.metric != "status"]


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

    It is judged alone, as the first was chosen for being high. So a regression is one in both; a
    suspect that was not measured again is inconclusive.

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
    once = suspects(result.verdicts)
    verdicts = [
        replace(one, reason=f"{one.reason}; not measured again") if one in once else one
        for one in result.verdicts
    ]
    return replace(result, verdicts=tuple(verdicts))


def passed_unchanged(cases: Iterable[str]) -> list[Verdict]:
    """Return the verdicts of cases whose machine code did not change."""
    return [Verdict(case, "status", Outcome.PASS, UNCHANGED) for case in sorted(cases)]
