"""Results as Parquet: the frame, and the records as they are stored."""

import sys
from io import BytesIO

import pytest
from pyarrow import parquet

from radialbench.errors import ReportError
from radialbench.reports.parquet import parquet_bytes
from radialbench.reports.summarize import summarize
from tests.records.sample import RECORD, failed
from tests.reports import golden

SUMMARY = summarize([RECORD, failed(case="second", memory=None)])


def test_the_frame_and_every_key_of_a_record_are_columns() -> None:
    table = parquet.read_table(BytesIO(parquet_bytes(SUMMARY)))
    found = table.to_pydict()
    assert table.column_names[: len(SUMMARY.cases[0])] == list(SUMMARY.cases[0])
    assert found["case"] == found["record.case"] == [RECORD.case, "second"]
    assert found["median_ms"] == [2.0, None]
    assert found["latency_ms"] == [2.5, None]
    assert found["record.problem.grid.frames"] == [3, 3]
    assert found["record.timing.samples_ms"] == [[3.0, 1.0, 2.0], None]
    assert found["record.environment.versions.torch"] == ["2.13.0", "2.13.0"]


def test_types_are_the_same_in_every_file() -> None:
    summaries = (SUMMARY, golden.summary(), summarize([]))
    count = len(SUMMARY.cases[0])
    schemas = [parquet.read_schema(BytesIO(parquet_bytes(one))) for one in summaries]
    first, *others = [list(zip(one.names, one.types, strict=True))[:count] for one in schemas]
    assert all(other == first for other in others)


def test_without_pyarrow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ReportError, match="pip install pyarrow"):
        parquet_bytes(SUMMARY)
