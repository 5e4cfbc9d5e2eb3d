"""What a check says of one metric of one case, and of all of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from radialbench.records.gate import Gate
from radialbench.reports.interval import Interval


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """One metric of one case.

    Attributes:
        case: The case's id.
        metric: A name of `GATES`, or `status` for how the case ended.
        outcome: How it came out.
        reason: Why, in words.
        before: The figure in the baseline, in the metric's unit; None where there is none.
        now: The figure now, likewise.
        ratio: That now over that before.
        interval: 95% interval of the ratio, differences between runs included; None for what has
            no samples.
        gate: The least change that counts.
        p: How likely a figure this much worse is if nothing changed; None for what has no samples.
        cycles: The ratio of the times in the processor's cycles, where both runs read its clock.
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
    interval: Interval | None = None
    gate: Gate | None = None
    p: float | None = None
    cycles: float | None = None
    worse: float | None = None
    around: Interval | None = None
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """All verdicts of a check, and what they are of.

    Attributes:
        source: Where the records come from, for people.
        baseline: Where those come from that they are compared with.
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
        """All verdicts in a line: `2 cases: 1 regressed, 5 pass`."""
        # A sweep has a verdict of its own, and is no case.
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
        """What was not compared and why, and what else differs, each with the cases it is of."""
        reasons: dict[str, tuple[str, ...]] = {}
        for one in self.notable:
            if one.before is None:
                why = f"{one.outcome}: {one.reason}"
                reasons[why] = (*reasons.get(why, ()), one.case)
        return (
            *reasons.items(),
            *((f"changed: {words}", ()) for words in self.changed),
            *((f"configuration changed: {words}", cases) for words, cases in self.configs.items()),
            *((f"gate: {words}", ()) for words in self.gates),
        )

    @property
    def by_case(self) -> dict[str, Verdict]:
        """The verdict on the time of each case, or on how it ended, by the case's id."""
        return {one.case: one for one in self.verdicts if one.metric in (*TIMES, "status")}


def worst_first(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Sort by outcome, then by how much worse it is."""
    return sorted(verdicts, key=lambda one: (PLACES[one.outcome], -(one.worse or 1)))


def count_outcomes(verdicts: Iterable[Verdict]) -> str:
    """Count the verdicts by outcome, in words: `1 regressed, 49 pass`."""
    found = [one.outcome for one in verdicts]
    return ", ".join(f"{found.count(word)} {word}" for word in Outcome if word in found)


def exit_code(verdicts: Iterable[Verdict], *, allow_missing: bool = False) -> int:
    """Return what a check exits with: 0 pass, 1 regression, 2 cases are gone, 3 inconclusive."""
    found = {one.outcome for one in verdicts}
    if allow_missing:
        found.discard(Outcome.MISSING)
    return next((code for outcome, code in EXIT_CODES.items() if outcome in found), 0)
