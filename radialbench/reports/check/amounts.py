"""Figures of a metric with their unit, for people."""

from radialbench.reports.numbers import mib, three

UNITS = {"latency": "ms", "compile": "ms", "energy": "J"}


def amount(metric: str, value: float) -> str:
    """Write a figure as people read it: `1.05 ms`, `12.0 MiB`, `71.3%`."""
    if metric == "memory":
        return f"{mib(value)} MiB"
    if metric == "ceiling":
        return f"{value:.1%}"
    return f"{three(value)} {UNITS.get(metric, '')}".rstrip()
