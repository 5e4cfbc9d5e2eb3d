"""The example reports are those of the committed records."""

import re

import pytest

from benchmarks import examples
from radialbench.records.result import Environment, Status
from radialbench.records.store import read
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite


@pytest.mark.parametrize("suite", examples.SUITES)
def test_a_page_is_what_its_records_give(suite: str) -> None:
    text = (examples.EXAMPLES / f"{suite}.html").read_text(encoding="utf-8")
    made = examples.page(suite)
    # Outlines that another release of Matplotlib may draw otherwise: only their text counts.
    assert _told(text) == _told(made), "run: python -m benchmarks.examples"
    assert len(text) < 6_000_000


def test_a_changed_number_is_noticed() -> None:
    made = examples.page("peers")
    changed = re.sub(
        r"(<td[^>]*>\d*\.)(\d)", lambda m: f"{m[1]}{(int(m[2]) + 1) % 10}", made, count=1
    )
    assert _told(changed) != _told(made)


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


def _told(page: str) -> str:
    return re.sub(r'(<path[^>]*? d=")[^"]*', r"\1", page)
