"""Columns of a case: declared once, documented, and what frames and tables are made of."""

from pathlib import Path

import pandas as pd
import pytest

from radialbench import load_summary
from radialbench.records.store import RESULTS, append
from radialbench.reports.columns import BASELINE_COLUMNS, COLUMNS, UNITS, View, cell, show
from radialbench.reports.rows import DENSE, rows_of
from radialbench.reports.summary import summarize
from tests.reports import golden
from tests.reports.factory import made, on_gpu

ALL = (*COLUMNS, *BASELINE_COLUMNS)
FRAME = golden.summary().frame()


def test_names_are_unique_and_numbers_have_their_unit_in_them() -> None:
    assert len({column.name for column in ALL}) == len(ALL)
    units = {column.name: column.unit for column in ALL if column.unit}
    assert units["latency_ms"] == "ms"
    assert units["executed_tflop_per_s"] == "TFLOP/s"
    assert units["executed_tflop"] == "10¹² operations"
    assert set(units.values()) == set(UNITS.values())
    assert not any(column.unit for column in ALL if column.dtype == "string")


def test_the_docs_have_the_columns() -> None:
    text = golden.DOCS.read_text(encoding="utf-8")
    assert golden.documented(text) == text, "run: python -m tests.reports.golden"


def test_a_frame_has_a_row_a_case_and_every_column() -> None:
    rows = golden.summary().rows
    assert list(FRAME.columns) == [column.name for column in ALL]
    assert list(FRAME.case) == [row.record.case for row in rows]
    assert {name: str(dtype) for name, dtype in FRAME.dtypes.items()} == {
        column.name: column.dtype for column in ALL
    }
    assert dict(summarize([]).frame().dtypes) == dict(FRAME.dtypes)


def test_a_file_of_results_has_a_frame(tmp_path: Path) -> None:
    append(tmp_path / RESULTS, made(samples=(2.0,)))
    for path in (tmp_path, str(tmp_path / RESULTS)):
        frame = load_summary(path, baseline=path).frame()
        assert list(frame.latency_ms) == list(frame.baseline_ms) == [2.0]


def test_numbers_are_numbers_and_what_is_not_there_is_missing() -> None:
    failed = FRAME[FRAME.status != "ok"]
    assert failed[["latency_ms", "speedup", "max_abs_error"]].isna().all(axis=None)
    assert (failed.samples == 0).all()
    assert failed.reason.notna().all()
    measured = FRAME[(FRAME.status == "ok") & (FRAME.measure == "attention")]
    assert (measured.latency_ms == measured.median_ms + measured.order_ms).all()
    pd.testing.assert_series_equal(
        measured.speedup, measured.dense_ms / measured.latency_ms, check_names=False
    )
    assert FRAME.backend.isna().sum() == (FRAME.measure == "compile").sum() == 3


def test_units_are_those_of_the_names() -> None:
    (record,) = on_gpu([made(samples=(2.0, 2.0), order=1.0)])
    assert record.table is not None
    assert record.memory is not None
    values = summarize([record]).frame().iloc[0]
    assert (values.median_ms, values.latency_ms, values.alone_ms) == pytest.approx((2, 3, 2))
    assert values.peak_bytes == record.memory.peak_bytes
    assert values.effective_tflop == record.table.flops / 1e12
    assert values.executed_tflop_per_s == pytest.approx(values.executed_tflop / 2e-3)
    assert values.ceiling_tflop_per_s == pytest.approx(2 * 8192**3 / 1.4e-3 / 1e12)
    assert values.of_ceiling == pytest.approx(
        values.executed_tflop_per_s / values.ceiling_tflop_per_s
    )
    assert values.error_share == pytest.approx(2e-6 / 1e-4)
    assert (values.power_w, values.sm_mhz, values.slowed_by) == (400, 1500, "power cap")


def test_a_cell_is_the_first_pattern_that_the_row_has() -> None:
    dense, radial = rows_of([made(DENSE, samples=(8.0,)), made(samples=(2.0,))])[0]
    ends = "{speedup} ({speedup_low} to {speedup_high})"
    assert cell(radial, (ends, "{speedup}")) == "4.00×"
    assert cell(radial, ends) == "–"
    assert cell(radial, (ends, "none")) == "none"
    assert cell(dense, "{mask} on {backend}", escape=str.upper) == "DENSE on CPU"
    assert cell(radial, "{latency_ms:.1f} = {latency_ms}") == "2.0 = 2.00"
    assert cell(radial, lambda row: row.sweep) == radial.sweep


def test_a_table_leaves_out_what_may_be_and_no_row_has() -> None:
    rows, _ = rows_of([made(), *on_gpu([made("sta")])])
    view: View = {"mask": "{mask}", "J": "{energy_j}", "W": "{power_w}", "GB": "{plan_ms:.0%}"}
    assert show(view, rows[:1], optional=("J", "W")) == (["mask", "GB"], [["radial", "25%"]])
    assert show(view, rows[:1], optional=("J",))[0] == ["mask", "W", "GB"]
    assert show(view, rows, optional=("J", "W"))[0] == list(view)
    assert show(view, [], optional=("J",)) == (["mask", "W", "GB"], [])


def test_a_column_that_does_not_exist() -> None:
    (row,), _ = rows_of([made()])
    with pytest.raises(KeyError, match="no_such"):
        cell(row, "{no_such}")
