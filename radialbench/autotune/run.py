"""Tune problems one after the other; each record is on the disk as soon as it is found."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from radialbench import __version__
from radialbench.autotune.jobs import TuningJob
from radialbench.autotune.live import LiveEvaluator, WorkerPool
from radialbench.autotune.offer import offering, study_of, versions_of
from radialbench.autotune.search import Search
from radialbench.autotune.space import Candidates
from radialbench.autotune.storage import StorageError
from radialbench.autotune.trials import (
    SWEEP_SCHEMA,
    SweepTrial,
    Trial,
    TrialOutcome,
    reopen_sweep,
)
from radialbench.autotune.tuner import TRIALS, Progress, Tuned, tune
from radialbench.errors import AutotuneError
from radialbench.kernels.tuned import compiler_version, records_of, shipped_records, source_hash
from radialbench.records.lookup import nearest_config
from radialbench.records.problem import KernelConfig
from radialbench.records.statistics import Estimate, paired_ratio
from radialbench.records.store import append, reserved
from radialbench.records.tuning import TuningKey, TuningRecord
from radialbench.records.tuning_file import put, read_tuning
from radialbench.suites.plan import Case, now
from radialbench.suites.pool import Failed

NEIGHBOURS = 3
"""Configurations of other problems that a search begins with."""

PRECOMPILED = 16
"""Configurations of a job that are compiled during the runoff of the job before it."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job has started, or has progressed; `place` counts from 1."""

    place: int
    total: int
    job: TuningJob
    progress: Progress


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job has ended; its record is on the disk, if there is one.

    Attributes:
        place: Its place, from 1.
        total: Number of jobs.
        job: The job.
        tuned: The result of the search; None if it failed.
        record: Its stored record; None if it failed.
        reason: Why it failed.
    """

    place: int
    total: int
    job: TuningJob
    tuned: Tuned | None
    record: TuningRecord | None
    reason: str | None


TuningEvent = JobProgress | JobEnded


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
    on_event: Callable[[TuningEvent], None] = lambda event: None,
) -> list[JobEnded]:
    """Tune; an interrupted search continues, and a complete one only returns its record again.

    Args:
        jobs: The jobs, of one device; those that cannot run here are left out.
        pool: The processes for their trials, of the same device.
        out: File of the records; one of the same key is replaced.
        storage: Storage of the trials, as for `open_store`; in memory if None.
        search: The sampler.
        seed: Its seed.
        trials: Trials of a job, at most.
        seconds: Time for the trials of a job.
        known: Trials of jobs that ended elsewhere on this device, such as those of a sweep; they
            are not repeated.
        sweep: File to which every trial is added as it ends.
        on_event: Called with every event.

    Raises:
        AutotuneError: None of the jobs can run here, or the search or the storage cannot be used.
        RecordError: The file of records cannot be read or written, or another process writes it.
        WorkerError: The process that measures cannot be started.
    """
    able = [job for job in jobs if job.candidates is not None]
    if not able:
        raise AutotuneError(jobs[0].reason if jobs and jobs[0].reason else "nothing to tune")
    # Errors of the search or the storage concern all jobs, and are raised before the first.
    Search(_candidates(able[0]), search, seed=seed)
    records = list(known_records(able, out).values())
    offer = offering(
        storage,
        able,
        search=search,
        seed=seed,
        trials=trials,
        known=known,
        neighbours=lambda key: list(islice(neighbours(records, key), NEIGHBOURS)),
    )
    ends = []
    out.parent.mkdir(parents=True, exist_ok=True)
    if sweep is not None:
        reopen_sweep(sweep)
    with reserved(out.with_name(f"{out.name}.lock")), offer:
        for place, job in enumerate(able, start=1):
            # Without the best of this job, which the next will have among its neighbours.
            following = _first_trials(able[place:], records, search, seed, known)
            live = LiveEvaluator(job.case, pool, then=list(islice(following, PRECOMPILED)))

            def watch(place: int, job: TuningJob, live: LiveEvaluator, progress: Progress) -> None:
                if sweep is not None and (trial := progress.trial) is not None:
                    _record_trial(sweep, trial, job=job, live=live, pool=pool)
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
                    study=study_of(job.key),
                    versions=versions_of(job.key),
                    neighbours=islice(neighbours(records, job.key), NEIGHBOURS),
                    known=known.get(job.key, ()),
                    watch=partial(watch, place, job, live),
                )
            except StorageError:
                raise
            except AutotuneError as error:
                reason = str(error)
            finally:
                live.close()
            record = None
            if tuned is not None:
                libraries = {"radialbench": __version__, "torch": version("torch")}
                record = tuned.record(
                    job.key,
                    mask=job.case.mask.identity,
                    kernel=source_hash(job.key.backend, job.key.direction),
                    versions=libraries | compiler_version(job.key.backend),
                    created=now(),
                )
                put(out, record)
                records.insert(0, record)
            ends.append(JobEnded(place, len(able), job, tuned, record, reason))
            on_event(ends[-1])
    return ends


@dataclass(frozen=True, slots=True)
class Verification:
    """A tuned record, measured again.

    Attributes:
        job: Its job.
        record: The record.
        now: The default's time over that of the configuration; None if one did not run.
        state: `holds`, `no gain` (not surely faster), `slower` (surely) or `fails`.
        reason: Why it failed.
    """

    job: TuningJob
    record: TuningRecord
    now: Estimate | None
    state: str
    reason: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the record may be used."""
        return self.state in ("holds", "no gain")


def verify(
    jobs: Sequence[TuningJob], records: Mapping[TuningKey, TuningRecord], pool: WorkerPool
) -> Iterator[Verification]:
    """Measure the records of jobs beside their defaults, in turn.

    Args:
        jobs: The jobs; those without a tuned record are left out.
        records: The records, by their keys.
        pool: The processes for their trials.

    Raises:
        WorkerError: The process that measures cannot be started.
    """
    known = [(job, records[job.key]) for job in jobs if job.key in records]
    tuned = [(job, record) for job, record in known if record.source == "tuned"]
    for job, record in tuned:
        trials = LiveEvaluator(job.case, pool).runoff([record.default, record.config])
        bad = [trial for trial in trials if trial.outcome != TrialOutcome.OK]
        if bad:
            reason = f"{bad[0].outcome.value}: {bad[0].reason}"
            yield Verification(job, record, None, "fails", reason)
            continue
        default, chosen = trials
        ratio = paired_ratio(default.samples_ms, chosen.samples_ms)
        worse = "slower" if ratio.surely_below(1) else "no gain"
        yield Verification(job, record, ratio, "holds" if ratio.surely_above(1) else worse)


def known_records(jobs: Sequence[TuningJob], out: Path) -> dict[TuningKey, TuningRecord]:
    """Return all records: of a file if it exists, of the device of jobs, of other devices.

    Raises:
        RecordError: Records cannot be read.
    """
    kept = read_tuning(out) if out.exists() else ()
    known: dict[TuningKey, TuningRecord] = {}
    for record in (*kept, *records_of(jobs[0].key.device), *shipped_records()):
        known.setdefault(record.key, record)
    return known


def neighbours(records: Iterable[TuningRecord], key: TuningKey) -> Iterator[KernelConfig]:
    """Yield the best configurations of this problem and those near it, the nearest first.

    Those of other devices come after all of this one.
    """
    left = list(records)
    devices = dict.fromkeys([key.device, *(record.key.device for record in left)])
    for device in devices:
        while record := nearest_config(left, replace(key, device=device)).record:
            yield record.config
            left = [one for one in left if one.config != record.config]


def _first_trials(
    jobs: Sequence[TuningJob],
    records: Sequence[TuningRecord],
    search: str,
    seed: int,
    known: Mapping[TuningKey, Sequence[Trial]],
) -> Iterator[Case]:
    """Yield the first trials of the first of some jobs, if there is one."""
    for job in jobs[:1]:
        first = islice(neighbours(records, job.key), NEIGHBOURS)
        done = {trial.config for trial in known.get(job.key, ())}
        for config in Search(_candidates(job), search, seed=seed, first=first).likely:
            if config not in done:
                yield replace(job.case, config=config)


def _candidates(job: TuningJob) -> Candidates:
    assert job.candidates is not None
    return job.candidates


def _record_trial(
    path: Path, trial: Trial, *, job: TuningJob, live: LiveEvaluator, pool: WorkerPool
) -> None:
    """Add a trial to a sweep, with the resources of its kernel and the density of its table."""
    from radialbench.suites.resources import shared_table

    key, case = job.key, job.case
    built = live.built(trial.config)
    known = None if isinstance(built, Failed) else built
    table = shared_table(pool.folder, case.mask, case.grid, trial.config)
    append(
        path,
        SweepTrial(
            schema=SWEEP_SCHEMA,
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
            kernel=source_hash(key.backend, key.direction),
            versions=compiler_version(key.backend),
        ),
    )
