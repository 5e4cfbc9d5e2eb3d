"""Regret of searches against what they cost, as a chart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from radialbench.autotune.regret import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_regrets(summaries: Sequence[Summary]) -> "tuple[Figure, str]":
    """Draw the median and the 95th percentile of regrets, each search in a colour of its own.

    Returns:
        The chart, and its caption.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    from radialbench.reports.charts._style import COLOURS, MARKERS, WIDTH

    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(one.search for one in summaries))
    for place, name in enumerate(names):
        points = sorted(((one.share, one) for one in summaries if one.search == name), key=_share)
        shares = [share for share, _ in points]
        look = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        axes[0].plot(shares, [one.median for _, one in points], label=name, **look)
        axes[1].plot(shares, [one.high for _, one in points], label=name, **look)
    _title(axes[0], "Median", 0.02)
    _title(axes[1], "95th percentile", 0.05)
    shares = sorted({one.share for one in summaries})
    for part in axes:
        # Zero is the aim, and has its place on this axis.
        part.set_yscale("symlog", linthresh=0.01)
        part.set_ylim(bottom=0)
        part.yaxis.set_major_locator(FixedLocator([0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
        part.yaxis.set_minor_locator(NullLocator())
        part.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        # So that an exhaustive search, which ends at all of it, leaves the others room.
        part.set_xscale("log")
        part.xaxis.set_major_locator(FixedLocator(shares))
        part.xaxis.set_minor_locator(NullLocator())
        part.tick_params(axis="x", labelsize=9)
        part.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        part.set_xlabel("trials, of an exhaustive search's")
    axes[0].set_ylabel("slower than the best there is")
    axes[0].legend(frameon=False)
    count = max(one.searches for one in summaries)
    return figure, (
        f"How much slower than the best configuration what a search hands out is, over {count:,} "
        "searches each, against the share of all configurations it tried. Dashed: the aim."
    )


def _share(point: tuple[float, Summary]) -> float:
    return point[0]


def _title(axes: "Axes", title: str, aim: float) -> None:
    from radialbench.reports.charts._style import GREY

    axes.set_title(title)
    axes.axhline(aim, color=GREY, linestyle=(0, (4, 2)), linewidth=1)
