"""Chart of a front: what plans keep against what they cost, before the masks that were tried."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from radialbench.records.front import BLOCKS, FrontPoint
from radialbench.reports.charts import _drawing as style
from radialbench.reports.text import printable


class Tried(NamedTuple):
    """A mask for all heads: its family, its cost and its loss."""

    family: str
    cost: float
    loss: float


def pictures(points: Sequence[FrontPoint], tried: Sequence[Tried] = ()) -> dict[str, bytes]:
    """Draw a front as a `png` and an `svg`."""
    with style.drawing():
        figure = draw(points, tried)
        return {kind: style.rendered(figure, kind) for kind in ("png", "svg")}


def draw(points: Sequence[FrontPoint], tried: Sequence[Tried] = ()) -> Figure:
    """Draw the front as a line, and the masks that were tried as dots."""
    figure = Figure(figsize=(style.WIDTH * 0.8, 5.0))
    axes = figure.subplots()
    by_mass = points[0].loss_kind == "mass"

    def height(loss: float) -> float:
        return 1 - loss if by_mass else loss

    for place, family in enumerate(dict.fromkeys(one.family for one in tried)):
        own = [one for one in tried if one.family == family]
        axes.plot(
            [one.cost for one in own],
            [height(one.loss) for one in own],
            ls="none",
            marker=style.MARKERS[place % len(style.MARKERS)],
            ms=5,
            alpha=0.55,
            color=style.COLOURS[place % len(style.COLOURS)],
            label=printable(family),
        )
    axes.plot(
        [point.cost for point in points],
        [height(point.loss) for point in points],
        color=style.INK,
        marker="s",
        ms=5,
        label="the front's plans",
    )
    axes.set_xlim(0, 1.04)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(min(bottom, 0.0), -0.02) if not by_mass else bottom, top)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    blocks = points[0].cost_kind == BLOCKS
    axes.set_xlabel(f"{'executed blocks' if blocks else 'time'}, as a share of dense")
    axes.set_title("Attention mass kept" if by_mass else "Error of the output")
    axes.legend(loc="best", frameon=False, fontsize=9.5)
    return figure
