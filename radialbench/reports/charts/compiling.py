"""Time to compile the block tables against tokens."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from radialbench.reports.charts._drawing import (
    WIDTH,
    label_ends,
    leading,
    log_tokens,
    log_values,
    looks,
    plot,
    seconds,
    series,
)
from radialbench.reports.summary import Summary


def draw(summary: Summary, sweep: str) -> tuple[Figure, str] | None:
    """Draw the median time of each table; None if none was timed."""
    rows = [row for row in summary.compiled if row.sweep == sweep and row.ok]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH * 0.72, 4.6))
    axes = figure.subplots()
    looked = looks(summary)
    ends = []
    for line in leading(series(rows)):
        look = looked[line.mask]
        end = plot(axes, line, look, lambda row: row.median_ms)
        if end:
            ends.append((f"{end[0]}  {seconds(_two(end[2]))}", *end[1:]))
    log_tokens(axes, [row.tokens for row in rows])
    log_values(axes)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))
    axes.set_xlabel("tokens")
    axes.set_title("Time to compile a table")
    label_ends(axes, ends)
    return figure, "Time to compile the block table of a mask, median of the samples."


def _two(value: float) -> float:
    """A value to two figures."""
    return float(f"{value:.2g}")
