"""verify: whether records still say what is fastest, measured again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from radialbench.autotune.evaluator import Outcome
from radialbench.autotune.live import Live, Rig
from radialbench.autotune.run import Job
from radialbench.records.statistics import Estimate, paired_ratio
from radialbench.records.tuning import TuningKey, TuningRecord


@dataclass(frozen=True, slots=True)
class Verdict:
    """What measuring a record again says of it.

    Attributes:
        job: What it was tuned for.
        record: The record.
        now: The default's time over that of the configuration; None if one did not run.
        word: `holds`, `no gain` (not surely faster), `slower` (surely) or `fails`.
        reason: Why it failed.
    """

    job: Job
    record: TuningRecord
    now: Estimate | None
    word: str
    reason: str | None = None

    @property
    def sound(self) -> bool:
        """Whether the record may be used."""
        return self.word in ("holds", "no gain")


def verify(
    jobs: Sequence[Job], records: Mapping[TuningKey, TuningRecord], rig: Rig
) -> Iterator[Verdict]:
    """Measure the records of jobs beside their defaults, in turn.

    Args:
        jobs: What to look at; those without a record of their own, or whose record says that the
            default is best, are left out.
        records: The records, by their keys.
        rig: The processes for their trials.

    Raises:
        WorkerError: The process that measures cannot be started.
    """
    known = [(job, records[job.key]) for job in jobs if job.key in records]
    tuned = [(job, record) for job, record in known if record.source == "tuned"]
    for job, record in tuned:
        trials = Live(job.task, rig).final([record.default, record.config])
        bad = [trial for trial in trials if trial.outcome != Outcome.OK]
        if bad:
            reason = f"{bad[0].outcome.value}: {bad[0].reason}"
            yield Verdict(job, record, None, "fails", reason)
            continue
        default, chosen = trials
        now = paired_ratio(default.samples_ms, chosen.samples_ms)
        yield Verdict(job, record, now, _word(now))


def _word(ratio: Estimate) -> str:
    if ratio.surely_above(1):
        return "holds"
    return "slower" if ratio.surely_below(1) else "no gain"
