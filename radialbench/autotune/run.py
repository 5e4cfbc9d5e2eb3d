"""run: problems tuned one after the other; a record each, on the disk as soon as it is found."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from radialbench import __version__
from radialbench.autotune.jobs import TuningJob
from radialbench.autotune.live import Live, WorkerPool
from radialbench.autotune.search import Search
from radialbench.autotune.space import Candidates
from radialbench.autotune.sweep import record_trial, reopen_sweep
from radialbench.autotune.trials import Trial, TrialOutcome, study_name
from radialbench.autotune.tuner import TRIALS, Progress, Tuned, open_store, tune
from radialbench.errors import AutotuneError
from radialbench.kernels.sources import compiler_version, source_hash
from radialbench.kernels.tuned import records_of, shipped_records
from radialbench.records.lookup import nearest_config
from radialbench.records.problem import KernelConfig
from radialbench.records.statistics import Estimate, paired_ratio
from radialbench.records.store import reserved
from radialbench.records.tuning import TuningKey, TuningRecord
from radialbench.records.tuning_file import put, read_tuning
from radialbench.suites.plan import Case

NEIGHBOURS = 3
"""Configurations of other problems that a search begins with."""

BEGIN = 16
"""Configurations of a job that are compiled while the one before it ends."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job has begun, or is further on.

    Attributes:
        place: Its place, from 1.
        total: How many there are.
        job: The job.
        progress: How far it is.
    """

    place: int
    total: int
    job: TuningJob
    progress: Progress


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job has ended; its record is on the disk, if there is one.

    Attributes:
        place: Its place, from 1.
        total: How many there are.
        job: The job.
        tuned: What the search gave; None if it could not go on.
        record: What was kept of it.
        reason: Why it could not go on.
    """

    place: int
    total: int
    job: TuningJob
    tuned: Tuned | None
    record: TuningRecord | None
    reason: str | None


TuneEvent = JobProgress | JobEnded


def run(
    jobs: Sequence[TuningJob],
    pool: WorkerPool,
    out: Path,
    *,
    storage: str | None,
    search: str = "tpe",
    seed: int = 0,
    trials: int = TRIALS,
    seconds: float | None = None,
    known: Mapping[TuningKey, Sequence[Trial]] = MappingProxyType({}),
    sweep: Path | None = None,
    on_event: Callable[[TuneEvent], None] = lambda event: None,
) -> list[JobEnded]:
    """Tune; a search that was cut off goes on, and one that has ended only gives its record again.

    Args:
        jobs: What to tune, of one device; those that cannot run here are left out.
        pool: The processes for their trials, of the same device.
        out: File of the records; one of the same key is replaced.
        storage: Where trials are kept, as `open_store` takes it; in memory if None.
        search: Who proposes.
        seed: What that one draws from.
        trials: Trials of a job, at most.
        seconds: Time for the trials of a job.
        known: Trials of jobs that ended elsewhere on this device, such as those of a sweep; they
            are not made again.
        sweep: File to which every trial is added as it ends.
        on_event: Told how far it is.

    Raises:
        AutotuneError: None of the jobs can run here, or the search or the storage cannot be used.
        RecordError: The file of records cannot be read or written, or another process writes it.
        WorkerError: The process that measures cannot be started.
    """
    able = [job for job in jobs if job.candidates is not None]
    if not able:
        raise AutotuneError(jobs[0].reason if jobs and jobs[0].reason else "nothing to tune")
    # What is wrong with the search or the storage is wrong with it for all of them.
    Search(_candidates(able[0]), search, seed=seed)
    open_store(storage, _study(able[0]), _candidates(able[0]))
    records = list(known_records(able, out).values())
    ends = []
    out.parent.mkdir(parents=True, exist_ok=True)
    if sweep is not None:
        reopen_sweep(sweep)
    with reserved(out.with_name(f"{out.name}.lock")):
        for place, job in enumerate(able, start=1):
            # Only its best is not among the neighbours of the next yet.
            then = list(islice(_begin(able[place:], records, search, seed, known), BEGIN))
            live = Live(job.case, pool, then=then)

            def watch(
                progress: Progress, place: int = place, job: TuningJob = job, live: Live = live
            ) -> None:
                if sweep is not None and (trial := progress.trial) is not None:
                    record_trial(sweep, job.key, trial, case=job.case, live=live, pool=pool)
                on_event(JobProgress(place, len(able), job, progress))

            tuned, reason = None, None
            try:
                tuned = tune(
                    _candidates(job),
                    live,
                    search=search,
                    seed=seed,
                    trials=trials,
                    seconds=seconds,
                    storage=storage,
                    study=_study(job),
                    neighbours=islice(neighbours(records, job.key), NEIGHBOURS),
                    known=known.get(job.key, ()),
                    watch=watch,
                )
            except AutotuneError as error:
                reason = str(error)
            finally:
                live.close()
            record = None
            if tuned is not None:
                record = _record(job, tuned)
                put(out, record)
                records.insert(0, record)
            ends.append(JobEnded(place, len(able), job, tuned, record, reason))
            on_event(ends[-1])
    return ends


@dataclass(frozen=True, slots=True)
class Verification:
    """What measuring a record again says of it.

    Attributes:
        job: What it was tuned for.
        record: The record.
        now: The default's time over that of the configuration; None if one did not run.
        word: `holds`, `no gain` (not surely faster), `slower` (surely) or `fails`.
        reason: Why it failed.
    """

    job: TuningJob
    record: TuningRecord
    now: Estimate | None
    word: str
    reason: str | None = None

    @property
    def sound(self) -> bool:
        """Whether the record may be used."""
        return self.word in ("holds", "no gain")


def verify(
    jobs: Sequence[TuningJob], records: Mapping[TuningKey, TuningRecord], pool: WorkerPool
) -> Iterator[Verification]:
    """Measure the records of jobs beside their defaults, in turn.

    Args:
        jobs: What to look at; those without a record of their own, or whose record says that the
            default is best, are left out.
        records: The records, by their keys.
        pool: The processes for their trials.

    Raises:
        WorkerError: The process that measures cannot be started.
    """
    known = [(job, records[job.key]) for job in jobs if job.key in records]
    tuned = [(job, record) for job, record in known if record.source == "tuned"]
    for job, record in tuned:
        trials = Live(job.case, pool).runoff([record.default, record.config])
        bad = [trial for trial in trials if trial.outcome != TrialOutcome.OK]
        if bad:
            reason = f"{bad[0].outcome.value}: {bad[0].reason}"
            yield Verification(job, record, None, "fails", reason)
            continue
        default, chosen = trials
        now = paired_ratio(default.samples_ms, chosen.samples_ms)
        yield Verification(job, record, now, _word(now))


def known_records(jobs: Sequence[TuningJob], out: Path) -> dict[TuningKey, TuningRecord]:
    """Return all records: of a file, if there is one, of the device of jobs, of other devices.

    Raises:
        RecordError: Records cannot be read.
    """
    kept = read_tuning(out) if out.exists() else ()
    found: dict[TuningKey, TuningRecord] = {}
    for record in (*kept, *records_of(jobs[0].key.device), *shipped_records()):
        found.setdefault(record.key, record)
    return found


def neighbours(records: Iterable[TuningRecord], key: TuningKey) -> Iterator[KernelConfig]:
    """Yield what was best for this problem and those near it, the nearest first.

    What other devices had for best comes after all that this one had.
    """
    left = list(records)
    devices = dict.fromkeys([key.device, *(record.key.device for record in left)])
    for device in devices:
        while record := nearest_config(left, replace(key, device=device)).record:
            yield record.config
            left = [one for one in left if one.config != record.config]


def _begin(
    jobs: Sequence[TuningJob],
    records: Sequence[TuningRecord],
    search: str,
    seed: int,
    known: Mapping[TuningKey, Sequence[Trial]],
) -> Iterator[Case]:
    """Yield what the first of some jobs begins with, if there is one."""
    for job in jobs[:1]:
        first = islice(neighbours(records, job.key), NEIGHBOURS)
        done = {trial.config for trial in known.get(job.key, ())}
        for config in Search(_candidates(job), search, seed=seed, first=first).likely:
            if config not in done:
                yield replace(job.case, config=config)


def _candidates(job: TuningJob) -> Candidates:
    assert job.candidates is not None
    return job.candidates


def _study(job: TuningJob) -> str:
    return study_name(job.key, source_hash(job.key.backend))


def _word(ratio: Estimate) -> str:
    if ratio.surely_above(1):
        return "holds"
    return "slower" if ratio.surely_below(1) else "no gain"


def _record(job: TuningJob, tuned: Tuned) -> TuningRecord:
    libraries = {"radialbench": __version__, "torch": version("torch")}
    return tuned.record(
        job.key,
        mask=job.case.mask.identity,
        kernel=source_hash(job.key.backend),
        versions=libraries | compiler_version(job.key.backend),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
