"""The tables and sentences of the README, from records."""

from collections.abc import Iterable

from radialbench.records.measurement import Measurement
from radialbench.records.result import Record
from radialbench.reports.formats._tables import table, text
from radialbench.reports.numbers import mib, share, three, times
from radialbench.reports.rows import Row, rows_of
from radialbench.reports.summary import Summary
from radialbench.reports.told import work_lines

SPREAD = "(IQR; samples)"


def compile_table(records: Iterable[Record]) -> str:
    """Times to compile tables, as Markdown; a case that is not ok has its status instead."""
    headers = ("mask", "grid", "tokens", "first ms", f"ms {SPREAD}", "peak MiB", "full", "partial")
    rows, _ = rows_of(record for record in records if record.measure == "compile")
    return table(headers, map(_compiled, rows), words=2)


def sweep_table(summary: Summary, mask: str = "radial") -> str:
    """One mask beside the fastest dense result of every length, as Markdown.

    Args:
        summary: Holds the results; lengths without a speed-up are left out.
        mask: Label of the mask.
    """
    headers = (
        *("dense on", "frames", "tokens", f"dense ms {SPREAD}", f"{mask} ms {SPREAD}", "speed-up"),
        *("pairs of dense", "executed of dense"),
    )
    rows = [row for row in summary.timed if row.mask == mask and not row.is_dense]
    return table(headers, [_swept(row) for row in rows if row.dense], words=1)


def growth_lines(summary: Summary) -> str:
    """How the masks' exact work grows, as a Markdown list."""
    return "\n".join(f"- {text(line)}" for line in work_lines(summary.scaling.works))


def _compiled(row: Row) -> tuple[str, ...]:
    stats, memory = row.table, row.record.memory
    peak = memory.peak_bytes if memory else None
    return (
        text(row.mask),
        row.record.problem.grid.label.replace("x", "×"),
        f"{row.tokens:,}",
        three(stats.compile_ms) if stats else "–",
        _spread(row.median_ms, row.record.timing) or row.record.status.value,
        "–" if peak is None else mib(peak),
        f"{stats.full:,}" if stats else "–",
        f"{stats.partial:,}" if stats else "–",
    )


def _swept(row: Row) -> tuple[str, ...]:
    dense, stats = row.dense, row.table
    assert dense is not None and dense.timing is not None and row.total_ms and row.speedup
    return (
        text(dense.backend or ""),
        str(row.frames),
        f"{row.tokens:,}",
        _spread(dense.timing.median_ms, dense.timing),
        _spread(row.total_ms, row.record.timing),
        times(row.speedup),
        share(stats.density) if stats else "–",
        share(stats.block_density) if stats else "–",
    )


def _spread(median_ms: float | None, timing: Measurement | None) -> str:
    if median_ms is None or timing is None:
        return ""
    return f"{three(median_ms)} ({three(timing.iqr_ms)}; {len(timing.samples_ms)})"
