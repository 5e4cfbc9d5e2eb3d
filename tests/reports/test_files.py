"""The files of a report."""

import re
import sys
from io import BytesIO
from pathlib import Path

import pandas
import pytest
from pyarrow import parquet

from radialbench.errors import ReportError
from radialbench.records.result import Status
from radialbench.reports.files import parquet_bytes, write_report
from radialbench.reports.rows import DENSE
from radialbench.reports.summary import summarize
from tests.records.sample import RECORD, failed
from tests.reports import golden
from tests.reports.factory import ended, made, swept

SHARES = {5: 0.9, 9: 0.7, 17: 0.5}
RECORDS = [*swept(DENSE, dict.fromkeys(SHARES, 1.0)), *swept("radial", SHARES)]


def test_every_picture_of_the_report_lies_beside_it(tmp_path: Path) -> None:
    files = write_report(summarize(RECORDS), tmp_path / "deep" / "folder")
    assert [file.name for file in files[:3]] == ["report.md", "report.csv", "report.html"]
    assert sorted(files) == sorted((tmp_path / "deep" / "folder").iterdir())
    text = files[0].read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert pictures == ["latency.png", "ideal.png", "speedup.png", "density.png", "memory.png"]
    names = {file.name for file in files}
    assert {*pictures, *(name.replace("png", "svg") for name in pictures)} <= names
    assert len(pandas.read_csv(files[1])) == len(RECORDS)


def test_a_report_is_written_over(tmp_path: Path) -> None:
    first = write_report(summarize(RECORDS), tmp_path)
    before = {file: file.read_bytes() for file in first}
    again = write_report(summarize(RECORDS), tmp_path)
    assert {file: file.read_bytes() for file in again} == before


def test_failed_cases_alone_make_a_report(tmp_path: Path) -> None:
    files = write_report(summarize([ended(Status.FAILED, "it broke", made())]), tmp_path)
    assert "it broke" in files[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("inside", ["", "below"])
def test_a_folder_that_cannot_be(inside: str, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("mine")
    with pytest.raises(ReportError, match=r"cannot write the report to .*file.*: .*; choose"):
        write_report(summarize(RECORDS[:1]), taken / inside)
    assert taken.read_text() == "mine"


SUMMARY = summarize([RECORD, failed(case="second", memory=None)])


def test_the_frame_and_every_key_of_a_record_are_columns() -> None:
    table = parquet.read_table(BytesIO(parquet_bytes(SUMMARY)))
    found = table.to_pydict()
    assert table.column_names[: len(SUMMARY.cases[0])] == list(SUMMARY.cases[0])
    assert found["case"] == found["record.case"] == [RECORD.case, "second"]
    assert found["median_ms"] == [2.0, None]
    assert found["latency_ms"] == [2.5, None]
    assert found["record.problem.grid.frames"] == [3, 3]
    assert found["record.mask.params"] == ["{}", "{}"]
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
