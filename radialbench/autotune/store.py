"""Store: what a search remembers. In memory here, in a study of Optuna's in `study.py`."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from radialbench.autotune.evaluator import Trial
from radialbench.autotune.space import Candidates
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey


class Store(Protocol):
    """The trials of a search, in the order in which they began."""

    def trials(self) -> list[Trial]:
        """Give those that have ended."""

    def add(self, trials: Iterable[Trial]) -> None:
        """Keep trials that have ended elsewhere; not those of a configuration that is known."""

    def taken(self) -> frozenset[KernelConfig]:
        """Give what other processes are trying at this moment."""

    def waiting(self) -> KernelConfig | None:
        """Give what a process did not live to end, which is to be tried first."""

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
        """Give what was measured in the end, if nothing was tried since."""

    def keep_finals(self, finals: Sequence[Trial]) -> None:
        """Keep what was measured in the end."""


class Memory:
    """Trials that are forgotten with the process."""

    def __init__(self) -> None:
        self._trials: list[Trial] = []
        self._finals: list[Trial] = []

    def trials(self) -> list[Trial]:
        """Give those that have ended."""
        return list(self._trials)

    def add(self, trials: Iterable[Trial]) -> None:
        """Keep trials that have ended elsewhere; not those of a configuration that is known."""
        kept = {trial.config: trial for trial in (*trials, *self._trials)}
        self._trials = list(kept.values())

    def taken(self) -> frozenset[KernelConfig]:
        """Give nothing: no other process knows of it."""
        return frozenset()

    def waiting(self) -> KernelConfig | None:
        """Give nothing: no other process has left anything."""
        return None

    def begin(self, config: KernelConfig) -> KernelConfig:
        """Give the configuration."""
        return config

    def end(self, trial: Trial) -> None:
        """Keep what trying gave."""
        self._trials.append(trial)
        self._finals = []

    def put_back(self) -> None:
        """Do nothing: what has not ended was never noted."""

    def finals(self) -> list[Trial]:
        """Give what was measured in the end, if nothing was tried since."""
        return list(self._finals)

    def keep_finals(self, finals: Sequence[Trial]) -> None:
        """Keep what was measured in the end."""
        self._finals = list(finals)


def open_store(url: str | None, study: str, candidates: Candidates) -> Store:
    """Open the store of a search, or make it.

    Args:
        url: `journal:PATH`, or what SQLAlchemy knows, such as `sqlite:///PATH` or
            `postgresql://USER@HOST/NAME`; in memory if None.
        study: Name of the search there.
        candidates: What is searched.

    Raises:
        AutotuneError: It cannot be opened, or holds a search of another space under this name.
    """
    if url is None:
        return Memory()
    from radialbench.autotune.study import Study

    return Study(url, study, candidates)


def study_name(key: TuningKey, kernel: str) -> str:
    """Name the study of a problem: a search is gone on with only for the same kernel.

    Args:
        key: What is tuned.
        kernel: Hash of the kernel's source.
    """
    video = f"{key.frames}x{key.tokens_per_frame}s{key.seq_len}"
    shape = f"b{key.batch}h{key.heads}d{key.head_dim}"
    how = f"{key.dtype}/{key.direction}/{kernel[:12]}"
    return f"{key.backend}/{key.device}/{key.mask_fingerprint}/{video}/{shape}/{how}"
