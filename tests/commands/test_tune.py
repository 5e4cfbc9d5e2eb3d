"""`radialbench tune`: what it prints and keeps, exit codes, and searches that are interrupted."""

import io
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from radialbench.autotune import run as tuning
from radialbench.autotune.jobs import TuningJob
from radialbench.autotune.space import SPACES, Axis, Space
from radialbench.autotune.trials import SWEEP_SCHEMA, SweepTrial, Trial, TrialOutcome, read_sweep
from radialbench.autotune.tuner import Progress
from radialbench.commands.progress import watch_tuning
from radialbench.kernels.tuned import compiler_version, device_name, find_config, source_hash
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.problem import KernelConfig
from radialbench.records.store import write_whole
from radialbench.records.tuning import Outcomes, TuningKey, TuningRecord, key_of
from radialbench.records.tuning_file import read_tuning, write_tuning
from radialbench.suites.worker import Worker
from tests.commands.line import Capture, Cli
from tests.suites import small

SPACE = Space((Axis("block_m", (64, 128)), Axis("block_n", (32, 64, 128))))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    monkeypatch.setitem(SPACES, "cpu", SPACE)
    monkeypatch.delenv("RADIALBENCH_CONFIGS", raising=False)
    return Cli(monkeypatch, capsys, "tune")


@pytest.fixture
def suite(tmp_path: Path) -> str:
    return str(small.written(tmp_path))


@pytest.mark.slow
def test_what_is_found_is_kept_and_used(
    cli: Cli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "records.jsonl"
    code, printed, err = cli(suite, "-o", out, "--json", "--trials", 4)
    assert code == 0
    *events, done = map(json.loads, printed.splitlines())
    records = read_tuning(out)
    assert done == {
        "event": "done",
        "records": str(out),
        "tuned": sum(record.source == "tuned" for record in records),
        "default": sum(record.source == "default" for record in records),
        "stopped": 0,
        "left_out": {},
    }
    assert [(record.mask.label, record.key.frames) for record in records] == [
        ("radial", 2), ("dense", 2), ("radial", 3), ("dense", 3)
    ]  # fmt: skip
    ends = [event for event in events if event["event"] == "ends"]
    assert [from_dict(TuningRecord, event["record"]) for event in ends] == list(records)
    trials = [event for event in events if event["event"] == "trial" and event["trial"]]
    assert len(trials) == 4 * 4
    assert trials[0]["problem"] == "radial/2x3x5/h2d8/cpu"
    assert trials[0]["trial"]["config"]["block_m"] == 128
    assert trials[0]["best_ms"] > 0
    assert len(err.splitlines()) >= 4
    # A search that has ended is not made again: the process that measures is asked for nothing.
    monkeypatch.setattr("radialbench.suites.worker.Worker.attempt", None)
    code, printed, _ = cli(suite, "-o", out, "--quiet", "--trials", 4)
    assert code == 0
    assert (
        "records.jsonl; they are used if RADIALBENCH_CONFIGS names that file, or if it is"
        in printed
    )
    again = read_tuning(out)
    assert [replace(one, created=old.created) for one, old in zip(again, records, strict=True)] == [
        *records
    ]
    monkeypatch.setenv("RADIALBENCH_CONFIGS", str(out))
    problem = small.case(masks=["radial"], grids=[{"frames": 2, "height": 3, "width": 5}]).problem
    found = find_config(problem, "cpu", device_name("cpu"))
    assert found.record == again[0]


@pytest.mark.slow
def test_a_search_that_is_interrupted_goes_on(suite: str, tmp_path: Path) -> None:
    words = [
        suite,
        "-o",
        str(tmp_path / "records.jsonl"),
        "--json",
        "--trials",
        "20",
        "-f",
        "dense",
    ]
    command = [sys.executable, "-m", "radialbench", "tune", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(5)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(timeout=600) == 130
        last = process.stderr.read().splitlines()[-1]
    assert last.startswith("radialbench: stopped; finished trials are kept. Continue with: ")
    assert last.endswith("-f dense --sampler tpe --seed 0 --trials 20")
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    first = [event for event in events if event.get("place") == 1 and event["event"] == "trial"]
    before = [one["trial"]["config"] for one in lines if one["trial"]]
    after = [one["trial"]["config"] for one in first if one["trial"]]
    assert first[0]["measured"] >= len(before) > 0
    assert all(config not in after for config in before)
    assert first[-1]["measured"] == 20
    assert events[-1]["stopped"] == 0


def test_gradients_are_another_direction(cli: Cli, suite: str, tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    words = (suite, "-f", "dense", "-b", "cpu", "-o", out, "--trials", 2, "--direction")
    facts = json.loads(cli(*words, "backward", "--dry-run", "--json")[1])
    assert {one["problem"].split("/")[-1] for one in facts["problems"]} == {"backward"}
    code, printed, _ = cli(*words, "backward", "--json")
    assert code == 0
    records = read_tuning(out)
    assert {record.key.direction for record in records} == {"backward"}
    assert json.loads(printed.splitlines()[0])["problem"].endswith("/cpu/backward")
    assert "--direction is forward or backward, got 'both'" in cli(*words, "both")[2]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Collect the processes that the command starts to measure in."""
    found: list[subprocess.Popen[bytes]] = []
    begin = Worker._begin

    def beginning(worker: Worker) -> None:
        begin(worker)
        assert worker._process is not None
        found.append(worker._process)

    monkeypatch.setattr(Worker, "_begin", beginning)
    return found


def test_what_cannot_be_tuned_is_bad_input(
    cli: Cli, suite: str, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    out = tmp_path / "records.jsonl"
    cases: list[tuple[list[object], str]] = [
        (["nowhere"], "nowhere"),
        ([suite, "-f", "nothing"], "no case of small fits 'nothing'"),
        (["--replay", tmp_path / "none.jsonl"], "cannot read"),
        ([suite, "-b", "cup"], "unknown backend 'cup'; did you mean 'cpu'?"),
        ([suite, "-b", "hopper"], "needs a GPU of compute capability 9.0, got 'cpu'"),
        ([suite, "-o", out, "--sampler", "tpee"], "unknown search 'tpee'; did you mean 'tpe'?"),
        ([suite, "-o", out, "--storage", "nowhere"], "cannot use the storage nowhere"),
    ]
    for place, (words, message) in enumerate(cases):
        code, printed, err = cli(*words)
        assert (code, printed) == (2, ""), words
        assert message in err
        assert len(err.splitlines()) == 1
        # What PyTorch has no part in is found out before.
        assert len(started) == max(0, place - 2)
    assert not out.exists()
    assert {process.returncode for process in started} == {-signal.SIGKILL}


BEGINS = """
import sys
from radialbench.suites.worker import Worker
Worker._begin = lambda worker: sys.exit(1 if "torch" in sys.modules else 7)
sys.argv = ["radialbench", "tune", *{words}]
from radialbench.cli import main
main()
"""


@pytest.mark.parametrize("words", [[], ["--verify"]])
def test_the_process_that_measures_starts_before_pytorch_is_imported(
    suite: str, words: list[str]
) -> None:
    code = BEGINS.format(words=[suite, *words])
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7


def test_an_interrupt_while_pytorch_is_imported_leaves_no_process(
    cli: Cli,
    suite: str,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(wanted: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("radialbench.kernels.arch.find_device", interrupted)
    code, printed, err = cli(suite)
    assert (code, printed) == (130, "")
    assert err.startswith("radialbench: stopped; finished trials are kept. Continue with: ")
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_a_process_that_does_not_start_ends_the_search(
    cli: Cli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    code, printed, err = cli(suite, "-o", tmp_path / "records.jsonl", "--quiet")
    assert (code, printed) == (1, "")
    assert err.startswith("radialbench: cannot start the process that tries the cases: the process")
    assert "exited with code 1 while it was started. Continue with: radialbench tune" in err


def test_a_forecast_counts_candidates(
    cli: Cli, suite: str, started: list[subprocess.Popen[bytes]]
) -> None:
    code, printed, _ = cli(suite, "--dry-run", "--json", "--trials", 5, "-f", "radial")
    assert code == 0
    facts = json.loads(printed)
    assert facts["seconds"] == pytest.approx(sum(one["seconds"] for one in facts["problems"]))
    for one, frames in zip(facts["problems"], (2, 3), strict=True):
        assert one["problem"] == f"radial/{frames}x3x5/h2d8/cpu"
        assert (one["candidates"], one["rejected"], one["trials"]) == (6, {}, 5)
    code, printed, _ = cli(suite, "--dry-run")
    assert code == 0
    assert "radial/2x3x5/h2d8/cpu" in printed
    assert "and some seconds to start" in printed
    assert not started


def test_a_forecast_needs_no_device(
    cli: Cli, suite: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = ("smoke_gpu", "-f", "radial/*/5x30x52/*", "--dry-run")
    code, printed, _ = cli(*words, "--json", "--trials", 5)
    facts = json.loads(printed)
    assert (code, facts["missing"]) == (0, "cuda")
    counts = {one["problem"].split("/")[-1]: one["candidates"] for one in facts["problems"]}
    assert counts == {name: len([*SPACES[name].configs()]) for name in ("hopper", "triton")}
    assert "This machine has no cuda device" in cli(*words)[1]
    assert "asks for device 'cuda'" in cli("smoke_gpu", "-o", tmp_path / "records.jsonl")[2]


KEY = TuningKey("cpu", "a CPU", "0" * 16, 2, 15, 30, 1, 2, 8, "float32")


DENSE = MaskIdentity("dense", KEY.mask_fingerprint)


def recorded(config: KernelConfig, *samples: float, **fields: Any) -> SweepTrial:
    outcome = TrialOutcome.OK if samples else TrialOutcome.WRONG
    facts: dict[str, Any] = {"schema": SWEEP_SCHEMA, "key": KEY, "kernel": "abc"}
    facts |= {"mask": MaskIdentity("radial", KEY.mask_fingerprint)}
    facts |= {"block_density": 1.0, "registers": None, "stack_bytes": None, "shared_bytes": None}
    reason = None if samples else "off by 1"
    return SweepTrial(
        config=config, outcome=outcome, reason=reason, samples_ms=samples, versions={},
        **facts | fields,
    )  # fmt: skip


def test_a_sweep_is_replayed_without_measuring(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    best, wrong = KernelConfig(64, 64), KernelConfig(64, 32)
    write_whole(
        path,
        [
            recorded(KernelConfig(128, 128), 2.0, 2.01, 2.02),
            recorded(wrong),
            recorded(best, 1.0, 1.01, 1.02),
            recorded(KernelConfig(64, 128), 3.0),
            recorded(KernelConfig(), 4.0, key=replace(KEY, frames=3), mask=DENSE),
        ],
    )
    code, printed, _ = cli("--replay", path, "--json")
    assert code == 0
    first, second = map(json.loads, printed.splitlines())
    assert first["problem"] == "radial/2x15/h2d8/cpu"
    assert from_dict(KernelConfig, first["config"]) == best
    assert (first["source"], first["measured"], first["regret"]) == ("tuned", 1.0, 0.0)
    assert (second["problem"], second["source"]) == ("dense/3x15/h2d8/cpu", "default")
    code, printed, _ = cli("--replay", path, "-f", "radial", "--trials", 1)
    assert code == 0
    assert "1 problems: 99.01% slower than the best at the median, 99.01% at most" in printed
    code, _, err = cli("--replay", path, "-f", "sta")
    assert code == 2
    assert "no recorded problem fits 'sta'; names look like radial/2x15/h2d8/cpu" in err


def test_what_a_sweep_has_tried_is_not_tried_again(
    cli: Cli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "sweep.jsonl", tmp_path / "records.jsonl"
    problem = small.case(masks=["radial"], grids=[{"frames": 2, "height": 3, "width": 5}]).problem
    now: dict[str, Any] = {
        "key": key_of(problem, "cpu", device_name("cpu")), "kernel": source_hash("cpu")
    }  # fmt: skip
    swept = [recorded(config, 1.0 + place, **now) for place, config in enumerate(SPACE.configs())]
    swept = [replace(one, versions=compiler_version("cpu")) for one in swept]
    write_whole(path, swept[:5])
    words = (suite, "-f", "radial/2x", "-o", out, "--reuse-trials", path)
    code, printed, _ = cli(*words, "--dry-run", "--json")
    (planned,) = json.loads(printed)["problems"]
    assert (code, planned["candidates"], planned["trials"]) == (0, 6, 1)
    assert json.loads(cli(*words, "--dry-run", "--json", "--trials", 5)[1])["problems"][0][
        "trials"
    ] == 0  # fmt: skip
    asked: list[KernelConfig] = []

    class Measured:
        def __init__(self, case: object, pool: object, *, then: object) -> None:
            pass

        def prepare(self, configs: list[KernelConfig]) -> None:
            pass

        def runoff(self, configs: list[KernelConfig]) -> list[Trial]:
            asked.extend(configs)
            return [Trial(config, TrialOutcome.OK, None, (1.0,) * 20) for config in configs]

        def close(self) -> None:
            pass

    monkeypatch.setattr(tuning, "LiveEvaluator", Measured)
    code, printed, _ = cli(*words, "--trials", 5, "--quiet")
    assert code == 0
    best = [one.config for one in swept if one.config != KernelConfig()][:3]
    assert asked == [KernelConfig(), KernelConfig(), *best]
    (record,) = read_tuning(out)
    assert (record.source, record.trials.ok) == ("default", 5)
    elsewhere = replace(KEY, device="another CPU")
    write_whole(path, [replace(one, key=elsewhere) for one in swept])
    code, printed, err = cli(*words)
    assert (code, printed) == (2, "")
    assert f"{path} holds nothing of what is to be tuned on this device" in err
    write_whole(path, [replace(one, kernel="another") for one in swept])
    code, printed, err = cli(*words)
    assert (code, printed) == (2, "")
    assert "another version of the cpu kernel, or of what compiles it; record another" in err


@pytest.mark.slow
def test_a_sweep_is_recorded_goes_on_and_is_replayed(
    cli: Cli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "deep" / "sweep.jsonl", tmp_path / "records.jsonl"
    words = (suite, "-f", "dense", "-o", out, "--sampler", "exhaustive", "--record", path, "-q")
    planned = json.loads(cli(*words, "--dry-run", "--json")[1])["problems"]
    assert ([one["trials"] for one in planned], path.exists()) == ([6, 6], False)
    assert cli(*words)[0] == 0
    trials = read_sweep(path)
    assert len({(one.key, one.config) for one in trials}) == len(trials) == 12
    assert (trials[0].config, trials[0].trial.outcome) == (KernelConfig(), TrialOutcome.OK)
    first = trials[0]
    assert (first.mask.label, first.key.backend, first.registers) == ("dense", "cpu", None)
    assert (first.block_density, first.kernel) == (1, source_hash("cpu"))
    assert not out.with_suffix(".journal").exists()
    # Killed while the eighth was written: what stands is not tried again.
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:7]) + lines[7][:100])
    planned = json.loads(cli(*words, "--dry-run", "--json")[1])["problems"]
    assert [one["trials"] for one in planned] == [0, 5]
    assert cli(*words)[0] == 0
    again = path.read_bytes().splitlines(keepends=True)
    assert (again[:7], len(again)) == (lines[:7], 12)
    code, printed, _ = cli("--replay", path, "--json")
    found = [json.loads(line) for line in printed.splitlines()]
    assert (code, [one["measured"] for one in found]) == (0, [1.0, 1.0])
    assert [one["problem"] for one in found] == ["dense/2x15/h2d8/cpu", "dense/3x15/h2d8/cpu"]
    write_whole(path, [replace(one, kernel="another") for one in trials])
    code, printed, err = cli(*words)
    assert (code, printed) == (2, "")
    assert "another version of the cpu kernel" in err


def test_a_sweep_keeps_the_trials_in_place_of_a_storage(
    cli: Cli, suite: str, tmp_path: Path
) -> None:
    words = (suite, "--record", tmp_path / "sweep.jsonl", "--storage", "sqlite:///x.db")
    code, printed, err = cli(*words)
    assert (code, printed) == (2, "")
    assert "in a sweep (--record) or in a storage (--storage)" in err


def stored(suite: str, tmp_path: Path, **fields: Any) -> tuple[Path, TuningRecord]:
    """Write a record of a problem of the small suite."""
    out = tmp_path / "records.jsonl"
    case = small.case(masks=["radial"], grids=[{"frames": 2, "height": 3, "width": 5}])
    key = key_of(case.problem, "cpu", device_name("cpu"))
    once = {"value": 1.0, "low": 0.9, "high": 1.1}
    facts = {
        "schema": 2, "key": {name: getattr(key, name) for name in key.__slots__},
        "mask": to_dict(case.identity), "config": {"block_m": 64}, "default": {}, "source": "tuned",
        "ms": once, "default_ms": once, "ratio": {"value": 1.5, "low": 1.4, "high": 1.6},
        "trials": {"ok": 3}, "sampler": "tpe", "seed": 0, "edges": [], "kernel": "abc",
        "versions": {}, "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    record = from_dict(TuningRecord, facts | fields)
    write_tuning(out, [record])
    return out, record


@pytest.mark.parametrize(
    ("default", "chosen", "word", "code"),
    [
        ([2.0, 2.1] * 10, [1.0, 1.05] * 10, "holds", 0),
        ([1.0, 1.1] * 10, [1.1, 1.0] * 10, "no gain", 0),
        ([1.0, 1.1] * 10, [1.2, 1.3] * 10, "slower", 1),
        ([1.0, 1.1] * 10, [], "fails", 1),
    ],
)
def test_records_are_verified(
    cli: Cli,
    suite: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    default: list[float],
    chosen: list[float],
    word: str,
    code: int,
) -> None:
    out, record = stored(suite, tmp_path)
    asked: list[list[KernelConfig]] = []

    class Measured:
        def __init__(self, case: object, pool: object) -> None:
            pass

        def runoff(self, configs: list[KernelConfig]) -> list[Trial]:
            asked.append(configs)
            wrong = Trial(configs[1], TrialOutcome.WRONG, "off by 1")
            timed = [Trial(configs[0], TrialOutcome.OK, None, tuple(default))]
            return [
                *timed,
                Trial(configs[1], TrialOutcome.OK, None, tuple(chosen)) if chosen else wrong,
            ]

    monkeypatch.setattr(tuning, "LiveEvaluator", Measured)
    ended, printed, _ = cli(suite, "-o", out, "--verify", "--json")
    (fact,) = map(json.loads, printed.splitlines())
    assert (ended, fact["verdict"]) == (code, word)
    assert asked == [[record.default, record.config]]
    assert fact["reason"] == (None if chosen else "wrong: off by 1")
    ended, printed, _ = cli(suite, "-o", out, "--verify")
    assert ended == code
    assert f"1 measured again, {1 - code} of them sound; 3 problems have no record" in printed


def test_records_that_keep_the_default_have_nothing_to_verify(
    cli: Cli, suite: str, tmp_path: Path
) -> None:
    out, _ = stored(suite, tmp_path, source="default", config={})
    code, printed, _ = cli(suite, "-o", out, "--verify")
    assert code == 0
    assert printed == (
        "0 measured again, 0 of them sound; 3 problems have no record, 1 keep the default\n"
    )


def moved(best: Trial | None, **fields: Any) -> tuning.JobProgress:
    """Return the progress of a search whose default took 2 ms."""
    case = small.case()
    default = Trial(KernelConfig(), TrialOutcome.OK, None, (2.0,))
    outcomes = Outcomes(ok=3, compile_failed=1)
    facts: dict[str, Any] = {
        "stage": "search", "trial": best, "best": best, "default": default, "outcomes": outcomes,
        "measured": 4, "planned": 9, "seconds_left": 64.4,
    }  # fmt: skip
    key = key_of(case.problem, "cpu", "a CPU")
    return tuning.JobProgress(1, 2, TuningJob(case, key, None), Progress(**facts | fields))


FASTER = Trial(KernelConfig(64, 128), TrialOutcome.OK, None, (1.5,))


def shown(*events: tuning.TuningEvent, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
    with watch_tuning(console, quiet=False) as watcher:
        assert watcher is not None
        for event in events:
            watcher(event)
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def test_progress_is_a_line_for_each_better_configuration() -> None:
    job = moved(None).job
    events: list[tuning.TuningEvent] = [
        moved(None),
        moved(moved(None).progress.default, seconds_left=None),
        moved(FASTER),
        moved(FASTER, measured=5),
        tuning.JobEnded(1, 2, job, None, None, "the disk is full"),
    ]
    name = "dense/2x3x5/h2d8/cpu"
    assert shown(*events, terminal=False).splitlines() == [
        f"[1/2] {name}  trial 4/9, best 2 ms with 128×128, 3 ok, 1 compile failed",
        f"[1/2] {name}  trial 4/9, best 1.5 ms with 64×128, default 2 ms, 3 ok, "
        "1 compile failed, 0:01:04 left",
        f"[1/2] {name}  stopped: the disk is full",
    ]


def test_progress_on_a_terminal_is_a_bar() -> None:
    printed = "trial 4/9, best 1.5 ms, default 2 ms, 3 ok, 1 compile failed"
    assert f"{printed}, 0:01:04 left" in shown(moved(FASTER), terminal=True)
    last = shown(moved(FASTER), moved(FASTER, stage="final"), terminal=True)
    assert f"{printed}, the best few in turn" in last


def test_a_storages_password_is_not_shown() -> None:
    from radialbench.autotune.storage import without_password

    assert without_password("postgresql://me:secret@host/x") == "postgresql://me:***@host/x"
    assert without_password("journal:x") == "journal:x"
