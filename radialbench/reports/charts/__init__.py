"""Charts of a summary: a function of summary and sweep returns a Matplotlib figure, or None."""

import re
from collections.abc import Callable, Collection, Iterator
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


MOST = 24
"""Most charts of a page; of up to `MANY` cases, files are four times as many."""

MOST_OF_MANY = 4
"""Most charts of a page of more than `MANY` cases; files are twice as many."""

MANY = 2000


def most_charts(summary: "Summary") -> int:
    """Return how many charts a page of a summary has at most: the tables show the other sweeps."""
    return MOST if len(summary.rows) <= MANY else MOST_OF_MANY


def drawn_charts(
    summary: "Summary", most: int, *, without: Collection[str] = ()
) -> "Iterator[tuple[str, str, Figure, str]]":
    """Yield charts with their sweep, their figure and their caption, sweep by sweep.

    The figure is to be rendered before the next is asked for, in the charts' style.

    Args:
        summary: What is drawn.
        most: Most charts.
        without: Names of charts that are not drawn.
    """
    from radialbench.reports.charts._drawing import drawing

    count = 0
    for sweep in summary.sweeps:
        for name in CHARTS:
            if count == most:
                return
            if name in without:
                continue
            with drawing():
                drawn = draw_chart(name, summary, sweep)
                if drawn is not None:
                    count += 1
                    yield name, sweep, *drawn


def charts(summary: "Summary") -> list[tuple[str, str, bytes, bytes]]:
    """Return each chart's file name without its suffix, its caption, its PNG and its SVG.

    A chart is drawn for every sweep that has values for it, in the order of `CHARTS`; with several
    sweeps the sweep is part of the file's name. Of very many charts only the first sweeps' are
    drawn.
    """
    from radialbench.reports.charts._drawing import rendered

    texts = summary.sweep_texts
    several = len(texts) > 1
    most = 4 * MOST if len(summary.rows) <= MANY else 2 * MOST_OF_MANY
    found: dict[str, list[tuple[str, str, bytes, bytes]]] = {name: [] for name in CHARTS}
    for name, sweep, figure, caption in drawn_charts(summary, most):
        where = f"{texts[sweep]}: " if several else ""
        file = f"{name}-{slug(sweep)}" if several else name
        pictures = rendered(figure, "png"), rendered(figure, "svg")
        found[name].append((file, where + caption, *pictures))
    return [chart for of_name in found.values() for chart in of_name]


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
