"""Tasks tuned one after the other: one that cannot go on leaves the others theirs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from radialbench.autotune import run as tuning
from radialbench.autotune.jobs import TuningJob, jobs_of, tunable_cases
from radialbench.autotune.live import WorkerPool
from radialbench.autotune.space import SPACES, Axis, Space
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.errors import AutotuneError, RecordError
from radialbench.kernels.tuned import processor
from radialbench.records.problem import KernelConfig
from radialbench.records.statistics import Estimate
from radialbench.records.store import reserved
from radialbench.records.tuning import Outcomes, TuningRecord
from radialbench.records.tuning_file import read_tuning
from radialbench.suites.plan import Case
from tests.records.tuned import KEY
from tests.records.tuned import tuned as record
from tests.suites import small

SPACE = Space((Axis("block_m", (64, 128)), Axis("block_n", (64, 128))))
FAST = KernelConfig(64, 64)
POOL = WorkerPool("cpu")
"""Without processes."""


class Recorded:
    """Takes a time for every configuration, without a process; dense attention does not run."""

    asked: list[tuple[str, KernelConfig]]
    compiled: list[tuple[str, KernelConfig]]

    def __init__(self, case: Case, pool: object, *, then: Sequence[Case]) -> None:
        self.case = case
        self.then = then

    def prepare(self, configs: Sequence[KernelConfig]) -> None:
        """Nothing to compile."""

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        self.asked.append((self.case.mask.label, config))
        return self._timed(config, 3)

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        self.compiled += [(case.problem.grid.label, case.config) for case in self.then]
        return [self._timed(config, 20) for config in configs]

    def close(self) -> None:
        """Nothing to end."""

    def _timed(self, config: KernelConfig, count: int) -> Trial:
        if self.case.mask.label == "dense":
            return Trial(config, TrialOutcome.CRASHED, "fell over")
        ms = 1.0 if config == FAST else 2.0
        return Trial(config, TrialOutcome.OK, None, tuple(ms + i / 1e4 for i in range(count)))


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[TuningJob]:
    monkeypatch.setattr(Recorded, "asked", [], raising=False)
    monkeypatch.setattr(Recorded, "compiled", [], raising=False)
    monkeypatch.setattr(tuning, "LiveEvaluator", Recorded)
    monkeypatch.setitem(SPACES, "cpu", SPACE)
    monkeypatch.delenv("RADIALBENCH_CONFIGS", raising=False)
    cases = small.cases(masks=["dense", "radial"], backends=["hopper", "cpu"])
    return jobs_of(tunable_cases(cases, "cpu"))


def tuned(jobs: Sequence[TuningJob], folder: Path, **options: Any) -> list[tuning.JobEnded]:
    storage = f"journal:{folder / 'trials.journal'}"
    return tuning.run(jobs, POOL, folder / "records.jsonl", storage=storage, **options)


def test_what_cannot_run_is_left_out_and_what_fails_is_told(
    jobs: list[TuningJob], tmp_path: Path
) -> None:
    assert [job.name for job in jobs if job.candidates is None] == [
        f"{mask}/{frames}x3x5/h2d8/hopper" for frames in (2, 3) for mask in ("dense", "radial")
    ]
    seen: list[tuning.TuningEvent] = []
    ends = tuned(jobs, tmp_path, on_event=seen.append)
    assert [(end.place, end.total, end.job.case.mask.label) for end in ends] == [
        (1, 4, "dense"), (2, 4, "radial"), (3, 4, "dense"), (4, 4, "radial")
    ]  # fmt: skip
    for end in ends:
        if end.job.case.mask.label == "dense":
            assert end.record is None
            assert end.reason is not None
            assert "the default configuration does not run" in end.reason
        else:
            assert end.record is not None
            assert (end.record.config, end.record.source) == (FAST, "tuned")
            assert end.record.versions.keys() == {"radialbench", "torch"}
            assert end.record.key.device == processor("cpu")
    assert [event for event in seen if isinstance(event, tuning.JobEnded)] == ends
    assert read_tuning(tmp_path / "records.jsonl") == tuple(e.record for e in ends if e.record)


def test_what_was_best_before_is_tried_after_the_default(
    jobs: list[TuningJob], tmp_path: Path
) -> None:
    tuned(jobs, tmp_path, trials=3)
    longer = [config for label, config in Recorded.asked if label == "radial"][-3:]
    assert longer[:2] == [KernelConfig(), FAST]


def test_what_was_best_on_other_devices_comes_after_what_was_on_this_one() -> None:
    far = record(frames=84, config=KernelConfig(16, 16))
    other = record(device="another", config=KernelConfig(32, 32))
    assert list(tuning.neighbours([other, far], KEY)) == [far.config, other.config]
    assert list(tuning.neighbours([other], KEY)) == [other.config]
    assert list(tuning.neighbours([], KEY)) == []


def test_what_the_next_begins_with_is_compiled_while_the_last_are_timed(
    jobs: list[TuningJob], tmp_path: Path
) -> None:
    one, two, *_ = radial = [
        job for job in jobs if job.candidates and job.case.mask.label == "radial"
    ]
    known = {two.key: [Trial(KernelConfig(), TrialOutcome.OK, None, (2.0,))]}
    tuned(radial, tmp_path, known=known)
    assert one.case.problem.grid != two.case.problem.grid
    assert {grid for grid, _ in Recorded.compiled} == {two.case.problem.grid.label}
    begun = [config for _, config in Recorded.compiled]
    assert len(begun) == 3
    assert {*begun, KernelConfig()} == set(SPACE.configs())


def test_what_is_known_of_a_problem_is_not_tried_again(
    jobs: list[TuningJob], tmp_path: Path
) -> None:
    (job, _) = (job for job in jobs if job.candidates and job.case.mask.label == "radial")
    known = [Trial(config, TrialOutcome.OK, None, (2.0,)) for config in SPACE.configs()]
    ends = tuned([job], tmp_path, known={job.key: known})
    assert not Recorded.asked
    (record,) = (end.record for end in ends)
    assert record is not None
    assert (record.config, record.sampler, record.trials.ok) == (FAST, "exhaustive", 4)


def test_a_file_that_another_process_writes_is_left_alone(
    jobs: list[TuningJob], tmp_path: Path
) -> None:
    with (
        reserved(tmp_path / "records.jsonl.lock"),
        pytest.raises(RecordError, match="another run is writing"),
    ):
        tuned(jobs, tmp_path)
    assert not Recorded.asked


def test_nothing_that_can_run_is_an_error(jobs: list[TuningJob], tmp_path: Path) -> None:
    with pytest.raises(AutotuneError, match="hopper cannot run what is to be tuned"):
        tuned([job for job in jobs if job.candidates is None], tmp_path)
    with pytest.raises(AutotuneError, match="unknown search 'tp'"):
        tuned(jobs, tmp_path, search="tp")
    with pytest.raises(AutotuneError, match="cannot use the storage nowhere"):
        tuning.run(jobs, POOL, tmp_path / "records.jsonl", storage="nowhere")
    assert not Recorded.asked
    assert not (tmp_path / "records.jsonl").exists()


def test_neighbours_come_nearest_first_and_once(jobs: list[TuningJob]) -> None:
    key = jobs[1].key
    once = Estimate(1.0, 0.9, 1.1)
    record = TuningRecord(
        schema=2, key=replace(key, heads=8), mask=jobs[1].case.mask.identity,
        config=FAST, default=KernelConfig(),
        source="tuned", ms=once, default_ms=once, ratio=Estimate(1.2, 1.1, 1.3), trials=Outcomes(),
        sampler="tpe", seed=0, edges=(), kernel="abc", versions={},
        created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    near, far = KernelConfig(128, 64), KernelConfig(64, 128)
    records = [
        record,
        replace(record, key=replace(key, heads=32), config=far),
        replace(record, key=replace(key, heads=4), config=near),
        replace(record, key=replace(key, heads=16), config=FAST),
        replace(record, key=replace(key, head_dim=64), config=KernelConfig(32, 32)),
    ]
    assert list(tuning.neighbours(records, key)) == [near, FAST, far]
    assert list(tuning.neighbours([], key)) == []
