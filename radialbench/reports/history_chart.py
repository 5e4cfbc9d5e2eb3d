"""Chart of a metric over runs: values, their intervals, levels between change points."""

from pathlib import Path
from typing import TYPE_CHECKING

from radialbench.errors import ReportError
from radialbench.records.store import write_errors
from radialbench.reports.check.history import History, MetricHistory, describe_change
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
    """Draw a metric of a case over the runs."""
    from matplotlib.figure import Figure

    from radialbench.reports.charts._drawing import COLOURS, GREY, WIDTH

    scale, unit = SCALES.get(one.metric, (1.0, METRICS[one.metric].unit))
    figure = Figure(figsize=(WIDTH, 4.2))
    axes = figure.subplots()
    runs = [point.run for point in one.points]
    values = [scale * point.value for point in one.points]
    lows, highs = zip(
        *(
            [scale * end for end in (p.interval and p.interval.ends) or (p.value, p.value)]
            for p in one.points
        ),
        strict=True,
    )
    axes.vlines(runs, lows, highs, color=COLOURS[0], alpha=0.5, linewidth=2)
    axes.plot(runs, values, color=COLOURS[0], marker="o", linestyle="none")
    ends = [runs[0], *(change.run for change in one.changes), runs[-1] + 1]
    heights = [one.changes[0].before, *(change.after for change in one.changes)]
    for start, end, height in zip(ends, ends[1:], heights, strict=False):
        axes.hlines(scale * height, start - 0.5, end - 0.5, color=GREY, linewidth=1.5, zorder=1)
    for change in one.changes:
        axes.axvline(change.run - 0.5, color=COLOURS[1], linestyle=(0, (4, 2)), linewidth=1.2)
    shown = runs[:: -(-len(runs) // 15)]  # As many commits as fit.
    names = [printable((found.runs[run].commit or str(run + 1))[:8]) for run in shown]
    axes.set_xticks(shown, names, rotation=30, ha="right", parse_math=False)
    axes.set_ylabel(f"{one.metric} [{unit}]" if unit else one.metric)
    axes.set_title(printable(one.case), parse_math=False)
    text = "\n".join(describe_change(change, one.metric, found.runs) for change in one.changes)
    axes.set_xlabel(
        "\n".join(map(printable, text.splitlines())), color=COLOURS[1], parse_math=False
    )
    return figure
