"""The page of a history: changes marked, by machine and versions, and stored text does nothing."""

import re
from dataclasses import replace

import pytest

from radialbench.errors import ReportError
from radialbench.records.result import Record
from radialbench.reports.check.cohorts import by_machine, by_machine_history, version_spans
from radialbench.reports.check.history import Run, run_of
from radialbench.reports.page.history import history_page
from tests.reports.check.test_history import runs
from tests.reports.factory import elsewhere
from tests.reports.test_page import HOSTILE, read

STEADY = [1.0] * 34
STEP = [1.0] * 20 + [1.06] * 14


def given(*results: list[list[Record]]) -> list[Run]:
    return [
        run_of(f"run{at}", one) for at, one in enumerate(one for each in results for one in each)
    ]


@pytest.fixture(scope="module")
def two_machines() -> str:
    first = runs(STEADY, STEP)
    first = [
        elsewhere(one, versions={"torch": "2.14.0" if at >= 8 else "2.13.0"})
        for at, one in enumerate(first)
    ]
    other = [elsewhere(one, device="Other GPU") for one in runs(STEADY[:9], STEP[15:24])]
    single = [elsewhere(one, device="Third GPU") for one in runs([1.0])]
    return history_page(*by_machine_history(given(single, other, first)))


def test_it_is_well_formed_and_loads_nothing(two_machines: str) -> None:
    reader = read(two_machines)
    assert len(reader.ids) == len(set(reader.ids))
    for link in reader.links:
        assert link == "data:," or link[1:] in reader.ids
    for reference in re.findall(r"url\(([^)]*)\)", two_machines):
        assert reference[1:] in reader.ids
    labels = [value for _, name, value in reader.attributes if name == "aria-labelledby"]
    assert {part for value in labels for part in value.split()} <= set(reader.ids)
    images = re.findall(r'<svg[^>]* role="img" aria-label="[^"]{20,}"', two_machines)
    assert len(images) == two_machines.count("<svg")
    assert reader.tags.count("caption") == reader.tags.count("table")
    assert not re.findall(r"#[0-9a-f]{6}\b", two_machines[two_machines.index("<main") :])


def test_machines_have_sections_and_changes_are_marked(two_machines: str) -> None:
    assert re.findall(r'<section id="(\w+)"', two_machines) == ["machine0", "machine1", "method"]
    first, other = two_machines.split('<section id="machine1"')
    assert '<a href="#machine0">Example GPU</a><a href="#machine1">Other GPU</a>' in first
    assert '<h3><span class="regressed">regressed</span> b: latency</h3>' in first
    assert "1.00 ms, then 1.06 ms (+" in first and "from result 21 on, 0000014" in first
    assert "34 results: 1 change in 2 cases" in first and "9 results: " in other
    assert "Third GPU is left out: a history takes two sets of results" in first
    # What never moved is in the table, without a chart.
    assert "a: latency</figcaption>" in first and "a: memory</figcaption>" not in first
    assert "<th scope=row>a<td>memory<td>34<td>1.00 MiB" in first


def test_ranges_are_chosen_without_a_script(two_machines: str) -> None:
    text = two_machines
    assert re.findall(r'<input type="radio" name="range" id="([\w-]+)"( checked)?>', text) == [
        ("range-all", " checked"),
        ("range-30", ""),
        ("range-10", ""),
    ]
    for count in (30, 10):
        assert f"main:has(#range-{count}:checked) .range:not(.range-{count})" in text
    first, other = text.split('<section id="machine1"')
    kinds = re.findall(r'<div class="scroll chart range([^"]*)"', first)
    assert kinds == [" range-all", " range-30", " range-10"]
    labels = re.findall(r'aria-label="b: latency over ([\w ]+)', first)
    assert labels == ["34 results", "the last 30 results", "the last 10 results"]
    # A machine with fewer results shows all of them, whatever is chosen.
    kinds = re.findall(r'<div class="scroll chart range([^"]*)"', other)
    assert kinds in ([], [" range-all range-30 range-10"])


def test_versions_are_spans_of_results(two_machines: str) -> None:
    table = two_machines[two_machines.index('<table id="versions0"') :].split("</table>")[0]
    rows = re.findall(r"<tr><th scope=row>([^<]*)<td>([^<]*)<td>([^<]*)<td>([^<\n]*)", table)
    assert [row[0] for row in rows] == ["1 to 8", "9 to 34"]
    assert "torch 2.13.0" in rows[0][3]
    assert rows[1][3] == "torch: 2.13.0 and 2.14.0"


def test_machines_are_told_apart_by_what_times_depend_on() -> None:
    (gpu,) = runs([1.0])
    cpu = [elsewhere(gpu, device="cpu", cpu=name, cores=4, threads=2)[0] for name in ("X", "Y")]
    both = [run_of("a", [*gpu, cpu[0]]), run_of("b", [cpu[1], *gpu])]
    found = by_machine(both)
    assert set(found) == {"Example GPU", "Y, 4 cores, 2 threads", "X, 4 cores, 2 threads"}
    assert [run.source for run in found["Example GPU"]] == ["a", "b"]
    assert [len(run.records) for run in found["Example GPU"]] == [1, 1]
    assert len(version_spans(found["Example GPU"])) == 1
    with pytest.raises(ReportError, match="two sets of results or more"):
        by_machine_history(both[:1])


def test_stored_text_does_nothing() -> None:
    named = [
        [
            replace(one, case=HOSTILE, suite=HOSTILE)
            for one in elsewhere(results, device=HOSTILE, commit=HOSTILE)
        ]
        for results in runs(STEP[10:30])
    ]
    listed = [run_of(HOSTILE, results) for results in named]
    text = history_page(by_machine_history(listed)[0], [HOSTILE])
    reader = read(text)
    assert "img" not in reader.tags
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert [reader.tags.count(tag) for tag in ("script", "style", "title")] == [0, 1, 1]
    assert "\x1b" not in text and "\x00" not in text
    assert text.count("&lt;/style&gt;&lt;/script&gt;") > 10
