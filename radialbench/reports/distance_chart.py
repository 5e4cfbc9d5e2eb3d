"""Attention mass by distance in time and space, with the borders of masks drawn on it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from radialbench.records.decay import DecayReport, Grid
from radialbench.reports.charts import _drawing as style
from radialbench.reports.text import printable

COLOURS = "Greys"
DECADES = 4
"""Powers of ten of the mass that colours span, down from the most."""

BORDER = 0.5
"""Share of the pairs at a distance that a mask keeps within its border."""

FEWEST = 0.5
"""Keys in a frame that rows have at a distance for borders to be drawn: only corners have fewer."""

ACROSS = 2
"""Panels beside each other."""

Booleans = NDArray[np.bool_]


def picture(report: DecayReport, kind: str) -> bytes:
    """Draw mass by distance as a `png` or `svg`."""
    with style.drawing():
        return style.rendered(draw(report), kind)


def draw(report: DecayReport) -> Figure:
    """Draw the mass of all heads, and of the heads of each kind if there are several kinds."""
    count = len(report.heads)
    panels = [(f"all {count} heads" if count > 1 else "1 head", report.mass)]
    if len(report.kinds) > 1:
        panels += [(f"{one.heads} {one.kind}", one.mass) for one in report.kinds]
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(style.WIDTH, 1.2 + 3.3 * down), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    most = max(max(map(max, mass)) for _, mass in panels)
    norm = LogNorm(most / 10**DECADES, most, clip=True)
    keys = np.array(report.heads[0].space.pairs) / (report.grid.frames - report.sink_frames)
    near = np.cumprod(keys >= FEWEST).astype(bool)
    insides = [np.array(one.kept)[:, near] >= BORDER for one in report.masks]
    for axes, (title, mass) in zip(grid.flat, panels, strict=False):
        mesh = _heat(axes, mass, norm)
        axes.set_title(title, loc="left")
        for number, inside in enumerate(insides):
            _border(axes, inside, number)
    for number, axes in enumerate(grid.flat):
        if number >= len(panels):
            axes.set_axis_off()
        if number + across >= len(panels):
            axes.set_xlabel(f"{report.distance} apart in a frame")
            axes.tick_params(labelbottom=True)
        if number % across == 0:
            axes.set_ylabel("frames apart")
    figure.colorbar(mesh, ax=list(grid.flat), label="share of a row's attention mass", shrink=0.8)
    labels = [printable(one.mask.label) for one in report.masks]
    _legend(figure, [_where(*both) for both in zip(labels, insides, strict=True)])
    return figure


def _heat(axes: Axes, mass: Grid, norm: LogNorm) -> QuadMesh:
    shares = np.array(mass)
    axes.grid(visible=False)
    edges = [np.arange(count + 1) - 0.5 for count in reversed(shares.shape)]
    mesh = axes.pcolormesh(*edges, shares, norm=norm, cmap=COLOURS, rasterized=True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return mesh


def _border(axes: Axes, inside: Booleans, number: int) -> None:
    """Draw lines between distances inside and outside; borders of several masks side by side."""
    color = style.COLOURS[number % len(style.COLOURS)]
    shift = 0.06 * number
    segments: list[list[tuple[float, float]]] = []
    for t, s in np.argwhere(inside[:, 1:] != inside[:, :-1]).tolist():
        segments.append([(s + 0.5 + shift, t - 0.5), (s + 0.5 + shift, t + 0.5)])
    for t, s in np.argwhere(inside[1:] != inside[:-1]).tolist():
        segments.append([(s - 0.5, t + 0.5 + shift), (s + 0.5, t + 0.5 + shift)])
    axes.add_collection(LineCollection(segments, colors=color, linewidths=2), autolim=False)


def _where(label: str, inside: Booleans) -> str:
    """Return the label of a mask, which says why it has no border if it has none."""
    if inside.all():
        return f"{label}, everywhere"
    return label if inside.any() else f"{label}, nowhere"


def _legend(figure: Figure, labels: Sequence[str]) -> None:
    lines = [
        Line2D([], [], color=style.COLOURS[number % len(style.COLOURS)], lw=2)
        for number in range(len(labels))
    ]
    if labels:
        figure.legend(
            lines,
            labels,
            title="Towards 0, 0 from its line a mask keeps at least half of the pairs:",
            alignment="left",
            loc="outside lower left",
            frameon=False,
            ncols=4,
        )
