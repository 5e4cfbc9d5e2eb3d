"""Lines of a chart: what is measured, by mask and backend, along a sweep."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from radialbench.records.problem import KernelConfig
from radialbench.reports.charts._style import End, Look
from radialbench.reports.rows import Row

Floats = NDArray[np.float64]

FEWEST = 3
"""Lengths that a curve is fitted to."""

MOST = 9
"""Lines that can be told apart, and labelled beside each other."""

DASHES = ("-", (0, (4, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)))


@dataclass(frozen=True, slots=True)
class Series:
    """One line.

    Attributes:
        label: What it shows, told apart from the other lines.
        mask: The mask.
        dash: Which of the mask's lines it is, from 0; the fastest at its longest comes first.
        rows: By length.
    """

    label: str
    mask: str
    dash: int
    rows: tuple[Row, ...]


def series(rows: Iterable[Row]) -> list[Series]:
    """Make a line of each mask, backend, configuration and environment."""
    found: dict[tuple[str, str, KernelConfig, int], list[Row]] = {}
    for row in rows:
        key = (row.mask, row.backend, row.record.config, row.place)
        found.setdefault(key, []).append(row)
    lines: list[Series] = []
    of_masks: dict[str, list[tuple[object, ...]]] = {}
    for key in sorted(found, key=lambda key: _pace(found[key])):
        of_masks.setdefault(key[0], []).append(key[1:])
    for key, group in found.items():
        mask, which = key[0], key[1:]
        lines.append(
            Series(
                label=_label(mask, which, of_masks[mask]),
                mask=mask,
                dash=of_masks[mask].index(which),
                rows=tuple(sorted(group, key=lambda row: row.tokens)),
            )
        )
    return lines


def several_kernels(rows: Iterable[Row]) -> bool:
    """Whether a mask has several kernels at one length of one environment."""
    found: dict[object, set[str]] = {}
    for row in rows:
        found.setdefault((row.mask, row.tokens, row.place), set()).add(row.backend)
    return any(len(kernels) > 1 for kernels in found.values())


def leading(lines: list[Series], most: int = MOST) -> list[Series]:
    """Keep the fastest line of each mask if there are too many for a picture."""
    return lines if len(lines) <= most else [line for line in lines if line.dash == 0]


def _pace(rows: list[Row]) -> float:
    """Time of the longest length a token; cases without a time come last."""
    timed = [row for row in rows if row.total_ms is not None]
    return (timed[-1].total_ms or 0) / timed[-1].tokens if timed else inf


def _label(mask: str, which: tuple[object, ...], of_mask: list[tuple[object, ...]]) -> str:
    backends, configs, places = (list(dict.fromkeys(part)) for part in zip(*of_mask, strict=True))
    words = [str(which[0])] if len(backends) > 1 else []
    if len(configs) > 1:
        words.append(f"configuration {configs.index(which[1]) + 1}")
    if len(places) > 1:
        words.append(f"environment {places.index(which[2]) + 1}")
    return f"{mask} ({', '.join(words)})" if words else mask


def dash_of(line: Series) -> Any:
    """Dashes that tell the lines of a mask apart."""
    return DASHES[line.dash % len(DASHES)]


def plot(
    axes: Axes,
    line: Series,
    look: Look,
    value: Callable[[Row], float | None],
    *,
    joined: bool = True,
) -> End | None:
    """Draw the rows that have a value, joined by a line or not; give the end for a label."""
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


def fitted(line: Series) -> tuple[Floats, Floats] | None:
    """Fit times as a power of the executed work; give the curve over the tokens.

    Between two lengths the work is taken as a power of the tokens. None with fewer than three
    lengths, or where the work is not known or does not grow.
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
