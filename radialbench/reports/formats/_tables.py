"""Markdown tables: what a report shows, row by row."""

import re
from collections.abc import Callable, Iterable, Sequence

from tabulate import tabulate

from radialbench.records.statistics import Estimate
from radialbench.reports import numbers
from radialbench.reports.compare import Compared
from radialbench.reports.numbers import mib, plain, share, three, times
from radialbench.reports.rows import Row

NONE = "–"


def table(headers: Sequence[str], body: Iterable[Sequence[str]], *, words: int) -> str:
    """Lay out a table; its first `words` columns are text, the others numbers."""
    return tabulate(
        list(body),
        headers,
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left"] * words + ["right"] * (len(headers) - words),
    )


def text(words: str) -> str:
    """Stored text as Markdown that shows it and does nothing else."""
    shown = plain(words).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([|`*]|(?<!\w)_|_(?!\w)|(?<=\])\()", r"\\\1", shown)


def _of_ceiling(row: Row) -> str:
    return NONE if row.of_ceiling is None else share(row.of_ceiling)


def _isolated(row: Row) -> str:
    isolated = row.record.isolated
    return _or_none(isolated.median_ms if isolated else None)


def _energy(row: Row) -> str:
    return _or_none(row.energy_j)


ON_GPU: dict[str, tuple[Callable[[Row], str], Callable[[Row], object]]] = {
    "of ceiling": (_of_ceiling, lambda row: row.of_ceiling),
    "isolated ms": (_isolated, lambda row: row.record.isolated),
    "J": (_energy, lambda row: row.energy_j),
}
"""Columns that records of a GPU add: what a cell says, and whether a row has it."""


def latency_table(rows: Sequence[Row]) -> str:
    """Times of attention; a case without one has its status instead."""
    extra = {name: cell for name, (cell, has) in ON_GPU.items() if any(map(has, rows))}
    headers = (
        *("mask", "backend", "frames", "tokens", "median ms", "IQR ms", "samples", "order ms"),
        *("speed-up", "95% interval", "over dense", "GFLOP/s", "executed GFLOP/s", *extra),
    )
    body = [
        (
            *_who(row, rows),
            row.record.status.value if row.median_ms is None else three(row.median_ms),
            three(row.record.timing.iqr_ms) if row.record.timing else NONE,
            str(len(row.samples_ms)),
            _or_none(row.record.permute_ms),
            NONE if row.speedup is None else times(row.speedup),
            between(row.speedup_interval),
            text(row.dense.backend or "") if row.dense else NONE,
            _or_none(row.gflops),
            _or_none(row.executed_gflops),
            *(cell(row) for cell in extra.values()),
        )
        for row in rows
    ]
    return table(headers, body, words=2)


def computed_table(rows: Sequence[Row]) -> str:
    """Work, memory and accuracy of attention."""
    headers = (
        *("mask", "backend", "frames", "tokens", "density", "block density", "TFLOP"),
        *("executed TFLOP", "peak MiB", "plan ms", "error", "lse error", "tolerance"),
    )
    body = []
    for row in rows:
        stats, memory, accuracy = row.table, row.record.memory, row.record.accuracy
        peak = memory.peak_bytes if memory else None
        body.append(
            (
                *_who(row, rows),
                share(stats.density) if stats else NONE,
                share(stats.block_density) if stats else NONE,
                three(stats.flops / 1e12) if stats else NONE,
                three(stats.executed_flops / 1e12) if stats else NONE,
                NONE if peak is None else mib(peak),
                _or_none(row.record.plan_ms),
                f"{accuracy.max_abs_error:.1e}" if accuracy else NONE,
                f"{accuracy.max_lse_error:.1e}" if accuracy else NONE,
                f"{accuracy.tolerance:.1e}" if accuracy else NONE,
            )
        )
    return table(headers, body, words=2)


def compared_table(cases: Sequence[Compared]) -> str:
    """Both times of each case and their ratio, the slower ones first."""
    headers = (
        "mask",
        "backend",
        "which is",
        "tokens",
        "before ms",
        "now ms",
        "before / now",
        "95%",
    )
    body = [
        (
            text(one.row.mask),
            text(one.row.backend),
            text(one.verdict + (f"; {one.config}" if one.config else "")),
            f"{one.row.tokens:,}",
            three(one.before_ms),
            three(one.row.total_ms or 0),
            times(one.ratio),
            between(one.interval),
        )
        for one in sorted(cases, key=lambda one: one.ratio)
    ]
    return table(headers, body, words=3)


def between(ratio: Estimate | None) -> str:
    """The ends of a ratio's interval."""
    return numbers.between(ratio, times) or NONE


def tables_table(rows: Sequence[Row]) -> str:
    """What the tables hold, and how long they take to compile."""
    headers = (
        *("mask", "frames", "tokens", "pairs", "density", "block density", "full", "partial"),
        *("bitmaps", "MiB", "first ms", "median ms"),
    )
    body = []
    for row in rows:
        stats = row.table
        body.append(
            (
                text(row.mask) + _number(row, rows),
                *_who(row, rows)[2:],
                f"{stats.pairs:,}" if stats else NONE,
                share(stats.density) if stats else NONE,
                share(stats.block_density) if stats else NONE,
                f"{stats.full:,}" if stats else NONE,
                f"{stats.partial:,}" if stats else NONE,
                f"{stats.bitmaps:,}" if stats else NONE,
                mib(stats.nbytes) if stats else NONE,
                three(stats.compile_ms) if stats else NONE,
                row.record.status.value if row.median_ms is None else three(row.median_ms),
            )
        )
    return table(headers, body, words=1)


def _who(row: Row, rows: Sequence[Row]) -> tuple[str, str, str, str]:
    """What a row is of."""
    backend = text(row.backend) + _number(row, rows)
    return text(row.mask), backend, str(row.frames), f"{row.tokens:,}"


def _number(row: Row, rows: Sequence[Row]) -> str:
    """The number of a row's environment, if there are several."""
    return f" [{row.place + 1}]" if len({one.place for one in rows}) > 1 else ""


def _or_none(value: float | None) -> str:
    return NONE if value is None else three(value)
