"""Plain text, the worst first; passes are only counted."""

from radialbench.reports.check.verdict import CheckResult
from radialbench.reports.text import fitted, join_and, paragraph, printable

MAX_SHOWN = 40
"""Verdicts that are shown at most; cases with the same one are shown together."""

MAX_NAMED = 3
"""Cases of a verdict that are named."""


def render(result: CheckResult, *, width: int | None = None) -> str:
    """Render cases, metric and reason of each verdict, for a terminal of some width if any."""
    cases_of: dict[tuple[str, str, str], list[str]] = {}
    for one in result.notable:
        cases_of.setdefault((one.outcome, one.metric, printable(one.reason)), []).append(
            printable(one.case)
        )
    shown = list(cases_of.items())[:MAX_SHOWN]
    room = max((len(outcome) for (outcome, *_), _ in shown), default=0)
    lines = []
    for (outcome, metric, reason), cases in shown:
        indent = " " * (room + 2)
        head = f"{outcome:<{room}}  {_named(cases)}: {metric}"
        lines.append(fitted(head, width, hang=indent))
        lines += [paragraph(reason, width, indent=indent, hang="")] if reason else []
    if more := len(cases_of) - len(shown):
        lines.append(f"and {more} more; all are in --format json")
    lines += [""] if lines else []
    lines.append(result.headline)
    facts = [f"gates: {', '.join(result.gates)}"] if result.gates else []
    facts += [f"changed: {line}" for line in result.changed]
    lines += [fitted(line, width) for line in facts]
    lines += [paragraph(f"resolution: {line}", width) for line in result.resolution]
    return "\n".join(lines) + "\n"


def _named(cases: list[str]) -> str:
    more = len(cases) - MAX_NAMED
    return join_and(cases[:MAX_NAMED] + ([f"{more} more"] if more > 0 else []))
