"""What a check says of one metric of one case, and of all of them."""

from collections.abc import Iterable
from dataclasses import dataclass
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


def worst_first(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Sort by outcome, then by how much worse it is."""
    return sorted(verdicts, key=lambda one: (PLACES[one.outcome], -(one.worse or 1)))


def counted(verdicts: Iterable[Verdict]) -> str:
    """Say how many came out how: `1 regressed, 49 pass`."""
    found = [one.outcome for one in verdicts]
    return ", ".join(f"{found.count(word)} {word}" for word in Outcome if word in found)


def exit_code(verdicts: Iterable[Verdict], *, allow_missing: bool = False) -> int:
    """Give what a check exits with: 0 pass, 1 regression, 2 cases are gone, 3 inconclusive."""
    found = {one.outcome for one in verdicts}
    if allow_missing:
        found.discard(Outcome.MISSING)
    return next((code for outcome, code in EXIT_CODES.items() if outcome in found), 0)
