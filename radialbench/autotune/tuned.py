"""Tuned: what a search gave. Progress: how far it is."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from radialbench.autotune.evaluator import Trial
from radialbench.autotune.final import Decision
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import SCHEMA, Outcomes, TuningKey, TuningRecord


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is.

    Attributes:
        stage: `search`, then `final`.
        trial: What has just ended; None before the first trial, and in the final stage.
        best: The best so far.
        default: The default's trial, once it has ended.
        outcomes: How the trials ended, those of earlier processes among them.
        measured: Trials that count towards `planned`.
        planned: Trials at most.
        seconds: Since this process began with it.
        seconds_left: About how much longer the trials take; None if that cannot be told yet.
    """

    stage: str
    trial: Trial | None
    best: Trial | None
    default: Trial | None
    outcomes: Outcomes
    measured: int
    planned: int
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search gave.

    Attributes:
        decision: What to run, and why.
        default: The default configuration.
        trials: In the order in which they began, those of earlier processes among them.
        rejections: How many configurations were never measured, by what spoke against them.
        search: Who proposed.
        seed: What that one drew from.
        edges: Axes at whose end the chosen configuration lies, though the kernel could go on.
        importance: Each axis's share in what made good trials good; nothing with few trials.
        seconds: What this process took.
    """

    decision: Decision
    default: KernelConfig
    trials: tuple[Trial, ...]
    rejections: dict[str, int]
    search: str
    seed: int
    edges: tuple[str, ...]
    importance: dict[str, float]
    seconds: float

    @property
    def outcomes(self) -> Outcomes:
        """How the trials ended; configurations that never became one are rejected too."""
        rejected = sum(self.rejections.values())
        return replace(count_outcomes(self.trials), rejected=rejected)

    def record(
        self,
        key: TuningKey,
        *,
        mask: MaskIdentity,
        kernel: str,
        versions: dict[str, str],
        created: str,
    ) -> TuningRecord:
        """Give it as it is stored.

        Args:
            key: What was tuned.
            mask: The mask.
            kernel: Hash of the source of the kernel that was timed.
            versions: Versions of the libraries, by name.
            created: When, in ISO 8601 with its zone.
        """
        decision = self.decision
        return TuningRecord(
            schema=SCHEMA,
            key=key,
            mask=mask,
            config=decision.config,
            default=self.default,
            source=decision.source,
            ms=decision.ms,
            default_ms=decision.default_ms,
            ratio=decision.ratio,
            trials=self.outcomes,
            sampler=self.search,
            seed=self.seed,
            edges=self.edges,
            kernel=kernel,
            versions=versions,
            created=created,
        )


def count_outcomes(trials: Iterable[Trial]) -> Outcomes:
    """Count how trials ended."""
    return Outcomes(**Counter(trial.outcome.value for trial in trials))
