"""A summary as text: each format's file holds `render(summary) -> str`."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from radialbench.errors import ReportError, unknown

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
    if name not in FORMATS:
        raise ReportError(unknown("report format", name, FORMATS))
    module, attribute = FORMATS[name].split(":")
    render: Render = getattr(import_module(module), attribute)
    return render
