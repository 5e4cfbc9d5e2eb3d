"""Keys a token attends to: on a linear axis against log frames, n log n is a straight line."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from radialbench.reports.charts import _curves as curves
from radialbench.reports.charts import _drawing as style
from radialbench.reports.scaling import Work
from radialbench.reports.summary import Summary

HEADROOM = 1.35
"""How much higher the axis reaches than the mask with the fitted forms."""


def draw(summary: Summary, sweep: str) -> tuple[Figure, str] | None:
    """Draw the mean keys of a token against frames; None without a sweep that bends."""
    works = [work for work in summary.scaling.works if work.sweep == sweep]
    works = list({work.mask: work for work in works}.values())
    fitted = next((work for work in works if work.bends), None)
    if fitted is None:
        return None
    figure = Figure(figsize=(style.WIDTH * 0.72, 5.2))
    axes = figure.subplots()
    top = HEADROOM * max(_keys(fitted)[1])
    looked = style.looks(summary)
    shown = [
        curves.Curve(
            *(work.mask, looked[work.mask], tuple(zip(*_keys(work), strict=True))),
            joined=work is not fitted,
        )
        for work in sorted(works, key=lambda work: work is not fitted)
    ]
    ends = [
        (label, *_end(curve, top), color)
        for (label, _, _, color), (curve, *_) in zip(
            curves.draw_curves(axes, shown), curves.coincident(shown), strict=True
        )
    ]
    ends += _forms(axes, fitted, looked[fitted.mask], top)
    axes.set_ylim(0, top)
    _frames_axis(axes, [count for work in works for count in work.exact.frames])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.short(value)))
    axes.set_title("Keys a token attends to, on average")
    style.label_ends(axes, ends)
    return figure, (
        "Pairs a token, exact from the tables, against frames on a logarithmic axis: work of the "
        "form n(a + b·log2 F) is a straight line here, linear work a level one; lines that leave "
        f"through the top are cut. Grey: the other forms, fitted to {fitted.mask}."
        f"{curves.together_text(shown)}"
    )


def _keys(work: Work) -> tuple[list[int], list[float]]:
    lengths = zip(work.tables, work.exact.tokens, strict=True)
    return list(work.exact.frames), [table.pairs / tokens for table, tokens in lengths]


def _end(curve: curves.Curve, top: float) -> tuple[float, float]:
    """Return where a line ends, or crosses the top of the chart."""
    import numpy as np

    frames, keys = zip(*curve.points, strict=True)
    if keys[-1] <= top:
        return frames[-1], keys[-1]
    return float(np.exp2(np.interp(top, keys, np.log2(frames)))), top


def _forms(axes: Axes, work: Work, look: style.Look, top: float) -> list[style.End]:
    import numpy as np

    scale = work.tables[-1].pairs / work.exact.values[-1]
    frames = np.geomspace(work.exact.frames[work.exact.start], work.exact.frames[-1], 200)
    tokens = np.interp(frames, work.exact.frames, work.exact.tokens)
    ends = []
    for place, fit in enumerate(work.exact.fits):
        keys = fit.at(frames, tokens) / tokens * scale
        color = style.GREY if place else look.color
        axes.plot(
            frames, keys, color=color, linestyle=style.FORM_DASHES[place], linewidth=1.6, zorder=3
        )
        ends.append((fit.form, float(frames[-1]), min(float(keys[-1]), top), color))
    return ends


def _frames_axis(axes: Axes, frames: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(frames) * 0.9, max(frames) * 1.1)
    doubling = {count for count in frames if count - 1 in {2**e for e in range(1, 20)}}
    axes.xaxis.set_major_locator(FixedLocator(sorted(doubling if len(doubling) > 2 else {*frames})))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("frames")
