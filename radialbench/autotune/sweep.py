"""SweepTrial: one configuration of one problem, tried so that searches can be replayed."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from radialbench.autotune.evaluator import Outcome, Trial
from radialbench.errors import AutotuneError, RecordError
from radialbench.kernels.sources import compiler_version, source_hash
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.codec import read_line
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey

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
    outcome: Outcome
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


def current_trials(
    sweep: Iterable[SweepTrial], keys: Collection[TuningKey]
) -> dict[TuningKey, list[Trial]]:
    """Give the trials of some problems, as long as the kernels are those that were timed.

    Args:
        sweep: What was recorded.
        keys: The problems; those that the sweep does not hold are left out.

    Raises:
        AutotuneError: It holds none of them, or its trials are of another version of a kernel or
            of what compiles it.
    """
    found: dict[TuningKey, list[Trial]] = {}
    for one in sweep:
        if one.key not in keys:
            continue
        backend = one.key.backend
        if (one.kernel, one.versions) != (source_hash(backend), compiler_version(backend)):
            raise AutotuneError(
                f"the sweep is of another version of the {backend} kernel, or of what compiles it; "
                "measure it again"
            )
        found.setdefault(one.key, []).append(one.trial)
    if not found:
        raise AutotuneError(
            "the sweep holds nothing of what is to be tuned on this device; name the suite and "
            "the device that were swept"
        )
    return found
