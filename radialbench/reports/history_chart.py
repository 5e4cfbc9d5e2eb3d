"""Chart of a metric over runs: values, their intervals, levels between change points."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from radialbench.errors import ReportError
from radialbench.records.store import write_errors
from radialbench.reports.check.cohorts import VersionSpan
from radialbench.reports.check.history import History, MetricHistory, Run, describe_change
from radialbench.reports.check.metrics import METRICS
from radialbench.reports.text import MIB, printable
from radialbench.writing import write_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALES = {"memory": (1 / MIB, "MiB"), "ceiling": (100.0, "% of the ceiling")}
"""Factor and unit of a metric's axis."""


def write_pictures(found: History, folder: Path) -> None:
    """Write the picture of each changed series as PNG and SVG.

    Raises:
        ReportError: The folder cannot be written to.
        WriteError: The disk is full.
    """
    from radialbench.reports.charts import slug
    from radialbench.reports.charts._drawing import drawing, rendered

    with write_errors(f"to {folder}", "choose another folder with --out", ReportError), drawing():
        folder.mkdir(parents=True, exist_ok=True)
        for one in found.changed:
            figure, name = draw(one, found), slug(f"{one.metric}-{one.case}")
            kinds = ("png", "svg")
            write_files({folder / f"{name}.{kind}": rendered(figure, kind) for kind in kinds})


def draw(one: MetricHistory, found: History) -> "Figure":
    """Draw a metric of a case over the runs, with title and changes, as a file has them."""
    from radialbench.reports.charts._drawing import COLOURS

    figure = draw_runs(one, found.runs)
    (axes,) = figure.axes
    axes.set_title(printable(one.case), parse_math=False)
    texts = [printable(describe_change(each, one.metric, found.runs)) for each in one.changes]
    axes.set_xlabel("\n".join(texts), color=COLOURS[1], parse_math=False)
    return figure


def draw_runs(
    one: MetricHistory,
    runs: Sequence[Run],
    *,
    since: int = 0,
    spans: Sequence[VersionSpan] = (),
    size: tuple[float, float] = (10.0, 4.2),
    ticks: int = 9,
) -> "Figure":
    """Draw a metric of a case over the runs from one of them on.

    Args:
        one: The metric; it has points from there on.
        runs: All runs.
        since: Place of the first run that is shown.
        spans: Runs with the same versions; from the second on, each begins at a line of dots.
        size: Width and height in inches.
        ticks: Most commits that are named.
    """
    from matplotlib.figure import Figure

    from radialbench.reports.charts._drawing import COLOURS, GREY

    scale, unit = SCALES.get(one.metric, (1.0, METRICS[one.metric].unit))
    figure = Figure(figsize=size)
    axes = figure.subplots()
    points = [point for point in one.points if point.run >= since]
    places = [point.run for point in points]
    ends = [(point.interval and point.interval.ends) or (point.value,) * 2 for point in points]
    lows, highs = ([scale * pair[side] for pair in ends] for side in (0, 1))
    axes.vlines(places, lows, highs, color=COLOURS[0], alpha=0.5, linewidth=2)
    values = [scale * point.value for point in points]
    axes.plot(places, values, color=COLOURS[0], marker="o", linestyle="none")
    for start, end, height in levels(one):
        if end > since:
            left = max(start, since) - 0.5
            axes.hlines(scale * height, left, end - 0.5, color=GREY, linewidth=1.5, zorder=1)
    for span in spans[1:]:
        if span.first > since:
            axes.axvline(span.first - 0.5, color=GREY, linestyle=(0, (1, 2)), linewidth=1.2)
    for change in one.changes:
        if change.run > since:
            dashes = (0, (4, 2))
            axes.axvline(change.run - 0.5, color=COLOURS[1], linestyle=dashes, linewidth=1.2)
    shown = places[:: -(-len(places) // ticks)]  # As many commits as fit.
    names = [printable((runs[place].commit or str(place + 1))[:8]) for place in shown]
    axes.set_xticks(shown, names, parse_math=False)
    axes.set_ylabel(f"{one.metric} [{unit}]" if unit else one.metric)
    return figure


def levels(one: MetricHistory) -> list[tuple[int, int, float]]:
    """Return the first place, the place behind the last and the median between changes."""
    first, behind = one.points[0].run, one.points[-1].run + 1
    if not one.changes:
        return [(first, behind, median(point.value for point in one.points))]
    ends = [first, *(change.run for change in one.changes), behind]
    heights = [one.changes[0].before, *(change.after for change in one.changes)]
    return list(zip(ends, ends[1:], heights, strict=False))
