"""The tables and sentences of the README, from records."""

from collections.abc import Iterable

from radialbench.records.result import Record
from radialbench.reports.columns import View, named, show
from radialbench.reports.markdown_tables import table, text
from radialbench.reports.narrative import work_lines
from radialbench.reports.rows import rows_of
from radialbench.reports.summary import Summary

COMPILED: View = {
    **named("mask", "grid", "tokens"),
    "first ms": "{compile_ms}",
    "ms (IQR; samples)": ("{median_ms} ({iqr_ms}; {samples})", "{status}"),
    "peak MiB": "{peak_bytes}",
    "full": "{full_blocks}",
    "partial": "{partial_blocks}",
}


def compile_table(records: Iterable[Record]) -> str:
    """Return times to compile tables, as Markdown; a case that is not ok has its status instead."""
    rows, _ = rows_of(record for record in records if record.measure == "compile")
    return table(*show(COMPILED, rows, text=text), words=2)


def sweep_table(summary: Summary, mask: str = "radial") -> str:
    """Return one mask beside the fastest dense result of every length, as Markdown.

    Args:
        summary: Holds the results; lengths without a speed-up are left out.
        mask: Label of the mask.
    """
    view: View = {
        "dense on": "{dense_backend}",
        **named("frames", "tokens"),
        "dense ms (IQR; samples)": "{dense_ms} ({dense_iqr_ms}; {dense_samples})",
        f"{mask} ms (IQR; samples)": "{latency_ms} ({iqr_ms}; {samples})",
        "speed-up": "{speedup}",
        "pairs of dense": "{density}",
        "executed of dense": "{block_density}",
    }
    rows = [row for row in summary.timed if row.mask == mask and row.dense and not row.is_dense]
    return table(*show(view, rows, text=text), words=1)


def growth_lines(summary: Summary) -> str:
    """Return how the masks' exact work grows, as a Markdown list."""
    return "\n".join(f"- {text(line)}" for line in work_lines(summary.scaling.works))
