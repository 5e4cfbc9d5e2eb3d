import re
from pathlib import Path

import pandas
import pytest

from radialbench.errors import ReportError
from radialbench.records.result import Status
from radialbench.reports.folder import write_report
from radialbench.reports.rows import DENSE
from radialbench.reports.summarize import summarize
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
