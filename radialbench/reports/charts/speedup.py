"""Speed-up over dense against tokens."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from radialbench.reports.charts._drawing import (
    INK,
    WIDTH,
    label_ends,
    leading,
    log_tokens,
    looks,
    plot,
    series,
)
from radialbench.reports.summary import Summary
from radialbench.reports.text import format_ratio, join_and


def draw(summary: Summary, sweep: str) -> tuple[Figure, str] | None:
    """Draw the speed-up of the sparse masks; None if there is none."""
    rows = [row for row in summary.timed if row.sweep == sweep and row.speedup is not None]
    lines = [line for line in leading(series(rows)) if not line.rows[0].is_dense]
    if not lines:
        return None
    figure = Figure(figsize=(WIDTH * 0.72, 4.6))
    axes = figure.subplots()
    looked, ends = looks(summary), []
    for line in lines:
        end = plot(axes, line, looked[line.mask], lambda row: row.speedup)
        if end:
            ends.append((f"{end[0]}  {format_ratio(end[2])}", *end[1:]))
    axes.axhline(1, color=INK, linewidth=2, zorder=1)
    log_tokens(axes, [row.tokens for line in lines for row in line.rows])
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.set_xlabel("tokens")
    axes.set_title("Speed-up over dense")
    label_ends(axes, ends)
    over = join_and(sorted({row.dense.backend or "" for row in rows if row.dense}))
    return figure, (
        f"Speed-up over the fastest dense result of each length ({over}), with the time of the "
        "token order on both sides."
    )
