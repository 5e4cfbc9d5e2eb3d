"""Speed-up against density: how much of what a mask leaves out is time saved."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from radialbench.reports.charts import _drawing as style
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary


def draw(summary: Summary, sweep: str) -> tuple[Figure, str] | None:
    """Draw every mask's speed-up at its density, with 1/density; None without a speed-up."""
    timed = summary.timed_of(sweep)
    rows = [row for row in timed if row.speedup and row.table and not row.is_dense]
    if not rows:
        return None
    figure = Figure(figsize=(style.WIDTH * 0.72, 4.8))
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_yscale("log")
    fastest: dict[tuple[str, int], Row] = {}
    for row in sorted(rows, key=lambda row: -(row.speedup or 0)):
        fastest.setdefault((row.mask, row.tokens), row)
    looked = style.looks(summary)
    masks = list(dict.fromkeys(row.mask for row in rows))
    for mask in masks:
        of_mask = [row for row in rows if row.mask == mask]
        best = [row for row in of_mask if fastest[mask, row.tokens] is row]
        others = [row for row in of_mask if fastest[mask, row.tokens] is not row]
        _points(axes, best, looked[mask], filled=True)
        _points(axes, others, looked[mask], filled=False)
    _ideal(figure, rows)
    style.legend(axes, {mask: looked[mask] for mask in masks})
    return figure, (
        "Speed-up over the fastest dense kernel against the share of pairs that attend. The line "
        "is 1/density: time in proportion to what the mask asks for. Filled: the fastest kernel of "
        "a mask and length, with its 95% interval; small: other kernels."
    )


def _points(axes: Axes, rows: list[Row], look: style.Look, *, filled: bool) -> None:
    density = [row.table.density for row in rows if row.table]
    drawn: Any = {"color": look.color, "linestyle": "none", "marker": look.marker}
    drawn |= {"markersize": 7} if filled else {"markersize": 4, "markerfacecolor": "none"}
    axes.plot(density, [row.speedup or 0 for row in rows], **drawn)
    if filled:
        ends = [row.speedup_interval for row in rows]
        known = [(x, end.low, end.high) for x, end in zip(density, ends, strict=True) if end]
        if known:
            axes.vlines(*zip(*known, strict=True), color=look.color, lw=1.6, alpha=0.7)


def _ideal(figure: Figure, rows: list[Row]) -> None:
    """Set the limits, and draw the lines of 1/density and of dense."""
    (axes,) = figure.axes
    low = min(row.table.density for row in rows if row.table)
    slowest = min(row.speedup or 1 for row in rows)
    axes.set_xlim(low * 0.75, 1.15)
    axes.set_ylim(min(slowest, 1) * 0.85, 1.25 / low)
    axes.plot([low * 0.75, 1], [1 / (low * 0.75), 1], color=style.INK, linewidth=1.8, zorder=1)
    axes.axhline(1, color=style.GREY, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
    style.log_ticks(axes, "x")
    style.log_ticks(axes, "y")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g}%"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.set_xlabel("density")
    axes.set_title("Speed-up over dense, and 1/density")
