"""rehearse: every problem of a recorded sweep tuned as on the day it was recorded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from radialbench.autotune.evaluator import Outcome
from radialbench.autotune.replay import Replay, by_problem, recorded_candidates, true_times
from radialbench.autotune.sweep import SweepTrial
from radialbench.autotune.tuned import Tuned
from radialbench.autotune.tuner import measured, tune_among
from radialbench.errors import AutotuneError
from radialbench.records.tuning import TuningKey


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a search of recorded trials gave.

    Attributes:
        name: The problem, for people.
        key: The problem.
        tuned: What the search gave.
        share: Its trials as a share of those an exhaustive search measures.
        regret: By how much what it chose is slower than the best there is, by all that was
            recorded.
    """

    name: str
    key: TuningKey
    tuned: Tuned
    share: float
    regret: float


def rehearse(
    sweep: Sequence[SweepTrial], patterns: Sequence[str] = (), *, seed: int = 0, **options: Any
) -> Iterator[Rehearsed]:
    """Tune every problem of a sweep by what was recorded.

    Args:
        sweep: The recorded trials.
        patterns: Parts of the names of the problems to tune; all if empty.
        seed: What the search and the replay draw from.
        options: As `tune_among`.

    Raises:
        AutotuneError: As `tune_among`, or nothing fits the patterns.
    """
    problems = {
        name: recorded
        for recorded in by_problem(sweep).values()
        if any(part in (name := problem_name(recorded[0])) for part in patterns or [""])
    }
    if not problems:
        raise AutotuneError(
            f"no recorded problem fits {', '.join(map(repr, patterns)) or 'anything'}; names look "
            f"like {problem_name(sweep[0]) if sweep else 'none, as the sweep is empty'}"
        )
    for name, recorded in problems.items():
        times = true_times(recorded)
        everything = sum(one.outcome != Outcome.REJECTED for one in recorded)
        replay = Replay(recorded, seed=seed)
        tuned = tune_among(recorded_candidates(recorded), replay, seed=seed, **options)
        yield Rehearsed(
            name=name,
            key=recorded[0].key,
            tuned=tuned,
            share=measured(tuned.trials) / everything,
            regret=times[tuned.decision.config] / min(times.values()) - 1,
        )


def problem_name(one: SweepTrial) -> str:
    """Name the problem of a trial for people."""
    key = one.key
    shape = f"{key.frames}x{key.tokens_per_frame}/h{key.batch * key.heads}d{key.head_dim}"
    return f"{one.mask.label}/{shape}/{key.backend}"
