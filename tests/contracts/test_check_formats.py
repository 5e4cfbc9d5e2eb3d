"""What every format of a check promises: text of the verdicts alone, whatever is in them."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from radialbench.errors import ReportError
from radialbench.records.gate import Gate
from radialbench.records.statistics import Estimate
from radialbench.reports.check.compare import check
from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict
from radialbench.reports.formats import CHECK_FORMATS, load_check_format
from tests.reports.check.noise import record

every_format = pytest.mark.parametrize("name", CHECK_FORMATS)
every_form_with_words = pytest.mark.parametrize(
    "name", [name for name in CHECK_FORMATS if name != "bencher"]
)
HOSTILE = "a|b\n::error::c \x1b[31m<script>`d`]]>, 5% [f](g) \x00"


def verdict(outcome: Outcome, case: str = "case", reason: str = "for a reason") -> Verdict:
    ends = Estimate(1.05, 1.03, 1.07, "independent errors")
    return Verdict(
        case, "latency", outcome, reason, 1.0, 1.05, 1.05, ends, Gate(0.02), 1e-9, 1.04, 1.05
    )


def whole(*verdicts: Verdict) -> CheckResult:
    return CheckResult("now.jsonl", "before.jsonl", verdicts, ("commit: a and b",))


@every_form_with_words
@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.PASS])
def test_what_does_not_pass_is_there_with_its_reason(name: str, outcome: Outcome) -> None:
    text = load_check_format(name)(whole(verdict(outcome)))
    assert outcome.value in text
    assert "for a reason" in text
    assert "case" in text
    assert text.endswith("\n")


@every_form_with_words
def test_nothing_but_passes(name: str) -> None:
    assert "pass" in load_check_format(name)(whole(verdict(Outcome.PASS)))


@every_format
def test_nothing_at_all(name: str) -> None:
    assert load_check_format(name)(whole()).endswith("\n")


@every_form_with_words
def test_bare_verdicts(name: str) -> None:
    bare = Verdict("case", "status", Outcome.MISSING, "gone")
    assert "gone" in load_check_format(name)(whole(bare))


@every_format
def test_stored_text_is_shown_and_does_nothing_else(name: str) -> None:
    text = load_check_format(name)(whole(verdict(Outcome.REGRESSED, HOSTILE, HOSTILE)))
    assert "\x1b" not in text
    assert "\x00" not in text
    assert not [line for line in text.splitlines()[1:] if line.startswith("::error::c")]
    if name == "json":
        assert json.loads(text)["verdicts"][0]["case"] == HOSTILE
    if name in ("bencher", "sarif"):
        json.loads(text)
    if name == "junit":
        ElementTree.fromstring(text)
    if name == "markdown":
        assert "<script" not in text
        assert "](g)" not in text


@every_format
def test_thousands_of_verdicts_stay_readable(name: str) -> None:
    verdicts = [verdict(Outcome.NEW, f"c{k}", f"for {k} reasons") for k in range(3000)]
    text = load_check_format(name)(whole(*verdicts))
    if name in ("terminal", "markdown"):
        assert len(text) < 50_000
        assert "more" in text


def test_junit_counts_what_it_holds() -> None:
    outcomes = (Outcome.REGRESSED, Outcome.MISSING, Outcome.INCONCLUSIVE, Outcome.PASS)
    root = ElementTree.fromstring(load_check_format("junit")(whole(*map(verdict, outcomes))))
    (suite,) = root
    for element in (root, suite):
        counts = [element.get(word) for word in ("tests", "failures", "errors", "skipped")]
        assert counts == ["4", "1", "1", "1"]
    tags = [[child.tag for child in case] for case in suite]
    assert tags == [["failure"], ["error"], ["skipped"], ["system-out"]]


def test_github_escapes_what_a_command_would_end_with() -> None:
    one = verdict(Outcome.REGRESSED, "a,b:c", "5.0% slower\nby far")
    first, *_ = load_check_format("github")(whole(one)).splitlines()
    assert first == (
        "::error title=regressed%3A a%2Cb%3Ac%2C latency::5.0%25 slower%0Aby far"
    )  # fmt: skip


def test_the_terminal_tells_cases_of_the_same_verdict_together() -> None:
    verdicts = [verdict(Outcome.INCONCLUSIVE, f"c{k}", "so it is " * 30) for k in range(30)]
    lines = load_check_format("terminal")(whole(*verdicts)).splitlines()
    assert lines[0] == "inconclusive  c0, c1, c2 and 27 more: latency"
    assert lines[-2] == "30 cases, 30 verdicts: 30 inconclusive"
    assert max(map(len, lines)) <= 100


def test_json_has_every_verdict() -> None:
    found = check([record("a", [1.05] * 30)], [record("a", [1.0] * 30)])
    facts = json.loads(load_check_format("json")(found))
    latency, *others = facts["verdicts"]
    assert (latency["outcome"], latency["ratio"]) == ("regressed", pytest.approx(1.05))
    assert latency["low"] < 1.05 < latency["high"]
    assert {one["outcome"] for one in others} == {"pass"}
    assert facts["counts"]["regressed"] == 1


def test_json_has_no_infinity() -> None:
    one = replace(verdict(Outcome.REGRESSED), ratio=None, worse=float("inf"))
    json.loads(load_check_format("json")(whole(one)))


def test_an_unknown_form_is_named_with_its_neighbour() -> None:
    with pytest.raises(
        ReportError, match="unknown format of a check 'junti'; did you mean 'junit'"
    ):
        load_check_format("junti")


def test_sarif_has_what_the_standard_requires() -> None:
    outcomes = [one for one in Outcome if one is not Outcome.PASS]
    found = whole(*map(verdict, Outcome), Verdict("d", "status", Outcome.MISSING, "gone"))
    log = json.loads(load_check_format("sarif")(replace(found, source="now/results 1.jsonl")))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("/sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "radialbench"
    assert [rule["id"] for rule in rules] == ["latency", "status"]
    assert len(run["results"]) == len(outcomes) + 1
    for result in run["results"]:
        assert result["message"]["text"]
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert (result["kind"] == "fail") == (result["level"] != "none")
        (place,) = result["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == "now/results%201.jsonl"
        assert place["physicalLocation"]["region"]["startLine"] >= 1
    levels = dict(zip(outcomes, [one["level"] for one in run["results"]], strict=False))
    assert levels == {
        "regressed": "error",
        "missing": "error",
        "inconclusive": "warning",
        "new": "none",
        "faster": "none",
    }


def test_sarif_names_a_case_alike_in_every_upload() -> None:
    def prints(reason: str) -> list[dict[str, str]]:
        verdicts = [verdict(Outcome.REGRESSED, case, reason) for case in "ab"]
        log = json.loads(load_check_format("sarif")(whole(*verdicts)))
        return [result["partialFingerprints"] for result in log["runs"][0]["results"]]

    first, second = prints("5% slower")
    assert [first, second] == prints("6% slower")
    assert first != second


def test_bencher_has_figures_in_its_units_with_their_own_intervals() -> None:
    now = record("a", [1.05 + 13 * call % 30 / 1000 for call in range(30)])
    found = check([now], [record("a", [1.0] * 30)])
    measures = json.loads(load_check_format("bencher")(found))["a"]
    ns = measures["latency"]
    assert ns["value"] == pytest.approx(1.0645e6)
    # The tenth and the twenty-first of thirty hold the median in 95 of 100 cases.
    assert ns["lower_value"] == pytest.approx(1.059e6)
    assert ns["upper_value"] == pytest.approx(1.070e6)
    assert measures["memory"].keys() == measures["accuracy"].keys() == {"value"}


def test_bencher_holds_no_case_without_a_figure() -> None:
    bare = whole(Verdict("a", "status", Outcome.NEW, "x"))
    assert json.loads(load_check_format("bencher")(bare)) == {}


@pytest.mark.parametrize("name", ["terminal", "markdown", "json", "sarif"])
def test_gates_that_are_not_the_default_ones_are_reported(name: str) -> None:
    found = replace(whole(verdict(Outcome.PASS)), gates=("latency 5% (suite)",))
    assert "latency 5% (suite)" in load_check_format(name)(found)
    assert "gate: " not in load_check_format(name)(whole(verdict(Outcome.PASS)))
