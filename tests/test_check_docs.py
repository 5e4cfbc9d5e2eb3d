"""What docs/check.md says of simulations is what they gave, and they give what is simulated."""

import json
import re

import numpy as np
import pytest

from benchmarks import checks, histories, recorded
from benchmarks.rules import _mann_whitney, _slower, rates_table, row_of
from radialbench.records.gate import Gate, gate_text
from radialbench.reports.check.formats import CHECK_FORMATS
from radialbench.reports.check.gates import GATES
from radialbench.reports.check.metrics import METRICS, RUNS_CPU, RUNS_ENERGY, RUNS_GPU
from radialbench.reports.check.verdict import Outcome

TEXT = checks.PAGE.read_text(encoding="utf-8")


def test_tables_are_those_of_the_rates() -> None:
    rates = json.loads(checks.RATES.read_text(encoding="utf-8"))
    assert checks.written(TEXT, rates) == TEXT, "run: python -m benchmarks.checks"
    rates = json.loads(histories.RATES.read_text(encoding="utf-8"))
    assert histories.written(TEXT, rates) == TEXT, "run: python -m benchmarks.histories"


def test_the_page_has_the_picture() -> None:
    assert f"](images/{checks.PICTURE.name})" in TEXT
    assert checks.PICTURE.read_bytes().startswith(b"<?xml")


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


@pytest.mark.parametrize("there", [False, True])
def test_the_page_says_of_which_noise_its_picture_is(
    monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    rates = json.loads(checks.RATES.read_text(encoding="utf-8"))
    found = [row_of("check", recorded.DEFAULT)] if there else None
    monkeypatch.setattr(recorded, "stored_rates", lambda *paths: found)
    monkeypatch.setattr(recorded, "part", lambda: "From recorded noise." if there else "")
    text = checks.written(TEXT, rates)
    assert ("with recorded noise, against" in text) == there == ("From recorded noise." in text)
    assert ("with assumed noise, against" in text) != there
    assert rates_table(rates) in text


def test_the_picture_has_a_line_for_each_rule_and_the_default_protocol() -> None:
    rates = json.loads(checks.RATES.read_text(encoding="utf-8"))
    assert checks.draw(rates).count(b"default protocol") == 0
    default = row_of("check", recorded.DEFAULT)
    assert b"check, default protocol" in checks.draw([default, *rates])


@pytest.mark.parametrize(
    ("one", "other", "chance"),
    [
        # Mann and Whitney's statistic is 0 and 30·30/2 here; the standard deviation is 67.6.
        (range(30), range(100, 130), 2.9e-11),
        (range(0, 60, 2), range(-1, 59, 2), 0.8245),
    ],
)
def test_the_rank_test(one: range, other: range, chance: float) -> None:
    found = _mann_whitney(list(map(float, one)), list(map(float, other)))
    assert found == pytest.approx(chance, rel=0.02)
    assert _mann_whitney(list(map(float, other)), list(map(float, one))) == pytest.approx(found)


def test_other_rules_are_those_that_are_told() -> None:
    base = np.linspace(0.99, 1.01, 100)
    bounds = {"asv, factor 1.1": 1.1, "asv, factor 1.02": 1.02, "threshold 5%": 1.05}
    for rule, bound in bounds.items():
        assert _slower(rule, (base * (bound + 0.001)).tolist(), base.tolist())
        assert not _slower(rule, (base * (bound - 0.001)).tolist(), base.tolist())
    noisy = np.linspace(0.2, 1.8, 100)
    assert not _slower("asv, factor 1.02", (noisy * 1.05).tolist(), noisy.tolist())
