"""JSON: every verdict, for programs."""

import json
from typing import Any

from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict


def render(result: CheckResult) -> str:
    """Render all verdicts, those that pass included, as one JSON document."""
    return json.dumps(facts(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def facts(result: CheckResult) -> dict[str, Any]:
    """Return the facts of a check by name."""
    outcomes = [one.outcome for one in result.verdicts]
    return {
        "source": result.source,
        "baseline": result.baseline,
        "counts": {word.value: outcomes.count(word) for word in Outcome},
        "changed": list(result.changed),
        "gates": list(result.gates),
        "verdicts": list(map(_facts, result.verdicts)),
    }


def _facts(one: Verdict) -> dict[str, Any]:
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
