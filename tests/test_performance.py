"""The performance page's records and targets, our kernels' workspace, and the order of rows."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import performance
from benchmarks.parts import ROOT, read_lines
from benchmarks.performance import LENGTH, OURS, STANDS, OrderTime, order_table
from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.kernels.row_order import SM_COUNT
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.records.measurement import Measurement
from radialbench.records.result import Record, Status
from radialbench.records.store import append, read
from radialbench.reports.doc_tables import find, row_of
from radialbench.reports.paper_reference import VIDEOS
from radialbench.suites.offline import launched_blocks, makespan
from radialbench.suites.plan import Case, plan
from radialbench.suites.read import load_suite
from tests.records.sample import ENVIRONMENT

RUNS = [read(run).records for run in performance.RUNS]
H100 = read(performance.H100).records
RECORDS = [*chain.from_iterable(RUNS), *H100]
SUITE = load_suite(str(ROOT / "benchmarks" / "kernels.yaml"))
RADIAL = [c for c in plan(SUITE) if c.backend == "hopper" and c.id.startswith(performance.RADIAL)]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run[0].suite)
def test_the_records_are_of_their_suite_and_of_one_run(run: Sequence[Record]) -> None:
    suite = load_suite(str(ROOT / "benchmarks" / f"{run[0].suite}.yaml"))
    assert {record.case for record in run} <= {case.id for case in plan(suite)}
    assert len({record.environment for record in run}) == 1
    assert "H200" in run[0].environment.device


def test_none_failed_and_what_has_a_time_was_accurate() -> None:
    assert {record.status for record in RECORDS} <= {Status.OK, Status.UNSUPPORTED}
    for record in RECORDS:
        if record.timing:
            assert record.accuracy is not None
            assert record.accuracy.passed
            assert record.accuracy.rows >= 4096


def test_every_target_finds_its_cases_in_some_run() -> None:
    found = [list(performance.targets(runs)) for runs in (RUNS, [H100])]
    missed = [
        here.what
        for here, earlier in zip(*found, strict=True)
        if here.measured is None and earlier.measured is None
    ]
    assert all(
        what.endswith(("fastvideo", "S radial_blocks: hopper against bsa")) for what in missed
    )


def test_times_of_different_runs_are_not_compared() -> None:
    above, below = ((performance.S, "dense", kernel) for kernel in ("fa3", "hopper"))
    theirs, ours = find(RUNS[0], *above), find(RUNS[0], *below)
    assert theirs and ours
    assert performance.over([[theirs, ours]], above, below) is not None
    assert performance.over([[theirs], [ours]], above, below) is None


def test_our_kernels_take_little_memory_besides_their_outputs() -> None:
    for record in RECORDS:
        if record.backend in ("hopper", "triton"):
            besides = row_of(record).workspace_bytes
            assert besides is not None
            assert besides <= 16 << 20


@pytest.mark.parametrize("case", RADIAL, ids=lambda case: case.id)
def test_splitting_long_rows_would_gain_what_the_page_says(case: Case) -> None:
    assert isinstance(case.mask, MaskSpec)
    works = launched_blocks(compile_mask(case.mask, case.grid), case.problem.heads)
    over = makespan(works) / (sum(works) / SM_COUNT)
    asked = case.group in (performance.S, performance.W1, performance.H1, performance.H4)
    assert over < (1.01 if asked else 1.055), over


def timed(order: str, ms: float) -> OrderTime:
    timing = Measurement((ms,) * 8, 1, "cold", "cuda_event", None)
    created = "2026-11-30T00:00:00+00:00"
    when: dict[str, Any] = {"environment": ENVIRONMENT, "created": created}
    return OrderTime("a video", "radial", 4, order, timing=timing, **when)


def test_every_problem_of_the_records_is_one_of_the_benchmark() -> None:
    names = {(name, mask.label) for name, mask, _, _ in performance.problems()}
    assert len(names) == len(VIDEOS) + 4
    times = read_lines(performance.ORDERS, OrderTime)
    assert {(one.name, one.mask) for one in times} == names
    assert len(times) == 3 * len(names)


def test_orders_hold_every_row_once() -> None:
    compiled = compile_mask(load_mask("radial"), TokenGrid(40, 16, 32), 64, 64)
    found = performance.orders(compiled)
    assert list(found) == [LENGTH, STANDS, OURS]
    assert all(sorted(rows) == list(range(compiled.rows)) for rows in found.values())
    assert len({tuple(np.asarray(rows)) for rows in found.values()}) == 3


def test_what_is_faster_has_a_higher_number(tmp_path: Path) -> None:
    times = [timed(LENGTH, 2.2), timed(STANDS, 2.5), timed(OURS, 2.0)]
    line = order_table(times).splitlines()[-1]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        *("a video", "radial", "4", "2.20", "0.880", "1.100 (1.100 to 1.100)")
    ]
    path = tmp_path / "times.jsonl"
    for one in times:
        append(path, one)
    assert read_lines(path, OrderTime) == tuple(times)
