"""A check as text: each format's file holds `render(result) -> str`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from radialbench.errors import ReportError, load_plugin

if TYPE_CHECKING:
    from radialbench.reports.check.verdict import CheckResult

CHECK_FORMATS: dict[str, str] = {
    "bencher": "radialbench.reports.check.formats.bencher:render",
    "github": "radialbench.reports.check.formats.github:render",
    "json": "radialbench.reports.check.formats.json:render",
    "junit": "radialbench.reports.check.formats.junit:render",
    "markdown": "radialbench.reports.check.formats.markdown:render",
    "sarif": "radialbench.reports.check.formats.sarif:render",
    "terminal": "radialbench.reports.check.formats.terminal:render",
}
"""Where each format lives; its file is imported when it is asked for."""

Render = Callable[["CheckResult"], str]


def load_check_format(name: str) -> Render:
    """Find a format by name.

    Raises:
        ReportError: No format has this name.
    """
    kind = "format of a check"
    render: Render = load_plugin(CHECK_FORMATS, name, kind=kind, error=ReportError)
    return render
