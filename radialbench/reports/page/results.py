"""The table of every case."""

from radialbench.reports.columns import View, named, show
from radialbench.reports.page.template import Table
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


def results(summary: Summary) -> Table | None:
    """Return the table of all cases; None without rows."""
    rows = summary.rows
    if not rows:
        return None
    number = " [{environment}]" if len(summary.environments) > 1 else ""
    kernel = ("{backend}" + number, "compile" + number)
    view: View = {**named("mask"), "kernel": kernel, **COLUMNS, **named("sweep")}
    if all(row.ok for row in rows):
        view = {heading: cell for heading, cell in view.items() if heading != "status"}
    headers, body = show(view, rows, optional=COLUMNS)
    caption = "Every case. Headers sort; the time has the token order."
    return Table("results-table", caption, headers, body, words=2, sortable=True)
