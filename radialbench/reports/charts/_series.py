"""Lines of a chart: what is measured, by mask and backend, along a sweep."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from matplotlib.axes import Axes

from radialbench.reports.charts._style import End, Look
from radialbench.reports.rows import Row

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
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = (row.mask, row.backend, row.record.config, row.place)
        found.setdefault(key, []).append(row)
    lines: list[Series] = []
    for (mask, *which), group in found.items():
        same = [key for key in found if key[0] == mask]
        of_mask = [key[1:] for key in sorted(same, key=lambda key: _pace(found[key]))]
        lines.append(
            Series(
                label=_label(str(mask), which, of_mask),
                mask=str(mask),
                dash=of_mask.index(tuple(which)),
                rows=tuple(sorted(group, key=lambda row: row.tokens)),
            )
        )
    return lines


def _pace(rows: list[Row]) -> float:
    """Time of the longest length a token; cases without a time come last."""
    timed = [row for row in rows if row.total_ms is not None]
    return (timed[-1].total_ms or 0) / timed[-1].tokens if timed else inf


def _label(mask: str, which: list[object], of_mask: list[tuple[object, ...]]) -> str:
    backends, configs, places = (list(dict.fromkeys(part)) for part in zip(*of_mask, strict=True))
    words = [str(which[0])] if len(backends) > 1 else []
    if len(configs) > 1:
        words.append(f"configuration {configs.index(which[1]) + 1}")
    if len(places) > 1:
        words.append(f"environment {places.index(which[2]) + 1}")
    return f"{mask} ({', '.join(words)})" if words else mask


def plot(axes: Axes, line: Series, look: Look, value: Callable[[Row], float | None]) -> End | None:
    """Draw a line through the rows that have a value; give its end for a label."""
    points = [(row.tokens, found) for row in line.rows if (found := value(row)) is not None]
    if not points:
        return None
    x, y = zip(*points, strict=True)
    axes.plot(
        x,
        y,
        color=look.color,
        marker=look.marker,
        linestyle=DASHES[line.dash % len(DASHES)],
        linewidth=look.width if line.dash == 0 else look.width * 0.7,
        markersize=5.5 if line.dash == 0 else 4,
        zorder=3 if line.dash == 0 else 2.5,
    )
    return line.label, x[-1], y[-1], look.color
