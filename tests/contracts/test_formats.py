"""What every report format promises: text of a summary alone, whatever is in it."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from radialbench.errors import ReportError
from radialbench.records.result import Record, Status
from radialbench.reports.formats import FORMATS, load_format
from radialbench.reports.formats.terminal import render as render_terminal
from radialbench.reports.rows import DENSE
from radialbench.reports.summary import summarize
from tests.reports import golden
from tests.reports.factory import elsewhere, ended, made

every_format = pytest.mark.parametrize("name", FORMATS)
HOSTILE = 'a|b\n# c \x1b[31m<script>`d`, "e" [f](g) \'=1'


def rendered(name: str, *records: Record) -> str:
    return load_format(name)(summarize(records))


def same_facts(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            same_facts(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    else:
        assert found == expected


@pytest.mark.parametrize("name", golden.TEXTS)
def test_golden(name: str) -> None:
    """`python -m tests.reports.golden` writes the texts anew; read what changes."""
    expected = (golden.FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    text = load_format(name)(golden.summary())
    if name == "json":
        # Logarithms differ in their last bits from processor to processor.
        same_facts(json.loads(text), json.loads(expected))
    else:
        assert text == expected


@every_format
def test_the_same_summary_gives_the_same_text(name: str) -> None:
    assert load_format(name)(golden.summary()) == load_format(name)(golden.summary())


@every_format
def test_no_records(name: str) -> None:
    text = rendered(name)
    assert text.endswith("\n")
    assert text.strip()


@every_format
@pytest.mark.parametrize("status", [status for status in Status if status != Status.OK])
def test_a_case_that_is_not_ok_is_there_with_its_reason(name: str, status: Status) -> None:
    text = rendered(name, ended(status, "for a reason", made()))
    assert status.value in text
    assert "for a reason" in text


@every_format
@pytest.mark.parametrize("record", [made(), made(DENSE), made(backend=None), made(samples=(1, 2))])
def test_one_record(name: str, record: Record) -> None:
    assert record.mask.label in rendered(name, record)


@every_format
def test_a_record_with_nothing_but_its_reason(name: str) -> None:
    bare = ended(Status.UNSUPPORTED, "no", made())
    bare = replace(bare, table=None, permute_ms=None, plan_ms=None)
    assert "no" in rendered(name, bare)


@every_format
def test_speed_ups_are_given(name: str) -> None:
    text = rendered(name, made(DENSE, samples=(8.0,), backend="sdpa"), made(samples=(2.0,)))
    assert "4.0" in text
    assert "sdpa" in text


@every_format
def test_environments_are_told_apart(name: str) -> None:
    there = elsewhere([made("sta")], cpu="Other 4000")
    text = rendered(name, made(), *there)
    assert "Other 4000" in text or "environment" in text


@every_format
def test_stored_text_is_shown_and_does_nothing_else(name: str) -> None:
    text = rendered(name, ended(Status.FAILED, HOSTILE, made(HOSTILE)), made(HOSTILE, 5))
    if name == "csv":
        first, *_ = csv.DictReader(io.StringIO(text))
        assert first["reason"] == HOSTILE
    elif name == "json":
        assert json.loads(text)["rows"][0]["reason"] == HOSTILE
    else:
        assert "\x1b" not in text
        assert "\n# c" not in text
    if name == "html":
        assert "<script>`" not in text
        assert "&lt;script&gt;`d`" in text
    if name == "markdown":
        assert "<script" not in text
        assert "](g)" not in text
        tables = [line for line in text.splitlines() if line.startswith("|")]
        widths = {line.replace("\\|", "").count("|") for line in tables}
        assert widths == {14}


@pytest.mark.parametrize("width", [60, 80, 110])
def test_a_terminal_is_as_wide_as_it_is(width: int) -> None:
    records = [made("m" * 60, frames, backend="b" * 40) for frames in (5, 1001)]
    summary = summarize([*records, *golden.records(), made("m" * 60, 9, backend=None)])
    lines = render_terminal(summary, width=width).splitlines()
    tables = [line for line in lines if not line.startswith(" ")]
    assert max(map(len, tables)) <= width
    assert ("no room for: IQR" in "\n".join(lines)) == (width < 110)


def test_without_a_terminal_nothing_is_left_out() -> None:
    text = rendered("terminal", made("m" * 60, backend="b" * 40))
    assert f"{'m' * 60}  {'b' * 40}" in text


def test_csv_has_a_row_a_case_and_json_the_same() -> None:
    lines = list(csv.DictReader(io.StringIO(load_format("csv")(golden.summary()))))
    rows = json.loads(load_format("json")(golden.summary()))["rows"]
    assert len(lines) == len(rows) == len(golden.summary().rows)
    for line, row in zip(lines, rows, strict=True):
        assert line["case"] == row["case"]
        assert line["median_ms"] == ("" if row["median_ms"] is None else str(row["median_ms"]))


def test_json_has_no_infinity() -> None:
    slower = made("sta", samples=[2 + 0.01 * call for call in range(20)])
    dense = made(DENSE, samples=[1 + 0.01 * call for call in range(20)], backend="sdpa")
    (even,) = json.loads(rendered("json", dense, slower))["break_even"]
    assert (even["low"], even["high"]) == (None, None)


def test_an_unknown_format_is_named_with_its_neighbour() -> None:
    with pytest.raises(
        ReportError, match="unknown report format 'markdwon'; did you mean 'markdown'"
    ):
        load_format("markdwon")


def test_a_spreadsheet_runs_nothing() -> None:
    reasons = ("=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\tx", "plain")
    records = [
        ended(Status.FAILED, reason, made(case=f"case{place}"))
        for place, reason in enumerate(reasons)
    ]
    rows = list(csv.DictReader(io.StringIO(load_format("csv")(summarize(records)))))
    found = {row["reason"] for row in rows}
    assert found == {*(f"'{reason}" for reason in reasons[:-1]), "plain"}
