"""Attention mass and error against time: what a mask keeps for what it costs."""

from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from radialbench.records.statistics import Estimate
from radialbench.reports.charts import _drawing as style
from radialbench.reports.fidelity import inputs_text, kept_rows, name_of
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary

PANELS = (
    ("mass_kept", "mass", "Attention mass kept"),
    ("output_error", "error", "Error of the output"),
)
"""Estimate of a fidelity, the same of a yardstick, and the panel's title."""


def draw(summary: Summary, sweep: str) -> tuple[Figure, str] | None:
    """Draw every mask at its time, with what as many other blocks keep; None without fidelity."""
    rows = kept_rows(summary, sweep)
    if not rows:
        return None
    against_dense = all(row.dense for row in rows)
    figure = Figure(figsize=(style.WIDTH, 4.8))
    looked = _looks(summary, rows)
    panels = list(figure.subplots(1, 2))
    for axes, (name, yardstick, title) in zip(panels, PANELS, strict=True):
        costs = []
        for row in rows:
            cost, look = _cost(row, against_dense=against_dense), looked[name_of(row)]
            found = getattr(row.fidelity, name)
            costs.append(cost)
            _point(axes, row, cost, yardstick, found, look)
        if against_dense:
            nothing_lost = 1.0 if name == "mass_kept" else 0.0
            axes.plot([1], [nothing_lost], ls="none", marker="s", ms=8, color=style.INK)
            costs.append(1.0)
        _axes(axes, max(costs), title, against_dense=against_dense)
    style.legend(panels[-1], {**looked, **({"dense": style.DENSE_LOOK} if against_dense else {})})
    return figure, _caption(rows, against_dense=against_dense)


def _looks(summary: Summary, rows: list[Row]) -> dict[str, style.Look]:
    """Return the looks by what keeps; blocks chosen from q and k are stars in the mask's colour."""
    looked = style.looks(summary)
    chosen = {name_of(row): row.mask for row in rows if name_of(row) != row.mask}
    masks = {row.mask: looked[row.mask] for row in rows if name_of(row) == row.mask}
    return masks | {name: replace(looked[mask], marker="*") for name, mask in chosen.items()}


def _cost(row: Row, *, against_dense: bool) -> float:
    assert row.total_ms
    return 1 / row.speedup if against_dense and row.speedup else row.total_ms


def _point(
    axes: Axes, row: Row, cost: float, yardstick: str, found: Estimate, look: style.Look
) -> None:
    ends = [getattr(row.yardsticks[name], yardstick) for name in ("random", "best")]
    axes.vlines(cost, min(ends), max(ends), color=look.color, lw=1.2, alpha=0.45)
    axes.plot([cost] * 2, ends, ls="none", marker="_", ms=9, color=look.color, alpha=0.7)
    if found.ends:
        axes.vlines(cost, *found.ends, color=look.color, lw=3.2, alpha=0.8)
    axes.plot([cost], [found.value], ls="none", marker=look.marker, ms=7, color=look.color)


def _axes(axes: Axes, most: float, title: str, *, against_dense: bool) -> None:
    axes.set_xlim(0, 1.04 * most)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(min(bottom, 0.0), -0.02), top)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    if against_dense:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.set_xlabel("time, as a share of dense" if against_dense else "ms")
    axes.set_title(title)


def _caption(rows: list[Row], *, against_dense: bool) -> str:
    fidelity = rows[0].fidelity
    assert fidelity is not None
    time = "time beside the fastest dense kernel's" if against_dense else "time"
    return (
        f"What masks keep against their {time}, at {rows[0].tokens:,} tokens, of "
        f"{inputs_text(fidelity)}. The thin "
        "line behind a mask runs from what as many random blocks keep to what the best ones do; "
        "the thick one is its 95% interval over heads."
    )
