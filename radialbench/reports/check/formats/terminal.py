"""Plain text, the worst first; what passes is counted only."""

import textwrap

from radialbench.reports.check.verdict import CheckResult
from radialbench.reports.numbers import listed, plain

WIDTH = 100

MOST = 40
"""Verdicts that are shown at most; cases with the same one are told together."""

FIRST = 3
"""Cases that are named of those with the same verdict."""


def render(result: CheckResult) -> str:
    """Render which cases, which metric, and why."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in result.notable:
        alike.setdefault((one.outcome, one.metric, plain(one.reason)), []).append(plain(one.case))
    shown = list(alike.items())[:MOST]
    width = max((len(outcome) for (outcome, *_), _ in shown), default=0)
    lines = []
    for (outcome, metric, reason), cases in shown:
        lines.append(f"{outcome:<{width}}  {_named(cases)}: {metric}")
        indent = " " * (width + 2)
        lines += textwrap.wrap(reason, WIDTH, initial_indent=indent, subsequent_indent=indent)
    if more := len(alike) - len(shown):
        lines.append(f"and {more} more; all are in --format json")
    lines += [""] if lines else []
    lines.append(result.headline)
    lines += [f"gates: {', '.join(result.gates)}"] if result.gates else []
    lines += [f"changed: {words}" for words in result.changed]
    return "\n".join(lines) + "\n"


def _named(cases: list[str]) -> str:
    more = len(cases) - FIRST
    return listed(cases[:FIRST] + ([f"{more} more"] if more > 0 else []))
