"""The part of docs/performance.md on the order of rows is what its records make."""

from pathlib import Path

import numpy as np

from benchmarks import row_order
from benchmarks.parts import read_lines
from benchmarks.row_order import LENGTH, OURS, STANDS, OrderTime, order_table
from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.records.measurement import Measurement
from radialbench.records.store import append
from radialbench.reports.claims import VIDEOS
from tests.records.sample import ENVIRONMENT

TEXT = row_order.PAGE.read_text(encoding="utf-8")


def timed(order: str, ms: float) -> OrderTime:
    timing = Measurement((ms,) * 8, 1, "cold", "cuda_event", None)
    created = "2026-11-30T00:00:00+00:00"
    return OrderTime("a video", "radial", 4, order, timing, ENVIRONMENT, created)


def test_the_page_is_what_the_records_make() -> None:
    assert row_order.written(TEXT) == TEXT, "run: python -m benchmarks.row_order"


def test_every_problem_of_the_records_is_one_of_the_benchmark() -> None:
    names = {(name, mask.label) for name, mask, _, _ in row_order.problems()}
    assert len(names) == len(VIDEOS) + 4
    if row_order.RECORDS.exists():
        times = read_lines(row_order.RECORDS, OrderTime)
        assert {(one.name, one.mask) for one in times} == names
        assert len(times) == 3 * len(names)


def test_orders_hold_every_row_once() -> None:
    compiled = compile_mask(load_mask("radial"), TokenGrid(40, 16, 32), 64, 64)
    found = row_order.orders(compiled)
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
    assert line in row_order.written(TEXT, path)
