"""Replay: an evaluator that draws from a recorded sweep, so that searches need no GPU."""

import random
from collections.abc import Sequence
from statistics import median

from radialbench.autotune.space import SPACES, Axis, Candidates, Space
from radialbench.autotune.sweep import SweepTrial
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.errors import AutotuneError
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey

QUICK_SAMPLES = 6
FINAL_SAMPLES = 20
"""How many are drawn for a trial, and for one of the final ones."""


class Replay:
    """Trials of one problem, drawn from samples that were recorded.

    Every sample is one of those recorded for its configuration, so that the noise is that of the
    device; which one depends on the seed, the configuration and the count of the draws before.

    Args:
        recorded: The trials of the problem in the sweep.
        seed: What is drawn from.
    """

    def __init__(self, recorded: Sequence[SweepTrial], *, seed: int = 0) -> None:
        self._recorded = {one.config: one.trial for one in recorded}
        self._seed = seed
        self._finals = 0

    def prepare(self, configs: Sequence[KernelConfig]) -> None:
        """Do nothing: what is recorded was compiled."""

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        """Draw a trial; a configuration that was not recorded is rejected."""
        return self._drawn(config, QUICK_SAMPLES, "quick")

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        """Draw trials of equal length."""
        self._finals += 1
        return [
            self._drawn(config, FINAL_SAMPLES, f"{self._finals} {place}")
            for place, config in enumerate(configs)
        ]

    def close(self) -> None:
        """Do nothing."""

    def _drawn(self, config: KernelConfig, count: int, moment: str) -> Trial:
        known = self._recorded.get(config)
        if known is None:
            return Trial(config, TrialOutcome.REJECTED, "was not recorded in the sweep")
        if known.outcome != TrialOutcome.OK:
            return known
        draw = random.Random(f"{self._seed} {moment} {config}")
        return Trial(config, TrialOutcome.OK, None, tuple(draw.choices(known.samples_ms, k=count)))


def by_problem(sweep: Sequence[SweepTrial]) -> dict[TuningKey, tuple[SweepTrial, ...]]:
    """Part a sweep by what was computed."""
    parts: dict[TuningKey, list[SweepTrial]] = {}
    for one in sweep:
        parts.setdefault(one.key, []).append(one)
    return {key: tuple(part) for key, part in parts.items()}


def recorded_candidates(recorded: Sequence[SweepTrial]) -> Candidates:
    """Return what was tried of one problem as candidates; the first is the default, as in a sweep.

    Raises:
        AutotuneError: Nothing was recorded.
    """
    if not recorded:
        raise AutotuneError("nothing was recorded of this problem; see which ones the sweep holds")
    configs = tuple(dict.fromkeys(one.config for one in recorded))
    space = SPACES.get(recorded[0].key.backend)
    if space is None or any(space.place(config) is None for config in configs):
        space = _spanned(configs)
    configs = tuple(sorted(configs, key=lambda config: space.place(config) or ()))
    return Candidates(space, recorded[0].config, configs)


def true_times(recorded: Sequence[SweepTrial]) -> dict[KernelConfig, float]:
    """Return the median of all that was recorded, for what ended well."""
    return {one.config: median(one.samples_ms) for one in recorded if one.samples_ms}


def _spanned(configs: Sequence[KernelConfig]) -> Space:
    """Return the smallest space that holds some configurations."""
    axes = []
    for name in ("block_m", "block_n", "num_warps", "num_stages"):
        values = {getattr(config, name) for config in configs}
        ordered = sorted(values, key=lambda value: -1 if value is None else value)
        axes.append(Axis(name, tuple(ordered)))
    return Space(tuple(axes))
