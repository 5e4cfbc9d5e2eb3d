"""Replay: searches of recorded trials, without a GPU, and how far from the best they end."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from radialbench.autotune.space import SPACES, Axis, Candidates, Space, fields_of, space_of
from radialbench.autotune.trials import SweepTrial, Trial, TrialOutcome, measured
from radialbench.autotune.tuner import Tuned, tune
from radialbench.errors import AutotuneError
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey

QUICK_SAMPLES = 6
FINAL_SAMPLES = 20
"""Samples that are drawn for a trial, and for one of the runoff."""


class Replay:
    """An evaluator of one problem that draws from recorded samples.

    Every sample is one of those recorded for its configuration, so that the noise is that of the
    device. The draw depends on the seed, the configuration and the number of runoffs before.

    Args:
        recorded: The trials of the problem in the sweep.
        seed: Seed of the draws.
    """

    def __init__(self, recorded: Sequence[SweepTrial], *, seed: int = 0) -> None:
        self._recorded = {one.config: one.trial for one in recorded}
        self._seed = seed
        self._runoffs = 0

    def prepare(self, configs: Sequence[KernelConfig]) -> None:
        """Do nothing: recorded configurations were compiled."""

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        """Draw a trial; a configuration that was not recorded is rejected."""
        return self._drawn(config, QUICK_SAMPLES, "quick")

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        """Draw trials of equal length."""
        self._runoffs += 1
        return [
            self._drawn(config, FINAL_SAMPLES, f"{self._runoffs} {place}")
            for place, config in enumerate(configs)
        ]

    def close(self) -> None:
        """Do nothing."""

    def _drawn(self, config: KernelConfig, count: int, moment: str) -> Trial:
        trial = self._recorded.get(config)
        if trial is None:
            return Trial(config, TrialOutcome.REJECTED, "was not recorded in the sweep")
        if trial.outcome != TrialOutcome.OK:
            return trial
        draw = random.Random(f"{self._seed} {moment} {config}")
        return Trial(config, TrialOutcome.OK, None, tuple(draw.choices(trial.samples_ms, k=count)))


def by_problem(sweep: Sequence[SweepTrial]) -> dict[TuningKey, tuple[SweepTrial, ...]]:
    """Group the trials of a sweep by problem."""
    groups: dict[TuningKey, list[SweepTrial]] = {}
    for one in sweep:
        groups.setdefault(one.key, []).append(one)
    return {key: tuple(group) for key, group in groups.items()}


def recorded_candidates(recorded: Sequence[SweepTrial]) -> Candidates:
    """Return the recorded configurations of one problem; the first in the sweep is the default.

    Raises:
        AutotuneError: Nothing was recorded.
    """
    if not recorded:
        raise AutotuneError("nothing was recorded of this problem; see which ones the sweep holds")
    configs = tuple(dict.fromkeys(one.config for one in recorded))
    key, first = recorded[0].key, recorded[0].config
    known = key.backend in SPACES and (first.gradients or key.direction == "forward")
    space = space_of(key.backend, key.direction, first) if known else None
    if space is None or any(space.place(config) is None for config in configs):
        space = _smallest_space(configs)
    configs = tuple(sorted(configs, key=lambda config: space.place(config) or ()))
    return Candidates(space, recorded[0].config, configs)


def _smallest_space(configs: Sequence[KernelConfig]) -> Space:
    """Return the smallest space that holds some configurations."""
    axes = []
    fields = [fields_of(config) for config in configs]
    for name in dict.fromkeys(name for one in fields for name in one):
        values = {one.get(name) for one in fields}
        ordered = sorted(values, key=lambda value: -1 if value is None else value)
        axes.append(Axis(name, tuple(ordered)))
    return Space(tuple(axes))


def true_times(recorded: Sequence[SweepTrial]) -> dict[KernelConfig, float]:
    """Return the median of all recorded samples of each configuration that ended well."""
    return {one.config: median(one.samples_ms) for one in recorded if one.samples_ms}


def problem_name(one: SweepTrial) -> str:
    """Return the name of a trial's problem for people."""
    key = one.key
    batch = f"b{key.batch}" if key.batch > 1 else ""
    shape = f"{key.frames}x{key.tokens_per_frame}/{batch}{key.heads_label}d{key.head_dim}"
    direction = "/backward" if key.direction != "forward" else ""
    return f"{one.mask.label}/{shape}/{key.backend}{direction}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a search of recorded trials.

    Attributes:
        name: The problem, for people.
        key: The problem.
        tuned: The result of the search.
        share: Its trials as a share of those an exhaustive search measures.
        regret: By how much the chosen configuration is slower than the best recorded one.
    """

    name: str
    key: TuningKey
    tuned: Tuned
    share: float
    regret: float


def replay_all(
    sweep: Sequence[SweepTrial], patterns: Sequence[str] = (), *, seed: int = 0, **options: Any
) -> Iterator[Replayed]:
    """Tune every problem of a sweep from its recorded trials.

    Args:
        sweep: The recorded trials.
        patterns: Parts of the names of the problems to tune; all if empty.
        seed: Seed of the search and of the replay.
        options: As `tune`.

    Raises:
        AutotuneError: As `tune`, or no problem matches the patterns.
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
        replay = Replay(recorded, seed=seed)
        tuned = tune(recorded_candidates(recorded), replay, seed=seed, **options)
        yield Replayed(
            name=name,
            key=recorded[0].key,
            tuned=tuned,
            share=measured(tuned.trials) / measured(recorded),
            regret=regret_of(true_times(recorded), tuned.decision.config),
        )


def regret_of(times: Mapping[KernelConfig, float], config: KernelConfig) -> float:
    """Return by how much a configuration is slower than the best, as a share."""
    return times[config] / min(times.values()) - 1
