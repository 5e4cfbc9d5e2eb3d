"""Markdown tables of the documentation: kernels beside their peers, sweeps, compile times."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from radialbench.records.result import CEILING_FLOPS, CEILING_SIZE, Record
from radialbench.records.statistics import Estimate
from radialbench.reports import text
from radialbench.reports.columns import View, named, show
from radialbench.reports.narrative import work_lines
from radialbench.reports.rows import DENSE, Row, interleaved_ratio, rows_of, speedup
from radialbench.reports.summary import Summary
from radialbench.reports.sweeps import sweep_differences

OURS = ("hopper", "triton")


def shape_tables(records: Iterable[Record], titles: Mapping[str, str]) -> str:
    """Return a heading and a table for every group of cases, with cases without a time below it.

    Args:
        records: Records of one run on a GPU.
        titles: Headings of the groups, by their names.
    """
    parts = []
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    for group, of_group in groups.items():
        timed = [record for record in of_group if record.timing]
        heading = f"### {titles.get(group, group)}"
        tokens, heads = of_group[0].problem.seq_len, of_group[0].problem.heads
        about = f"{tokens:,} tokens, {heads} heads. "
        for ceiling in [record.ceiling for record in timed if record.ceiling][:1]:
            rate = CEILING_FLOPS / ceiling.median_ms / 1e9
            about += f"The matmul of {CEILING_SIZE}³ in turn with them: {rate:,.0f} TFLOP/s."
        lines = [
            f"- {text.escape(record.mask.label)} on {text.escape(record.backend or '')}: "
            f"{record.status}: {text.escape(record.reason or '')}"
            for record in of_group
            if not record.timing
        ]
        lines += filter(None, map(_throttled, timed))
        parts.append("\n\n".join(filter(None, (heading, about, _table(timed), "\n".join(lines)))))
    return "\n\n".join(parts)


def _throttled(record: Record) -> str:
    """Describe how many samples were throttled; empty if none was."""
    assert record.timing is not None
    flags = record.timing.throttled
    if not any(flags):
        return ""
    counted = "there are no others" if all(flags) else "the figures are of the others"
    return (
        f"- {text.escape(record.mask.label)} on {text.escape(record.backend or '')}: "
        f"{sum(flags)} of {len(flags)} samples were taken while heat or the "
        f"hardware held the clocks back; {counted}"
    )


def _table(timed: list[Record]) -> str:
    def beside_peer(row: Row) -> str:
        peer = against_best_peer(row.record, timed)
        return (
            text.EMPTY_CELL
            if peer is None
            else f"{text.format_ratio(peer[1].value)} {text.escape(peer[0])}"
        )

    view: View = {
        **named("mask", "backend"),
        "blocks": "{block_density}",
        "ms in turn (IQR; samples)": "{median_ms} ({iqr_ms}; {samples})",
        "TFLOP/s": "{executed_tflop_per_s:,.0f}",
        "of the matmul": "{of_ceiling:.2f}",
        "against best peer": beside_peer,
        "ms alone": "{alone_ms}",
        "ms isolated": "{isolated_ms}",
        "J": "{energy_j}",
        "SM MHz": "{sm_mhz}",
        "order ms": "{order_ms:above 0}",
        "error / tolerance": "{max_abs_error} / {tolerance}",
        "MiB besides outputs": "{workspace_bytes:MiB}",
    }
    return text.markdown_table(*show(view, map(row_of, timed), escape=text.escape), text_columns=2)


def row_of(record: Record) -> Row:
    """Return a record as a row that is not compared with dense."""
    return Row(record, record.mask.label, 0)


def against_best_peer(record: Record, timed: Iterable[Record]) -> tuple[str, Estimate] | None:
    """Return the fastest peer on the same mask, and its time over that of our kernel."""
    peers = [
        other
        for other in timed
        if other.timing
        and other.mask.fingerprint == record.mask.fingerprint
        and other.backend not in OURS
        and other.fp8 == record.fp8
    ]
    if record.backend not in OURS or not peers or record.timing is None:
        return None
    best = min(peers, key=lambda other: other.timing.median_ms if other.timing else 0.0)
    assert best.timing is not None
    return best.backend or "", interleaved_ratio(best.timing, record.timing)


def speedup_table(records: Sequence[Record], titles: Mapping[str, str]) -> str:
    """Return every mask on its fastest kernel beside the fastest dense kernel of the same shape.

    The time of the mask's token order counts. Shapes without a dense result are left out, as are
    kernels in 8 bits.
    """
    found: list[tuple[str, Row]] = []
    for group, title in titles.items():
        timed = [r for r in records if r.timing and r.group == group and not r.fp8]
        dense = min((r for r in timed if r.mask.dense), key=_median_ms, default=None)
        masks = dict.fromkeys(record.mask for record in timed if not record.mask.dense)
        for mask in masks if dense else ():
            best = min((r for r in timed if r.mask == mask), key=_median_ms)
            found.append((title, replace(row_of(best), dense=dense)))
    headings, cells = show(SPEEDUPS, (row for _, row in found), escape=text.escape)
    body = [(title, *line) for (title, _), line in zip(found, cells, strict=True)]
    return text.markdown_table(("shape", *headings), body, text_columns=3)


def _speedup(row: Row) -> str:
    assert row.dense is not None
    found = speedup(row.dense, row.record)
    ends = text.format_interval(found, text.format_ratio)
    return f"{text.format_ratio(found.value)} ({ends})" if ends else text.format_ratio(found.value)


SPEEDUPS: View = {
    "mask": "{mask}",
    "kernel": "{backend}",
    "ms": "{latency_ms}",
    "dense kernel": "{dense_backend}",
    "dense ms": "{dense_ms}",
    "speed-up": _speedup,
    "pairs of dense": "{density}",
    "blocks of dense": "{block_density}",
}


def _median_ms(record: Record) -> float:
    assert record.timing is not None
    return record.timing.median_ms


def find(records: Iterable[Record], group: str, mask: str, backend: str) -> Record | None:
    """Return a case that has a time; the mask by its name, any dense one by `dense`."""
    for record in records:
        name = DENSE if record.mask.dense else record.mask.name
        if record.timing and (record.group, name, record.backend) == (group, mask, backend):
            return record
    return None


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
    return text.markdown_table(*show(COMPILED, rows, escape=text.escape), text_columns=2)


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
    return text.markdown_table(*show(view, rows, escape=text.escape), text_columns=1)


def growth_lines(summary: Summary) -> str:
    """Return how the masks' exact work grows, as a Markdown list."""
    lines = work_lines(summary.scaling.works, sweep_differences(summary.rows))
    return "\n".join(f"- {text.escape(line)}" for line in lines)
