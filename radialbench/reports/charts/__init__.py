"""Charts of a summary: a function of summary and sweep returns a Matplotlib figure, or None."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from radialbench.errors import ReportError, load_plugin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from radialbench.reports.summary import Summary

CHARTS: dict[str, str] = {
    "latency": "radialbench.reports.charts.latency:draw",
    "keep": "radialbench.reports.charts.keep:draw",
    "kernels": "radialbench.reports.charts.kernels:draw",
    "ideal": "radialbench.reports.charts.ideal:draw",
    "growth": "radialbench.reports.charts.growth:draw",
    "speedup": "radialbench.reports.charts.lines:draw_speedup",
    "rates": "radialbench.reports.charts.lines:draw_rates",
    "density": "radialbench.reports.charts.lines:draw_density",
    "memory": "radialbench.reports.charts.lines:draw_memory",
    "compile": "radialbench.reports.charts.lines:draw_compile",
}
"""The function of each chart, in the order of the report."""

Draw = Callable[["Summary", str], "tuple[Figure, str] | None"]


def charts(summary: "Summary") -> Iterator[tuple[str, str, bytes, bytes]]:
    """Yield each chart's file name without its suffix, its caption, its PNG and its SVG.

    A chart is drawn for every sweep that has values for it; with several sweeps the sweep is part
    of the file's name.
    """
    from radialbench.reports.charts._drawing import drawing, rendered

    texts = summary.sweep_texts
    several = len(texts) > 1
    for name in CHARTS:
        for sweep in summary.sweeps:
            with drawing():
                drawn = draw_chart(name, summary, sweep)
                if drawn is None:
                    continue
                figure, caption = drawn
                where = f"{texts[sweep]}: " if several else ""
                file = f"{name}-{slug(sweep)}" if several else name
                yield file, where + caption, rendered(figure, "png"), rendered(figure, "svg")


def draw_chart(name: str, summary: "Summary", sweep: str) -> "tuple[Figure, str] | None":
    """Draw a chart of a sweep, its panels apart; None where it has nothing to show.

    Raises:
        ReportError: No chart has this name.
    """
    from radialbench.reports.charts._drawing import arrange

    drawn = load_chart(name)(summary, sweep)
    if drawn is not None:
        arrange(drawn[0])
    return drawn


def load_chart(name: str) -> Draw:
    """Find a chart by name.

    Raises:
        ReportError: No chart has this name.
    """
    draw: Draw = load_plugin(CHARTS, name, kind="chart", error=ReportError)
    return draw


def slug(text: str) -> str:
    """Return text as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")
