"""The main chart: latency over speed-up, beside exact work over the errors of the fitted forms."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from radialbench.reports.breakeven import BreakEven
from radialbench.reports.charts import _drawing as style
from radialbench.reports.scaling import Work
from radialbench.reports.summary import Summary
from radialbench.reports.text import format_ratio, join_and, printable


def draw(summary: Summary, sweep: str) -> tuple[Figure, str] | None:
    """Draw latency and speed-up on the left, exact work and fitted forms on the right."""
    rows = [row for row in summary.timed if row.sweep == sweep and row.ok]
    lines = style.leading(style.chart_lines(rows))
    found = [work for work in summary.scaling.works if work.sweep == sweep]
    # One of each mask: exact work does not depend on the blocks.
    works = list({work.mask: work for work in reversed(found)}.values())[::-1]
    fewest = 1
    if len({row.tokens for row in rows}) < style.FEWEST and style.several_kernels(rows):
        # Dots above each other: the chart of the kernels shows them side by side.
        lines, fewest = [], style.FEWEST - 1
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
    lines: list[style.ChartLine],
    looked: dict[str, style.Look],
) -> str:
    above, below = axes
    ends: list[style.End | None] = []
    ratios: list[style.End | None] = []
    for line in lines:
        look = looked[line.mask]
        ends.append(_times(above, line, look))
        if not line.rows[0].is_dense:
            ratios.append(style.plot(below, line, look, lambda row: row.speedup))
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
    for place, even in enumerate(evens):
        _mark(above, even, looked[even.mask], place)
    style.label_ends(above, [end for end in ends if end])
    _speedups(below, [ratio for ratio in ratios if ratio])
    below.set_xlabel("tokens")
    over = sorted({row.dense.backend or "" for line in lines for row in line.rows if row.dense})
    compared = (
        f", and the speed-up over the fastest dense result ({join_and(over)})" if over else ""
    )
    curved = any(style.fitted(line) for line in lines)
    curves = "; the curves are powers of the executed work, fitted to the medians" if curved else ""
    rings = " Rings: from how many tokens on a mask is faster than dense." if evens else ""
    return (
        "Measured latency, token order included: medians with their 95% intervals (quartiles where "
        f"there are fewer than six samples){curves}{compared}.{rings}"
    )


def _times(axes: Axes, line: style.ChartLine, look: style.Look) -> style.End | None:
    """Draw a line's medians and their intervals, on the curve fitted to them if there is one."""
    curve = style.fitted(line)
    end = style.plot(axes, line, look, lambda row: row.total_ms, joined=curve is None)
    if curve:
        axes.plot(*curve, color=look.color, linestyle=style.dash_of(line), lw=look.width, zorder=2)
    for row in line.rows:
        known = row.interval_ms
        low, high = (known and known.ends) or row.quartiles_ms or (0, 0)
        if high > low:
            axes.plot([row.tokens] * 2, [low, high], color=look.color, lw=4.5, alpha=0.3, zorder=2)
    return end


def _mark(axes: Axes, even: BreakEven, look: style.Look, place: int) -> None:
    """Circle a break-even; its text goes top left, where rising lines leave room."""
    assert even.tokens is not None and even.latency_ms is not None
    axes.plot(
        [even.tokens], [even.latency_ms], "o", ms=12, mfc="none", mec=look.color, mew=1.8, zorder=5
    )
    axes.annotate(
        f"{printable(even.mask)} from about {even.about}",
        (even.tokens, even.latency_ms),
        xytext=(0.03, 0.97 - 0.075 * place),
        textcoords="axes fraction",
        color=look.color,
        fontsize=10.5,
        va="top",
        parse_math=False,
        arrowprops={
            "arrowstyle": "-",
            "color": look.color,
            "lw": 0.9,
            "shrinkB": 6,
            "relpos": (0.5, 0),
        },
    )


def _speedups(axes: Axes, ends: list[style.End]) -> None:
    axes.axhline(1, color=style.INK, linewidth=1.6, zorder=1)
    axes.set_ylabel("speed-up\nover dense")
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    style.label_ends(axes, [(format_ratio(y), x, y, color) for _, x, y, color in ends], 10)


def _work(axes: list[Axes], works: list[Work], looked: dict[str, style.Look]) -> str:
    above, below = axes
    fitted = next((w for w in works if w.bends), None)
    ends: list[style.End] = []
    ordered = sorted(works, key=lambda work: work.is_dense)
    dashes = style.overlaid([work.exact.values for work in ordered])
    for work, dash in zip(ordered, dashes, strict=True):
        look, values = looked[work.mask], work.exact.values
        above.plot(
            work.exact.tokens,
            values,
            color=look.color,
            marker=look.marker,
            linewidth=look.width,
            linestyle="none" if work is fitted else dash,
            zorder=4 if work is fitted else 3,
        )
        power = f"  n^{work.exact.exponents[-1]:.2f}" if len(values) > 1 else ""
        ends.append((work.mask + power, work.exact.tokens[-1], values[-1], look.color))
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
    return "Exact work from the tables" + (
        f", with the forms fitted to {fitted.mask} and how far they miss it." if fitted else "."
    )


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
