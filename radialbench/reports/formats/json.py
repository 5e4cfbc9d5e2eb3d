"""JSON: a report for programs."""

import json
import math
from dataclasses import asdict
from typing import Any

from radialbench.records.codec import to_dict
from radialbench.reports.breakeven import BreakEven
from radialbench.reports.formats.check_json import check_document
from radialbench.reports.scaling import Growth, Latency, Work
from radialbench.reports.summary import Summary


def render(summary: Summary) -> str:
    """Render rows, break-even lengths, growth and notes as one JSON document.

    Times, sizes and ratios have their unit in the name.
    """
    check = summary.check
    document = {
        "source": summary.source,
        "suites": list(summary.suites),
        "environments": [to_dict(environment) for environment in summary.environments],
        "rows": list(summary.cases),
        "break_even": [_even(one) for one in summary.break_evens],
        "work": [_work(work) for work in summary.scaling.works],
        "latency": [_latency(latency) for latency in summary.scaling.latencies],
        "resolutions": [asdict(one) for one in summary.scaling.resolutions],
        "narrative": {section.topic: list(section.lines) for section in summary.narrative},
        "fidelity": {
            row.record.case: to_dict(row.fidelity) for row in summary.rows if row.fidelity
        },
        "baseline": check and check_document(check) | {"configs": dict(check.configs)},
        "notes": list(summary.notes),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _even(one: BreakEven) -> dict[str, Any]:
    # JSON has no infinity: null stands for beyond the longest length.
    low, high = (None if end == math.inf else end for end in one.interval or (None, None))
    document = {**asdict(one), "text": one.text, "low": low, "high": high}
    del document["interval"]
    return document


def _work(work: Work) -> dict[str, Any]:
    return {
        "sweep": work.sweep,
        "mask": work.mask,
        "block_m": work.blocks[0],
        "block_n": work.blocks[1],
        "frames": list(work.exact.frames),
        "tokens": list(work.exact.tokens),
        "exact": _growth(work.exact),
        "executed": _growth(work.executed),
        "table_exponents": list(work.table_exponents),
    }


def _growth(growth: Growth) -> dict[str, Any]:
    return {
        "tflop": list(growth.values),
        "exponents": list(growth.exponents),
        "fits": [asdict(fit) for fit in growth.fits],
        "verdict": growth.verdict.value,
        "why": growth.why,
    }


def _latency(latency: Latency) -> dict[str, Any]:
    fitted = {"cases": len(latency.tokens), "sampled": latency.sampled}
    executed = latency.executed and asdict(latency.executed) | fitted
    return {
        "sweep": latency.sweep,
        "mask": latency.mask,
        "backend": latency.backend,
        "environment": latency.place + 1,
        "tokens": list(latency.tokens),
        "exponents": list(latency.exponents),
        "against_executed_work": executed,
        "peak_exponents": list(latency.peak_exponents),
    }
