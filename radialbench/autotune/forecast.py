"""What tuning would take, before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from radialbench.autotune.evaluator import Trial
from radialbench.autotune.final import BEST
from radialbench.autotune.live import FINAL, QUICK
from radialbench.autotune.run import Job
from radialbench.autotune.tuner import measured
from radialbench.kernels.environment import cores
from radialbench.maskgen.compiler.compile import compile_mask
from radialbench.records.tuning import TuningKey
from radialbench.suites.cost import RATES

TRIAL_S = {"cpu": 0.1, "cuda": 0.2}
"""Of a trial besides its samples: uploading the table, comparing the result, warming up."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What tuning one problem would take.

    Attributes:
        job: The problem.
        candidates: Configurations that may be tried.
        rejections: How many may not, by what speaks against them.
        trials: Trials at most.
        seconds: About how long they take.
    """

    job: Job
    candidates: int
    rejections: dict[str, int]
    trials: int
    seconds: float


def forecast(
    jobs: Sequence[Job],
    trials: int,
    seconds: float | None = None,
    known: Mapping[TuningKey, Sequence[Trial]] = MappingProxyType({}),
) -> list[Forecast]:
    """Reckon with the default's blocks and a usual rate; arguments as `run`."""
    return [_forecast(job, trials, seconds, known.get(job.key, ())) for job in jobs]


def _forecast(job: Job, trials: int, seconds: float | None, known: Sequence[Trial]) -> Forecast:
    if job.among is None:
        return Forecast(job, 0, {job.reason or "": 0}, 0, 0.0)
    problem, default, device = job.task.problem, job.among.default, job.task.device
    table = compile_mask(job.task.mask, job.task.grid, default.block_m, default.block_n)
    flops = table.executed_flops(problem.batch * problem.heads, problem.head_dim)
    call = flops / RATES[device] / (cores() if device == "cpu" else 1)
    left = len(job.among.feasible) - len(known)
    count = max(0, min(trials - measured(known), left))
    samples = min(QUICK["max_samples"] * call, QUICK["max_seconds"])
    search = count * (TRIAL_S[device] + 2 * call + samples)
    search = search if seconds is None else min(search, seconds)
    # The best few, and the default twice.
    final = min((BEST + 2) * FINAL["max_samples"] * call, FINAL["max_seconds"])
    return Forecast(job, len(job.among.feasible), job.among.rejections, count, search + final)
