"""Markdown, for a step's summary or a comment on a pull request."""

from radialbench.reports.check.amounts import amount
from radialbench.reports.check.checked import Checked
from radialbench.reports.check.verdict import Outcome, Verdict
from radialbench.reports.markdown_tables import between, table, text
from radialbench.reports.numbers import NONE, times

MOST = 100
"""Rows at most: a summary has a limit of size."""

SIGNS = {
    Outcome.REGRESSED: "❌",
    Outcome.MISSING: "❓",
    Outcome.INCONCLUSIVE: "⚠️",
    Outcome.NEW: "🆕",
    Outcome.FASTER: "🚀",
    Outcome.PASS: "✅",
}


def render(checked: Checked) -> str:
    """Render the summary in a line, and a table of what does not just pass."""
    sign = SIGNS[checked.verdicts[0].outcome] if checked.verdicts else ""
    parts = [f"## {sign} {checked.headline}"]
    parts.append(f"{text(checked.source)} against {text(checked.baseline)}.")
    if checked.told:
        headers = ("outcome", "case", "metric", "why", "before", "now", "now / before", "95%")
        parts.append(table(headers, map(_cells, checked.told[:MOST]), words=4))
    if (more := len(checked.told) - MOST) > 0:
        parts.append(f"And {more} more.")
    notes = [f"- changed: {text(words)}" for words in checked.changed]
    notes += [f"- gate: {text(words)}" for words in checked.gates]
    if notes:
        parts.append("\n".join(notes))
    return "\n\n".join(parts) + "\n"


def _cells(one: Verdict) -> tuple[str, ...]:
    return (
        f"{SIGNS[one.outcome]} {one.outcome}",
        text(one.case),
        one.metric,
        text(one.reason),
        NONE if one.before is None else amount(one.metric, one.before),
        NONE if one.now is None else amount(one.metric, one.now),
        NONE if one.ratio is None else times(one.ratio),
        between(one.interval),
    )
