"""The table of every case, and what filters it."""

from collections.abc import Sequence

from radialbench.reports.columns import View, named, show
from radialbench.reports.page._html import table
from radialbench.reports.summary import Summary

COLUMNS: View = {
    **named("tokens", "status"),
    "ms": "{latency_ms}",
    "95% interval, ms": "{latency_low_ms} to {latency_high_ms}",
    "speed-up": ("{speedup} ({speedup_low} to {speedup_high})", "{speedup}"),
    "density": "{density}",
    "executed TFLOP/s": "{executed_tflop_per_s}",
    **named("of_ceiling"),
    "J": "{energy_j}",
    "W": "{power_w}",
    "SM MHz": "{sm_mhz}",
    "isolated ms": "{isolated_ms}",
    "peak MiB": "{peak_bytes}",
    **named("samples"),
    "error / tolerance": "{error_share}",
    **named("frames"),
}
"""What stands between the kernel and the sweep; columns that no row has are left out."""


def results(summary: Summary) -> list[str]:
    """Return the filters and the table; nothing without rows."""
    rows = summary.rows
    if not rows:
        return []
    number = " [{environment}]" if len(summary.environments) > 1 else ""
    kernel = ("{backend}" + number, "compile" + number)
    view: View = {**named("mask"), "kernel": kernel, **COLUMNS, **named("sweep")}
    if all(row.ok for row in rows):
        view = {heading: cell for heading, cell in view.items() if heading != "status"}
    headers, body = show(view, rows, optional=COLUMNS)
    caption = "Every case. Headers sort; the time has the token order."
    return [
        _filters(headers),
        table("results-table", caption, headers, body, words=2, sortable=True),
    ]


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
