"""Lines along tokens: speed-up, rates and energy, density, memory, time to compile a table."""

from collections.abc import Callable, Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from radialbench.reports.charts import _drawing as style
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary
from radialbench.reports.text import MIB, format_ratio, join_and

FEWEST_RATES = 3
"""Lengths of a line of rates; fewer are in the chart of the kernels."""

Drawn = tuple[Figure, str] | None


def draw_speedup(summary: Summary, sweep: str) -> Drawn:
    """Draw the speed-up of the sparse masks; None if there is none."""
    rows = [row for row in summary.timed if row.sweep == sweep and row.speedup is not None]
    lines = [line for line in style.leading(style.chart_lines(rows)) if not line.rows[0].is_dense]
    if not lines:
        return None
    figure, (axes,) = _panels(1, width=0.72)
    looked = style.looks(summary)
    found = [style.plot(axes, line, looked[line.mask], lambda row: row.speedup) for line in lines]
    ends = [(f"{end[0]}  {format_ratio(end[2])}", *end[1:]) for end in found if end]
    axes.axhline(1, color=style.INK, linewidth=2, zorder=1)
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    tokens = [row.tokens for line in lines for row in line.rows]
    _finish(axes, "Speed-up over dense", tokens, ends, tick=lambda value: f"{value:g}×")
    over = join_and(sorted({row.dense.backend or "" for row in rows if row.dense}))
    return figure, (
        f"Speed-up over the fastest dense result of each length ({over}), with the time of the "
        "token order on both sides."
    )


def draw_rates(summary: Summary, sweep: str) -> Drawn:
    """Draw executed TFLOP/s under the ceiling, and joules; None without a ceiling or energy."""
    rows = [row for row in summary.timed if row.sweep == sweep and row.ok]
    lines = [
        line for line in style.leading(style.chart_lines(rows)) if len(line.rows) >= FEWEST_RATES
    ]
    rated = [line for line in lines if any(row.ceiling_tflops for row in line.rows)]
    powered = [line for line in lines if any(row.energy_j for row in line.rows)]
    sides = [side for side in (rated, powered) if side]
    if not sides:
        return None
    figure, panels = _panels(len(sides))
    looked, captions = style.looks(summary), []
    if rated:
        axes = panels[0]
        ends = [
            style.plot(axes, line, looked[line.mask], lambda row: row.executed_tflops)
            for line in rated
        ]
        rows = [row for line in rated for row in line.rows]
        ceilings = {row.tokens: rate for row in rows if (rate := row.ceiling_tflops)}
        tokens, rates = zip(*sorted(ceilings.items()), strict=True)
        axes.plot(tokens, rates, color=style.INK, linestyle=(0, (4, 2)), linewidth=1.6)
        ends.append(("matmul", tokens[-1], rates[-1], style.INK))
        axes.set_ylim(0, 1.1 * max(*rates, axes.get_ylim()[1] / 1.1))
        lengths = [row.tokens for row in rows]
        _finish(axes, "TFLOP/s of the visited blocks", lengths, ends, tick=style.short, size=10)
        captions.append(
            "Rate on the visited blocks, computed whole, under the matmul timed beside it."
        )
    if powered:
        axes = panels[-1]
        ends = [
            style.plot(axes, line, looked[line.mask], lambda row: row.energy_j) for line in powered
        ]
        lengths = [row.tokens for line in powered for row in line.rows]
        _finish(axes, "Energy of a call, J", lengths, ends, log=True, size=10)
        captions.append("Energy of a call from the GPU's own counter, board and memory included.")
    return figure, " ".join(captions)


def draw_density(summary: Summary, sweep: str) -> Drawn:
    """Draw densities of pairs (solid) and of blocks (dotted); None without a sparse table."""
    works = [w for w in summary.scaling.works if w.sweep == sweep and not w.is_dense]
    if not works:
        return None
    figure, (axes,) = _panels(1, width=0.72, height=4.8)
    looked, ends = style.looks(summary), []
    percents = [tuple(table.density * 100 for table in work.tables) for work in works]
    for work, shares, dash in zip(works, percents, style.overlaid(percents), strict=True):
        look, tokens = looked[work.mask], work.exact.tokens
        axes.plot(tokens, shares, color=look.color, marker=look.marker, linestyle=dash)
        blocks = [table.block_density * 100 for table in work.tables]
        axes.plot(tokens, blocks, color=look.color, linestyle=":", linewidth=1.5)
        ends.append((f"{work.mask}  {shares[-1]:.1f}%", tokens[-1], shares[-1], look.color))
    lengths = [count for work in works for count in work.exact.tokens]
    title = "Share of all pairs that attend"
    _finish(axes, title, lengths, ends, log=True, tick=lambda value: f"{value:g}%")
    return figure, (
        "Share of all pairs that attend (solid), and of all blocks that are visited (dotted). "
        "Dense is 100%."
    )


def draw_memory(summary: Summary, sweep: str) -> Drawn:
    """Draw peak memory of the calls and bytes of the tables, those there are."""
    rows = [row for row in summary.timed if row.sweep == sweep and _peak_mib(row)]
    works = [work for work in summary.scaling.works if work.sweep == sweep]
    if not rows and not works:
        return None
    figure, panels = _panels(bool(rows) + bool(works))
    looked, captions = style.looks(summary), []
    if rows:
        lines = style.leading(style.chart_lines(rows))
        calls = [style.plot(panels[0], line, looked[line.mask], _peak_mib) for line in lines]
        _finish(panels[0], "Peak memory of a call", [r.tokens for r in rows], calls, log=True)
        panels[0].set_ylabel("MiB")
        sources = dict.fromkeys(row.record.memory.source for row in rows if row.record.memory)
        captions.append(f"What a call adds at its peak: {'; '.join(sources)}.")
    if works:
        axes, ends = panels[-1], []
        sizes = [tuple(max(table.nbytes, 1) / MIB for table in work.tables) for work in works]
        for work, mib, dash in zip(works, sizes, style.overlaid(sizes), strict=True):
            look, tokens = looked[work.mask], work.exact.tokens
            line = axes.plot(tokens, mib, linestyle=dash, linewidth=look.width)
            line[0].set(color=look.color, marker=look.marker)
            ends.append((work.mask, tokens[-1], mib[-1], look.color))
        lengths = [count for work in works for count in work.exact.tokens]
        _finish(axes, "Bytes of the block table", lengths, ends, log=True)
        axes.set_ylabel("MiB")
        captions.append("Bytes of the block tables, which a kernel reads as well.")
    return figure, " ".join(captions)


def draw_compile(summary: Summary, sweep: str) -> Drawn:
    """Draw the median time to compile each table; None if none was timed."""
    rows = [row for row in summary.compiled if row.sweep == sweep and row.ok]
    if not rows:
        return None
    figure, (axes,) = _panels(1, width=0.72)
    looked = style.looks(summary)
    lines = style.leading(style.chart_lines(rows))
    found = [style.plot(axes, line, looked[line.mask], lambda row: row.median_ms) for line in lines]
    ends = [
        (f"{end[0]}  {style.seconds(float(f'{end[2]:.2g}'))}", *end[1:]) for end in found if end
    ]
    tokens = [row.tokens for row in rows]
    _finish(axes, "Time to compile a table", tokens, ends, log=True, tick=style.seconds)
    return figure, "Time to compile the block table of a mask, median of the samples."


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
    ends: Sequence[style.End | None],
    *,
    log: bool = False,
    tick: Callable[[float], str] | None = None,
    size: float = 11,
) -> None:
    """Set the axes, the title and the labels of the lines' ends."""
    style.log_tokens(axes, tokens)
    if log:
        style.log_ticks(axes)
    if tick:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.set_xlabel("tokens")
    axes.set_title(title)
    style.label_ends(axes, [end for end in ends if end], size)
