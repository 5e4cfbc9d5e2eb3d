"""How charts are drawn: a colour for each mask, round ticks, labels that cover nothing."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from statistics import fmean, median
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from radialbench.reports.summary import Summary
from radialbench.reports.text import printable

INK = "#1a1a1a"
GREY = "#767676"
GRID = "#e4e4e4"
COLOURS = ("#0072b2", "#b34e00", "#00785a", "#a8477f", "#7a4fc9", "#8a6000")
"""After Okabe and Ito's, which colour-blind people can tell apart: dark enough for text (4.5:1)."""

MARKERS = "oD^vPX"
FORM_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
"""Dashes of the fitted forms, best first."""

WIDTH = 10.0
DPI = 160

STYLE: Any = {
    "font.size": 11.5,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # The same summary gives the same file.
    "svg.hashsalt": "radialbench",
}


End = tuple[str, float, float, str]
"""Label of a line, x and y of its end, and its colour."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a mask's lines are drawn."""

    color: str
    marker: str
    width: float


@contextmanager
def drawing() -> Iterator[None]:
    """Apply the style, and leave other people's settings as they were."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A label in signs the font lacks is drawn with boxes, which is no reason to stop.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def rendered(figure: Figure, kind: str) -> bytes:
    """Return a figure as the bytes of a `png` or `svg` file."""
    buffer = BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(
        buffer, format=kind, dpi=DPI, bbox_inches="tight", pad_inches=0.15, metadata=metadata
    )
    return buffer.getvalue()


DENSE_LOOK = Look(INK, "s", 3.0)


def looks(summary: Summary) -> dict[str, Look]:
    """Return every mask's look, the same in all charts of a summary; dense is black and thick."""
    found = {row.mask: DENSE_LOOK for row in summary.rows if row.is_dense}
    masks = dict.fromkeys(row.mask for row in summary.rows if not row.is_dense)
    for place, mask in enumerate(masks):
        turn, colour = divmod(place, len(COLOURS))
        found[mask] = Look(COLOURS[colour], MARKERS[(turn + colour) % len(MARKERS)], 2.0)
    return found


def kernel_looks(summary: Summary) -> dict[str, Look]:
    """Return every backend's look, for charts whose lines are masks and whose dots are kernels."""
    names = dict.fromkeys(row.backend for row in summary.rows)
    turns = (INK, *COLOURS)
    return {
        name: Look(turns[place % len(turns)], MARKERS[(place + place // 7) % len(MARKERS)], 2.0)
        for place, name in enumerate(names)
    }


def log_tokens(axes: Axes, tokens: Iterable[int]) -> None:
    """Make x a logarithmic axis of tokens, with round ticks."""
    low, high = min(tokens), max(tokens)
    axes.set_xlim(low * 0.86, high * 1.16)
    log_ticks(axes, "x")
    axes.xaxis.set_minor_locator(NullLocator())


def log_ticks(axes: Axes, which: str = "y") -> None:
    """Make x or y a logarithmic axis with plain numbers at its ticks."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(round_ticks(*axis.get_view_interval())))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_formatter(NullFormatter())


FLATTENED = 4.0
"""How many times the middle one the largest of the lines must be to press the others together."""


def ratio_axis(axes: Axes, curves: Sequence[Sequence[float]]) -> None:
    """Make y an axis of ratios: from 0 on, or logarithmic where one line would flatten the others.

    Args:
        axes: The curves are drawn, and a line at 1.
        curves: Values of each curve.
    """
    tops = [max(values) for values in curves if values]
    if tops and max(tops) > FLATTENED * max(median(tops), 1.0):
        low, high = min(1.0, *map(min, filter(None, curves))), max(tops)
        axes.set_ylim(low / 1.3, high * 1.3)
        log_ticks(axes)
    else:
        axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))


TICKS = ((1,), (1, 3), (1, 2, 5))
"""Steps between powers of ten, from far apart to near."""

FEWEST_TICKS = 3


def round_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two, at least three: by powers of ten, or evenly if near."""
    for steps in TICKS:
        found = [t for e in range(-9, 15) for m in steps if low <= (t := m * 10.0**e) <= high]
        if len(found) >= FEWEST_TICKS:
            return found
    even = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in even if low <= tick <= high]


def short(value: float) -> str:
    """Format a tick's number: 400k, 1.5M, 20, 0.05."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def seconds(value: float) -> str:
    """Format a tick's milliseconds: 20 ms, 1.5 s."""
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"


def legend(axes: Axes, looked: dict[str, Look]) -> None:
    """Write the names of points to the right of the axes, where they cover none."""
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, ls="none", label=printable(name))
        for name, look in looked.items()
    ]
    shown = axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.2,
        frameon=False,
        handletextpad=0.2,
    )
    for text in shown.get_texts():
        text.set_parse_math(False)


def label_ends(axes: Axes, ends: Sequence[End], size: float = 11) -> None:
    """Write the labels of lines to the right of the axes, moved until none covers another.

    A thin line leads from a line's end to its label where that is not beside it.

    Args:
        axes: Its limits must be set.
        ends: Ends of the lines.
        size: Font size in points.
    """
    to_points = 72.0 / axes.figure.dpi
    tall = axes.bbox.height * to_points
    place_of = axes.transData + axes.transAxes.inverted()
    lines = sorted(
        (place_of.transform((x, y))[1] * tall, text, (x, y), color) for text, x, y, color in ends
    )
    sizes = [size * 1.25 * (text.count("\n") + 1) for _, text, *_ in lines]
    heights = spread([height for height, *_ in lines], sizes, tall)
    beside = axes.transAxes + ScaledTranslation(LABEL_GAP / 72, 0, axes.figure.dpi_scale_trans)
    last = max((x for _, x, *_ in ends), default=0.0)
    for height, (end_height, text, end, color) in zip(heights, lines, strict=True):
        moved = abs(height - end_height) > size / 2 or end[0] < last
        leader = {"color": color, "shrinkA": 1, "shrinkB": 4, "relpos": (0, 0.5), **LEADER}
        axes.annotate(
            "\n".join(map(printable, text.split("\n"))),
            end,
            xytext=(1, height / tall),
            textcoords=beside,
            color=color,
            fontsize=size,
            va="center",
            annotation_clip=False,
            parse_math=False,
            arrowprops={**leader, "shrinkA": 1, "shrinkB": 4, "relpos": (0, 0.5)}
            if moved
            else None,
        )


LEADER: Any = {"arrowstyle": "-", "lw": 0.7, "alpha": 0.6}

LABEL_GAP = 6
"""Points between the axes and the labels of its lines."""


def spread(heights: Sequence[float], sizes: Sequence[float], most: float) -> list[float]:
    """Move ascending heights until none covers its neighbour, as little as possible.

    Args:
        heights: Of the middles of labels.
        sizes: Heights of the labels themselves.
        most: Where the topmost ends; the lowest begins at 0 or above it, if there is room.
    """
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    # Without their sizes, labels that cover each other are numbers out of order: pool these.
    groups: list[list[float]] = []
    for height, size, start in zip(heights, sizes, starts, strict=True):
        groups.append([height - size / 2 - start])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            last = groups.pop()
            groups[-1] += last
    low = [min(max(fmean(group), 0.0), most - sum(sizes)) for group in groups for _ in group]
    return [
        bottom + start + size / 2 for bottom, start, size in zip(low, starts, sizes, strict=True)
    ]


PANEL_GAP = 22
"""Points between two columns of panels with all that is written beside them."""


def arrange(figure: Figure) -> None:
    """Move the columns of panels apart until nothing beside one covers the next."""
    columns: dict[int, list[Axes]] = {}
    for axes in figure.axes:
        if (spec := axes.get_subplotspec()) is not None and axes.get_visible():
            columns.setdefault(spec.colspan.start, []).append(axes)
    wide, gap = figure.bbox.width, PANEL_GAP * figure.dpi / 72
    right: float | None = None
    for _, column in sorted(columns.items()):
        boxes = [box for axes in column if (box := axes.get_tightbbox())]
        left = min(box.x0 for box in boxes)
        move = 0.0 if right is None else right + gap - left
        for axes in column:
            box = axes.get_position()
            axes.set_position((box.x0 + move / wide, box.y0, box.width, box.height))
        right = max(box.x1 for box in boxes) + move
