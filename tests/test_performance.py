"""The performance page says what the committed records say."""

import re

import pytest

from benchmarks import kernels
from radialbench import compile_mask
from radialbench.kernels.row_order import PROCESSORS
from radialbench.records.result import Status
from radialbench.records.store import read
from radialbench.reports.kernels import Target, row_of
from radialbench.suites.plan import Case, plan
from radialbench.suites.read import load_suite
from radialbench.suites.schedule import launched, makespan

TEXT = kernels.PAGE.read_text(encoding="utf-8")
RECORDS = read(kernels.RECORDS).records
SUITE = load_suite(str(kernels.ROOT / "benchmarks" / "kernels.yaml"))
RADIAL = [c for c in plan(SUITE) if c.backend == "hopper" and c.id.startswith(kernels.RADIAL)]


def test_tables_are_those_of_the_records() -> None:
    assert kernels.written(TEXT) == TEXT, "run: python -m benchmarks.kernels"


@pytest.mark.parametrize(
    "row", [r"\| S radial_blocks: hopper ag[^\n]*?", r"\| sta +\| hopper[^\n]*?"]
)
def test_a_changed_number_is_noticed(row: str) -> None:
    changed = re.sub(rf"({row})(\d)", lambda m: f"{m[1]}{(int(m[2]) + 1) % 10}", TEXT, count=1)
    assert changed != TEXT
    assert kernels.written(changed) == TEXT


def test_the_records_are_of_the_suite_and_of_one_run() -> None:
    assert [record.case for record in RECORDS] == [case.id for case in plan(SUITE)]
    assert len({record.environment for record in RECORDS}) == 1


def test_none_failed_and_what_has_a_time_was_accurate() -> None:
    assert {record.status for record in RECORDS} <= {Status.OK, Status.UNSUPPORTED}
    for record in RECORDS:
        if record.timing:
            assert record.accuracy is not None
            assert record.accuracy.passed
            assert record.accuracy.rows >= 4096


@pytest.mark.parametrize("target", kernels.TARGETS, ids=lambda target: target.text)
def test_every_target_finds_its_cases(target: Target) -> None:
    assert (target.of(RECORDS) is None) == ("fastvideo" in target.text)


def test_our_kernels_take_little_memory_besides_their_outputs() -> None:
    for record in RECORDS:
        if record.backend in ("hopper", "triton"):
            besides = row_of(record).workspace_bytes
            assert besides is not None
            assert besides <= 16 << 20


@pytest.mark.parametrize("case", RADIAL, ids=lambda case: case.id)
def test_splitting_long_rows_would_gain_what_the_page_says(case: Case) -> None:
    works = launched(compile_mask(case.mask, case.grid), case.problem.heads)
    over = makespan(works) / (sum(works) / PROCESSORS)
    asked = case.group in (kernels.S, kernels.W1, kernels.H1, kernels.H4)
    assert over < (1.01 if asked else 1.055), over
