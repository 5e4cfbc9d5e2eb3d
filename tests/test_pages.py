"""Every page is made from its records, and a number that was changed by hand is noticed."""

import re
from pathlib import Path

import pytest

from benchmarks import pages
from benchmarks.pages import EXAMPLES, PAGES, SUITES, Page, texts_of
from benchmarks.parts import RESULTS, ROOT
from radialbench.records.result import Environment, Status
from radialbench.records.store import read
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite

GEOMETRY = r' (?:x|y|width|height|transform|style|viewBox)="[^"]*"'
NAMES = pytest.mark.parametrize("name", [name for name in PAGES if name != "examples"])
CHANGED = {
    "readme": r"\| radial[^\n]*?",
    "check": r"\| quiet +\| two results +\| +",
    "decay": r"\| time: exponential, rate[^\n]*?\| 9",
    "fidelity": r"\| radial +\| +",
    "gallery": r"## radial\n[^|]*?\n",
    "integrations": r"With diffusers ",
    "mask-search": r"\| 80\.0%[^\n]*?\| +",
    "measurement": r"\| radial, short \| ours \| cold \| 0\.",
    "paper": r"\| HunyuanVideo, 1×[^\n]*\| released[^\n]*?",
    "performance": r"\| S radial_blocks: hopper of[^\n]*?",
    "performance-h100": r"\| S radial_blocks: hopper ag[^\n]*?",
    "scale": r"\| radial +\| 8 +\| ring +\| +",
    "tuning": r"\| `tpe`[^\n]*?",
}
"""The text before a digit that comes from a record."""


@NAMES
def test_a_page_is_what_its_records_make(name: str) -> None:
    for path, text in texts_of(name).items():
        assert path.read_text(encoding="utf-8") == text, f"run: python -m benchmarks.pages {name}"


@NAMES
def test_a_changed_number_is_noticed(name: str) -> None:
    text = PAGES[name].path.read_text(encoding="utf-8")
    changed = re.sub(
        rf"({CHANGED[name]})(\d)", lambda m: f"{m[1]}{(int(m[2]) + 1) % 10}", text, count=1
    )
    assert changed != text
    assert PAGES[name].written(changed) == text


@NAMES
def test_pictures_are_there(name: str) -> None:
    text = PAGES[name].path.read_text(encoding="utf-8")
    for path in PAGES[name].pictures:
        assert f"images/{path.name})" in text
        assert path.read_bytes()[:5] in (b"<?xml", b"\x89PNG\r")


def test_a_mark_that_is_not_there_once_is_refused() -> None:
    page = Page(Path("page.md"), lambda: {"one": "text"})
    mark = "<!-- one: made by benchmarks/pages.py -->\n"
    assert page.written(f"a\n{mark}old\n<!-- /one -->\nb") == f"a\n{mark}text\n<!-- /one -->\nb"
    for text in ("", mark, 2 * f"{mark}<!-- /one -->\n"):
        with pytest.raises(SystemExit, match="page.md must have one part 'one'"):
            page.written(text)


def test_pages_are_rewritten_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, picture = tmp_path / "page.md", tmp_path / "a.svg"
    path.write_text("<!-- one: made by benchmarks/pages.py -->\nold\n<!-- /one -->\n")
    page = Page(path, lambda: {"one": "new"}, {picture: lambda path: path.write_text("drawn")})
    monkeypatch.setattr(pages, "PAGES", {"page": page})
    monkeypatch.setattr(pages, "ROOT", tmp_path)

    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["pages", *words])
        return pages.main()

    assert run("--check") == 1
    assert capsys.readouterr().out == "page.md differs\n"
    assert not picture.exists()
    assert run("page") == 0
    assert capsys.readouterr().out == "page.md was rewritten\n"
    assert "\nnew\n" in path.read_text() and picture.read_text() == "drawn"
    assert run("--check") == 0
    with pytest.raises(SystemExit, match="2"):
        run("other")
    assert "no page 'other'; there are page" in capsys.readouterr().err


@pytest.mark.parametrize("suite", SUITES)
def test_an_example_is_what_its_records_make(suite: str) -> None:
    text = (EXAMPLES / f"{suite}.html").read_text(encoding="utf-8")
    made = pages.example(suite)
    text_only, drawn = _parts(text)
    made_text, made_drawn = _parts(made)
    assert text_only == made_text, "run: python -m benchmarks.pages examples"
    assert drawn == pytest.approx(made_drawn, abs=0.01)
    assert len(text) < 6_000_000


def test_a_changed_number_of_an_example_is_noticed() -> None:
    made = pages.example("peers")
    changed = re.sub(
        r"(<td[^>]*>\d*\.)(\d)", lambda m: f"{m[1]}{(int(m[2]) + 1) % 10}", made, count=1
    )
    assert _parts(changed)[0] != _parts(made)[0]


def test_a_moved_line_is_noticed_and_a_last_digit_is_not() -> None:
    made = pages.example("peers")
    place = r'(<use [^>]*? x=")([\d.]+)'
    moved = re.sub(place, lambda m: f"{m[1]}{float(m[2]) + 1}", made, count=1)
    rounded = re.sub(place, lambda m: f"{m[1]}{float(m[2]) + 1e-6:.6f}", made, count=1)
    text, drawn = _parts(made)
    assert _parts(moved)[1] != pytest.approx(drawn, abs=0.01)
    assert rounded != made
    rounded_text, rounded_drawn = _parts(rounded)
    assert rounded_text == text
    assert rounded_drawn == pytest.approx(drawn, abs=0.01)


def test_the_list_of_examples_is_what_the_records_make() -> None:
    page = PAGES["examples"]
    text = page.path.read_text(encoding="utf-8")
    assert page.written(text) == text, "run: python -m benchmarks.pages examples"


@pytest.mark.parametrize("suite", SUITES)
def test_records_are_of_the_suite_and_of_one_device(suite: str) -> None:
    records = read(RESULTS / f"{suite}.jsonl").records
    measured = [record.case for record in records]
    # A suite may have more kernels than when it was measured; the list of examples counts them.
    assert measured == [case.id for case in plan(load_suite(suite)) if case.id in set(measured)]
    # A run that was cut off went on with --resume, at a later commit.
    assert len({_measured_in(record.environment) for record in records}) == 1
    assert {record.status for record in records} <= {Status.OK, Status.UNSUPPORTED}


def test_no_product_code_and_no_benchmark_imports_the_tests() -> None:
    for path in [*(ROOT / "radialbench").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) tests\b", text, re.MULTILINE), path
        if ROOT / "radialbench" in path.parents:
            assert not re.search(r"^\s*(from|import) benchmarks\b", text, re.MULTILINE), path


def _measured_in(environment: Environment) -> tuple[object, ...]:
    versions = environment.versions
    used = (versions[name] for name in ("cuda", "cudnn", "driver", "numpy", "torch", "triton"))
    return environment.device, environment.cpu, environment.python, *used


def _parts(page: str) -> tuple[str, list[float]]:
    """Split a page into its text and the coordinates of its charts, which are compared rounded.

    Another CPU may compute another last digit, and another release of Matplotlib may draw other
    outlines and name them by their content: neither is a difference.
    """
    drawn: list[float] = []

    def coordinate(found: re.Match[str]) -> str:
        drawn.append(float(found[0]))
        return "#"

    def chart(found: re.Match[str]) -> str:
        text = re.sub(r'(<path[^>]*? d=")[^"]*', r"\1", found[0])
        text = re.sub(r"-[mp][0-9a-f]{10}\b", "", text)
        return re.sub(GEOMETRY, lambda where: re.sub(r"-?\d+\.\d+", coordinate, where[0]), text)

    text = re.sub(r"<svg.*?</svg>", chart, page, flags=re.DOTALL)
    return text, drawn


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_records_hold_no_path_of_the_machine_that_measured(path: Path) -> None:
    commands = re.findall(r'"command": ?"([^"]*)"', path.read_text(encoding="utf-8"))
    assert not [one for one in commands if any(word.startswith("/") for word in one.split())]
