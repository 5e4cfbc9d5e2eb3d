"""Running a suite: one record a case, on the disk as soon as the case ends."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from radialbench.errors import SuiteError
from radialbench.records.result import SCHEMA, UNSOUND, Environment, Record, Status
from radialbench.records.store import DISK_FULL, RESULTS, WriteError, append, read, reserved
from radialbench.suites.finding import Finding
from radialbench.suites.plan import Case, batches, plan, tuned
from radialbench.suites.spec import SuiteSpec
from radialbench.suites.worker import Worker

if TYPE_CHECKING:
    from radialbench.suites.in_process import InProcess


@dataclass(frozen=True, slots=True)
class CaseBegins:
    """A case is about to be tried.

    Attributes:
        place: Its place in the run, from 1.
        total: Cases of the run.
        work_done: Work of the cases before it, in the unit of `Case.work`.
        work_total: Work of all cases.
        case: The case.
    """

    place: int
    total: int
    work_done: float
    work_total: float
    case: Case


@dataclass(frozen=True, slots=True)
class CaseEnds:
    """A case has ended and its record is on the disk.

    Attributes:
        place: Its place in the run, from 1.
        total: Cases of the run.
        work_done: Work of the cases so far, in the unit of `Case.work`.
        record: Its record.
    """

    place: int
    total: int
    work_done: float
    record: Record


Event = CaseBegins | CaseEnds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Attributes:
        results: The file of results.
        records: Of this run, in order.
        kept: Cases that were not run again, because an earlier run ended them.
        again: Cases that had failed in an earlier run and were run again.
        skipped: Lines of the earlier results that are no records, as `line 12: reason`.
        left: Cases that were not begun, because the time was up.
    """

    results: Path
    records: tuple[Record, ...]
    kept: int
    again: int
    skipped: tuple[str, ...]
    left: int = 0

    @property
    def sound(self) -> bool:
        """Whether no case of this run failed or was inaccurate."""
        return not any(record.status in UNSOUND for record in self.records)

    def count(self, status: Status) -> int:
        """Count the records of this run with a status."""
        return sum(record.status == status for record in self.records)


def run(
    spec: SuiteSpec,
    out: Path,
    *,
    resume: bool = False,
    filter: Iterable[str] = (),
    shard: str | None = None,
    max_minutes: float | None = None,
    in_process: bool = False,
    command: str = "",
    on_event: Callable[[Event], None] | None = None,
) -> Outcome:
    """Run the cases of a suite; a case that fails is a record, and the run goes on.

    Cases are tried in a process of their own, which is started again when one crashes or hangs.

    Args:
        spec: The suite.
        out: Folder for the results; made if it is not there.
        resume: Leave out the cases that the folder's results already hold, unless they are
            `UNSOUND`.
        filter: Patterns or parts of the ids to run; all if empty.
        shard: Of those, a share, as `plan` gives it.
        max_minutes: When this much time has passed no case is begun; those left can be run by
            going on.
        in_process: Try the cases in this process, for a debugger; a crash then ends the run.
        command: What was typed, for the records.
        on_event: Told when a case begins and ends.

    Raises:
        SuiteError: Nothing is planned, or the folder cannot be used, or holds results and `resume`
            is not asked for, or holds results of another suite.
        RecordError: The folder's results cannot be read, or another run is writing to them, or what
            was tuned cannot be read.
        WriteError: A record cannot be written; those written before are kept.
        WorkerError: The process for the cases cannot be started; records written before are kept.
    """
    cases = plan(spec, filter, shard=shard)
    deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    results = _writable(out)
    with reserved(results):
        earlier, skipped = _earlier(results, resume=resume)
        todo = [case for case in cases if not settled(case, earlier.get(case.id), results)]
        records: tuple[Record, ...] = ()
        if todo:
            with _worker(spec.device, command, in_process=in_process) as worker:
                # Only the worker knows which GPU it has: this process never asks for one.
                todo = list(tuned(todo, worker.environment.processor))
                records = _run(
                    spec.name, todo, results, worker, tell=on_event or _silent, deadline=deadline
                )
    again = sum(record.case in earlier for record in records)
    left = len(todo) - len(records)
    return Outcome(results, records, len(cases) - len(todo), again, skipped, left)


def _worker(device: str, command: str, *, in_process: bool) -> "Worker | InProcess":
    if not in_process:
        return Worker(device, command)
    from radialbench.suites.in_process import InProcess

    return InProcess(device, command)


def _run(
    suite: str,
    todo: list[Case],
    results: Path,
    worker: "Worker | InProcess",
    *,
    tell: Callable[[Event], None],
    deadline: float,
) -> tuple[Record, ...]:
    records: list[Record] = []
    places = {case.id: place for place, case in enumerate(todo, start=1)}
    work_done, work_total = 0.0, sum(case.work for case in todo)

    def begins(case: Case) -> None:
        tell(CaseBegins(places[case.id], len(todo), work_done, work_total, case))

    for batch in batches(todo):
        if time.monotonic() >= deadline:
            break
        for case, found in zip(batch, worker.attempt(batch, begins), strict=True):
            record = _record(suite, case, found, worker.environment)
            append(results, record)
            records.append(record)
            work_done += case.work
            tell(CaseEnds(places[case.id], len(todo), work_done, record))
    return tuple(records)


def _silent(event: Event) -> None:
    """Show nothing."""


def _writable(out: Path) -> Path:
    results = out / RESULTS
    try:
        out.mkdir(parents=True, exist_ok=True)
        results.open("ab").close()
    except OSError as error:
        kind = WriteError if error.errno in DISK_FULL else SuiteError
        raise kind(
            f"cannot write results to {out}: {error.strerror or error}; choose another folder"
        ) from None
    return results


def _earlier(results: Path, *, resume: bool) -> tuple[dict[str, Record], tuple[str, ...]]:
    if not resume and results.stat().st_size:
        raise SuiteError(
            f"{results} already holds results; go on with --resume, or choose another folder"
        )
    found = read(results)
    return {record.case: record for record in found.records}, found.skipped


def settled(case: Case, record: Record | None, results: Path) -> bool:
    """Tell whether an earlier record stands for a case.

    Raises:
        SuiteError: It is of another mask or shape, or not of the configuration the suite asks for.
    """
    if record is None:
        return False
    # Where the suite leaves the configuration open, what was known when it ran stands.
    config = record.config if case.config_source != "suite" else case.config
    if (record.problem, record.config) != (case.problem, config):
        raise SuiteError(
            f"{results} holds {case.id} for another mask or shape; the suite has changed: "
            "choose another folder"
        )
    return record.status not in UNSOUND


def _record(suite: str, case: Case, found: Finding, here: Environment) -> Record:
    return Record(
        schema=SCHEMA,
        suite=suite,
        case=case.id,
        measure=case.measure,
        mask=case.identity,
        model=case.model,
        problem=case.problem,
        backend=case.backend,
        config=case.config,
        config_source=case.config_source,
        table=found.table,
        status=found.status,
        reason=found.reason,
        accuracy=found.accuracy,
        timing=found.timing,
        permute_ms=found.permute_ms,
        plan_ms=found.plan_ms,
        memory=found.memory,
        environment=here,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        isolated=found.isolated,
        ceiling=found.ceiling,
        telemetry=found.telemetry,
        gates=case.gates,
    )
