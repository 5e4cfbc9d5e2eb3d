"""The table of every case, and what filters it."""

from collections.abc import Callable, Sequence

from radialbench.reports.numbers import between, mib, share, three, times
from radialbench.reports.page._html import NONE, table
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary

Cell = Callable[[Row], str]


def _number(value: float | None, form: Callable[[float], str] = three) -> str:
    return NONE if value is None else form(value)


def _between(row: Row) -> str:
    return between(row.interval_ms, three) or NONE


def _peak(row: Row) -> str:
    memory = row.record.memory
    return _number(memory.peak_bytes if memory else None, mib)


def _speedup(row: Row) -> str:
    told, ends = _number(row.speedup, times), between(row.speedup_interval, times)
    return f"{told} ({ends})" if ends else told


def _rate(row: Row) -> str:
    return _number(row.executed_gflops and row.executed_gflops / 1e3)


def _of_ceiling(row: Row) -> str:
    return _number(row.of_ceiling, "{:.1%}".format)


def _power(row: Row) -> str:
    return _number(row.counters.power_w if row.counters else None)


def _clock(row: Row) -> str:
    return _number(row.counters.sm_mhz if row.counters else None, "{:,.0f}".format)


def _isolated(row: Row) -> str:
    return _number(row.record.isolated.median_ms if row.record.isolated else None)


def _error(row: Row) -> str:
    """The larger of the two errors as a share of the tolerance."""
    accuracy = row.record.accuracy
    if accuracy is None:
        return NONE
    worst = max(accuracy.max_abs_error, accuracy.max_lse_error)
    return f"{worst / accuracy.tolerance:.2g}"


COLUMNS: dict[str, tuple[Cell, Callable[[Row], object]]] = {
    "tokens": (lambda row: f"{row.tokens:,}", lambda row: True),
    "status": (lambda row: row.record.status.value, lambda row: not row.ok),
    "ms": (lambda row: _number(row.total_ms), lambda row: row.ok),
    "95% interval, ms": (_between, lambda row: row.interval_ms),
    "speed-up": (_speedup, lambda row: row.speedup),
    "density": (lambda row: share(row.table.density) if row.table else NONE, lambda r: r.table),
    "executed TFLOP/s": (_rate, lambda row: row.executed_gflops),
    "of ceiling": (_of_ceiling, lambda row: row.of_ceiling),
    "J": (lambda row: _number(row.energy_j), lambda row: row.energy_j),
    "W": (_power, lambda row: row.counters),
    "SM MHz": (_clock, lambda row: row.counters),
    "isolated ms": (_isolated, lambda row: row.record.isolated),
    "peak MiB": (_peak, lambda row: row.record.memory),
    "samples": (lambda row: str(len(row.samples_ms)), lambda row: row.ok),
    "error / tolerance": (_error, lambda row: row.record.accuracy),
    "frames": (lambda row: str(row.frames), lambda row: True),
}
"""What a cell says, and whether a row has it; columns that no row has are left out."""


def results(summary: Summary) -> list[str]:
    """Give the filters and the table; nothing without rows."""
    rows = summary.rows
    if not rows:
        return []
    shown = {name: cell for name, (cell, has) in COLUMNS.items() if any(map(has, rows))}
    several = len(summary.environments) > 1

    def cells(row: Row) -> Sequence[str]:
        number = f" [{row.place + 1}]" if several else ""
        numbers = (cell(row) for cell in shown.values())
        return row.mask, row.backend + number, *numbers, row.sweep

    headers = ("mask", "kernel", *shown, "sweep")
    caption = "Every case. Headers sort; the time has the token order."
    body = table("results-table", caption, headers, map(cells, rows), words=2, sortable=True)
    return [_filters(headers), body]


def _filters(headers: Sequence[str]) -> str:
    """The filters, which need the script: it fills the lists and shows them."""
    lists = "".join(
        f'<div><label for="filter-{name}">{name}</label>'
        f'<select id="filter-{name}" data-column="{headers.index(name)}">'
        f'<option value="">all</option></select></div>'
        for name in ("mask", "kernel", "sweep", "status")
        if name in headers
    )
    return (
        '<form class="filters" hidden data-table="results-table">'
        '<div><label for="filter-search">search</label>'
        f'<input id="filter-search" type="search" placeholder="words of a row"></div>{lists}'
        '<button type="reset">all cases</button><output></output></form>'
    )
