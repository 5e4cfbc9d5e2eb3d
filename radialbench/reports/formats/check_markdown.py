"""Markdown, for a step's summary or a comment on a pull request."""

from collections.abc import Iterable

from radialbench.reports.check.metrics import format_value
from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict
from radialbench.reports.text import (
    EMPTY_CELL,
    escape,
    format_interval,
    format_ratio,
    markdown_table,
)

MAX_ROWS = 100
"""GitHub limits the size of a summary."""

SIGNS = {
    Outcome.REGRESSED: "❌",
    Outcome.MISSING: "❓",
    Outcome.INCONCLUSIVE: "⚠️",
    Outcome.NEW: "🆕",
    Outcome.FASTER: "🚀",
    Outcome.PASS: "✅",
}


def render(result: CheckResult) -> str:
    """Render the summary in a line, and a table of all verdicts but passes."""
    sign = SIGNS[result.verdicts[0].outcome] if result.verdicts else ""
    parts = [f"## {sign} {result.headline}"]
    parts.append(f"{escape(result.source)} against {escape(result.baseline)}.")
    if result.notable:
        parts.append(verdict_table(result.notable[:MAX_ROWS]))
    if (more := len(result.notable) - MAX_ROWS) > 0:
        parts.append(f"And {more} more.")
    notes = [f"- changed: {escape(line)}" for line in result.changed]
    notes += [f"- gate: {escape(line)}" for line in result.gates]
    notes += [f"- resolution: {escape(line)}" for line in result.resolution]
    if notes:
        parts.append("\n".join(notes))
    return "\n\n".join(parts) + "\n"


def verdict_table(verdicts: Iterable[Verdict]) -> str:
    """Render verdicts as a table."""
    headers = ("outcome", "case", "metric", "why", "before", "now", "now / before", "95%")
    return markdown_table(headers, map(_cells, verdicts), text_columns=4)


def _cells(one: Verdict) -> tuple[str, ...]:
    return (
        f"{SIGNS[one.outcome]} {one.outcome}",
        escape(one.case),
        one.metric,
        escape(one.reason),
        EMPTY_CELL if one.before is None else format_value(one.metric, one.before),
        EMPTY_CELL if one.now is None else format_value(one.metric, one.now),
        EMPTY_CELL if one.ratio is None else format_ratio(one.ratio),
        format_interval(one.interval, format_ratio) or EMPTY_CELL,
    )
