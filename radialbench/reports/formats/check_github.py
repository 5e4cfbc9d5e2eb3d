"""Annotations as GitHub's runner reads them from a step's output."""

from radialbench.reports.check.verdict import CheckResult, Outcome
from radialbench.reports.text import printable

LEVELS = {
    Outcome.REGRESSED: "error",
    Outcome.MISSING: "error",
    Outcome.INCONCLUSIVE: "warning",
    Outcome.NEW: "notice",
    Outcome.FASTER: "notice",
}


def render(result: CheckResult) -> str:
    """Render a workflow command for each verdict but passes, and the summary as a line."""
    lines = [
        f"::{LEVELS[one.outcome]} title={_property(f'{one.outcome}: {one.case}, {one.metric}')}"
        f"::{_message(one.reason)}"
        for one in result.notable
    ]
    return "\n".join([*lines, result.headline]) + "\n"


def _message(text: str) -> str:
    """Return text with what would end a command escaped."""
    return "%0A".join(printable(line).replace("%", "%25") for line in text.splitlines())


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
