"""Lines along tokens: which there are, and how those that lie on each other are drawn."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from radialbench.records.problem import KernelConfig
from radialbench.reports.charts._drawing import End, Look
from radialbench.reports.rows import Row
from radialbench.reports.scaling import Work

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


@dataclass(frozen=True, slots=True)
class Curve:
    """A line to draw.

    Attributes:
        label: Its label.
        look: Colour, marker and width.
        points: x and y of each point, by x; at least one.
        dash: Its dashes.
        scale: Its width and markers, relative to the look's.
        last: Text behind the label.
        joined: Whether a line joins the points.
    """

    label: str
    look: Look
    points: tuple[tuple[float, float], ...]
    dash: Any = "-"
    scale: float = 1.0
    last: str = ""
    joined: bool = True


def along(rows: Iterable[Row]) -> bool:
    """Return whether rows are of several lengths, so that there are lines to draw."""
    return len({row.tokens for row in rows}) > 1


def curve_of(
    work: Work,
    looked: dict[str, Look],
    values: Sequence[float],
    *,
    last: str = "",
    joined: bool = True,
) -> Curve:
    """Return the curve of an exact value along the lengths of a mask."""
    points = tuple(zip(work.exact.tokens, values, strict=True))
    return Curve(work.mask, looked[work.mask], points, last=last, joined=joined)


TOGETHER = 0.015
"""Largest difference of two curves, as a share of their values, that a chart does not show."""

TOGETHER_TEXT = "Masks named together lie within 1.5% of each other and are drawn as one line."

LABEL_CHARACTERS = 32
"""Characters to a line of a label with several names."""


def dash_of(line: ChartLine) -> Any:
    """Return the dashes that distinguish the lines of a mask."""
    return DASHES[line.dash % len(DASHES)]


def curves_of(
    lines: Iterable[ChartLine],
    looked: dict[str, Look],
    value: Callable[[Row], float | None],
    last: Callable[[float], str] | None = None,
) -> list[Curve]:
    """Return the curve of a value along each line that has one.

    Args:
        lines: The lines.
        looked: How each mask is drawn.
        value: Reads the value.
        last: Formats the last value, which then follows the label.
    """
    curves = []
    for line in lines:
        points = tuple((row.tokens, y) for row in line.rows if (y := value(row)) is not None)
        if points:
            curves.append(
                Curve(
                    label=line.label,
                    look=looked[line.mask],
                    points=points,
                    dash=dash_of(line),
                    scale=1.0 if line.dash == 0 else 0.7,
                    last=last(points[-1][1]) if last else "",
                )
            )
    return curves


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


def coincident(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Return the curves in groups: those that lie on the first of their group at every point."""
    groups: list[list[Curve]] = []
    for curve in curves:
        for group in groups:
            if _on(group[0].points, curve.points):
                group.append(curve)
                break
        else:
            groups.append([curve])
    return groups


def _on(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> bool:
    return len(one) == len(other) and all(
        x == x2 and abs(y - y2) <= TOGETHER * max(abs(y), abs(y2))
        for (x, y), (x2, y2) in zip(one, other, strict=True)
    )


def draw_curves(axes: Axes, curves: Sequence[Curve], *, named: bool = True) -> list[End]:
    """Draw curves, those that lie on each other as one with all their names; return the labels.

    Args:
        axes: Where.
        curves: The curves.
        named: Whether the labels have names, and not only what follows them.
    """
    ends = []
    for first, *others in coincident(curves):
        x, y = zip(*first.points, strict=True)
        axes.plot(
            x,
            y,
            color=first.look.color,
            marker=first.look.marker,
            linestyle=first.dash if first.joined else "none",
            linewidth=first.look.width * first.scale,
            markersize=5.5 * first.scale,
            zorder=2 + first.scale,
        )
        names = ", ".join(curve.label for curve in (first, *others))
        # A name may be wider: it stays whole.
        names = textwrap.fill(names, LABEL_CHARACTERS, break_long_words=False) if others else names
        parts = (names if named else "", first.last)
        ends.append(("  ".join(filter(None, parts)), x[-1], y[-1], first.look.color))
    return ends


def together_text(*charts: Sequence[Curve]) -> str:
    """Return what a caption says of curves that are drawn as one; empty if there are none."""
    merged = any(len(group) > 1 for curves in charts for group in coincident(curves))
    return f" {TOGETHER_TEXT}" if merged else ""
