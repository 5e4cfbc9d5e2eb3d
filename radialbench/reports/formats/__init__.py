"""A summary, or a check, as text: each format's file holds `render(result) -> str`."""

from collections.abc import Callable, Mapping
from functools import partial

from radialbench.errors import ReportError, load_plugin

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


def load_format(name: str, formats: Mapping[str, str] = FORMATS) -> Callable[..., str]:
    """Return the function that renders a summary, or a check, in a format.

    Raises:
        ReportError: No format has this name.
    """
    kind = "report format" if formats is FORMATS else "format of a check"
    render: Callable[..., str] = load_plugin(formats, name, kind=kind, error=ReportError)
    return render


load_check_format = partial(load_format, formats=CHECK_FORMATS)
"""The same for a check."""
