"""Kernels beside each other at one length: time, rate under the measured ceiling, energy.

A dot for each kernel of a mask, or a bar for each mask where none has several.
"""

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from radialbench.reports.charts import _curves as curves
from radialbench.reports.charts import _drawing as style
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary
from radialbench.reports.text import format_ratio, join_and, printable

FEW = 2
"""Lengths that are all shown; of more, the longest with a dense result."""

MOST = 28
"""Lines of a chart."""

WIDE = 1.02
"""How many times its lower end an interval's upper end must be to be seen beside a dot."""

LONG_MS = 2000
"""Times above which an axis counts seconds."""

Line = tuple[int, str, list[Row]]
"""Tokens, mask, and the rows of its kernels."""

PANELS = {
    "total_ms": "ms",
    "executed_tflops": "TFLOP/s of the visited blocks",
    "energy_j": "J a call",
}
"""Titles of the panels, by the properties of a row that they show."""


def draw(summary: Summary, sweep: str) -> tuple[Figure, str] | None:
    """Draw a line a mask with a dot a kernel.

    None where no mask has two kernels, unless there is one length: then there are no other charts.
    """
    rows = [row for row in summary.timed_of(sweep) if row.ok]
    # Of the environment that has most: times are compared within one.
    places = [row.place for row in rows]
    most = max(dict.fromkeys(places), key=places.count, default=0)
    rows = [row for row in rows if row.place == most]
    if not rows or (curves.along(rows) and not curves.several_kernels(rows)):
        return None
    lines = _lines(rows)[:MOST]
    kernels = [row for _, _, of_line in lines for row in of_line]
    panels = ["total_ms"]
    panels += ["executed_tflops"] if any(row.ceiling_tflops for row in kernels) else []
    panels += ["energy_j"] if any(row.energy_j for row in kernels) else []
    figure = Figure(figsize=(style.WIDTH, 1.3 + 0.34 * len(lines)))
    axes = list(
        figure.subplots(1, len(panels), sharey=True, squeeze=False, gridspec_kw={"wspace": 0.28})[0]
    )
    looked = style.kernel_looks(summary)
    bars = all(len(of_line) == 1 for _, _, of_line in lines)
    if bars:
        looked = {name: replace(look, marker="s") for name, look in looked.items()}
    for one, value in zip(axes, panels, strict=True):
        _panel(one, lines, looked, value, bars=bars)
        one.set_xlabel(PANELS[value])
        if value == "executed_tflops":
            _ceiling(one, lines)
        elif bars:
            one.set_xlim(left=0)
            one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.short(value)))
        else:
            style.log_ticks(one, "x")
        if value == "total_ms":
            _seconds(one)
    _names(axes[0], lines, several=len({tokens for tokens, _, _ in lines}) > 1)
    _speedups(axes[0], lines)
    _legend(figure, {row.backend: looked[row.backend] for row in kernels})
    return figure, _caption(lines, panels, "bar" if bars else "dot")


def _lines(rows: Sequence[Row]) -> list[Line]:
    """Return the lines of the lengths that are shown, the longest length last."""
    lengths = sorted({row.tokens for row in rows})
    if len(lengths) > FEW:
        lengths = [max((row.tokens for row in rows if row.dense), default=lengths[-1])]
    found: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        if row.tokens in lengths:
            found.setdefault((row.tokens, row.mask), []).append(row)
    return [(tokens, mask, kernels) for (tokens, mask), kernels in found.items()]


def _panel(
    axes: Axes, lines: list[Line], looked: dict[str, style.Look], value: str, *, bars: bool
) -> None:
    found: dict[str, list[tuple[float, int]]] = {}
    for place, (_, _, kernels) in enumerate(lines):
        for row in kernels:
            if (x := getattr(row, value)) is not None:
                found.setdefault(row.backend, []).append((x, place))
                known = row.interval_ms if value == "total_ms" else None
                low, high = (known and known.ends) or (x, x)
                if high > WIDE * low:
                    color = style.INK if bars else looked[row.backend].color
                    axes.hlines(place, low, high, color=color, lw=2, alpha=0.55, zorder=4)
    for backend, points in found.items():
        look = looked[backend]
        if bars:
            values, places = zip(*points, strict=True)
            axes.barh(places, values, height=0.62, color=look.color, zorder=2)
            continue
        axes.plot(
            *zip(*points, strict=True), color=look.color, marker=look.marker, ls="none", ms=6.5
        )
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(visible=True, axis="y", color=style.GRID)
    axes.tick_params(axis="y", length=0)


def _seconds(axes: Axes) -> None:
    """Count long times in seconds, so that ticks stay short."""
    if axes.get_xlim()[1] > LONG_MS:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms / 1000:g}"))
        axes.set_xlabel("s")


def _ceiling(axes: Axes, lines: list[Line]) -> None:
    """Draw the rate of the matmul that was timed beside the samples of each length."""
    for tokens in dict.fromkeys(tokens for tokens, _, _ in lines):
        places = [place for place, line in enumerate(lines) if line[0] == tokens]
        rates = [row.ceiling_tflops for place in places for row in lines[place][2]]
        if known := [rate for rate in rates if rate]:
            ends = places[0] - 0.45, places[-1] + 0.45
            axes.plot([max(known)] * 2, ends, color=style.INK, linestyle=(0, (4, 2)), linewidth=1.5)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.short(value)))


def _names(axes: Axes, lines: list[Line], *, several: bool) -> None:
    names, last = [], 0
    for tokens, mask, kernels in lines:
        table = kernels[0].table
        kept = f"{mask}  {table.block_density:.0%}" if table else mask
        head = f"{tokens:,} tokens\n" if several and tokens != last else ""
        names.append(head + printable(kept))
        last = tokens
    axes.set_yticks(range(len(names)), names, parse_math=False)


def _speedups(axes: Axes, lines: list[Line]) -> None:
    """Write the speed-up of each sparse mask's fastest kernel on the right."""
    for place, (_, _, kernels) in enumerate(lines):
        best = max((row.speedup or 0 for row in kernels), default=0)
        if best and not kernels[0].is_dense:
            axes.annotate(
                format_ratio(best),
                (1, place),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9.5,
                color=style.GREY if best <= 1 else style.INK,
            )


def _legend(figure: Figure, looked: dict[str, style.Look]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], color=look.color, marker=look.marker, linestyle="none", label=printable(name)
        )
        for name, look in looked.items()
    ]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.1, 0.9),
        ncols=min(len(handles), 8),
        frameon=False,
        handletextpad=0.1,
        columnspacing=1.2,
    )


def _caption(lines: list[Line], panels: list[str], mark: str) -> str:
    lengths = join_and(f"{tokens:,}" for tokens in dict.fromkeys(line[0] for line in lines))
    caption = (
        f"Each kernel on each mask at {lengths} tokens; behind a mask, the share of its blocks. "
        "Time with the token order, and its 95% interval where that is wider than a dot; beside "
        f"the {mark}s the speed-up of the fastest kernel over the fastest dense one."
    )
    if "executed_tflops" in panels:
        caption += " Dashed: the matmul timed in turn with the kernels."
    return caption
