"""Trial: the result of one configuration, alone or in a sweep's file. Store: a search's trials."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Protocol

from radialbench.errors import AutotuneError, RecordError
from radialbench.kernels.tuned import compiler_version, source_hash
from radialbench.maskgen.identity import MaskIdentity
from radialbench.reading import read_whole
from radialbench.records import codec
from radialbench.records.codec import read_line
from radialbench.records.measurement import LONGEST_MS, SHORTEST_MS
from radialbench.records.problem import KernelConfig
from radialbench.records.store import write_whole
from radialbench.records.tuning import Outcomes, TuningKey
from radialbench.writing import locked

SWEEP_SCHEMA = 2
"""Version of the stored form. 1: the first. 2: the mask in fields."""


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
    """The result of trying one configuration.

    Attributes:
        config: The configuration.
        outcome: How it ended.
        reason: Why it failed; None exactly when it is ok.
        samples_ms: Times of calls, in order; none unless it is ok.
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
        """The median of the samples; None unless the trial is ok."""
        return median(self.samples_ms) if self.samples_ms else None


def count_outcomes(trials: Iterable[Trial]) -> Outcomes:
    """Count the outcomes of trials."""
    return Outcomes(**Counter(trial.outcome.value for trial in trials))


def measured(trials: "Iterable[Trial | SweepTrial]") -> int:
    """Count the trials that were measured: all but those rejected."""
    return sum(trial.outcome != TrialOutcome.REJECTED for trial in trials)


def study_name(key: TuningKey, kernel: str) -> str:
    """Return the name of a problem's study; it has the hash of the kernel's source."""
    video = f"{key.frames}x{key.tokens_per_frame}s{key.seq_len}"
    video += f"q{key.q_len}" if key.q_len else ""
    shape = f"b{key.batch}{key.heads_label}d{key.head_dim}"
    how = f"{key.dtype}/{key.direction}/{kernel[:12]}"
    return f"{key.backend}/{key.device}/{key.mask_fingerprint}/{video}/{shape}/{how}"


@dataclass(frozen=True, slots=True)
class SweepTrial:
    """A trial of one problem, recorded so that searches can be replayed.

    Attributes:
        schema: Version of the stored form.
        key: The problem.
        mask: The mask.
        config: The configuration.
        outcome: How the trial ended.
        reason: Why it failed.
        samples_ms: Times of calls; only one if the first was far above the best so far.
        block_density: Share of blocks that are visited; None where no table was compiled.
        registers: Registers per thread; None where nothing was compiled, as the next two.
        stack_bytes: Local memory of a thread.
        shared_bytes: Shared memory of a thread block.
        kernel: Hash of the source of the kernel.
        versions: Version of its compiler, by name.
    """

    schema: int
    key: TuningKey
    mask: MaskIdentity
    config: KernelConfig
    outcome: TrialOutcome
    reason: str | None
    samples_ms: tuple[float, ...]
    block_density: float | None
    registers: int | None
    stack_bytes: int | None
    shared_bytes: int | None
    kernel: str
    versions: dict[str, str] = field(hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples_ms", tuple(self.samples_ms))
        object.__setattr__(self, "versions", dict(sorted(self.versions.items())))
        codec.check_each(self, "samples_ms", low=SHORTEST_MS, high=LONGEST_MS)
        codec.check_share(self, "block_density")
        codec.check_ints(self, "registers", "stack_bytes", "shared_bytes", at_least=0)
        ok = self.outcome == TrialOutcome.OK
        if ok != bool(self.samples_ms) or ok != (self.reason is None) or self.reason == "":
            raise RecordError("SweepTrial has samples when it is ok, and a reason when it is not")

    @property
    def trial(self) -> Trial:
        """The trial alone."""
        return Trial(self.config, self.outcome, self.reason, self.samples_ms)


def read_sweep(path: Path) -> tuple[SweepTrial, ...]:
    """Read a file of trials, in its order, without an incomplete last line.

    Raises:
        RecordError: The file cannot be read, or another line is no trial; the message names it.
    """
    try:
        *lines, _ = read_whole(path).split(b"\n")
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    trials = []
    for number, line in enumerate(lines, start=1):
        try:
            trials.append(read_line(line, SweepTrial, SWEEP_SCHEMA))
        except RecordError as error:
            raise RecordError(f"{path}:{number}: not a trial of a sweep: {error}") from None
    return tuple(trials)


def reopen_sweep(path: Path) -> None:
    """Prepare a file for more trials: create its folder, and remove an incomplete line.

    Raises:
        RecordError: The file is no sweep.
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with locked(path):
            write_whole(path, read_sweep(path))


def current_trials(
    sweep: Iterable[SweepTrial], keys: Collection[TuningKey]
) -> dict[TuningKey, list[Trial]]:
    """Return the trials of some problems, if the kernels are those that were timed.

    Args:
        sweep: The recorded trials.
        keys: The problems; those that the sweep does not hold are left out.

    Raises:
        AutotuneError: Its trials are of another version of a kernel or of its compiler.
    """
    trials: dict[TuningKey, list[Trial]] = {}
    for one in sweep:
        if one.key not in keys:
            continue
        backend, kernel = one.key.backend, source_hash(one.key.backend, one.key.direction)
        if (one.kernel, one.versions) != (kernel, compiler_version(backend)):
            raise AutotuneError(
                f"the sweep is of another version of the {backend} kernel, or of what compiles it; "
                "record another one with tune --record FILE"
            )
        trials.setdefault(one.key, []).append(one.trial)
    return trials


class Evaluator(Protocol):
    """Tries configurations of one problem."""

    def prepare(self, configs: Sequence[KernelConfig]) -> None:
        """Start to compile configurations, in the order they will be needed; return at once."""

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        """Time one configuration whose result is accurate.

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
        """Release resources."""


@dataclass(frozen=True, slots=True)
class View:
    """The state of a search at a moment.

    Attributes:
        trials: Those that have ended.
        taken: Configurations that other processes are trying.
        waiting: The first configuration that only dead processes have tried, to be tried first.
    """

    trials: tuple[Trial, ...]
    taken: frozenset[KernelConfig] = frozenset()
    waiting: KernelConfig | None = None


class Store:
    """The trials of a search, in the order in which they started.

    This one ends with the process; a `Study` keeps them in a storage that processes share.
    """

    def __init__(self) -> None:
        self._trials: dict[KernelConfig, Trial] = {}
        self._finals: list[Trial] = []

    def trials(self) -> list[Trial]:
        """Return those that have ended."""
        return list(self._trials.values())

    def add(self, trials: Iterable[Trial]) -> None:
        """Add trials that ended elsewhere, of configurations that have none."""
        for trial in trials:
            self._trials.setdefault(trial.config, trial)

    def view(self) -> View:
        """Return the state of the search; trials that dead processes run end before."""
        return View(tuple(self._trials.values()))

    def begin(self, config: KernelConfig) -> bool:
        """Start a configuration, unless another process has."""
        return True

    def end(self, trial: Trial) -> None:
        """Keep the running trial's result."""
        self._trials[trial.config] = trial
        self._finals = []

    def put_back(self) -> None:
        """Mark the running trial or runoff as interrupted, so that it is tried again."""

    def finals(self) -> list[Trial]:
        """Return the trials of the runoff, if nothing was tried since."""
        return list(self._finals)

    def begin_runoff(self) -> bool:
        """Start the runoff, unless another process measures it, or has."""
        return True

    def keep_finals(self, finals: Sequence[Trial]) -> None:
        """Keep the trials of the runoff, which has ended."""
        self._finals = list(finals)

    def close(self) -> None:
        """Let no other process start anything."""
