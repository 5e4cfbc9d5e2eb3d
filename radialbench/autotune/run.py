"""run: tasks tuned one after the other; a record each, on the disk as soon as it is found."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from radialbench import __version__
from radialbench.autotune.evaluator import Task, Trial
from radialbench.autotune.live import Live, Rig
from radialbench.autotune.search import Search
from radialbench.autotune.space import Candidates, candidates
from radialbench.autotune.store import open_store, study_name
from radialbench.autotune.tuned import Progress, Tuned
from radialbench.autotune.tuner import TRIALS, tune_among
from radialbench.errors import AutotuneError
from radialbench.kernels.sources import compiler_version, source_hash
from radialbench.kernels.tuned import processor, records_of, shipped_records
from radialbench.records.lookup import find
from radialbench.records.problem import KernelConfig
from radialbench.records.store import reserved
from radialbench.records.tuning import TuningKey, TuningRecord, key_of
from radialbench.records.tuning_file import put, read_tuning

NEIGHBOURS = 3
"""Configurations of other problems that a search begins with."""

BEGIN = 16
"""Configurations of a job that are compiled while the one before it ends."""


@dataclass(frozen=True, slots=True)
class Job:
    """A task, and what may be tried for it on this machine.

    Attributes:
        task: The task.
        key: What its record is found by.
        among: What may be tried; None if the backend cannot run it here.
        reason: Why it cannot.
    """

    task: Task
    key: TuningKey
    among: Candidates | None
    reason: str | None = None

    @property
    def name(self) -> str:
        """The job for people."""
        problem = self.task.problem
        batch = f"b{problem.batch}" if problem.batch > 1 else ""
        shape = f"{batch}h{problem.heads}d{problem.head_dim}"
        return f"{self.task.mask.label}/{problem.grid.label}/{shape}/{self.task.backend}"


@dataclass(frozen=True, slots=True)
class Moved:
    """A job has begun, or is further on.

    Attributes:
        place: Its place, from 1.
        total: How many there are.
        job: The job.
        progress: How far it is.
    """

    place: int
    total: int
    job: Job
    progress: Progress


@dataclass(frozen=True, slots=True)
class Ended:
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
    job: Job
    tuned: Tuned | None
    record: TuningRecord | None
    reason: str | None


Event = Moved | Ended


def jobs_of(tasks: Iterable[Task]) -> list[Job]:
    """Find out what may be tried for each task here."""
    return [_job(task) for task in tasks]


def run(
    jobs: Sequence[Job],
    rig: Rig,
    out: Path,
    *,
    storage: str,
    search: str = "tpe",
    seed: int = 0,
    trials: int = TRIALS,
    seconds: float | None = None,
    known: Mapping[TuningKey, Sequence[Trial]] = MappingProxyType({}),
    on_event: Callable[[Event], None] = lambda event: None,
) -> list[Ended]:
    """Tune; a search that was cut off goes on, and one that has ended only gives its record again.

    Args:
        jobs: What to tune, of one device; those that cannot run here are left out.
        rig: The processes for their trials, of the same device.
        out: File of the records; one of the same key is replaced.
        storage: Where trials are kept, as `open_store` takes it.
        search: Who proposes.
        seed: What that one draws from.
        trials: Trials of a job, at most.
        seconds: Time for the trials of a job.
        known: Trials of jobs that ended elsewhere on this device, such as those of a sweep; they
            are not made again.
        on_event: Told how far it is.

    Raises:
        AutotuneError: None of the jobs can run here, or the search or the storage cannot be used.
        RecordError: The file of records cannot be read or written, or another process writes it.
        WorkerError: The process that measures cannot be started.
    """
    able = [job for job in jobs if job.among is not None]
    if not able:
        raise AutotuneError(jobs[0].reason if jobs and jobs[0].reason else "nothing to tune")
    # What is wrong with the search or the storage is wrong with it for all of them.
    Search(_among(able[0]), search, seed=seed)
    open_store(storage, _study(able[0]), _among(able[0]))
    records = list(known_records(able, out).values())
    ends = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with reserved(out.with_name(f"{out.name}.lock")):
        for place, job in enumerate(able, start=1):

            def watch(progress: Progress, place: int = place, job: Job = job) -> None:
                on_event(Moved(place, len(able), job, progress))

            # Only its best is not among the neighbours of the next yet.
            then = list(islice(_begin(able[place:], records, search, seed, known), BEGIN))
            live = Live(job.task, rig, then=then)
            tuned, reason = None, None
            try:
                tuned = tune_among(
                    _among(job),
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
            ends.append(Ended(place, len(able), job, tuned, record, reason))
            on_event(ends[-1])
    return ends


def known_records(jobs: Sequence[Job], out: Path) -> dict[TuningKey, TuningRecord]:
    """Give all records: of a file, if there is one, of the device of jobs, of other devices.

    Raises:
        RecordError: Records cannot be read.
    """
    kept = read_tuning(out) if out.exists() else ()
    found: dict[TuningKey, TuningRecord] = {}
    for record in (*kept, *records_of(jobs[0].key.device), *shipped_records()):
        found.setdefault(record.key, record)
    return found


def neighbours(records: Iterable[TuningRecord], key: TuningKey) -> Iterator[KernelConfig]:
    """Give what was best for this problem and those near it, the nearest first.

    What other devices had for best comes after all that this one had.
    """
    left = list(records)
    devices = dict.fromkeys([key.device, *(record.key.device for record in left)])
    for device in devices:
        while record := find(left, replace(key, device=device)).record:
            yield record.config
            left = [one for one in left if one.config != record.config]


def _begin(
    jobs: Sequence[Job],
    records: Sequence[TuningRecord],
    search: str,
    seed: int,
    known: Mapping[TuningKey, Sequence[Trial]],
) -> Iterator[tuple[Task, KernelConfig]]:
    """Give what the first of some jobs begins with, if there is one."""
    for job in jobs[:1]:
        first = islice(neighbours(records, job.key), NEIGHBOURS)
        done = {trial.config for trial in known.get(job.key, ())}
        for config in Search(_among(job), search, seed=seed, first=first).likely:
            if config not in done:
                yield job.task, config


def _job(task: Task) -> Job:
    key = key_of(task.problem, task.backend, processor(task.device))
    try:
        return Job(task, key, candidates(task.problem, task.backend, task.device))
    except AutotuneError as error:
        return Job(task, key, None, str(error))


def _among(job: Job) -> Candidates:
    assert job.among is not None
    return job.among


def _study(job: Job) -> str:
    return study_name(job.key, source_hash(job.task.backend))


def _record(job: Job, tuned: Tuned) -> TuningRecord:
    libraries = {"radialbench": __version__, "torch": version("torch")}
    return tuned.record(
        job.key,
        mask=job.task.mask.identity,
        kernel=source_hash(job.task.backend),
        versions=libraries | compiler_version(job.task.backend),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
