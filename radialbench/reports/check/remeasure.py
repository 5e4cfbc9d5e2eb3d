"""Regressions that are measured again before they are reported."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict, worst_first

MAX_REPEATED = 20
"""Cases that are measured again, at most: where so many are slower, noise is not the reason."""

UNCHANGED = "unchanged machine code, not timed"


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
