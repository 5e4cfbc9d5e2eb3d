"""TuningJob: a problem of a suite with its candidates on this machine."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from radialbench.autotune.live import QUICK, RUNOFF
from radialbench.autotune.space import SPACES, Candidates, candidates, default_config
from radialbench.autotune.trials import Trial, measured
from radialbench.autotune.tuner import BEST
from radialbench.errors import AutotuneError, unknown
from radialbench.kernels.tuned import device_name
from radialbench.machine import cores
from radialbench.maskgen.compiler import compile_any
from radialbench.records.problem import Problem
from radialbench.records.tuning import TuningKey, key_of
from radialbench.suites.estimate import RATES
from radialbench.suites.plan import Case, plan
from radialbench.suites.read import load_suite

TRIAL_S = {"cpu": 0.1, "cuda": 0.2}
"""Overhead of a trial: uploading the table, comparing the result, warming up."""


@dataclass(frozen=True, slots=True)
class TuningJob:
    """A problem to tune, with its candidates on this machine.

    Attributes:
        case: The problem, with the backend to tune and the device, `cuda` or `cpu`.
        key: The key of its record.
        candidates: The configurations to try; None if the backend cannot run it here.
        reason: Why it cannot.
    """

    case: Case
    key: TuningKey
    candidates: Candidates | None
    reason: str | None = None

    @property
    def name(self) -> str:
        """The job's name for people."""
        problem = self.case.problem
        batch = f"b{problem.batch}" if problem.batch > 1 else ""
        shape = f"{batch}{problem.heads_label}d{problem.head_dim}"
        return f"{self.case.mask.label}/{problem.grid.label}/{shape}/{self.case.backend}"


def tunable_cases(cases: Iterable[Case], device: str, backends: Iterable[str] = ()) -> list[Case]:
    """Return the attention problems of cases, each once for every backend with something to tune.

    Args:
        cases: The cases; their configurations do not matter.
        device: `cuda` or `cpu`.
        backends: Backends to tune on every problem; those of the cases if empty.

    Raises:
        AutotuneError: There is nothing to tune, or a backend has nothing to tune.
    """
    named = [*backends]
    for name in named:
        if name not in SPACES:
            raise AutotuneError(f"nothing to tune: {unknown('backend', name, SPACES)}")
    tunable: dict[tuple[Problem, str], Case] = {}
    for case in cases:
        if case.measure != "attention" or case.problem.direction != "forward":
            continue
        for name in named or [case.backend or ""]:
            if name in SPACES:
                key = (case.problem, name)
                tunable.setdefault(key, replace(case, backend=name, device=device))
    if not tunable:
        raise AutotuneError(
            "nothing to tune: no case computes attention forward on "
            f"{' or '.join(sorted(SPACES))}; name a backend to tune it on the suite's problems"
        )
    return list(tunable.values())


def jobs_of(cases: Iterable[Case]) -> list[TuningJob]:
    """Return the jobs of tunable cases, with the candidates of this machine."""
    return [_job(case) for case in cases]


def absent_jobs(cases: Iterable[Case]) -> list[TuningJob]:
    """Return the jobs of tunable cases on a device that is not here, with all configurations."""
    jobs = []
    for case in cases:
        name = case.backend or ""
        space, default = SPACES[name], default_config(case.problem, name, case.device)
        every = Candidates(space, default, tuple(space.configs()))
        jobs.append(TuningJob(case, key_of(case.problem, name, case.device), every))
    return jobs


def match_records(
    keys: Collection[TuningKey], suites: Iterable[str], device: str
) -> list[TuningJob]:
    """Find the problems of keys, which have only the fingerprint of a mask, in suites.

    Args:
        keys: The keys; those of other devices are not found.
        suites: Names or files of the suites to search.
        device: `cuda` or `cpu`.

    Returns:
        A job for each key that was found, in the order of the suites.

    Raises:
        SuiteError: A suite cannot be read.
    """
    backends = sorted({key.backend for key in keys} & SPACES.keys())
    found: dict[TuningKey, Case] = {}
    for suite in suites:
        cases = plan(load_suite(suite))
        try:
            tunable = tunable_cases(cases, device, backends)
        except AutotuneError:
            # This suite has nothing to tune; another may have.
            continue
        for case in tunable:
            if (key := _key(case)) in keys:
                found.setdefault(key, case)
    return jobs_of(found.values())


@dataclass(frozen=True, slots=True)
class TuningEstimate:
    """The estimated cost of tuning one problem.

    Attributes:
        job: The problem.
        candidates: Number of feasible configurations.
        rejections: Number of the others, by kind of reason.
        trials: Trials at most.
        seconds: About how long they take.
    """

    job: TuningJob
    candidates: int
    rejections: dict[str, int]
    trials: int
    seconds: float


def estimate_tuning(
    jobs: Sequence[TuningJob],
    trials: int,
    seconds: float | None = None,
    known: Mapping[TuningKey, Sequence[Trial]] = MappingProxyType({}),
) -> list[TuningEstimate]:
    """Estimate the cost of tuning, by the default's blocks and a usual rate; arguments as `run`."""
    estimates = []
    for job in jobs:
        if job.candidates is None:
            estimates.append(TuningEstimate(job, 0, {job.reason or "": 0}, 0, 0.0))
            continue
        case, feasible, default = job.case, job.candidates.feasible, job.candidates.default
        done = known.get(job.key, ())
        table = compile_any(case.mask, case.grid, default.block_m, default.block_n)
        heads = case.problem.batch * case.problem.heads
        flops = table.executed_flops(heads, case.problem.head_dim)
        call = flops / RATES[case.device] / (cores() if case.device == "cpu" else 1)
        count = max(0, min(trials - measured(done), len(feasible) - len(done)))
        samples = min(QUICK["max_samples"] * call, QUICK["max_seconds"])
        search = count * (TRIAL_S[case.device] + 2 * call + samples)
        search = search if seconds is None else min(search, seconds)
        # The best few, and the default twice.
        runoff = min((BEST + 2) * RUNOFF["max_samples"] * call, RUNOFF["max_seconds"])
        rejections = job.candidates.rejections
        estimates.append(TuningEstimate(job, len(feasible), rejections, count, search + runoff))
    return estimates


def _key(case: Case) -> TuningKey:
    return key_of(case.problem, case.backend or "", device_name(case.device))


def _job(case: Case) -> TuningJob:
    try:
        return TuningJob(
            case, _key(case), candidates(case.problem, case.backend or "", case.device)
        )
    except AutotuneError as error:
        return TuningJob(case, _key(case), None, str(error))
