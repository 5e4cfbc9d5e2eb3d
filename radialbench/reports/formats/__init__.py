"""A summary, or a check, as text: each format's file holds `render(result) -> str`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from radialbench.errors import ReportError, load_plugin

if TYPE_CHECKING:
    from radialbench.reports.check.verdict import CheckResult
    from radialbench.reports.summary import Summary

FORMATS: dict[str, str] = {
    "csv": "radialbench.reports.formats.csv:render",
    "html": "radialbench.reports.page.assemble:page",
    "json": "radialbench.reports.formats.json:render",
    "markdown": "radialbench.reports.formats.markdown:render",
    "terminal": "radialbench.reports.formats.terminal:render",
}
"""Formats of a summary; a file is imported when its format is asked for."""

CHECK_FORMATS: dict[str, str] = {
    name: f"radialbench.reports.formats.check_{name}:render"
    for name in ("bencher", "github", "json", "junit", "markdown", "sarif", "terminal")
}
"""Formats of a check."""


def load_format(name: str) -> "Callable[[Summary], str]":
    """Return the function that renders a summary in a format.

    Raises:
        ReportError: No format has this name.
    """
    render: Callable[[Summary], str] = load_plugin(
        FORMATS, name, kind="report format", error=ReportError
    )
    return render


def load_check_format(name: str) -> "Callable[[CheckResult], str]":
    """Return the function that renders a check in a format.

    Raises:
        ReportError: No format has this name.
    """
    render: Callable[[CheckResult], str] = load_plugin(
        CHECK_FORMATS, name, kind="format of a check", error=ReportError
    )
    return render
