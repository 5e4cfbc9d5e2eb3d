"""The page of a history in a browser: opens quietly, shows the range that is chosen, fits, and can
be used by everyone.
"""

import importlib.resources
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from radialbench.reports.check.cohorts import by_machine_history
from radialbench.reports.page.history import history_page
from tests.reports import test_page_browser as report
from tests.reports.check.test_history import runs
from tests.reports.factory import elsewhere
from tests.reports.test_history_page import STEADY, STEP, given

pytestmark = pytest.mark.browser

browser = report.browser


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "history.html"
    first = runs(STEADY, STEP)
    first = [
        elsewhere(one, versions={"torch": f"2.{13 + at // 9}"}) for at, one in enumerate(first)
    ]
    other = [elsewhere(one, device="Other GPU") for one in runs(STEADY[:9], STEP[15:24])]
    path.write_text(history_page(*by_machine_history(given(other, first))), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Any]:
    with browser.new_page(viewport={"width": 1280, "height": 900}) as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        yield page
        assert not said


def test_the_chosen_range_is_shown(page: Any) -> None:
    def shown() -> list[str]:
        labels = page.locator("#machine0 .range svg:visible").evaluate_all(
            "all => all.map(one => one.getAttribute('aria-label').split(' over ')[1].split(';')[0])"
        )
        return [str(label) for label in labels]

    assert shown() == ["34 results"]
    page.get_by_role("radio", name="the last 10").check()
    assert shown() == ["the last 10 results"]
    page.keyboard.press("ArrowUp")
    assert shown() == ["the last 30 results"]
    page.get_by_text("Values", exact=True).first.click()
    assert page.locator("table[id$='-values']:visible tbody tr").count() == 34


@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_texts_do_not_cover_each_other(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    charts = page.locator(".range svg:visible, .steady svg")
    assert charts.count() >= 3
    assert charts.evaluate_all(report.COVERED) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page: Any, scheme: str) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe is not installed: make browser-test")
    source = importlib.resources.files("axe_playwright_python") / "axe.min.js"
    page.emulate_media(color_scheme=scheme)
    page.evaluate(source.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 20
    faults = [
        (fault["id"], [node["html"][:200] for node in fault["nodes"][:3]])
        for fault in found["violations"]
    ]
    assert not faults
