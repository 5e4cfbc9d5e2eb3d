"""`radialbench check`: verdicts, exit codes, files, and what is wrong with what it is given."""

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.cli import main
from radialbench.records.codec import to_dict
from radialbench.records.result import Record
from radialbench.records.store import RESULTS, append
from tests.reports.check.noise import record
from tests.reports.factory import elsewhere
from tests.test_import import HELP, loaded

Capture = pytest.CaptureFixture[str]
STEADY = [1 + 0.002 * ((7 * call) % 11 - 5) / 5 for call in range(60)]


def case(factor: float = 1.0, name: str = "a") -> Record:
    return record(name, [factor * ms for ms in STEADY])


def folder(path: Path, records: Iterable[Record]) -> Path:
    path.mkdir()
    for one in records:
        append(path / RESULTS, one)
    return path


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return folder(tmp_path / "before", [case(), case(name="b")])


@pytest.fixture
def now(tmp_path: Path) -> Path:
    return folder(tmp_path / "now", [case(1.08), case(name="b")])


def check(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["radialbench", "check", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


def refused(monkeypatch: pytest.MonkeyPatch, capsys: Capture, *arguments: str | Path) -> str:
    assert check(monkeypatch, *arguments) == 2
    out, printed = capsys.readouterr()
    assert not out
    assert printed.startswith("radialbench: ")
    assert printed.count("\n") == 1
    return printed


def test_the_same_passes(before: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert check(monkeypatch, before, "--baseline", before / RESULTS) == 0
    assert capsys.readouterr().out == "2 cases, 6 verdicts: 6 pass\n"


def test_a_regression_is_1_and_is_named(
    before: Path, now: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert check(monkeypatch, now, "--baseline", before) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("regressed  a: latency\n           8.0% slower (95% ")
    assert "; not measured again" in " ".join(printed.split())
    assert "2 cases, 6 verdicts: 1 regressed, 5 pass" in printed
    assert check(monkeypatch, before, "--baseline", now) == 0


def test_gates_are_set_by_option_and_by_file(
    before: Path, now: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gates.yaml").write_text("latency: 10%\n")
    gates = ("--gates", tmp_path / "gates.yaml")
    assert check(monkeypatch, now, "--baseline", before, *gates) == 0
    assert check(monkeypatch, now, "--baseline", before, "--gate", "latency=9%") == 0
    assert check(monkeypatch, now, "--baseline", before, *gates, "--gate", "latency=5%") == 1
    assert check(monkeypatch, now, "--baseline", before, "--noise-floor", "5") == 3
    assert check(monkeypatch, now, "--baseline", before, "--noise-floor", "0.5") == 1


def test_gates_of_the_suite_travel_with_the_results_that_are_judged(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    wide = replace(case(1.08), gates=("latency=10%",))
    now = folder(tmp_path / "gated", [wide, case(name="b")])
    assert check(monkeypatch, now, "--baseline", before) == 0
    assert (
        capsys.readouterr().out
        == "2 cases, 6 verdicts: 6 pass\ngates: latency 10% (suite, 1 case)\n"
    )
    assert check(monkeypatch, now, "--baseline", before, "--gate", "latency=5%") == 1
    assert "gates: latency 5% (asked for)" in capsys.readouterr().out
    # Those of the baseline count for nothing.
    late = folder(tmp_path / "late", [case(1.08), case(1.0, "b")])
    gated = folder(tmp_path / "old", [replace(case(), gates=("latency=10%",)), case(name="b")])
    assert check(monkeypatch, late, "--baseline", gated) == 1


def test_few_samples_are_3(before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = folder(tmp_path / "few", [record("a", [1.0] * 3), case(name="b")])
    assert check(monkeypatch, few, "--baseline", before) == 3


def test_forms_go_to_files(
    before: Path, now: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    names = {"json": "check.json", "junit": "check.xml", "markdown": "check.md"}
    names |= {"sarif": "check.sarif", "bencher": "bencher.json"}
    files = [word for form, name in names.items() for word in ("-o", f"{form}={tmp_path / name}")]
    assert check(monkeypatch, now, "--baseline", before, "--format", "github", *files) == 1
    assert capsys.readouterr().out.startswith("::error title=regressed%3A a%2C latency::8.0%25")
    assert json.loads((tmp_path / "check.json").read_text())["counts"]["regressed"] == 1
    assert (tmp_path / "check.xml").read_text().startswith("<?xml")
    assert (tmp_path / "check.md").read_text().startswith("## ❌ 2 cases, 6 verdicts: 1 regressed")
    (run,) = json.loads((tmp_path / "check.sarif").read_text())["runs"]
    assert [result["level"] for result in run["results"]] == ["error"]
    figures = json.loads((tmp_path / "bencher.json").read_text())
    assert figures["a"]["latency"]["value"] == pytest.approx(1.08e6)
    assert not list(tmp_path.glob("*.part"))


def test_a_form_goes_to_standard_output_and_the_summary_to_the_other(
    before: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert check(monkeypatch, before, "--baseline", before, "-o", "json=-") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["counts"]["regressed"] == 0
    assert "pass" in err


def test_missing_cases_are_2_unless_allowed(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    part = folder(tmp_path / "part", [case()])
    assert check(monkeypatch, part, "--baseline", before) == 2
    out, printed = capsys.readouterr()
    assert "missing  b: status" in out
    assert "1 cases of the baseline are missing" in printed
    assert "--allow-missing" in printed
    assert check(monkeypatch, part, "--baseline", before, "--allow-missing") == 0


def test_vanished_cases(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    other = folder(tmp_path / "other", [case(name="c")])
    assert "none of the baseline's cases (2) is among these (1)" in refused(
        monkeypatch, capsys, other, "--baseline", before
    )
    assert check(monkeypatch, other, "--baseline", before, "--allow-missing") == 0
    assert "3 cases, 3 verdicts: 2 missing, 1 new" in capsys.readouterr().out


def test_a_metric_that_vanishes_is_2_unless_allowed(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    gone = folder(tmp_path / "gone", [replace(case(), memory=None), case(name="b")])
    assert check(monkeypatch, gone, "--baseline", before) == 2
    out, printed = capsys.readouterr()
    assert "missing  a: memory" in out
    assert "1 metrics of the baseline are missing" in printed
    assert check(monkeypatch, gone, "--baseline", before, "--allow-missing") == 0


def test_another_device_and_other_versions(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    both = [case(), case(name="b")]
    there = folder(tmp_path / "there", elsewhere(both, device="Other GPU"))
    printed = refused(monkeypatch, capsys, before, "--baseline", there, "--across-versions")
    assert "device: Other GPU and Example GPU" in printed
    assert check(monkeypatch, before, "--baseline", there, "--across-machines") == 3
    assert "changed: device: Other GPU and Example GPU" in capsys.readouterr().out
    older = folder(tmp_path / "older", elsewhere(both, versions={"torch": "2.12.0"}))
    printed = refused(monkeypatch, capsys, before, "--baseline", older)
    assert "torch: 2.12.0 and 2.13.0" in printed
    assert check(monkeypatch, before, "--baseline", older, "--across-versions") == 0
    assert "changed: torch: 2.12.0 and 2.13.0" in capsys.readouterr().out


def damaged(how: str, path: Path) -> Path:
    """A file of results with something wrong with it."""
    file = path / "bad.jsonl"
    facts = to_dict(case())
    whole = json.dumps(facts)
    if how == "missing":
        return file
    if how == "nan":
        facts["timing"]["samples_ms"] = [float("nan")] * 10
    if how == "newer":
        facts["schema"] = 99
    texts = {"empty": "", "truncated": whole + "\n" + whole[: len(whole) // 2], "foreign": "{}"}
    file.write_text(texts.get(how, json.dumps(facts)))
    return file


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("missing", "there are no results at"),
        ("empty", "holds no records"),
        ("truncated", "line 2: not JSON, or not all of it"),
        ("foreign", "lines that are no records: line 1"),
        ("nan", "bad.jsonl:1: only finite numbers are stored, got nan"),
        ("newer", "update radialbench"),
    ],
)
def test_bad_results_on_either_side(
    how: str,
    why: str,
    before: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    bad, out = damaged(how, tmp_path), tmp_path / "check.json"
    out.write_text("kept")
    for pair in ((bad, "--baseline", before), (before, "--baseline", bad)):
        assert why in refused(monkeypatch, capsys, *pair, "-o", f"json={out}")
    assert out.read_text() == "kept"


def test_what_cannot_be_written_overwrites_nothing(
    before: Path, now: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    kept = tmp_path / "check.json"
    kept.write_text("kept")
    pair = (now, "--baseline", before, "-o", f"json={kept}")
    for bad in (tmp_path / "gone" / "a.xml", tmp_path, kept / "a.xml"):
        printed = refused(monkeypatch, capsys, *pair, "-o", f"junit={bad}")
        assert f"cannot write {bad}" in printed
    assert kept.read_text() == "kept"
    assert not list(tmp_path.rglob("*.part"))
    for held in (now / RESULTS, before / RESULTS):
        assert "holds the results" in refused(monkeypatch, capsys, *pair, "-o", f"json={held}")


def test_options_that_cannot_be(
    before: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pair = (before, "--baseline", before)
    assert "did you mean 'junit'" in refused(monkeypatch, capsys, *pair, "--format", "junti")
    assert "a format and a file" in refused(monkeypatch, capsys, *pair, "-o", "check.xml")
    assert "metric=size" in refused(monkeypatch, capsys, *pair, "--gate", "5%")
    assert "what to compare them with" in refused(monkeypatch, capsys, before)
    assert "takes results once, got" in refused(monkeypatch, capsys, before, *pair)
    assert "does not take --rounds" in refused(monkeypatch, capsys, *pair, "--rounds", "3")


def test_a_check_needs_no_torch(before: Path) -> None:
    code = HELP.format(arguments=["check", str(before), "--baseline", str(before)])
    assert not loaded(code) & {"torch", "triton", "optuna", "matplotlib", "pandas"}
