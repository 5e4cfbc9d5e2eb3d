"""A summary as text: each format's file holds `render(summary) -> str`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from radialbench.errors import ReportError, load_plugin

if TYPE_CHECKING:
    from radialbench.reports.summary import Summary

FORMATS: dict[str, str] = {
    "csv": "radialbench.reports.formats.csv:render",
    "html": "radialbench.reports.formats.html:render",
    "json": "radialbench.reports.formats.json:render",
    "markdown": "radialbench.reports.formats.markdown:render",
    "terminal": "radialbench.reports.formats.terminal:render",
}
"""Where each format lives; its file is imported when it is asked for."""

Render = Callable[["Summary"], str]


def load_format(name: str) -> Render:
    """Find a format by name.

    Raises:
        ReportError: No format has this name.
    """
    render: Render = load_plugin(FORMATS, name, kind="report format", error=ReportError)
    return render
