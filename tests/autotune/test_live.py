"""LiveEvaluator trials on a CPU: each ends as what it is, and the next one is tried."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.autotune import live
from radialbench.autotune.live import LiveEvaluator, Precompile, Preload, WorkerPool, trial_of
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.kernels.backends import BACKENDS
from radialbench.kernels.codegen.precompile import Built
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Status
from radialbench.suites.plan import Case, ended
from radialbench.suites.pool import JobPool, PoolJob
from radialbench.suites.worker import Worker
from tests.records.sample import failed
from tests.suites import small
from tests.suites.jobs import Loaded

ODD = {
    "dying": "Dying",
    "hanging": "Hanging",
    "nan": "Nan",
    "raising": "Raising",
    "unplanned": "Unplanned",
}
SMALL = KernelConfig(16, 16)


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in ODD.items():
            patch.setitem(BACKENDS, name, f"tests.suites.small:{kind}")
        # As many samples as they may be, however long they take.
        for protocol in (live.QUICK, live.RUNOFF):
            patch.setitem(protocol, "max_seconds", 600.0)
        with WorkerPool("cpu", "typed") as one:
            yield one


def problem(backend: str = "cpu", **fields: object) -> Case:
    return replace(small.case(backends=["cpu"], **fields), backend=backend)


def test_a_trial_is_timed_in_a_process_that_stays(pool: WorkerPool) -> None:
    one = LiveEvaluator(problem(), pool)
    one.prepare([SMALL])
    trial = one.quick(SMALL, best_ms=None)
    assert trial.outcome == TrialOutcome.OK
    assert live.QUICK["min_samples"] <= len(trial.samples_ms) <= live.QUICK["max_samples"]
    process = pool.worker._process
    assert process is not None
    again = one.quick(KernelConfig(32, 16), best_ms=1e6)
    assert len(again.samples_ms) >= live.QUICK["min_samples"]
    assert pool.worker._process is process
    assert pool.worker.environment.command == "typed"
    one.close()


def test_what_is_far_slower_than_the_best_is_sampled_once(pool: WorkerPool) -> None:
    trial = LiveEvaluator(problem(), pool).quick(SMALL, best_ms=1e-6)
    assert trial.outcome == TrialOutcome.OK
    assert len(trial.samples_ms) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "outcome", "reason"),
    [
        ("nan", TrialOutcome.WRONG, "the result is nan or infinite where the definition is finite"),
        ("raising", TrialOutcome.CRASHED, "RuntimeError: the kernel fell over"),
        ("dying", TrialOutcome.CRASHED, "the process was ended by SIGSEGV while it was prepared"),
        ("unplanned", TrialOutcome.REJECTED, "needs blocks of 17"),
        ("hanging", TrialOutcome.TIMEOUT, "stopped: not prepared within 2 s"),
    ],
)
def test_every_end_is_an_outcome(
    pool: WorkerPool,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    outcome: TrialOutcome,
    reason: str,
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(live.TIMEOUTS, "cpu", 2.0 if backend == "hanging" else 600.0)
        trial = LiveEvaluator(problem(backend), pool).quick(SMALL, best_ms=None)
    assert trial == Trial(SMALL, outcome, reason)
    assert LiveEvaluator(problem(), pool).quick(SMALL, best_ms=None).outcome == TrialOutcome.OK


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        (
            Status.OOM,
            "not tried: needs at least 90.0 GiB, 80.0 GiB are free",
            TrialOutcome.REJECTED,
        ),
        (Status.FAILED, "OutOfResources: out of resource: shared memory", TrialOutcome.REJECTED),
        (Status.FAILED, "CompilationError: at 3:4", TrialOutcome.COMPILE_FAILED),
        (Status.FAILED, "PTXASError: PTXAS error", TrialOutcome.COMPILE_FAILED),
        (Status.FAILED, "RuntimeError: PassManager::run failed", TrialOutcome.COMPILE_FAILED),
        (Status.FAILED, "RuntimeError: CUDA error: invalid argument", TrialOutcome.CRASHED),
    ],
)
def test_errors_tell_what_failed(status: Status, reason: str, outcome: TrialOutcome) -> None:
    assert trial_of(SMALL, ended(failed(), status, reason)) == Trial(SMALL, outcome, reason)


def test_the_last_ones_are_sampled_in_turn(pool: WorkerPool) -> None:
    configs = [SMALL, KernelConfig(32, 32), KernelConfig(16, 32)]
    trials = LiveEvaluator(problem(), pool).runoff(configs)
    assert [trial.config for trial in trials] == configs
    assert {trial.outcome for trial in trials} == {TrialOutcome.OK}
    (count,) = {len(trial.samples_ms) for trial in trials}
    assert count >= live.RUNOFF["min_samples"]


def test_the_processes_of_a_rig_end_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def tell(kind: type, name: str) -> None:
        does = getattr(kind, name)

        def telling(*arguments: object) -> None:
            told.append(f"{kind.__name__}.{name}")
            does(*arguments)

        monkeypatch.setattr(kind, name, telling)

    tell(JobPool, "__exit__")
    tell(Worker, "__exit__")
    tell(Worker, "hang_up")
    with WorkerPool("cpu"):
        pass
    assert told == ["Worker.hang_up", "JobPool.__exit__", "Worker.__exit__"]


def test_a_rig_that_does_not_start_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Worker] = []

    def refuse(*arguments: object, **options: object) -> None:
        begun.append(one.worker)
        process = one.worker._process
        assert process is not None
        assert process.poll() is None
        raise OSError("no more threads")

    monkeypatch.setattr(live, "JobPool", refuse)
    one = WorkerPool("cpu")
    with pytest.raises(OSError, match="no more threads"), one:
        pass
    assert begun[0]._process is None


class Jobs:
    """A pool without children."""

    made: list["Jobs"]

    def __init__(self, children: int, *, limit_s: float) -> None:
        self.children = children
        self.jobs: list[PoolJob] = []
        self.open = True
        self.made.append(self)

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, jobs: Iterable[PoolJob]) -> None:
        self.jobs += jobs

    def close(self) -> None:
        self.open = False


@pytest.mark.parametrize(
    ("device", "known", "arch", "early"),
    [
        *(("cpu", ["a GPU"], None, False), ("auto", [], None, False)),
        *(("auto", ["a GPU"], 90, True), ("cuda", ["a GPU"], 90, True)),
        # NVML knows a GPU that PyTorch does not, and the other way around.
        *(("auto", ["a GPU"], None, True), ("auto", [], 90, False)),
    ],
)
def test_children_start_at_once_where_there_may_be_a_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, known: list[str], arch: int | None, early: bool
) -> None:
    monkeypatch.setattr(Jobs, "made", [], raising=False)
    monkeypatch.setattr(live, "JobPool", Jobs)
    monkeypatch.setattr(live, "gpus", lambda: (known, ""))
    monkeypatch.setattr(live, "_arch", lambda device: arch)
    with WorkerPool(device) as one:
        (pool,) = Jobs.made
        # A job for each, before anybody asks what there is to compile for.
        assert len(set(pool.jobs)) == early * pool.children
        assert "arch" not in vars(one)
        assert (one.jobs is None) == (arch is None)
        assert pool.open == (arch is not None)
    assert not pool.open


def test_a_child_imports_what_compiling_takes() -> None:
    with JobPool(1, limit_s=1200) as pool:
        names = ("torch", "triton", "radialbench.kernels.codegen.precompile")
        assert pool.result(Loaded(names, 1)) == ()
        assert pool.result(Preload(0)) is None
        assert pool.result(Loaded(names, 2)) == names


PLAIN = KernelConfig(16, 16, num_warps=2, num_stages=3)


@pytest.mark.slow
def test_kernels_and_tables_are_compiled_ahead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The portable kernel compiles for a GPU that is not here; the CPU stands in where it runs."""
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(live, "_arch", lambda device: 90)
    monkeypatch.setattr(live, "COMPILE_SECONDS", 1200.0)
    monkeypatch.setitem(BACKENDS, "triton", "radialbench.kernels.backends.cpu:Cpu")
    broken = replace(PLAIN, block_m=24)
    with WorkerPool("cpu") as pool:
        later = problem("triton", head_dim=128, dtype="float16")
        one = LiveEvaluator(
            problem("triton", head_dim=64, dtype="float16"),
            pool,
            then=[replace(later, config=PLAIN)],
        )
        one.prepare([PLAIN, broken])
        with monkeypatch.context() as patch:
            # What is tried first waits for no child.
            patch.setattr(JobPool, "result", None)
            timed = one.quick(PLAIN, best_ms=None)
        assert timed.outcome == TrialOutcome.OK
        one.built(PLAIN)
        assert list(pool.folder.glob("*.table"))
        # A fourth stage changes nothing here: it would be timed twice.
        twin = one.quick(replace(PLAIN, num_stages=4), best_ms=None)
        assert twin.outcome == TrialOutcome.REJECTED
        assert twin.reason == "compiles to the same code as 16×16, 2 warps, 3 stages"
        assert one.quick(PLAIN, best_ms=None).outcome == TrialOutcome.OK
        failed = one.quick(broken, best_ms=None)
        assert failed.outcome == TrialOutcome.COMPILE_FAILED
        assert failed.reason is not None
        assert "power of 2" in failed.reason
        # What comes after is compiled while the last ones are timed.
        assert pool.jobs is not None
        assert later.backend is not None
        ahead = Precompile(
            later.mask, later.grid, later.problem, later.backend, PLAIN, 90, pool.folder
        )
        assert ahead not in pool.jobs._results
        one.runoff([PLAIN])
        assert ahead in {*pool.jobs._results, *pool.jobs._busy, *pool.jobs._waiting}
        assert isinstance(pool.jobs.result(ahead), Built)
        other = LiveEvaluator(problem("hopper", head_dim=128, dtype="float16"), pool)
        large = other.quick(KernelConfig(128, 128, num_stages=4), best_ms=1.0)
        assert large.outcome == TrialOutcome.REJECTED
        assert large.reason is not None
        assert "bytes of shared memory, there are 232,448" in large.reason
