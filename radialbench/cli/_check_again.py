"""A suspected regression is measured again before it is called one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict, worst_first

MOST = 20
"""Cases that are measured again, at most; where so many are slower, it is no noise of a few."""


def suspects(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the regressions that noise may be the reason of: how a case ended is not."""
    found = [one for one in verdicts if one.outcome is Outcome.REGRESSED]
    return [one for one in worst_first(found) if one.metric != "status"]


def cases_of(verdict: Verdict, cases: Iterable[str]) -> list[str]:
    """Return the ids of what a verdict is of: of one case, or of all of a sweep."""
    own = verdict.cases or (verdict.case,)
    return [case for case in cases if case in own]


def cases_again(verdicts: Iterable[Verdict], cases: Sequence[str]) -> set[str]:
    """Choose the cases to measure again: those of the worst suspects, as many as there may be."""
    chosen: set[str] = set()
    for verdict in suspects(verdicts):
        more = chosen | set(cases_of(verdict, cases))
        if len(more) <= MOST:
            chosen = more
    return chosen


def settled(first: CheckResult, again: Iterable[Verdict]) -> CheckResult:
    """Return the verdicts after the second measurement, which has the last word on a suspect.

    It is judged alone, as the first was chosen for being high. So what is called a regression is
    one in both; a suspect that was not measured again is inconclusive.

    Args:
        first: The first measurement, of all cases.
        again: Verdicts of the second.
    """
    second = {(one.case, one.metric): one for one in again}
    suspected = suspects(first.verdicts)

    def final(one: Verdict) -> Verdict:
        if one not in suspected:
            return one
        found = second.get((one.case, one.metric)) or second.get((one.case, "status"))
        if found is None:
            why = f"{one.reason}; not measured again, as too many others are worse"
            return replace(one, outcome=Outcome.INCONCLUSIVE, reason=why)
        return replace(found, reason=f"measured again: {found.reason}; at first: {one.reason}")

    return replace(first, verdicts=tuple(worst_first(map(final, first.verdicts))))


def mark_unrepeated(found: CheckResult) -> CheckResult:
    """Add to the reasons of regressions of stored results that they were not measured again."""
    once = suspects(found.verdicts)
    verdicts = [
        replace(one, reason=f"{one.reason}; not measured again") if one in once else one
        for one in found.verdicts
    ]
    return replace(found, verdicts=tuple(verdicts))
