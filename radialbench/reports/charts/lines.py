"""Lines along tokens: speed-up, rates and energy, density, memory, time to compile a table."""

from collections.abc import Callable, Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from radialbench.reports.charts import _curves as curves
from radialbench.reports.charts import _drawing as style
from radialbench.reports.rows import Row
from radialbench.reports.scaling import Work
from radialbench.reports.summary import Summary
from radialbench.reports.text import MIB, format_ratio, join_and

FEWEST_RATES = 3
"""Lengths of a line of rates; fewer are in the chart of the kernels."""

Drawn = tuple[Figure, str] | None


def draw_speedup(summary: Summary, sweep: str) -> Drawn:
    """Draw the speed-up of the sparse masks; None if there is none, or one length."""
    rows = [row for row in summary.timed_of(sweep) if row.speedup is not None]
    lines = curves.leading(curves.chart_lines(rows))
    lines = [line for line in lines if not line.rows[0].is_dense]
    if not curves.along(row for line in lines for row in line.rows):
        return None
    figure, (axes,) = _panels(1, width=0.72)
    shown = curves.curves_of(
        lines, style.looks(summary), lambda row: row.speedup, last=format_ratio
    )
    ends = curves.draw_curves(axes, shown)
    axes.axhline(1, color=style.INK, linewidth=2, zorder=1)
    style.ratio_axis(axes, [[y for _, y in one.points] for one in shown])
    tokens = [row.tokens for line in lines for row in line.rows]
    _finish(axes, "Speed-up over dense", tokens, ends)
    over = join_and(sorted({row.dense.backend or "" for row in rows if row.dense}))
    return figure, (
        f"Speed-up over the fastest dense result of each length ({over}), with the time of the "
        f"token order on both sides.{curves.together_text(shown)}"
    )


def draw_rates(summary: Summary, sweep: str) -> Drawn:
    """Draw executed TFLOP/s under the ceiling, and joules; None without a ceiling or energy."""
    rows = [row for row in summary.timed_of(sweep) if row.ok]
    lines = [
        line for line in curves.leading(curves.chart_lines(rows)) if len(line.rows) >= FEWEST_RATES
    ]
    rated = [line for line in lines if any(row.ceiling_tflops for row in line.rows)]
    powered = [line for line in lines if any(row.energy_j for row in line.rows)]
    sides = [side for side in (rated, powered) if side]
    if not sides:
        return None
    figure, panels = _panels(len(sides))
    looked, captions = style.looks(summary), []
    rates = curves.curves_of(rated, looked, lambda row: row.executed_tflops)
    energies = curves.curves_of(powered, looked, lambda row: row.energy_j)
    if rated:
        _rates(panels[0], [row for line in rated for row in line.rows], rates)
        captions.append(
            "Rate on the visited blocks, computed whole, under the matmul timed beside it."
        )
    if powered:
        ends = curves.draw_curves(panels[-1], energies)
        lengths = [row.tokens for line in powered for row in line.rows]
        _finish(panels[-1], "Energy of a call, J", lengths, ends, log=True, size=10)
        captions.append("Energy of a call from the GPU's own counter, board and memory included.")
    return figure, " ".join(captions) + curves.together_text(rates, energies)


def _rates(axes: Axes, rows: Sequence[Row], rates: Sequence[curves.Curve]) -> None:
    ends = curves.draw_curves(axes, rates)
    ceilings = {row.tokens: rate for row in rows if (rate := row.ceiling_tflops)}
    tokens, highest = zip(*sorted(ceilings.items()), strict=True)
    axes.plot(tokens, highest, color=style.INK, linestyle=(0, (4, 2)), linewidth=1.6)
    ends.append(("matmul", tokens[-1], highest[-1], style.INK))
    axes.set_ylim(0, 1.1 * max(*highest, axes.get_ylim()[1] / 1.1))
    lengths = [row.tokens for row in rows]
    _finish(axes, "TFLOP/s of the visited blocks", lengths, ends, tick=style.short, size=10)


def draw_density(summary: Summary, sweep: str) -> Drawn:
    """Draw densities of pairs (solid) and of blocks (dotted); None without a sparse table."""
    works = [w for w in _works(summary, sweep) if not w.is_dense]
    if not works:
        return None
    figure, (axes,) = _panels(1, width=0.72, height=4.8)
    looked, shown = style.looks(summary), []
    for work in works:
        shares = [table.density * 100 for table in work.tables]
        shown.append(curves.curve_of(work, looked, shares, last=f"{shares[-1]:.1f}%"))
    drawn = {group[0].label for group in curves.coincident(shown)}
    for work in (work for work in works if work.mask in drawn):
        blocks = [table.block_density * 100 for table in work.tables]
        color = looked[work.mask].color
        axes.plot(work.exact.tokens, blocks, color=color, linestyle=":", linewidth=1.5)
    ends = curves.draw_curves(axes, shown)
    lengths = [count for work in works for count in work.exact.tokens]
    title = "Share of all pairs that attend"
    _finish(axes, title, lengths, ends, log=True, tick=lambda value: f"{value:g}%")
    return figure, (
        "Share of all pairs that attend (solid), and of all blocks that are visited (dotted). "
        f"Dense is 100%.{curves.together_text(shown)}"
    )


def draw_memory(summary: Summary, sweep: str) -> Drawn:
    """Draw peak memory of the calls and bytes of the tables, those there are."""
    rows = [row for row in summary.timed_of(sweep) if _peak_mib(row)]
    rows = rows if curves.along(rows) else []
    works = _works(summary, sweep)
    if not rows and not works:
        return None
    figure, panels = _panels(bool(rows) + bool(works))
    looked, captions = style.looks(summary), []
    lines = curves.leading(curves.chart_lines(rows))
    calls = curves.curves_of(lines, looked, _peak_mib)
    tables = [
        curves.curve_of(work, looked, [max(table.nbytes, 1) / MIB for table in work.tables])
        for work in works
    ]
    if rows:
        ends = curves.draw_curves(panels[0], calls)
        _finish(panels[0], "Peak memory of a call", [r.tokens for r in rows], ends, log=True)
        panels[0].set_ylabel("MiB")
        sources = dict.fromkeys(row.record.memory.source for row in rows if row.record.memory)
        captions.append(f"What a call adds at its peak: {'; '.join(sources)}.")
    if works:
        ends = curves.draw_curves(panels[-1], tables)
        lengths = [count for work in works for count in work.exact.tokens]
        _finish(panels[-1], "Bytes of the block table", lengths, ends, log=True)
        panels[-1].set_ylabel("MiB")
        captions.append("Bytes of the block tables, which a kernel reads as well.")
    return figure, " ".join(captions) + curves.together_text(calls, tables)


def draw_compile(summary: Summary, sweep: str) -> Drawn:
    """Draw the median time to compile each table; None if none was timed, or one length."""
    rows = [row for row in summary.compiled_of(sweep) if row.ok]
    if not curves.along(rows):
        return None
    figure, (axes,) = _panels(1, width=0.72)
    lines = curves.leading(curves.chart_lines(rows))
    shown = curves.curves_of(
        *(lines, style.looks(summary), lambda row: row.median_ms),
        last=lambda value: style.seconds(float(f"{value:.2g}")),
    )
    ends = curves.draw_curves(axes, shown)
    tokens = [row.tokens for row in rows]
    _finish(axes, "Time to compile a table", tokens, ends, log=True, tick=style.seconds)
    return figure, (
        "Time to compile the block table of a mask, median of the samples."
        f"{curves.together_text(shown)}"
    )


def _works(summary: Summary, sweep: str) -> list[Work]:
    """Return the works of a sweep; none if all are of one length."""
    works = [work for work in summary.scaling.works if work.sweep == sweep]
    return works if any(len(work.tables) > 1 for work in works) else []


def _peak_mib(row: Row) -> float | None:
    memory = row.record.memory
    return memory.peak_bytes / MIB if memory and memory.peak_bytes else None


def _panels(
    count: int, *, width: float | None = None, height: float = 4.6
) -> tuple[Figure, list[Axes]]:
    share = width or (1 if count == 2 else 0.62)
    figure = Figure(figsize=(style.WIDTH * share, height))
    return figure, list(figure.subplots(1, count, squeeze=False, gridspec_kw={"wspace": 0.62})[0])


def _finish(
    axes: Axes,
    title: str,
    tokens: Iterable[int],
    ends: Sequence[style.End],
    *,
    log: bool = False,
    tick: Callable[[float], str] | None = None,
    size: float = 11,
) -> None:
    """Set the axes, the title and the labels of the lines' ends."""
    style.log_tokens(axes, list(tokens))
    if log:
        style.log_ticks(axes)
    if tick:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.set_xlabel("tokens")
    axes.set_title(title)
    style.label_ends(axes, ends, size)
