"""A run that several GPUs share: groups stay whole, all is kept once, and the spread is told."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from radialbench.errors import SuiteError
from radialbench.kernels.measure.environment import Gpu
from radialbench.records.store import RESULTS, read
from radialbench.suites import devices
from radialbench.suites import run as module
from radialbench.suites.devices import Spread, check_equal, find_devices, run_beside, units
from radialbench.suites.plan import Case, plan
from radialbench.suites.run import CaseEnded, CaseStarted, RunEvent, run
from radialbench.suites.worker import Worker
from tests.commands.line import Capture, Cli
from tests.suites import small


def six(document: dict[str, Any]) -> None:
    """Six groups of two masks."""
    document["cases"][0]["grids"] = [{"frames": [1, 2, 3, 4, 5, 6], "height": 3, "width": 5}]


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Note which process tried which batch, by the GPU that it sees."""
    found: list[tuple[str, list[str]]] = []
    attempt = Worker.attempt

    def noted(worker: Worker, cases: Sequence[Case], on_case: Any) -> Any:
        found.append((worker._env["CUDA_VISIBLE_DEVICES"], [case.id for case in cases]))
        return attempt(worker, cases, on_case)

    monkeypatch.setattr(Worker, "attempt", noted)
    return found


def test_groups_stay_on_one_gpu(tmp_path: Path, attempts: list[tuple[str, list[str]]]) -> None:
    suite = small.suite(six)
    cases = plan(suite)
    events: list[RunEvent] = []
    outcome = run(suite, tmp_path, devices=("3", "7"), on_event=events.append)
    assert sorted(record.case for record in outcome.records) == sorted(case.id for case in cases)
    assert read(tmp_path / RESULTS).records == outcome.records
    assert outcome.ok
    # Both measure the smallest case first, to see how they differ.
    assert outcome.spread is not None
    assert outcome.spread.case == "radial/1x3x5/h2d8f32/cpu@16x16"
    assert [*outcome.spread.ms] == ["3", "7"]
    assert outcome.spread.share >= 0
    spread, rest = attempts[:2], attempts[2:]
    assert sorted(spread) == [("3", [outcome.spread.case]), ("7", [outcome.spread.case])]
    group = {case.id: case.group for case in cases}
    owners: dict[str, set[str]] = {}
    for gpu, ids in rest:
        for one in ids:
            owners.setdefault(group[one], set()).add(gpu)
    assert len(owners) == 6
    assert all(len(gpus) == 1 for gpus in owners.values())
    ends = [event for event in events if isinstance(event, CaseEnded)]
    assert [event.record for event in ends] == [*outcome.records]
    assert len([event for event in events if isinstance(event, CaseStarted)]) == len(cases)
    assert ends[-1].work_done == pytest.approx(sum(case.work for case in cases))


def test_units_are_whole_groups_the_heaviest_first() -> None:
    cases = plan(small.suite(six))
    found = units([*cases[1:], cases[0]])
    assert [{case.group for batch in unit for case in batch} for unit in found] == [
        {cases[place].group} for place in (10, 8, 6, 4, 2, 0)
    ]
    assert sum(len(batch) for unit in found for batch in unit) == len(cases)


def test_an_error_on_one_gpu_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, record: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "append", full)
    with pytest.raises(OSError, match="No space left"):
        run(small.suite(six), tmp_path, devices=("0", "1"))
    assert read(tmp_path / RESULTS).records == ()


def test_an_interruption_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Event, Thread

    never = Event()

    def wait() -> None:
        never.wait()

    def interrupted(thread: Thread, seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Thread, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_beside([wait])
    never.set()


def test_which_gpus_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def have(count: int) -> None:
        gpu = Gpu("NVIDIA H200", None, None, None)
        monkeypatch.setattr(devices, "gpus", lambda: ([gpu] * count, ""))

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    have(4)
    assert find_devices("all") == ("0", "1", "2", "3")
    assert find_devices("2,0") == ("2", "0")
    for wrong in ("4", "0,0", "", "a", "0,", "-1", "0;1"):
        with pytest.raises(SuiteError, match="all, or numbers .* from 0 to 3; got"):
            find_devices(wrong)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc")
    assert find_devices("all") == ("5", "GPU-abc")
    assert find_devices("1") == ("GPU-abc",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SuiteError, match="needs GPUs, and there is none"):
        find_devices("all")


def test_gpus_of_two_models_are_refused() -> None:
    class Has:
        def __init__(self, device: str) -> None:
            self.environment = type("Environment", (), {"device": device})

    check_equal([Has("H200"), Has("H200")])  # type: ignore[list-item]
    with pytest.raises(SuiteError, match=r"one model, got H200, H100; choose with --devices 0,1"):
        check_equal([Has("H200"), Has("H100")])  # type: ignore[list-item]


def test_the_verb_tells_the_spread(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    cli = Cli(monkeypatch, capsys, "run")
    suite = small.written(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "gpus", lambda: ([], ""))
    code, _, err = cli(suite, "-o", tmp_path / "out", "--devices", "all")
    assert code == 2
    assert "--devices needs GPUs" in err
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    code, _, err = cli(suite, "-o", tmp_path / "out", "--devices", "all")
    assert code == 2
    assert "neither with --in-process nor with a suite for the CPU" in err
    spread = Spread("dense/x", {"0": 2.0, "1": 2.05})
    records = run(small.suite(), tmp_path / "one", in_process=True).records
    outcome = module.RunOutcome(tmp_path / "r", records, 0, 0, (), 0, spread)
    seen: dict[str, Any] = {}

    def ran(*given: Any, **options: Any) -> module.RunOutcome:
        seen.update(options)
        return outcome

    monkeypatch.setattr(module, "run", ran)
    text = small.text_of(lambda document: document.pop("device"))
    suite = small.written(tmp_path, text)
    code, printed, _ = cli(suite, "-o", tmp_path / "out", "--devices", "1,0", "--quiet")
    assert code == 0
    assert seen["devices"] == ("1", "0")
    assert seen["command"].endswith("--devices 1,0")
    assert "GPUs differ by 2.5% on dense/x: 0 2 ms, 1 2.05 ms; compare cases of a group" in printed
