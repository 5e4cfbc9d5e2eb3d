"""Density of the masks, and of their blocks, against frames' tokens."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from radialbench.reports.charts._drawing import (
    OVER,
    WIDTH,
    label_ends,
    log_tokens,
    log_values,
    looks,
)
from radialbench.reports.summary import Summary


def draw(summary: Summary, sweep: str) -> tuple[Figure, str] | None:
    """Draw densities of pairs (solid) and of blocks (dotted); None without a sparse table."""
    works = [w for w in summary.scaling.works if w.sweep == sweep and not w.is_dense]
    if not works:
        return None
    figure = Figure(figsize=(WIDTH * 0.72, 4.8))
    axes = figure.subplots()
    looked, ends = looks(summary), []
    seen: list[tuple[float, ...]] = []
    for work in works:
        look, tokens = looked[work.mask], work.exact.tokens
        shares = tuple(table.density * 100 for table in work.tables)
        dash = OVER if shares in seen else "-"
        seen.append(shares)
        axes.plot(tokens, shares, color=look.color, marker=look.marker, linestyle=dash)
        blocks = [table.block_density * 100 for table in work.tables]
        axes.plot(tokens, blocks, color=look.color, linestyle=":", linewidth=1.5)
        ends.append((f"{work.mask}  {shares[-1]:.1f}%", tokens[-1], shares[-1], look.color))
    log_tokens(axes, [count for work in works for count in work.exact.tokens])
    log_values(axes)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    axes.set_xlabel("tokens")
    axes.set_title("Share of all pairs that attend")
    label_ends(axes, ends)
    return figure, (
        "Share of all pairs that attend (solid), and of all blocks that are visited (dotted). "
        "Dense is 100%."
    )
