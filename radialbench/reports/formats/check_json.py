"""JSON: every verdict, for programs."""

import json
from typing import Any

from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict


def render(result: CheckResult) -> str:
    """Render all verdicts, those that pass included, as one JSON document."""
    return json.dumps(check_document(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def check_document(result: CheckResult) -> dict[str, Any]:
    """Return a check as JSON's own types."""
    outcomes = [one.outcome for one in result.verdicts]
    return {
        "source": result.source,
        "baseline": result.baseline,
        "counts": {one.value: outcomes.count(one) for one in Outcome},
        "changed": list(result.changed),
        "gates": list(result.gates),
        "resolution": list(result.resolution),
        "verdicts": list(map(_verdict, result.verdicts)),
    }


def _verdict(one: Verdict) -> dict[str, Any]:
    return {
        "case": one.case,
        "metric": one.metric,
        "outcome": one.outcome.value,
        "reason": one.reason,
        "before": one.before,
        "now": one.now,
        "ratio": one.ratio,
        "low": one.interval.low if one.interval else None,
        "high": one.interval.high if one.interval else None,
        "now_low": one.around.low if one.around else None,
        "now_high": one.around.high if one.around else None,
        "gate_share": one.gate.share if one.gate else None,
        "gate_least": one.gate.least if one.gate else None,
        "p": one.p,
        "cycles_ratio": one.cycles,
    }
