"""Bencher Metric Format, https://bencher.dev/docs/reference/bencher-metric-format: figures alone.

Version 0, the default of Bencher. Times are in nanoseconds, the unit of its own measure `latency`;
Bencher creates the other measures.
"""

import json

from radialbench.reports.check.verdict import CheckResult, Verdict

NS = {"latency": 1e6, "compile": 1e6}
"""Factors of the metrics in ms."""


def render(result: CheckResult) -> str:
    """Render the values of every case that has some, with the interval from its own samples."""
    measures: dict[str, dict[str, dict[str, float]]] = {}
    for one in result.verdicts:
        if one.now is not None:
            measures.setdefault(one.case, {})[one.metric] = _metric(one, one.now)
    return json.dumps(measures, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _metric(one: Verdict, now: float) -> dict[str, float]:
    factor = NS.get(one.metric, 1.0)
    values = {"value": factor * now}
    if one.around and (ends := one.around.ends):
        values |= {"lower_value": factor * ends[0], "upper_value": factor * ends[1]}
    return values
