"""Memory: what a call adds at its peak, beside what the tables hold."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from radialbench.reports.charts._drawing import (
    OVER,
    WIDTH,
    End,
    Look,
    label_ends,
    leading,
    log_tokens,
    log_values,
    looks,
    plot,
    series,
)
from radialbench.reports.rows import Row
from radialbench.reports.scaling import Work
from radialbench.reports.summary import Summary
from radialbench.reports.text import MIB


def draw(summary: Summary, sweep: str) -> tuple[Figure, str] | None:
    """Draw peak memory of the calls and bytes of the tables, those there are."""
    rows = [row for row in summary.timed if row.sweep == sweep and _peak(row)]
    works = [work for work in summary.scaling.works if work.sweep == sweep]
    sides = [side for side in (rows, works) if side]
    if not sides:
        return None
    figure = Figure(figsize=(WIDTH * (1 if len(sides) == 2 else 0.62), 4.6))
    axes = figure.subplots(1, len(sides), squeeze=False, gridspec_kw={"wspace": 0.62})[0]
    looked, captions = looks(summary), []
    if rows:
        captions.append(_calls(axes[0], rows, looked))
    if works:
        captions.append(_tables(axes[-1], works, looked))
    return figure, " ".join(captions)


def _peak(row: Row) -> float | None:
    memory = row.record.memory
    return memory.peak_bytes / MIB if memory and memory.peak_bytes else None


def _calls(axes: Axes, rows: list[Row], looked: dict[str, Look]) -> str:
    ends = [plot(axes, line, looked[line.mask], _peak) for line in leading(series(rows))]
    log_tokens(axes, [row.tokens for row in rows])
    _finish(axes, "Peak memory of a call", ends)
    sources = dict.fromkeys(row.record.memory.source for row in rows if row.record.memory)
    return f"What a call adds at its peak: {'; '.join(sources)}."


def _tables(axes: Axes, works: list[Work], looked: dict[str, Look]) -> str:
    ends: list[End | None] = []
    seen: list[tuple[float, ...]] = []
    for work in works:
        look = looked[work.mask]
        sizes = tuple(max(table.nbytes, 1) / MIB for table in work.tables)
        dash = OVER if sizes in seen else "-"
        seen.append(sizes)
        axes.plot(
            work.exact.tokens,
            sizes,
            color=look.color,
            marker=look.marker,
            linestyle=dash,
            lw=look.width,
        )
        ends.append((work.mask, work.exact.tokens[-1], sizes[-1], look.color))
    log_tokens(axes, [count for work in works for count in work.exact.tokens])
    _finish(axes, "Bytes of the block table", ends)
    return "Bytes of the block tables, which a kernel reads as well."


def _finish(axes: Axes, title: str, ends: list[End | None]) -> None:
    log_values(axes)
    axes.set_title(title)
    axes.set_xlabel("tokens")
    axes.set_ylabel("MiB")
    label_ends(axes, [end for end in ends if end])
