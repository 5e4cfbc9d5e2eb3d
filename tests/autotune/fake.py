"""An evaluator that knows the times, and does what it is told to do besides."""

import random
from collections.abc import Callable, Mapping, Sequence

from radialbench.autotune.space import Axis, Candidates, Space
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.records.problem import KernelConfig

SPACE = Space(
    (
        Axis("block_m", (32, 64, 128, 256), limits=(256,)),
        Axis("block_n", (32, 64, 128)),
    )
)
DEFAULT = KernelConfig()
BEST = KernelConfig(64, 64)


def among(space: Space = SPACE) -> Candidates:
    """Give all of a space as candidates."""
    return Candidates(space, DEFAULT, tuple(space.configs()))


def ms(config: KernelConfig) -> float:
    """Give a time: 1.01 for the best, 1.22 for the default."""
    m, n = SPACE.place(config) or (0, 0)
    return 1 + 0.1 * abs(m - 1) + 0.1 * abs(n - 1) + 0.01 * m


class Fake:
    """Tries configurations by a formula.

    Args:
        ends: Ends of those that do not end well.
        noise: Standard deviation of a sample, as a share.
        time: The formula.
        seed: Of the noise.

    Attributes:
        tried: The configurations, in order.
        bests: What was said to be the best time so far, likewise.
        prepared: What was to be compiled.
        finals: What was tried in turn.
    """

    def __init__(
        self,
        ends: Mapping[KernelConfig, tuple[TrialOutcome, str]] | None = None,
        *,
        noise: float = 0.001,
        time: Callable[[KernelConfig], float] = ms,
        seed: int = 0,
    ) -> None:
        self._ends, self._noise, self._time = dict(ends or {}), noise, time
        self._draw = random.Random(seed)
        self.tried: list[KernelConfig] = []
        self.bests: list[float | None] = []
        self.prepared: list[KernelConfig] = []
        self.finals: list[list[KernelConfig]] = []

    def prepare(self, configs: Sequence[KernelConfig]) -> None:
        self.prepared += configs

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        self.tried.append(config)
        self.bests.append(best_ms)
        return self._trial(config, 5)

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        self.finals.append(list(configs))
        return [self._trial(config, 20) for config in configs]

    def close(self) -> None:
        pass

    def _trial(self, config: KernelConfig, count: int) -> Trial:
        if config in self._ends:
            return Trial(config, *self._ends[config])
        time = self._time(config)
        samples = tuple(time * max(0.5, self._draw.gauss(1, self._noise)) for _ in range(count))
        return Trial(config, TrialOutcome.OK, None, samples)
