"""`radialbench report`: prints, writes files, and says what is wrong with what it is given."""

import json
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from radialbench.cli import main
from radialbench.records.store import RESULTS, append
from radialbench.reports.rows import DENSE
from tests.records.sample import failed
from tests.reports.factory import made
from tests.test_import import HEAVY, HELP, loaded

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for record in (made(DENSE, samples=(8.0,), backend="sdpa"), made(samples=(2.0,))):
        append(folder / RESULTS, record)
    return folder


def files(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def report(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["radialbench", "report", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize("part", ["", RESULTS])
def test_a_folder_or_its_file(
    part: str, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert report(monkeypatch, run_folder / part) == 0
    told = capsys.readouterr()
    assert "4.00×" in told.out
    assert f"report: {run_folder / 'report.md'}, with" in told.out
    assert not told.err
    assert {"report.md", "report.csv", "report.html", "latency.png"} <= set(files(run_folder))


def test_parquet_without_pyarrow_says_what_to_install_and_writes_nothing(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert report(monkeypatch, run_folder, "-o", tmp_path / "records.parquet") == 2
    assert "pip install pyarrow" in capsys.readouterr().err
    assert not (tmp_path / "records.parquet").exists()


def test_parquet_holds_a_row_a_record(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "records.parquet"
    assert report(monkeypatch, run_folder, "-o", file) == 0
    assert capsys.readouterr().out == f"2 records: {file}\n"
    assert parquet.read_table(file).num_rows == 2


def test_out(run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert report(monkeypatch, run_folder, "-o", tmp_path / "new" / "place") == 0
    assert (tmp_path / "new" / "place" / "report.md").is_file()
    assert files(run_folder) == [RESULTS]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("markdown", "# smoke"),
        ("csv", "suite,case,"),
        ("terminal", "smoke: 2 ok"),
        ("json", "{"),
        ("html", "<!doctype html>"),
    ],
)
def test_a_format_alone_writes_nothing(
    name: str, start: str, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert report(monkeypatch, run_folder, "--format", name) == 0
    assert capsys.readouterr().out.startswith(start)
    assert files(run_folder) == [RESULTS]


def test_a_page_alone(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    page = tmp_path / "new" / "page.html"
    assert report(monkeypatch, run_folder, "-o", page) == 0
    assert f"report: {page}\n" in capsys.readouterr().out
    assert files(page.parent) == ["page.html"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert files(run_folder) == [RESULTS]


def test_a_baseline(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    before.mkdir()
    append(before / RESULTS, made(samples=(3.0,)))
    page = tmp_path / "page.html"
    assert report(monkeypatch, run_folder, "--baseline", before, "-o", page) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"{before / RESULTS}: 1 too few samples to tell, 1 not compared" in told
    assert "only in this file: dense/3x30x52/h1d128f32/sdpa" in told
    assert "1.50×" in page.read_text(encoding="utf-8")
    assert report(monkeypatch, run_folder, "--baseline", before, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["baseline_ratio"] for row in rows] == [None, 1.5]


def test_a_baseline_that_is_not_there(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    told = refused(monkeypatch, capsys, run_folder, "--baseline", tmp_path / "gone")
    assert f"there are no results at {tmp_path / 'gone'};" in told


def test_a_page_that_cannot_be_written(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    told = refused(monkeypatch, capsys, run_folder, "-o", run_folder / RESULTS / "page.html")
    assert "cannot write the report to" in told
    assert "choose another file with --out" in told


def test_json(run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert report(monkeypatch, run_folder, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row["speedup"] for row in facts["rows"]] == [1.0, 4.0]
    assert facts["source"] == str(run_folder / RESULTS)
    assert files(run_folder) == [RESULTS]


def test_failed_cases_alone_are_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    append(tmp_path / RESULTS, failed())
    assert report(monkeypatch, tmp_path) == 0
    assert "failed: it broke: radial/3x30x52/h1d128f32/cpu" in capsys.readouterr().out


def test_lines_that_are_no_records_are_reported(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with (run_folder / RESULTS).open("a") as file:
        file.write('{"schema": 1, "suite": "sm')
    assert report(monkeypatch, run_folder) == 0
    assert "line 3: not JSON, or not all of it; skipped" in capsys.readouterr().out
    assert "line 3: not JSON, or not all of it" in (run_folder / "report.md").read_text()


def refused(monkeypatch: pytest.MonkeyPatch, capsys: Capture, *arguments: str | Path) -> str:
    assert report(monkeypatch, *arguments) == 2
    out, told = capsys.readouterr()
    assert not out
    assert told.startswith("radialbench: ")
    assert told.count("\n") == 1
    return told


def test_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    told = refused(monkeypatch, capsys, tmp_path)
    assert f"there are no results at {tmp_path / RESULTS}; give a folder that" in told
    told = refused(monkeypatch, capsys, tmp_path / "nowhere")
    assert f"there are no results at {tmp_path / 'nowhere'};" in told


@pytest.mark.parametrize(
    ("text", "why"), [("", "holds no records. Run"), ("{}\n", "holds no records; its first line")]
)
def test_no_records(
    text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / RESULTS).write_text(text)
    assert why in refused(monkeypatch, capsys, tmp_path)


def test_a_newer_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (tmp_path / RESULTS).write_text('{"schema": 99}\n')
    assert "update radialbench" in refused(monkeypatch, capsys, tmp_path)


def test_a_folder_that_cannot_be_written(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    told = refused(monkeypatch, capsys, run_folder, "-o", run_folder / RESULTS)
    assert f"cannot write the report to {run_folder / RESULTS}" in told
    assert "choose another folder with --out" in told


def test_options_that_contradict(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    told = refused(monkeypatch, capsys, run_folder, "--json", "--format", "csv")
    assert "--json and --format csv" in told
    told = refused(monkeypatch, capsys, run_folder, "--json", "-o", run_folder)
    assert "leave one out" in told
    assert "did you mean 'csv'" in refused(monkeypatch, capsys, run_folder, "--format", "cvs")


def test_help_is_light() -> None:
    assert not loaded(HELP.format(arguments=["report", "--help"])) & HEAVY


def test_a_report_needs_no_torch(run_folder: Path) -> None:
    code = HELP.format(arguments=["report", str(run_folder)])
    assert not loaded(code) & {"torch", "triton", "optuna"}
