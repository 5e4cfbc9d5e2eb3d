"""TuningJob: a problem of a suite with its candidates on this machine."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

from radialbench.autotune.live import QUICK, RUNOFF
from radialbench.autotune.space import (
    SPACES,
    Candidates,
    candidates,
    check_tunable,
    default_config,
    nothing_to_tune,
    space_of,
)
from radialbench.autotune.trials import Trial, measured
from radialbench.autotune.tuner import BEST
from radialbench.errors import AutotuneError
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
        direction = "/backward" if problem.direction != "forward" else ""
        return f"{self.case.mask.label}/{problem.grid.label}/{shape}/{self.case.backend}{direction}"


def tunable_cases(
    cases: Iterable[Case],
    device: str,
    backends: Iterable[str] = (),
    *,
    direction: str | None = None,
) -> list[Case]:
    """Return the attention problems of cases, each once for every backend with something to tune.

    Args:
        cases: The cases. Of their configurations only the blocks matter that a suite states, in
            which the portable gradients are tuned.
        device: `cuda` or `cpu`.
        backends: Backends to tune on every problem; those of the cases if empty.
        direction: `forward` or `backward`; that of each case if None. Both are two problems.

    Raises:
        AutotuneError: There is nothing to tune, or a backend has nothing to tune.
    """
    named = [*backends]
    for name in named:
        check_tunable(name)
    tunable: dict[tuple[Problem, str], Case] = {}
    for case in cases:
        if case.measure != "attention":
            continue
        own = case.problem.direction
        both = ["forward", "backward"] if own == "both" else [own]
        for way, name in product([direction] if direction else both, named or [case.backend or ""]):
            if name in SPACES:
                problem = replace(case.problem, direction=way)
                one = replace(case, backend=name, device=device, problem=problem)
                tunable.setdefault((problem, name), one)
    if not tunable:
        raise AutotuneError(
            f"nothing to tune: no case computes attention on {' or '.join(sorted(SPACES))}; "
            "name a backend to tune it on the suite's problems"
        )
    return list(tunable.values())


def jobs_of(cases: Iterable[Case]) -> list[TuningJob]:
    """Return the jobs of tunable cases, with the candidates of this machine."""
    return [job_of(case) for case in cases]


def absent_jobs(cases: Iterable[Case]) -> list[TuningJob]:
    """Return the jobs of tunable cases on a device that is not here, with all configurations."""
    jobs = []
    for case in cases:
        name, problem = case.backend or "", case.problem
        key = key_of(problem, name, case.device)
        if reason := nothing_to_tune(name, problem.direction):
            jobs.append(TuningJob(case, key, None, reason))
            continue
        default = default_config(problem, name, case.device, _blocks(case))
        space = space_of(name, problem.direction, default)
        every = Candidates(space, default, tuple(space.configs()))
        jobs.append(TuningJob(case, key, every))
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
    directions = sorted({key.direction for key in keys}, reverse=True)
    found: dict[TuningKey, Case] = {}
    for suite in suites:
        cases = plan(load_suite(suite))
        for direction in directions:
            try:
                tunable = tunable_cases(cases, device, backends, direction=direction)
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
        flops = table.executed_flops(heads, case.problem.head_dim) * case.problem.matmuls / 2
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


def job_of(case: Case) -> TuningJob:
    """Return the job of a tunable case, with the candidates of this machine."""
    try:
        found = candidates(case.problem, case.backend or "", case.device, _blocks(case))
        return TuningJob(case, _key(case), found)
    except AutotuneError as error:
        return TuningJob(case, _key(case), None, str(error))


def _blocks(case: Case) -> tuple[int, int] | None:
    """Return the blocks that the suite states; None if it leaves them open."""
    stated = case.config_source == "suite"
    return (case.config.block_m, case.config.block_n) if stated else None
