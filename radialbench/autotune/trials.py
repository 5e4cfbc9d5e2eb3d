"""Trial: what trying a configuration gave. Evaluator: who tries. Store: who remembers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Protocol

from radialbench.errors import AutotuneError
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import Outcomes, TuningKey


class TrialOutcome(StrEnum):
    """How a trial ended."""

    REJECTED = "rejected"
    COMPILE_FAILED = "compile_failed"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    WRONG = "wrong"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Trial:
    """What trying one configuration gave.

    Attributes:
        config: The configuration.
        outcome: How it ended.
        reason: Why it did not end well; None exactly when it did.
        samples_ms: Times of calls, in order; none unless it ended well.
    """

    config: KernelConfig
    outcome: TrialOutcome
    reason: str | None
    samples_ms: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples_ms", tuple(self.samples_ms))
        ok = self.outcome == TrialOutcome.OK
        if ok != bool(self.samples_ms) or ok != (self.reason is None) or self.reason == "":
            raise AutotuneError(
                f"a trial has samples when it is ok, and a reason when it is not; "
                f"got {self.outcome}, {len(self.samples_ms)} samples, reason {self.reason!r}"
            )

    @property
    def ms(self) -> float | None:
        """The middle of the samples; None unless the trial ended well."""
        return median(self.samples_ms) if self.samples_ms else None


def count_outcomes(trials: Iterable[Trial]) -> Outcomes:
    """Return how many trials ended how."""
    return Outcomes(**Counter(trial.outcome.value for trial in trials))


def measured(trials: Iterable[Trial]) -> int:
    """Return how many trials cost something: all but those rejected."""
    return sum(trial.outcome != TrialOutcome.REJECTED for trial in trials)


class Evaluator(Protocol):
    """Tries configurations of one task."""

    def prepare(self, configs: Sequence[KernelConfig]) -> None:
        """Begin compiling configurations, in the order they will be needed; return at once."""

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        """Time one configuration, once its result was found accurate.

        Args:
            config: The configuration.
            best_ms: The best time so far; sampling may end early once this one is surely slower.
        """

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        """Time configurations in turn: sample i of each was taken beside sample i of the others.

        Returns:
            A trial for each, in the same order. Called again, it takes new samples.
        """

    def close(self) -> None:
        """Let go of what was held."""


class Store(Protocol):
    """The trials of a search, in the order in which they began."""

    def trials(self) -> list[Trial]:
        """Return those that have ended."""

    def add(self, trials: Iterable[Trial]) -> None:
        """Keep trials that have ended elsewhere; not those of a configuration that is known."""

    def taken(self) -> frozenset[KernelConfig]:
        """Return what other processes are trying at this moment."""

    def waiting(self) -> KernelConfig | None:
        """Return what a process did not live to end, which is to be tried first."""

    def begin(self, config: KernelConfig) -> KernelConfig | None:
        """Note that something is being tried: this configuration, or one that was waiting.

        Returns:
            What to try; None if another process has begun with it in the same moment.
        """

    def end(self, trial: Trial) -> None:
        """Keep what trying gave."""

    def put_back(self) -> None:
        """Note that trying was interrupted, so that it is done again."""

    def finals(self) -> list[Trial]:
        """Return what was measured in the end, if nothing was tried since."""

    def keep_finals(self, finals: Sequence[Trial]) -> None:
        """Keep what was measured in the end."""


class Memory:
    """Trials that are forgotten with the process."""

    def __init__(self) -> None:
        self._trials: list[Trial] = []
        self._finals: list[Trial] = []

    def trials(self) -> list[Trial]:
        """Return those that have ended."""
        return list(self._trials)

    def add(self, trials: Iterable[Trial]) -> None:
        """Keep trials that have ended elsewhere; not those of a configuration that is known."""
        kept = {trial.config: trial for trial in (*trials, *self._trials)}
        self._trials = list(kept.values())

    def taken(self) -> frozenset[KernelConfig]:
        """Return nothing: no other process knows of it."""
        return frozenset()

    def waiting(self) -> KernelConfig | None:
        """Return nothing: no other process has left anything."""
        return None

    def begin(self, config: KernelConfig) -> KernelConfig:
        """Return the configuration."""
        return config

    def end(self, trial: Trial) -> None:
        """Keep what trying gave."""
        self._trials.append(trial)
        self._finals = []

    def put_back(self) -> None:
        """Do nothing: what has not ended was never noted."""

    def finals(self) -> list[Trial]:
        """Return what was measured in the end, if nothing was tried since."""
        return list(self._finals)

    def keep_finals(self, finals: Sequence[Trial]) -> None:
        """Keep what was measured in the end."""
        self._finals = list(finals)


def study_name(key: TuningKey, kernel: str) -> str:
    """Return the name of a problem's study: a search is gone on with only for the same kernel.

    Args:
        key: What is tuned.
        kernel: Hash of the kernel's source.
    """
    video = f"{key.frames}x{key.tokens_per_frame}s{key.seq_len}"
    shape = f"b{key.batch}h{key.heads}d{key.head_dim}"
    how = f"{key.dtype}/{key.direction}/{kernel[:12]}"
    return f"{key.backend}/{key.device}/{key.mask_fingerprint}/{video}/{shape}/{how}"
