"""Markdown, for a step's summary or a comment on a pull request."""

from collections.abc import Iterable

from radialbench.reports import text
from radialbench.reports.check.metrics import format_value
from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict

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
    parts.append(f"{text.escape(result.source)} against {text.escape(result.baseline)}.")
    if result.notable:
        parts.append(verdict_table(result.notable[:MAX_ROWS]))
    if (more := len(result.notable) - MAX_ROWS) > 0:
        parts.append(f"And {more} more.")
    notes = [f"- changed: {text.escape(line)}" for line in result.changed]
    notes += [f"- gate: {text.escape(line)}" for line in result.gates]
    notes += [f"- resolution: {text.escape(line)}" for line in result.resolution]
    if notes:
        parts.append("\n".join(notes))
    return "\n\n".join(parts) + "\n"


def verdict_table(verdicts: Iterable[Verdict]) -> str:
    """Render verdicts as a table."""
    headers = ("outcome", "case", "metric", "why", "before", "now", "now / before", "95%")
    return text.markdown_table(headers, map(_cells, verdicts), text_columns=4)


def _cells(one: Verdict) -> tuple[str, ...]:
    return (
        f"{SIGNS[one.outcome]} {one.outcome}",
        text.escape(one.case),
        one.metric,
        text.escape(one.reason),
        text.EMPTY_CELL if one.before is None else format_value(one.metric, one.before),
        text.EMPTY_CELL if one.now is None else format_value(one.metric, one.now),
        text.EMPTY_CELL if one.ratio is None else text.format_ratio(one.ratio),
        text.format_interval(one.interval, text.format_ratio) or text.EMPTY_CELL,
    )
