"""Rates against the measured ceiling, and energy, along a sweep."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from radialbench.reports.charts._drawing import (
    INK,
    WIDTH,
    Series,
    label_ends,
    leading,
    log_tokens,
    log_values,
    looks,
    plot,
    series,
    short,
)
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary

FEWEST = 3
"""Lengths of a line; fewer are in the picture of the kernels."""


def draw(summary: Summary, sweep: str) -> tuple[Figure, str] | None:
    """Draw executed TFLOP/s under the ceiling, and joules; None without a ceiling or energy."""
    rows = [row for row in summary.timed if row.sweep == sweep and row.ok]
    lines = [line for line in leading(series(rows)) if len(line.rows) >= FEWEST]
    rated = [line for line in lines if any(row.ceiling_tflops for row in line.rows)]
    powered = [line for line in lines if any(row.energy_j for row in line.rows)]
    sides = [side for side in (rated, powered) if side]
    if not sides:
        return None
    figure = Figure(figsize=(WIDTH * (1 if len(sides) == 2 else 0.62), 4.6))
    axes = figure.subplots(1, len(sides), squeeze=False, gridspec_kw={"wspace": 0.62})[0]
    captions = []
    if rated:
        captions.append(_rates(summary, axes[0], rated))
    if powered:
        captions.append(_energy(summary, axes[-1], powered))
    return figure, " ".join(captions)


def _rates(summary: Summary, axes: Axes, lines: list[Series]) -> str:
    looked = looks(summary)
    ends = [plot(axes, line, looked[line.mask], _rate) for line in lines]
    rows = [row for line in lines for row in line.rows]
    ceilings = {row.tokens: row.ceiling_tflops for row in rows if row.ceiling_tflops}
    tokens = sorted(ceilings)
    rates = [ceilings[count] or 0.0 for count in tokens]
    axes.plot(tokens, rates, color=INK, linestyle=(0, (4, 2)), linewidth=1.6)
    ends.append(("matrix product", tokens[-1], rates[-1], INK))
    log_tokens(axes, [row.tokens for row in rows])
    axes.set_ylim(0, 1.1 * max(*rates, axes.get_ylim()[1] / 1.1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_xlabel("tokens")
    axes.set_title("TFLOP/s of the visited blocks")
    label_ends(axes, [end for end in ends if end], 10)
    return "Rate on the visited blocks, computed whole, under the matrix product timed beside it."


def _energy(summary: Summary, axes: Axes, lines: list[Series]) -> str:
    looked = looks(summary)
    ends = [plot(axes, line, looked[line.mask], lambda row: row.energy_j) for line in lines]
    log_tokens(axes, [row.tokens for line in lines for row in line.rows])
    log_values(axes)
    axes.set_xlabel("tokens")
    axes.set_title("Energy of a call, J")
    label_ends(axes, [end for end in ends if end], 10)
    return "Energy of a call from the GPU's own counter, board and memory included."


def _rate(row: Row) -> float | None:
    return row.executed_gflops / 1e3 if row.executed_gflops else None
