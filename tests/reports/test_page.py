"""The page: HTML that stands alone, shows everything and lets stored text do nothing."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError
from markupsafe import escape

from radialbench.records.problem import KernelConfig
from radialbench.records.result import Record, Status
from radialbench.reports import charts
from radialbench.reports.check.compare import check
from radialbench.reports.formats import markdown
from radialbench.reports.masks import pictured
from radialbench.reports.page import assemble, pictures, render_template
from radialbench.reports.page.assemble import page as render
from radialbench.reports.page.assemble import results
from radialbench.reports.rows import DENSE, Row
from radialbench.reports.summary import summarize
from radialbench.reports.text import printable
from tests.reports import golden
from tests.reports.factory import elsewhere, ended, made, many, on_gpu, swept
from tests.reports.test_masks import case

HOSTILE = "</style></script><img src=x onerror=alert(1)>\"'&\x00\x1b"
VOID = {"meta", "link", "img", "input", "br"}
OPTIONAL = {"th", "td", "tr", "li", "p", "option", "thead", "tbody"}
"""Elements whose closing tag HTML lets one leave out."""


class Reader(HTMLParser):
    """Reads a page as strictly as its rules are: nesting, ids, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            self.ids += [value or ""] if name == "id" else []
            self.links += [value or ""] if name in ("src", "href", "xlink:href", "action") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1] != tag:
            assert self.open.pop() in OPTIONAL, f"</{tag}> closes something else"
        assert self.open, f"</{tag}> closes nothing"
        self.open.pop()


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert set(reader.open) <= OPTIONAL
    return reader


def page(*records: Record) -> str:
    return render(summarize(records))


PAGES = {
    "golden": golden.records(),
    "gpu": on_gpu([made(m, f, backend=b) for m in (DENSE, "sta") for f in (3, 5) for b in "ab"]),
    "places": [made(), *elsewhere([made("sta")], cpu="Other")],
    "masks": [case(label) for label in ("dense", "radial", "mine", "sta")],
    "none": [],
}


@pytest.mark.parametrize("name", PAGES)
def test_it_is_well_formed_and_loads_nothing(name: str) -> None:
    text = page(*PAGES[name])
    reader = read(text)
    assert len(reader.ids) == len(set(reader.ids))
    for link in reader.links:
        assert link.startswith(("#", "data:"))
        assert (
            link in ("#main", "data:,") or link[1:] in reader.ids or link.startswith("data:image")
        )
    for reference in re.findall(r"url\(([^)]*)\)", text):
        assert reference[1:] in reader.ids
    assert "@import" not in text
    labels = [value for _, name, value in reader.attributes if name == "aria-labelledby"]
    assert {part for value in labels for part in value.split()} <= set(reader.ids)


def test_namespaces_are_the_only_addresses() -> None:
    found = set(re.findall(r"https?://[^\"'\s<)]*", page(*PAGES["golden"], *PAGES["masks"])))
    assert found <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_stored_text_does_nothing() -> None:
    hostile = replace(made(HOSTILE), suite=HOSTILE, model=HOSTILE)
    hostile = replace(hostile, environment=replace(hostile.environment, device=HOSTILE))
    records = [hostile, made(HOSTILE, 5, backend=HOSTILE), ended(Status.FAILED, HOSTILE, made("x"))]
    records += [made(DENSE), made(DENSE, 5)]
    before = [replace(hostile, config=replace(hostile.config, block_n=64)), *records[1:], made("y")]
    verdicts = check(records, before, source=HOSTILE, baseline_source=HOSTILE)
    verdicts = replace(verdicts, changed=(HOSTILE,), gates=(HOSTILE,))
    text = render(summarize(records, source=HOSTILE, skipped=[HOSTILE], check=verdicts))
    reader = read(text)
    assert reader.tags.count("img") == page(made()).count("<img")
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert [reader.tags.count(tag) for tag in ("script", "style", "title")] == [1, 1, 1]
    assert "\x1b" not in text
    assert "\x00" not in text
    assert text.count("&lt;/style&gt;&lt;/script&gt;") > 10


def test_labels_hold_stored_text_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of charts and masks, for the eye and for a screen reader."""
    name = "<script>alert('x')</script>\"><img src=x> & \x1b[31m"
    shown = name.replace("\x1b", "�")
    ((_, table), *_), _ = pictured([Row(case("radial"), "", 0)])
    monkeypatch.setattr(pictures, "pictured", lambda *_: ([(name, table)], {name: name}))
    grouped = [replace(made(mask, 5), model=name) for mask in (DENSE, name)]
    summary = summarize([*grouped, case("radial")])
    text = render(summary)
    for html in (text, summary._repr_html_()):
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert "\x1b" not in html
    reader = read(text)
    (sweep,) = {summary.sweep_texts[row.sweep] for row in summary.rows if row.mask == name}
    found = {(tag, attribute): "" for tag, attribute, _ in reader.attributes}
    for tag, attribute, value in reader.attributes:
        found[tag, attribute] += value
    assert printable(sweep) in found["svg", "aria-label"]
    assert f"Enlarge {shown}" in found["button", "aria-label"]
    assert f"Mask {shown}: " in found["img", "alt"]
    assert f"<b>{escape(shown)}</b>" in text
    assert f"Not drawn: {escape(shown)}, as {escape(shown)}." in text


def test_a_template_that_lacks_a_value_fails() -> None:
    with pytest.raises(UndefinedError, match="'lead' is undefined"):
        render_template("notebook.html", tables=[], left_out=0, failed=[], notes=[])


def test_a_notebook_shows_the_headlines_and_what_failed() -> None:
    html = golden.summary()._repr_html_()
    reader = read(html)
    assert html.startswith('<p class="lead">')
    assert reader.tags.count("table") == 2
    assert html.index("By speed at equal mass kept") < html.index("on its fastest kernel")
    assert "TypeError: again" in html
    assert "line 9: not a whole line of JSON" in html
    assert "<section" not in html


def test_what_matters_comes_first() -> None:
    text = render(golden.summary())
    order = ["summary", "baseline", "charts", "masks", "heads", "growth", "results", "method"]
    assert re.findall(r'<section id="(\w+)"', text) == order
    for told in (
        "13 ok",
        "Not measured",
        "TypeError: again",
        "share of ideal",
        "line 9: not a whole",
    ):
        assert text.index(told) < text.index('id="baseline"')


def test_tables_say_what_their_cells_are_of() -> None:
    reader = read(render(golden.summary()))
    assert reader.tags.count("caption") == reader.tags.count("table") >= 4
    scopes = [value for tag, name, value in reader.attributes if (tag, name) == ("th", "scope")]
    assert len(scopes) == reader.tags.count("th")
    assert set(scopes) == {"col", "row"}


def test_every_case_is_in_the_table_of_results() -> None:
    summary = golden.summary()
    text = render(summary)
    body = text[text.index('<table id="results-table"') :]
    assert body[: body.index("</table>")].count("<tr>") == len(summary.rows) + 1


def test_the_first_columns_say_which_case_it_is() -> None:
    few = [made(mask, frames) for mask in (DENSE, "sta") for frames in (3, 5)]
    table = results(summarize(few))
    assert table is not None
    assert list(table.headers[:4]) == ["mask", "grid", "kernel", "tokens"]
    wide = [
        replace(r, case=f"{r.case}{heads}", problem=replace(r.problem, heads=heads))
        for r in few
        for heads in (2, 4)
    ]
    other = replace(made("sta", config=KernelConfig(64, 128)), case="blocks")
    table = results(summarize([*wide, other]))
    assert table is not None
    assert list(table.headers[:6]) == ["mask", "grid", "kernel", "heads", "blocks", "tokens"]
    cases = [tuple(row)[:5] for row in table.rows]
    assert len(set(cases)) == len(cases)
    assert cases[0] == (DENSE, "3×30×52", "cpu", "2 of 128", "128×128")


def test_charts_are_svg_in_the_colours_of_the_page() -> None:
    text = page(*PAGES["gpu"])
    charts = text[text.index('id="charts"') : text.index('id="growth"')]
    assert charts.count("<svg") >= 4
    assert "var(--ink)" in charts
    assert not re.findall(r"#[0-9a-f]{6}\b", charts)
    assert ">ms<" in charts
    images = re.findall(r'<svg[^>]* role="img" aria-label="[^"]{20,}"', charts)
    assert len(images) == charts.count("<svg")


def test_masks_are_pictures_with_words() -> None:
    text = page(*PAGES["masks"])
    assert text.count('src="data:image/png;base64,') == 2
    assert 'alt="Mask radial: 3×4×5 tokens' in text
    assert "Not drawn: mine, as it was made in Python, and has no file." in text


def test_more_sweeps_than_charts_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "MOST", 2)
    wide = [replace(r, case=f"w{r.case}", model="wide") for r in (made(), made("sta"))]
    text = page(made(DENSE), made(), *wide)
    assert "draws 2 charts at most; 1 more sweeps" in text


def test_of_many_sweeps_only_the_first_are_drawn_as_files(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = [replace(r, case=f"w{r.case}", model="wide") for r in (made(DENSE), made(), made("sta"))]
    both = summarize([made(DENSE), made(), made("sta"), *wide])
    first = {name for name, *_ in charts.charts(both) if "wide" not in name}
    assert len(first) < len(charts.charts(both))
    monkeypatch.setattr(charts, "MANY", 5)
    monkeypatch.setattr(charts, "MOST_OF_MANY", len(first) / 2)
    assert {name for name, *_ in charts.charts(both)} == first


def test_long_tables_are_cut_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "MOST_ROWS", 1)
    monkeypatch.setattr(markdown, "MOST_ROWS", 1)
    both = summarize([made(DENSE), made()])
    assert "The first 1 of 2 cases; report.csv has all." in render(both)
    text = markdown.render(both)
    assert "The first 1 of 2 cases; report.csv has all." in text
    assert "| dense" in text and "| radial" not in text.split("## Latency")[1]


def test_the_same_summary_gives_the_same_page() -> None:
    assert render(golden.summary()) == render(golden.summary())


@pytest.mark.slow
def test_the_page_of_ten_thousand_records_is_small() -> None:
    text = render(summarize(many(10_000)))
    assert len(text.encode()) < 6_000_000
    assert text.count("<tr><th scope=row>") > 10_000


def test_a_usual_run_is_small() -> None:
    shares = {5: 0.9, 9: 0.7, 17: 0.5}
    records = [*swept(DENSE, dict.fromkeys(shares, 1.0)), *swept("radial", shares)]
    assert len(page(*records)) < 400_000
