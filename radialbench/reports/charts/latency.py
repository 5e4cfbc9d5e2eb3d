"""The main chart: latency over speed-up, beside exact work over the errors of the fitted forms."""

import math
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from radialbench.reports.breakeven import BreakEven
from radialbench.reports.charts import _curves as curves
from radialbench.reports.charts import _drawing as style
from radialbench.reports.scaling import Work
from radialbench.reports.summary import Summary
from radialbench.reports.text import format_ratio, join_and, printable


def draw(summary: Summary, sweep: str) -> tuple[Figure, str] | None:
    """Draw latency and speed-up on the left, exact work and fitted forms on the right."""
    rows = [row for row in summary.timed_of(sweep) if row.ok]
    lines = curves.leading(curves.chart_lines(rows)) if curves.along(rows) else []
    found = [work for work in summary.scaling.works if work.sweep == sweep]
    # One of each mask: exact work does not depend on the blocks.
    works = list({work.mask: work for work in reversed(found)}.values())[::-1]
    fewest = 1
    if len({row.tokens for row in rows}) < curves.FEWEST and curves.several_kernels(rows):
        # Dots above each other: the chart of the kernels shows them side by side.
        lines, fewest = [], curves.FEWEST - 1
    works = works if any(len(work.tables) > fewest for work in works) else []
    sides = [side for side in (lines, works) if side]
    if not sides:
        return None
    figure = Figure(figsize=(style.WIDTH if len(sides) == 2 else style.WIDTH * 0.62, 6.4))
    axes = figure.subplots(
        2,
        len(sides),
        squeeze=False,
        gridspec_kw={"height_ratios": [2.9, 1], "wspace": 0.62, "hspace": 0.16},
    )
    looked, captions = style.looks(summary), []
    if lines:
        captions.append(_latency(summary, sweep, list(axes[:, 0]), lines, looked))
    if works:
        captions.append(_work(list(axes[:, -1]), works, looked))
    return figure, " ".join(captions)


def _latency(
    summary: Summary,
    sweep: str,
    axes: list[Axes],
    lines: list[curves.ChartLine],
    looked: dict[str, style.Look],
) -> str:
    above, below = axes
    times = curves.curves_of(lines, looked, lambda row: row.total_ms)
    curved = {line.label: curve for line in lines if (curve := curves.fitted(line))}
    times = [replace(one, joined=one.label not in curved) for one in times]
    ends = curves.draw_curves(above, times)
    for group in curves.coincident(times):
        (line,) = (line for line in lines if line.label == group[0].label)
        _spread(above, line, group[0], curved.get(line.label))
    sparse = [line for line in lines if not line.rows[0].is_dense]
    ratios = curves.curves_of(sparse, looked, lambda row: row.speedup, last=format_ratio)
    factors = curves.draw_curves(below, ratios, named=False)
    tokens = [row.tokens for line in lines for row in line.rows]
    for one in axes:
        style.log_tokens(one, tokens)
    style.log_ticks(above)
    above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.seconds(value)))
    above.set_title("Latency")
    above.tick_params(labelbottom=False)
    drawn = {(line.mask, row.backend, row.place) for line in lines for row in line.rows}
    evens = [
        one
        for one in summary.break_evens
        if one.sweep == sweep and one.tokens and (one.mask, one.backend, one.place) in drawn
    ]
    for even in evens:
        _ring(above, even, looked[even.mask])
    style.label_ends(above, ends)
    _speedups(below, ratios, factors)
    below.set_xlabel("tokens")
    over = sorted({row.dense.backend or "" for line in lines for row in line.rows if row.dense})
    compared = (
        f", and the speed-up over the fastest dense result ({join_and(over)})" if over else ""
    )
    powers = "; the curves are powers of the executed work, fitted to the medians" if curved else ""
    return (
        "Measured latency, token order included: medians with their 95% intervals (quartiles where "
        f"there are fewer than six samples){powers}{compared}.{_rings(evens)}"
        f"{curves.together_text(times, ratios)}"
    )


def _ring(axes: Axes, even: BreakEven, look: style.Look) -> None:
    assert even.tokens is not None and even.latency_ms is not None
    drawn: Any = {"mfc": "none", "mec": look.color, "mew": 1.8, "zorder": 5}
    axes.plot([even.tokens], [even.latency_ms], "o", ms=12, **drawn)


def _rings(evens: list[BreakEven]) -> str:
    """Describe the rings, which have no room for words beside them."""
    where = join_and(
        f"{printable(one.mask)} on {printable(one.backend)} from about {one.about} tokens"
        for one in evens
    )
    return f" Rings: faster than dense, {where}." if evens else ""


def _spread(
    axes: Axes,
    line: curves.ChartLine,
    shown: curves.Curve,
    curve: tuple[curves.Floats, curves.Floats] | None,
) -> None:
    """Draw a line's intervals, and the curve fitted to its medians if there is one."""
    look = shown.look
    if curve:
        axes.plot(*curve, color=look.color, linestyle=shown.dash, lw=look.width, zorder=2)
    bars = []
    for row in line.rows:
        known = row.interval_ms
        low, high = (known and known.ends) or row.quartiles_ms or (0, 0)
        if high > low:
            bars += [(row.tokens, low), (row.tokens, high), (row.tokens, math.nan)]
    if bars:
        axes.plot(*zip(*bars, strict=True), color=look.color, lw=4.5, alpha=0.3, zorder=2)


def _speedups(axes: Axes, ratios: list[curves.Curve], ends: list[style.End]) -> None:
    axes.axhline(1, color=style.INK, linewidth=1.6, zorder=1)
    axes.set_ylabel("speed-up\nover dense")
    style.ratio_axis(axes, [[y for _, y in one.points] for one in ratios])
    style.label_ends(axes, ends, 10)


def _work(axes: list[Axes], works: list[Work], looked: dict[str, style.Look]) -> str:
    above, below = axes
    fitted = next((w for w in works if w.bends), None)
    shown = [
        curves.curve_of(
            *(work, looked, work.exact.values),
            last=f"n^{work.exact.exponents[-1]:.2f}" if len(work.exact.values) > 1 else "",
            joined=work is not fitted,
        )
        # Of masks with equal work the fitted one is drawn.
        for work in sorted(works, key=lambda work: (work is not fitted, work.is_dense))
    ]
    ends = curves.draw_curves(above, shown)
    tokens = [count for work in works for count in work.exact.tokens]
    for one in axes:
        style.log_tokens(one, tokens)
    style.log_ticks(above)
    above.set_title("Work the mask asks for, exact, TFLOP")
    above.tick_params(labelbottom=False)
    below.set_xlabel("tokens")
    if fitted is None:
        below.set_visible(False)
        above.tick_params(labelbottom=True)
        above.set_xlabel("tokens")
    else:
        ends.append(_fits(above, below, fitted, looked[fitted.mask]))
    style.label_ends(above, ends)
    forms = f", with the forms fitted to {fitted.mask} and how far they miss it" if fitted else ""
    return f"Exact work from the tables{forms}.{curves.together_text(shown)}"


def _fits(above: Axes, below: Axes, work: Work, look: style.Look) -> style.End:
    """Draw the fitted forms, their errors and the executed work; return the end of that line."""
    import numpy as np

    found = work.exact
    first = found.start
    frames = np.geomspace(found.frames[first], found.frames[-1], 200)
    tokens = np.interp(frames, found.frames, found.tokens)
    ends: list[style.End] = []
    for place, fit in enumerate(found.fits):
        color = look.color if place == 0 else style.GREY
        drawn: dict[str, Any] = {
            "color": color,
            "linestyle": style.FORM_DASHES[place],
            "linewidth": 2.0 if place == 0 else 1.5,
        }
        above.plot(tokens, fit.at(frames, tokens), **drawn)
        errors = fit.at(found.frames, found.tokens) / np.array(found.values) - 1
        below.plot(found.tokens[first:], errors[first:] * 100, **drawn, marker="o", markersize=3.5)
        ends.append((fit.form, found.tokens[-1], errors[-1] * 100, color))
    below.axhline(0, color=style.INK, linewidth=0.8, zorder=1)
    below.set_ylabel(f"fits to {work.mask}\nare off by", parse_math=False)
    low, high = below.get_ylim()
    reach = max(-low, high)
    below.set_ylim(-reach, reach)
    below.yaxis.set_major_locator(MaxNLocator(4, symmetric=True))
    signed = FuncFormatter(lambda value, _: f"{value:+.0f}%".replace("-", "−") if value else "0")
    below.yaxis.set_major_formatter(signed)
    style.label_ends(below, ends, 10)
    executed = work.executed
    above.plot(
        executed.tokens, executed.values, color=look.color, linewidth=1.2, alpha=0.6, zorder=2
    )
    power = f"  n^{executed.exponents[-1]:.2f}"
    return f"{work.mask}, executed{power}", executed.tokens[-1], executed.values[-1], look.color
