"""Evaluator: what tries a configuration. Task: what is tuned. Trial: what trying gave."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Protocol

from radialbench.errors import AutotuneError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.spec import MaskSpec
from radialbench.records.problem import KernelConfig, Problem


@dataclass(frozen=True, slots=True)
class Task:
    """What is tuned.

    Attributes:
        mask: The mask.
        problem: What is computed.
        backend: What computes it.
        device: `cuda` or `cpu`.
    """

    mask: MaskSpec
    problem: Problem
    backend: str
    device: str

    @property
    def grid(self) -> TokenGrid:
        """The token layout."""
        return self.problem.grid


class Outcome(StrEnum):
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
    outcome: Outcome
    reason: str | None
    samples_ms: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples_ms", tuple(self.samples_ms))
        ok = self.outcome == Outcome.OK
        if ok != bool(self.samples_ms) or ok != (self.reason is None) or self.reason == "":
            raise AutotuneError(
                f"a trial has samples when it is ok, and a reason when it is not; "
                f"got {self.outcome}, {len(self.samples_ms)} samples, reason {self.reason!r}"
            )

    @property
    def ms(self) -> float | None:
        """The middle of the samples; None unless the trial ended well."""
        return median(self.samples_ms) if self.samples_ms else None


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

    def final(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        """Time configurations in turn: sample i of each was taken beside sample i of the others.

        Returns:
            A trial for each, in the same order. Called again, it takes new samples.
        """

    def close(self) -> None:
        """Let go of what was held."""
