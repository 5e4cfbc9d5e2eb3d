"""The example reports are those of the committed records."""

import re

import pytest

from benchmarks import examples
from radialbench.records.result import Environment, Status
from radialbench.records.store import read
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite

GEOMETRY = r' (?:x|y|width|height|transform|style|viewBox)="[^"]*"'


@pytest.mark.parametrize("suite", examples.SUITES)
def test_a_page_is_what_its_records_give(suite: str) -> None:
    text = (examples.EXAMPLES / f"{suite}.html").read_text(encoding="utf-8")
    made = examples.page(suite)
    words, drawn = _parts(text)
    made_words, made_drawn = _parts(made)
    assert words == made_words, "run: python -m benchmarks.examples"
    assert drawn == pytest.approx(made_drawn, abs=0.01)
    assert len(text) < 6_000_000


def test_a_changed_number_is_noticed() -> None:
    made = examples.page("peers")
    changed = re.sub(
        r"(<td[^>]*>\d*\.)(\d)", lambda m: f"{m[1]}{(int(m[2]) + 1) % 10}", made, count=1
    )
    assert _parts(changed)[0] != _parts(made)[0]


def test_a_moved_line_is_noticed_and_a_last_digit_is_not() -> None:
    made = examples.page("peers")
    place = r'(<use [^>]*? x=")([\d.]+)'
    moved = re.sub(place, lambda m: f"{m[1]}{float(m[2]) + 1}", made, count=1)
    rounded = re.sub(place, lambda m: f"{m[1]}{float(m[2]) + 1e-6:.6f}", made, count=1)
    words, drawn = _parts(made)
    assert _parts(moved)[1] != pytest.approx(drawn, abs=0.01)
    assert rounded != made
    rounded_words, rounded_drawn = _parts(rounded)
    assert rounded_words == words
    assert rounded_drawn == pytest.approx(drawn, abs=0.01)


def test_the_list_is_what_the_records_give() -> None:
    text = examples.INDEX.read_text(encoding="utf-8")
    assert examples.index(text) == text, "run: python -m benchmarks.examples"


@pytest.mark.parametrize("suite", examples.SUITES)
def test_records_are_of_the_suite_and_of_one_device(suite: str) -> None:
    records = read(examples.RESULTS / f"{suite}.jsonl").records
    asked = [case.id for case in plan(load_suite(suite))]
    assert [record.case for record in records] == asked[: len(records)]
    # A run that was cut off went on with --resume, at a later commit.
    assert len({_measured_in(record.environment) for record in records}) == 1
    assert {record.status for record in records} <= {Status.OK, Status.UNSUPPORTED}


def _measured_in(environment: Environment) -> tuple[object, ...]:
    versions = environment.versions
    used = (versions[name] for name in ("cuda", "cudnn", "driver", "numpy", "torch", "triton"))
    return environment.device, environment.cpu, environment.python, *used


def _parts(page: str) -> tuple[str, list[float]]:
    """Split a page into its words and the coordinates of its charts, which are compared rounded.

    Another processor may compute another last digit, and another release of Matplotlib may draw
    other outlines (and name them by what they hold): neither is a difference.
    """
    drawn: list[float] = []

    def taken(found: re.Match[str]) -> str:
        drawn.append(float(found[0]))
        return "#"

    def chart(found: re.Match[str]) -> str:
        text = re.sub(r'(<path[^>]*? d=")[^"]*', r"\1", found[0])
        text = re.sub(r"-[mp][0-9a-f]{10}\b", "", text)
        return re.sub(GEOMETRY, lambda where: re.sub(r"-?\d+\.\d+", taken, where[0]), text)

    words = re.sub(r"<svg.*?</svg>", chart, page, flags=re.DOTALL)
    return words, drawn
