"""Bencher Metric Format, https://bencher.dev/docs/reference/bencher-metric-format: figures alone.

Version 0, which Bencher reads unless told otherwise. Times are in nanoseconds, the unit of its own
measure `latency`; Bencher makes the other measures when it first meets them.
"""

import json

from radialbench.reports.check.verdict import CheckResult, Verdict

NS = {"latency": 1e6, "compile": 1e6}
"""What these metrics, which are in ms, are multiplied by."""


def render(result: CheckResult) -> str:
    """Render the figures of every case that has some, with the interval from its own samples."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for one in result.verdicts:
        if one.now is not None:
            found.setdefault(one.case, {})[one.metric] = _metric(one, one.now)
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _metric(one: Verdict, now: float) -> dict[str, float]:
    factor = NS.get(one.metric, 1.0)
    values = {"value": factor * now}
    if one.around:
        values["lower_value"] = factor * one.around.low
        values["upper_value"] = factor * one.around.high
    return values
