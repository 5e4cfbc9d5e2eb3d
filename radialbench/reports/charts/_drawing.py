"""How charts are drawn: a colour for each mask, lines along tokens, labels beside them."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import inf
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from numpy.typing import NDArray

from radialbench.records.problem import KernelConfig
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary
from radialbench.reports.text import printable

INK = "#1a1a1a"
GREY = "#767676"
GRID = "#e4e4e4"
COLOURS = ("#0072b2", "#b34e00", "#00785a", "#a8477f", "#7a4fc9", "#8a6000")
"""After Okabe and Ito's, which colour-blind people can tell apart: dark enough for text (4.5:1)."""

MARKERS = "oD^vPX"
OVER = (0, (4, 2))
"""Dashes of a line that lies on another, so that both are visible."""

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


def looks(summary: Summary) -> dict[str, Look]:
    """Return every mask's look, the same in all charts of a summary; dense is black and thick."""
    found = {row.mask: Look(INK, "s", 3.0) for row in summary.rows if row.is_dense}
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
    axes.set_xscale("log")
    axes.set_xlim(low * 0.86, high * 1.16)
    steps = [m * 10**e for e in range(3, 10) for m in ((1, 2, 5) if high / low < 40 else (1, 3))]
    axes.xaxis.set_major_locator(FixedLocator([t for t in steps if low * 0.86 <= t <= high * 1.16]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_locator(NullLocator())


def log_ticks(axes: Axes, which: str = "y") -> None:
    """Make x or y a logarithmic axis with plain numbers at its ticks."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    steps = [m * 10.0**e for e in range(-9, 15) for m in ((1, 2, 5) if high / low < 60 else (1,))]
    axis.set_major_locator(FixedLocator([t for t in steps if low <= t <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_formatter(NullFormatter())


def short(value: float) -> str:
    """Format a tick's number: 400k, 1.5M, 20, 0.05."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def seconds(value: float) -> str:
    """Format a tick's milliseconds: 20 ms, 1.5 s."""
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"


def label_ends(axes: Axes, ends: Sequence[End], size: float = 11) -> None:
    """Write labels to the right of the ends of lines, moved until none covers another.

    Args:
        axes: Its limits must be set.
        ends: Ends of the lines.
        size: Font size in points.
    """
    to_points = 72.0 / axes.figure.dpi
    lines = sorted(
        (
            (axes.transData.transform((x, y))[1] * to_points, text, (x, y), color)
            for text, x, y, color in ends
        )
    )
    places = spread([height for height, *_ in lines], size * 1.25)
    for place, (height, text, end, color) in zip(places, lines, strict=True):
        axes.annotate(
            printable(text),
            end,
            xytext=(9, place - height),
            textcoords="offset points",
            color=color,
            fontsize=size,
            va="center",
            annotation_clip=False,
            parse_math=False,
        )


def overlaid(values: Sequence[object]) -> list[Any]:
    """Return each line's style by its values: dashes for one that lies on an earlier line."""
    return [OVER if one in values[:place] else "-" for place, one in enumerate(values)]


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move ascending heights until neighbours have at least a gap, as little as possible."""
    groups: list[list[float]] = []
    for height in heights:
        groups.append([height])
        while len(groups) > 1:
            over = _bottom(groups[-2], gap) + gap * len(groups[-2])
            if over <= _bottom(groups[-1], gap):
                break
            last = groups.pop()
            groups[-1] += last
    return [_bottom(group, gap) + gap * place for group in groups for place in range(len(group))]


def _bottom(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


Floats = NDArray[np.float64]

FEWEST = 3
"""Lengths that a curve is fitted to."""

MOST = 9
"""Lines that a reader can distinguish, and that have room for their labels."""

DASHES = ("-", (0, (4, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)))


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of a chart.

    Attributes:
        label: Its label, different from those of the other lines.
        mask: The mask.
        dash: Index among the mask's lines; the fastest at its longest length is 0.
        rows: Its rows by length.
    """

    label: str
    mask: str
    dash: int
    rows: tuple[Row, ...]


def chart_lines(rows: Iterable[Row]) -> list[ChartLine]:
    """Return a line for each mask, backend, configuration and environment."""
    found: dict[tuple[str, str, KernelConfig, int], list[Row]] = {}
    for row in rows:
        key = (row.mask, row.backend, row.record.config, row.place)
        found.setdefault(key, []).append(row)
    lines: list[ChartLine] = []
    of_masks: dict[str, list[tuple[object, ...]]] = {}
    for key in sorted(found, key=lambda key: _pace(found[key])):
        of_masks.setdefault(key[0], []).append(key[1:])
    for key, group in found.items():
        mask, which = key[0], key[1:]
        lines.append(
            ChartLine(
                label=_label(mask, which, of_masks[mask]),
                mask=mask,
                dash=of_masks[mask].index(which),
                rows=tuple(sorted(group, key=lambda row: row.tokens)),
            )
        )
    return lines


def several_kernels(rows: Iterable[Row]) -> bool:
    """Return whether a mask has several kernels at one length of one environment."""
    found: dict[object, set[str]] = {}
    for row in rows:
        found.setdefault((row.mask, row.tokens, row.place), set()).add(row.backend)
    return any(len(kernels) > 1 for kernels in found.values())


def leading(lines: list[ChartLine], most: int = MOST) -> list[ChartLine]:
    """Return the fastest line of each mask if there are too many lines for a chart."""
    return lines if len(lines) <= most else [line for line in lines if line.dash == 0]


def _pace(rows: list[Row]) -> float:
    """Return the time per token of the longest length; infinite without a time."""
    timed = [row for row in rows if row.total_ms is not None]
    return (timed[-1].total_ms or 0) / timed[-1].tokens if timed else inf


def _label(mask: str, which: tuple[object, ...], of_mask: list[tuple[object, ...]]) -> str:
    backends, configs, places = (list(dict.fromkeys(part)) for part in zip(*of_mask, strict=True))
    parts = [str(which[0])] if len(backends) > 1 else []
    if len(configs) > 1:
        parts.append(f"configuration {configs.index(which[1]) + 1}")
    if len(places) > 1:
        parts.append(f"environment {places.index(which[2]) + 1}")
    return f"{mask} ({', '.join(parts)})" if parts else mask


def dash_of(line: ChartLine) -> Any:
    """Return the dashes that distinguish the lines of a mask."""
    return DASHES[line.dash % len(DASHES)]


def plot(
    axes: Axes,
    line: ChartLine,
    look: Look,
    value: Callable[[Row], float | None],
    *,
    joined: bool = True,
) -> End | None:
    """Draw the rows that have a value, joined by a line or not; return the end for a label."""
    points = [(row.tokens, found) for row in line.rows if (found := value(row)) is not None]
    if not points:
        return None
    x, y = zip(*points, strict=True)
    axes.plot(
        x,
        y,
        color=look.color,
        marker=look.marker,
        linestyle=dash_of(line) if joined else "none",
        linewidth=look.width if line.dash == 0 else look.width * 0.7,
        markersize=5.5 if line.dash == 0 else 4,
        zorder=3 if line.dash == 0 else 2.5,
    )
    return line.label, x[-1], y[-1], look.color


def fitted(line: ChartLine) -> tuple[Floats, Floats] | None:
    """Fit times as a power of the executed work; return the curve over the tokens.

    Between two lengths the work is interpolated as a power of the tokens. None with fewer than
    three lengths, or where the work is not known or does not grow.
    """
    found = [
        (row.tokens, row.table.executed_flops, row.total_ms)
        for row in line.rows
        if row.table and row.total_ms
    ]
    if len(found) < FEWEST:
        return None
    tokens, work, times = (np.log(np.maximum(part, 1e-9)) for part in zip(*found, strict=True))
    if len(set(work)) < FEWEST:
        return None
    slope, start = np.polyfit(work, times, 1)
    along = np.linspace(tokens[0], tokens[-1], 60)
    return np.exp(along), np.exp(start + slope * np.interp(along, tokens, work))
