"""`radialbench report`: prints, writes files, and says what is wrong with what it is given."""

import html
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet

from radialbench.cli import main
from radialbench.records.result import Record, Status
from radialbench.records.store import RESULTS, append
from radialbench.reports.rows import DENSE
from tests.records.sample import failed
from tests.reports.factory import elsewhere, ended, made
from tests.test_import import HEAVY, HELP, loaded

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    dense = made(DENSE, samples=(8.0,), backend="sdpa")
    return written(tmp_path / "run", dense, made(samples=(2.0,)))


def written(folder: Path, *records: Record) -> Path:
    folder.mkdir()
    for record in records:
        append(folder / RESULTS, record)
    return folder


def files(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def report(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path, verb: str = "report") -> int:
    monkeypatch.setattr(sys, "argv", ["radialbench", verb, *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize("part", ["", RESULTS])
def test_a_folder_or_its_file(
    part: str, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert report(monkeypatch, run_folder / part) == 0
    printed = capsys.readouterr()
    assert "4.00×" in printed.out
    assert f"report: {run_folder / 'report.md'}, with" in printed.out
    assert not printed.err
    assert {"report.md", "report.csv", "report.html", "ideal.png"} <= set(files(run_folder))


@pytest.mark.parametrize("name", ["foo.txt", "report.md", "all.csv"])
def test_a_file_of_another_kind_becomes_no_folder(
    name: str, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    assert report(monkeypatch, run_folder, "--out", tmp_path / name) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert f"--out {tmp_path / name} is no folder" in printed.err
    assert not (tmp_path / name).exists()


def test_parquet_without_pyarrow_says_what_to_install_and_writes_nothing(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert report(monkeypatch, run_folder, "-o", tmp_path / "records.parquet") == 2
    assert "pip install pyarrow" in capsys.readouterr().err
    assert not (tmp_path / "records.parquet").exists()


def test_parquet_holds_a_row_a_case(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "records.parquet"
    assert report(monkeypatch, run_folder, "-o", file) == 0
    assert capsys.readouterr().out == f"2 cases: {file}\n"
    assert parquet.read_table(file).num_rows == 2


def test_tables_take_the_width_of_the_terminal(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for width, whole in ((None, True), (60, False)):
        monkeypatch.setattr("radialbench.reports.text.terminal_width", lambda width=width: width)
        assert report(monkeypatch, run_folder, "--format", "terminal") == 0
        out = capsys.readouterr().out
        assert ("peak MiB" in out.splitlines()[6]) == whole == ("no room for" not in out)


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
    before = written(tmp_path / "before", made(samples=(3.0,)))
    page = tmp_path / "page.html"
    assert report(monkeypatch, run_folder, "--baseline", before, "-o", page) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{before / RESULTS}: 2 cases, 4 verdicts: 1 inconclusive, 1 new, 2 pass" in printed
    assert "latency, 3.00 ms to 2.00 ms: too few samples to tell" in printed
    assert "new: the baseline does not have this case: dense/3x30x52/h1d128f32/sdpa" in printed
    assert "0.67×" in page.read_text(encoding="utf-8")
    assert report(monkeypatch, run_folder, "--baseline", before, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["baseline_ms"] for row in rows] == [None, 3.0]
    assert [row["baseline_ratio"] for row in rows] == [None, pytest.approx(2 / 3)]
    assert [row["baseline_verdict"] for row in rows] == ["new", "inconclusive"]


def test_report_and_check_say_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    """Slower, faster, equal, few samples, another problem, failed, gone and new cases."""
    calls = [1 + 0.002 * ((7 * call) % 11 - 5) / 5 for call in range(60)]
    factors = {"power": 1.2, "sta": 0.8, "svg": 1.0, "dense": 1.0, "window": 1.0}
    now = [made(mask, samples=[f * ms for ms in calls]) for mask, f in factors.items()]
    now += [made("few"), ended(Status.CRASHED, "boom", made("ends")), made("new")]
    before = [made(mask, samples=calls) for mask in factors]
    before[-1] = replace(before[-1], problem=replace(before[-1].problem, heads=7))
    before += [made("few"), made("ends"), made("gone")]
    before = elsewhere(before, versions={"torch": "2.0"}, commit="beef")
    pair = (written(tmp_path / "now", *now), "--baseline", written(tmp_path / "before", *before))
    for verb in ("check", "report"):
        printed = refused(monkeypatch, capsys, *pair, verb=verb)
        assert "compare them as they are with --across-versions" in printed
    asked = ("--across-versions", "--gate", "latency=4%", "--noise-floor", "0.1")
    assert report(monkeypatch, *pair, *asked, "--format", "json", verb="check") == 1
    checked = json.loads(capsys.readouterr().out)
    assert report(monkeypatch, *pair, *asked, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    outcomes = {one["outcome"] for one in checked["verdicts"]}
    assert outcomes == {"regressed", "faster", "inconclusive", "missing", "new", "pass"}
    assert shown["baseline"] == checked | {"configs": {}}
    by_case = {
        one["case"]: one for one in checked["verdicts"] if one["metric"] in ("latency", "status")
    }
    for row in shown["rows"]:
        verdict = by_case[row["case"]]
        assert row["baseline_verdict"] == verdict["outcome"]
        assert row["baseline_ratio"] == verdict["ratio"]
        assert (row["baseline_low"], row["baseline_high"]) == (verdict["low"], verdict["high"])
    for form in ("terminal", "markdown", "html"):
        assert report(monkeypatch, *pair, *asked, "--format", form) == 0
        text = html.unescape(" ".join(capsys.readouterr().out.split()))
        for verdict in checked["verdicts"]:
            if verdict["outcome"] != "pass":
                assert verdict["reason"] in text
                assert verdict["case"] in text
        for words in (*checked["changed"], *checked["gates"]):
            assert words in text


def test_options_of_a_check_need_a_baseline(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    printed = refused(monkeypatch, capsys, run_folder, "--gate", "latency=5%")
    assert "--gate is for a check; give what to compare with as --baseline" in printed


def test_a_baseline_that_is_not_there(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    printed = refused(monkeypatch, capsys, run_folder, "--baseline", tmp_path / "gone")
    assert f"there are no results at {tmp_path / 'gone'};" in printed


def test_a_page_that_cannot_be_written(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    printed = refused(monkeypatch, capsys, run_folder, "-o", run_folder / RESULTS / "page.html")
    assert "cannot write the report to" in printed
    assert "choose another file with --out" in printed


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


def refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    *arguments: str | Path,
    verb: str = "report",
) -> str:
    assert report(monkeypatch, *arguments, verb=verb) == 2
    out, printed = capsys.readouterr()
    assert not out
    assert printed.startswith("radialbench: ")
    assert printed.count("\n") == 1
    return printed


def test_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    printed = refused(monkeypatch, capsys, tmp_path)
    assert f"there are no results at {tmp_path / RESULTS}; give a folder that" in printed
    printed = refused(monkeypatch, capsys, tmp_path / "nowhere")
    assert f"there are no results at {tmp_path / 'nowhere'};" in printed


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
    printed = refused(monkeypatch, capsys, run_folder, "-o", run_folder / RESULTS)
    assert f"cannot write the report to {run_folder / RESULTS}" in printed
    assert "choose another folder with --out" in printed


def test_options_that_contradict(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    printed = refused(monkeypatch, capsys, run_folder, "--json", "--format", "csv")
    assert "--json and --format csv" in printed
    printed = refused(monkeypatch, capsys, run_folder, "--json", "-o", run_folder)
    assert "leave one out" in printed
    assert "did you mean 'csv'" in refused(monkeypatch, capsys, run_folder, "--format", "cvs")


def test_help_is_light() -> None:
    assert not loaded(HELP.format(arguments=["report", "--help"])) & HEAVY


def test_a_report_needs_no_torch(run_folder: Path) -> None:
    code = HELP.format(arguments=["report", str(run_folder)])
    assert not loaded(code) & {"torch", "triton", "optuna"}
