"""Records as columns, and as Parquet where pyarrow is there."""

import sys
from dataclasses import replace
from io import BytesIO

import pytest
from pyarrow import parquet

from radialbench.errors import ReportError
from radialbench.reports.parquet import columns, parquet_bytes
from tests.records.sample import RECORD, failed


def test_every_key_is_a_column_and_every_record_a_row() -> None:
    found = columns([RECORD, failed(case="second")])
    assert found["case"] == [RECORD.case, "second"]
    assert found["status"] == ["ok", "failed"]
    assert found["problem.seq_len"] == [4680, 4680]
    assert found["timing.samples_ms"] == [[3.0, 1.0, 2.0], None]
    assert found["timing.median_ms"] == [2.0, None]
    assert found["environment.versions.torch"] == ["2.13.0", "2.13.0"]
    assert {len(values) for values in found.values()} == {2}
    assert columns([]) == {}


def test_without_pyarrow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ReportError, match="pip install pyarrow"):
        parquet_bytes([RECORD])


def test_a_file_reads_back() -> None:
    records = [RECORD, replace(RECORD, case="again"), failed(case="third", memory=None)]
    table = parquet.read_table(BytesIO(parquet_bytes(records)))
    assert table.to_pydict() == columns(records)
