"""Plain text, the worst first; what passes is counted only."""

from radialbench.reports.check.verdict import CheckResult
from radialbench.reports.text import join_and, paragraph, printable

MOST = 40
"""Verdicts that are shown at most; cases with the same one are told together."""

FIRST = 3
"""Cases that are named of those with the same verdict."""


def render(result: CheckResult, *, width: int | None = None) -> str:
    """Render which cases, which metric, and why.

    Args:
        result: The check.
        width: Columns of the terminal, if there is one.
    """
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in result.notable:
        alike.setdefault((one.outcome, one.metric, printable(one.reason)), []).append(
            printable(one.case)
        )
    shown = list(alike.items())[:MOST]
    room = max((len(outcome) for (outcome, *_), _ in shown), default=0)
    lines = []
    for (outcome, metric, reason), cases in shown:
        lines.append(f"{outcome:<{room}}  {_named(cases)}: {metric}")
        lines += [paragraph(reason, width, indent=" " * (room + 2), hang="")] if reason else []
    if more := len(alike) - len(shown):
        lines.append(f"and {more} more; all are in --format json")
    lines += [""] if lines else []
    lines.append(result.headline)
    lines += [f"gates: {', '.join(result.gates)}"] if result.gates else []
    lines += [f"changed: {words}" for words in result.changed]
    return "\n".join(lines) + "\n"


def _named(cases: list[str]) -> str:
    more = len(cases) - FIRST
    return join_and(cases[:FIRST] + ([f"{more} more"] if more > 0 else []))
