"""What docs/check.md says by hand of metrics, outcomes and gates is what the code has."""

import re

from benchmarks.parts import ROOT
from radialbench.records.gate import Gate, gate_text
from radialbench.reports.check.metrics import GATES, METRICS, RUNS_CPU, RUNS_ENERGY, RUNS_GPU
from radialbench.reports.check.verdict import Outcome
from radialbench.reports.formats import CHECK_FORMATS

TEXT = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")


def test_metrics_outcomes_and_forms_are_all_named() -> None:
    for word in (*METRICS, *GATES, *CHECK_FORMATS, *Outcome):
        assert f"| `{word}` |" in TEXT


def test_default_gates_are_those_that_are_told() -> None:
    words = {metric: gate_text(metric, gate) for metric, gate in GATES.items()}
    words |= {"memory": "1%, and 1 MiB", "accuracy": "1.5×, and 0.05 of the tolerance"}
    assert (GATES["memory"], GATES["accuracy"]) == (Gate(0.01, 1 << 20), Gate(0.5, 0.05))
    part = TEXT[TEXT.index("## Metrics and gates") :]
    rows = dict(
        re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", part[: part.index("A gate is")], re.M)
    )
    assert rows == words


def test_what_runs_are_taken_to_differ_by_is_what_is_told() -> None:
    told = " ".join(TEXT.split())
    assert (
        f"a standard deviation of the ratio of {RUNS_GPU:.1%} on a GPU, {RUNS_CPU:.0%} on a "
        f"processor, {RUNS_ENERGY:.0%} for energy" in told
    )
