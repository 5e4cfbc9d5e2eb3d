"""SweepTrial: one configuration of one problem, tried so that searches can be replayed."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from radialbench.autotune.live import Live, WorkerPool
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.errors import AutotuneError, RecordError
from radialbench.kernels.tuned import compiler_version, source_hash
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.codec import read_line
from radialbench.records.problem import KernelConfig
from radialbench.records.store import append, write_whole
from radialbench.records.tuning import TuningKey
from radialbench.suites.plan import Case
from radialbench.suites.pool import Failed

SCHEMA = 2
"""Version of the stored form. 1: the first. 2: the mask in fields."""


@dataclass(frozen=True, slots=True)
class SweepTrial:
    """What trying a configuration gave.

    Attributes:
        schema: Version of the stored form.
        key: What was computed.
        mask: The mask.
        config: How.
        outcome: How the trial ended.
        reason: Why it did not end well.
        samples_ms: Times of calls; one alone if the first was far above the best so far.
        block_density: Share of blocks that are visited; None where no table was compiled.
        registers: Of a thread; None where nothing was compiled, as the next two.
        stack_bytes: Local memory of a thread.
        shared_bytes: Shared memory of a thread block.
        kernel: Hash of the source of the kernel.
        versions: Versions of what compiles it, by name.
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

    @property
    def trial(self) -> Trial:
        """The trial alone."""
        return Trial(self.config, self.outcome, self.reason, self.samples_ms)


def read_sweep(path: Path) -> tuple[SweepTrial, ...]:
    """Read a file of trials, in its order; a last line that a kill cut off is left out.

    Raises:
        RecordError: The file cannot be read, or another line is no trial; the message names it.
    """
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    trials = []
    for number, line in enumerate(lines, start=1):
        try:
            trials.append(read_line(line, SweepTrial, SCHEMA))
        except RecordError as error:
            raise RecordError(f"{path}:{number}: not a trial of a sweep: {error}") from None
    return tuple(trials)


def reopen_sweep(path: Path) -> None:
    """Make a file ready for more trials: its folder is there, and no line is cut off.

    Raises:
        RecordError: It is there and is no sweep.
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        write_whole(path, read_sweep(path))


def record_trial(
    path: Path, key: TuningKey, trial: Trial, *, case: Case, live: Live, pool: WorkerPool
) -> None:
    """Add a trial to a sweep, with what its kernel and its table take.

    Args:
        path: The file.
        key: What the trial is of.
        trial: The trial.
        case: What was tuned.
        live: What tried it.
        pool: The processes in which it was tried.

    Raises:
        WriteError: The file cannot be written; what was written before is kept.
    """
    from radialbench.suites.resources import shared_table

    built = live.built(trial.config)
    known = None if isinstance(built, Failed) else built
    table = shared_table(pool.folder, case.mask, case.grid, trial.config)
    append(
        path,
        SweepTrial(
            schema=SCHEMA,
            key=key,
            mask=case.mask.identity,
            config=trial.config,
            outcome=trial.outcome,
            reason=trial.reason,
            samples_ms=trial.samples_ms,
            block_density=table.block_density,
            registers=known.registers if known else None,
            stack_bytes=known.stack_bytes if known else None,
            shared_bytes=known.shared_bytes if known else None,
            kernel=source_hash(key.backend),
            versions=compiler_version(key.backend),
        ),
    )


def current_trials(
    sweep: Iterable[SweepTrial], keys: Collection[TuningKey]
) -> dict[TuningKey, list[Trial]]:
    """Return the trials of some problems, as long as the kernels are those that were timed.

    Args:
        sweep: What was recorded.
        keys: The problems; those that the sweep does not hold are left out.

    Raises:
        AutotuneError: Its trials are of another version of a kernel or of what compiles it.
    """
    found: dict[TuningKey, list[Trial]] = {}
    for one in sweep:
        if one.key not in keys:
            continue
        backend = one.key.backend
        if (one.kernel, one.versions) != (source_hash(backend), compiler_version(backend)):
            raise AutotuneError(
                f"the sweep is of another version of the {backend} kernel, or of what compiles it; "
                "record another one with tune --record FILE"
            )
        found.setdefault(one.key, []).append(one.trial)
    return found
