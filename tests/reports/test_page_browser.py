"""The page in a browser: opens quietly, sorts, filters, zooms, and can be used by everyone.

`make browser-test` installs what this needs, but for Chromium itself.
"""

import importlib.resources
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from radialbench.reports.check.compare import check
from radialbench.reports.page.assemble import page as render
from radialbench.reports.rows import DENSE
from radialbench.reports.summary import summarize
from tests.reports import golden
from tests.reports.factory import made, on_gpu
from tests.reports.test_masks import case

pytestmark = pytest.mark.browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
RESULTS = "#results-table tbody tr"


def records() -> list[Any]:
    kernels = [
        made(mask, frames, backend=name, samples=(frames * place + 1.0,))
        for mask in (DENSE, "window")
        for frames in (3, 17)
        for place, name in enumerate("ab")
    ]
    return [*golden.records(), *on_gpu(kernels), case("neighborhood"), case("sta")]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    summary = summarize(records(), source="here", check=check(records(), golden.baseline()))
    path.write_text(render(summary), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: make browser-test"
    )
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as play:
        # No sandbox: it needs rights that a container's root does not have.
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Any]:
    with browser.new_page(viewport={"width": 1280, "height": 900}) as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.extend(_foreign(request.url)))
        page.goto(file.as_uri())
        yield page
        assert not said


def _foreign(address: str) -> list[str]:
    return [] if address.startswith(("file:", "data:")) else [f"loads {address}"]


def column(page: Any, name: str) -> list[str]:
    headers = [
        text.split(" ↕")[0] for text in page.locator("#results-table thead th").all_inner_texts()
    ]
    place = headers.index(name) + 1
    cells = page.locator(f"{RESULTS}:not([hidden]) > :nth-child({place})")
    found: list[str] = cells.all_inner_texts()
    return found


def test_charts_are_there(page: Any) -> None:
    boxes = [svg.bounding_box() for svg in page.locator("#charts svg").all()]
    assert len(boxes) >= 5
    assert all(box["width"] > 300 and box["height"] > 100 for box in boxes)
    assert page.locator("#charts svg path").count() > 100


COVERED = """svgs => svgs.flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')].filter(text => text.textContent.trim());
  const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()]);
  const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
  return boxes.flatMap(([name, box], place) => boxes.slice(place + 1)
    .filter(([_, other]) => meet(box, other)).map(([other]) => name + ' over ' + other));
})"""
"""Pairs of texts of a chart whose boxes meet; boxes of lines have a few pixels of room."""


@pytest.mark.parametrize("width", [390, 1280])
def test_texts_of_charts_do_not_cover_each_other(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.locator("#charts svg text").count() > 50
    charts = page.locator("#charts svg")
    assert charts.evaluate_all(COVERED) == []
    page.locator("#charts svg text").first.evaluate("text => text.after(text.cloneNode(true))")
    assert charts.evaluate_all(COVERED) != []


def test_every_control_and_table_can_be_reached_by_keyboard(page: Any) -> None:
    """A table that scrolls does so by arrow keys, and the focus is always seen."""
    page.set_viewport_size({"width": 390, "height": 800})
    wanted = page.locator("button, a, input, select, .scroll").count()
    hidden = page.locator("dialog :is(button, input)").count()
    seen: set[str] = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        if not page.evaluate("document.activeElement.matches('body')"):
            seen.add(page.evaluate(PLACE))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert len(seen) >= wanted - hidden
    table = page.locator(".scroll:has(> #headline0)")
    table.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")


PLACE = """(() => {
  const all = [...document.querySelectorAll('*')];
  return String(all.indexOf(document.activeElement));
})()"""


def test_headers_sort(page: Any) -> None:
    before = column(page, "ms")
    button = page.get_by_role("button", name="ms", exact=True).first
    header = page.locator("#results-table thead th", has=button)
    button.click()
    assert header.get_attribute("aria-sort") == "ascending"
    numbers = [float(text.replace(",", "")) for text in column(page, "ms") if text != "–"]
    assert numbers == sorted(numbers)
    assert column(page, "ms")[-1] == "–"
    button.focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    again = [float(text.replace(",", "")) for text in column(page, "ms") if text != "–"]
    assert again == numbers[::-1]
    assert column(page, "ms")[-1] == "–"
    assert sorted(column(page, "ms")) == sorted(before)
    page.get_by_role("button", name="kernel", exact=True).last.click()
    assert page.locator("#results-table th[aria-sort]").count() == 1
    assert column(page, "kernel") == sorted(column(page, "kernel"))


def test_filters(page: Any) -> None:
    every = page.locator(RESULTS).count()
    shown = page.locator(f"{RESULTS}:visible")
    page.get_by_label("mask", exact=True).select_option("window")
    assert set(column(page, "mask")) == {"window"}
    assert page.locator("output").inner_text() == f"{shown.count()} of {every} cases"
    page.get_by_label("search").fill("17× b")
    assert set(column(page, "grid")) == {"17×30×52"}
    page.get_by_label("search").fill("nothing at all")
    assert shown.count() == 0
    page.get_by_role("button", name="all cases").click()
    page.wait_for_function(
        f"document.querySelector('output').textContent == '{every} of {every} cases'"
    )
    assert shown.count() == every
    page.get_by_label("status").select_option("oom")
    assert shown.count() == 1


def test_masks_open_large_by_keyboard(page: Any) -> None:
    button = page.get_by_role("button", name="Enlarge neighborhood")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    assert dialog.locator("b").inner_text() == "neighborhood"
    width = dialog.locator("img").bounding_box()["width"]
    dialog.locator("input").focus()
    page.keyboard.press("End")
    assert dialog.locator("img").bounding_box()["width"] == pytest.approx(8 * width, rel=0.05)
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert (
        page.evaluate("document.activeElement.getAttribute('aria-label')") == "Enlarge neighborhood"
    )


def test_the_first_tab_skips_to_the_results(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_shadow_hints_at_what_is_beyond_an_edge(page: Any, scheme: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme=scheme)
    table = page.locator(".scroll:has(> #headline0)")
    assert table.evaluate("box => box.scrollWidth > 1.2 * box.clientWidth")
    # Below the headers, where cells have no background: the last pixels of the right edge.
    assert _shade(table) > 0.05
    table.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    assert _shade(table) < 0.01


def _shade(table: Any) -> float:
    """How far the colour at the right edge is from that of the middle, in the table's last row."""
    image = imread(BytesIO(table.screenshot()))[:, :, :3]
    line = image[-8, 3:-3]
    return float(abs(line[-2] - np.median(line, axis=0)).max())


def test_the_first_column_stays_while_a_table_scrolls(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    table = page.locator(".scroll:has(> #headline0)")
    table.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    name = table.locator("tbody th").first.bounding_box()
    assert name["x"] - table.bounding_box()["x"] == pytest.approx(1, abs=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page: Any, scheme: str) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe is not installed: make browser-test")
    source = importlib.resources.files("axe_playwright_python") / "axe.min.js"
    page.emulate_media(color_scheme=scheme)
    page.evaluate(source.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 20
    faults = [
        (fault["id"], fault["impact"], [node["html"][:200] for node in fault["nodes"][:3]])
        for fault in found["violations"]
    ]
    assert not faults


def test_it_prints_in_light_colours_without_controls(page: Any) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("form.filters").is_visible()
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")
