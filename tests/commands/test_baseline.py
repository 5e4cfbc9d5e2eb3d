"""`radialbench baseline update`: what is put where, with the reason, whole or not at all."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.cli import main
from radialbench.records.measurement import Telemetry
from radialbench.records.result import Record, Status
from radialbench.records.store import RESULTS, append, read
from radialbench.reports.check.compare import check
from tests.reports.check.noise import record
from tests.reports.factory import elsewhere, ended
from tests.test_import import HEAVY, HELP, loaded

Capture = pytest.CaptureFixture[str]


def case(name: str, ms: float = 1.0) -> Record:
    return record(name, [ms] * 20)


def watched(one: Record) -> Record:
    """Return a record with a GPU's counters of 100 calls, and with samples after pauses."""
    counters = Telemetry(100, 1.0, 12.5, 300.0, 1425.0, 2619.0, 61.0, ())
    return replace(one, telemetry=counters, isolated=one.timing)


class Updates:
    """Updates one baseline with records, by the command line."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.file, self.monkeypatch = folder, folder / "base.jsonl", monkeypatch
        self.count = 0

    def __call__(self, records: Sequence[Record], reason: str = "because", *more: str) -> int:
        self.count += 1
        run = self.folder / f"run{self.count}"
        run.mkdir()
        for one in records:
            append(run / RESULTS, one)
        words = ["baseline", "update", str(run), "-o", str(self.file), "--reason", reason, *more]
        self.monkeypatch.setattr(sys, "argv", ["radialbench", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return end.value.code

    def reasons(self) -> list[tuple[str, str]]:
        facts = [json.loads(line) for line in self.file.read_text().splitlines()]
        return [(one["case"], one["baseline"]["reason"]) for one in facts]


@pytest.fixture
def update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Updates:
    return Updates(tmp_path, monkeypatch)


def test_records_are_replaced_by_case_and_keep_their_reason(
    update: Updates, capsys: Capture
) -> None:
    assert update([case("b"), case("a")], "the first") == 0
    assert "0 replaced, 2 new" in capsys.readouterr().out
    assert update([case("b", 2.0), case("c")], "b trades speed for memory") == 0
    assert "1 replaced, 1 new" in capsys.readouterr().out
    why = "b trades speed for memory"
    assert update.reasons() == [("a", "the first"), ("b", why), ("c", why)]
    found = read(update.file)
    assert not found.skipped
    assert [one.timing and one.timing.median_ms for one in found.records] == [1.0, 2.0, 1.0]


def test_a_rolling_baseline_holds_the_last_runs(update: Updates, capsys: Capture) -> None:
    for count, ms in enumerate((1.0, 2.0, 3.0, 4.0)):
        assert update([case("a", ms), case(f"only{count}")], "passed", "--rolling", "3") == 0
    assert "1 replaced (1 with runs before), 1 new" in capsys.readouterr().out
    found = {one.case: one for one in read(update.file).records}
    timing = found["a"].timing
    assert timing is not None
    assert timing.processes == (20, 20, 20)
    assert timing.process_medians_ms == (2.0, 3.0, 4.0)
    assert timing.samples_ms == (2.0,) * 20 + (3.0,) * 20 + (4.0,) * 20
    (verdict,) = [
        one for one in check([case("a", 3.3)], [found["a"]]).verdicts if one.metric == "latency"
    ]
    assert verdict.outcome != "regressed"
    assert update([case("a", 5.0)], "it is slower now, for a reason") == 0
    (only,) = [one for one in read(update.file).records if one.case == "a"]
    assert only.timing
    assert only.timing.processes == ()


def test_what_runs_add_up_to_is_counted_once(update: Updates) -> None:
    (first, *_) = records = [watched(case("a", float(ms))) for ms in range(1, 6)]
    assert first.timing
    for one in records:
        assert update([one], "passed", "--rolling", "3") == 0
    (found,) = read(update.file).records
    assert found.timing
    assert found.isolated
    assert found.timing.warmups == 3 * first.timing.warmups
    assert found.isolated.samples_ms == found.timing.samples_ms
    assert found.telemetry == records[-1].telemetry


def test_runs_of_another_version_or_machine_are_not_joined(update: Updates) -> None:
    first = case("a")
    assert update([first], "passed", "--rolling", "3") == 0
    newer = replace(first.environment, versions={**first.environment.versions, "torch": "9.9"})
    for environment, processes in ((newer, ()), (replace(newer, commit="other"), (20, 20))):
        assert update([replace(first, environment=environment)], "passed", "--rolling", "3") == 0
        (found,) = read(update.file).records
        assert found.timing
        assert found.timing.processes == processes
    for wrong in ("0", "101", "x"):
        assert update([first], "passed", "--rolling", wrong) == 2


def test_devices_stand_beside_each_other_and_a_check_takes_its_own(update: Updates) -> None:
    here, there = [case("a")], elsewhere([case("a", 9.0)], device="Other GPU")
    for records in (here, there, here):
        assert update(records) == 0
    baseline = read(update.file).records
    assert len(baseline) == 2
    for records in (here, there):
        found = check(records, baseline)
        assert {one.outcome for one in found.verdicts} == {"pass"}


def test_cases_that_no_check_can_judge_are_named(update: Updates, capsys: Capture) -> None:
    assert update([case("a")]) == 0
    assert not capsys.readouterr().err
    assert update([case("a"), record("b", [1.0]), record("c", [1.0, 1.1, 1.2])]) == 0
    said = capsys.readouterr().err
    assert said.startswith("checks cannot judge the times of 2 cases, ")
    assert "which takes six: b, c. Let" in said
    few, again = [record("b", [1.0])], [record("b", [1.1])]
    (latency,) = [one for one in check(again, few).verdicts if one.metric == "latency"]
    assert latency.outcome == "inconclusive"


def test_a_fault_is_no_baseline(update: Updates, capsys: Capture) -> None:
    assert update([case("a")]) == 0
    kept = update.file.read_bytes()
    assert update([case("b"), ended(Status.CRASHED, "it broke", case("a"))]) == 2
    assert "a is crashed" in capsys.readouterr().err
    assert update([ended(Status.UNSUPPORTED, "no such GPU", case("c"))], " ") == 2
    assert "--reason" in capsys.readouterr().err
    assert update.file.read_bytes() == kept


def test_a_file_of_something_else_is_left_alone(update: Updates, capsys: Capture) -> None:
    update.file.write_text("# notes\n")
    assert update([case("a")]) == 2
    assert "base.jsonl:1 is no record" in capsys.readouterr().err
    assert update.file.read_text() == "# notes\n"


def test_what_cannot_be_written(update: Updates, tmp_path: Path, capsys: Capture) -> None:
    update.file = tmp_path / "gone" / "base.jsonl"
    assert update([case("a")]) == 2
    assert "cannot write" in capsys.readouterr().err
    update.file = tmp_path
    assert update([case("a")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_updates_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    base = tmp_path / "shared" / "base.jsonl"
    base.parent.mkdir()
    (tmp_path / "link.jsonl").symlink_to(base)
    processes = []
    for run in range(4):
        (tmp_path / str(run)).mkdir()
        for number in range(49):
            append(tmp_path / str(run) / RESULTS, case(f"{run}-{number}"))
        words = ["baseline", "update", str(tmp_path / str(run)), "--reason", "because"]
        command = [sys.executable, "-m", "radialbench", *words]
        processes.append(subprocess.Popen([*command, "-o", str(tmp_path / "link.jsonl")]))
    assert [process.wait(120) for process in processes] == [0] * 4
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len(read(base).records) == 4 * 49


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_a_baseline_goes_to_standard_output(tmp_path: Path, name: str) -> None:
    append(tmp_path / RESULTS, case("a"))
    words = ["baseline", "update", str(tmp_path), "--reason", "because", "-o", name]
    command = [sys.executable, "-m", "radialbench", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["baseline"] == {"reason": "because"}
    assert "0 replaced, 1 new" in done.stderr


def test_help_is_light() -> None:
    assert not loaded(HELP.format(arguments=["baseline", "update", "--help"])) & HEAVY
