"""SARIF 2.1.0, the OASIS standard of code scanning: all verdicts but passes, a rule a metric."""

import json
from hashlib import sha256
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from radialbench import __version__
from radialbench.reports.check.metrics import METRICS
from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict
from radialbench.reports.text import printable

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

KINDS = {
    Outcome.REGRESSED: ("fail", "error"),
    Outcome.MISSING: ("fail", "error"),
    Outcome.INCONCLUSIVE: ("fail", "warning"),
    Outcome.NEW: ("informational", "none"),
    Outcome.FASTER: ("informational", "none"),
}
"""Kind and level."""


def render(result: CheckResult) -> str:
    """Render one run. Results point at the file of results: a case has no line of source."""
    rules = list(dict.fromkeys(one.metric for one in result.notable))
    run = {
        "tool": {
            "driver": {
                "name": "radialbench",
                "version": __version__,
                "rules": list(map(_rule, rules)),
            }
        },
        "results": [_result(one, rules, result.source) for one in result.notable],
        "properties": {
            "summary": result.headline,
            "baseline": printable(result.baseline),
            "changed": list(map(printable, result.changed)),
            "gates": list(map(printable, result.gates)),
            "resolution": list(map(printable, result.resolution)),
        },
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _rule(metric: str) -> dict[str, Any]:
    text = f"{METRICS[metric].worse} than the baseline" if metric in METRICS else OTHERS[metric]
    return {"id": metric, "shortDescription": {"text": text.capitalize()}}


OTHERS = {
    "scaling": "a higher exponent of the time over the frames than in the baseline",
    "status": "how a case ended, and whether both sets of results have it",
}


def _result(one: Verdict, rules: list[str], source: str) -> dict[str, Any]:
    kind, level = KINDS[one.outcome]
    path = PurePath(source)
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    place = {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}
    # Equal for the same result in two uploads, whose values differ.
    fingerprint = sha256(f"{one.case}\n{one.metric}".encode()).hexdigest()
    return {
        "ruleId": one.metric,
        "ruleIndex": rules.index(one.metric),
        "kind": kind,
        "level": level,
        "message": {"text": printable(f"{one.outcome}: {one.case}, {one.metric}: {one.reason}")},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"case/v1": fingerprint},
    }
