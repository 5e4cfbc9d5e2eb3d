"""Run a suite: one record a case, on the disk as soon as the case ends."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from radialbench.errors import SuiteError
from radialbench.reading import check_regular
from radialbench.records.result import RETRYABLE, Record, Status
from radialbench.records.store import RESULTS, append, read, reserved, write_errors
from radialbench.suites.devices import (
    Spread,
    check_equal,
    environment_of,
    measure_spread,
    run_beside,
    units,
)
from radialbench.suites.plan import Case, batches, now, plan, tuned
from radialbench.suites.schema import SuiteSpec
from radialbench.suites.worker import Worker

if TYPE_CHECKING:
    from radialbench.suites.attempt import InProcess


@dataclass(frozen=True, slots=True)
class CaseStarted:
    """A case is about to be tried; `place` counts from 1, work is in the unit of `Case.work`."""

    place: int
    total: int
    work_done: float
    work_total: float
    case: Case


@dataclass(frozen=True, slots=True)
class CaseEnded:
    """A case has ended, and its record is on the disk; other fields as `CaseStarted`."""

    place: int
    total: int
    work_done: float
    record: Record


RunEvent = CaseStarted | CaseEnded


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The result of a run.

    Attributes:
        results: The file of results.
        records: Of this run, in order.
        kept: Cases that were not run again, because an earlier run ended them.
        again: Cases that had failed in an earlier run and were run again.
        skipped: Lines of the earlier results that are no records, as `line 12: reason`.
        left: Cases that were not started, because the time was up.
        spread: How equal the GPUs are, if several shared the run.
    """

    results: Path
    records: tuple[Record, ...]
    kept: int
    again: int
    skipped: tuple[str, ...]
    left: int
    spread: Spread | None = None

    @property
    def ok(self) -> bool:
        """Whether no case of this run failed or was inaccurate."""
        return not any(record.status in RETRYABLE for record in self.records)

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
    time_limit: float | None = None,
    in_process: bool = False,
    devices: Sequence[str] = (),
    command: str = "",
    on_event: Callable[[RunEvent], None] | None = None,
) -> RunOutcome:
    """Run the cases of a suite; a case that fails is a record, and the run goes on.

    Cases are tried in a process of their own, which is started again when one crashes or hangs.

    Args:
        spec: The suite.
        out: Folder for the results; made if it is not there.
        resume: Leave out the cases that the folder's results already hold, unless they are
            `RETRYABLE`.
        filter: Patterns or parts of the ids to run; all if empty.
        shard: Of those, a share, as `plan` gives it.
        time_limit: No case starts after so many seconds; `resume` runs those that are left.
        in_process: Try the cases in this process, for a debugger; a crash then ends the run.
        devices: GPUs that share the cases, as CUDA_VISIBLE_DEVICES names them; those of a group
            stay on one. The one that PyTorch chooses if empty.
        command: What was typed, for the records.
        on_event: Called when a case starts and ends.

    Raises:
        SuiteError: Nothing is planned, or the folder cannot be used, or holds results without
            `resume`, or holds results of another suite.
        RecordError: The folder's results or the tuned configurations cannot be read, or another
            run is writing to the folder.
        WriteError: A record cannot be written; those written before are kept.
        WorkerError: The process for the cases cannot be started; records written before are kept.
    """
    cases = plan(spec, filter, shard=shard)
    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    results = out / RESULTS
    with write_errors(f"results to {out}", error_type=SuiteError):
        out.mkdir(parents=True, exist_ok=True)
        if results.exists():
            check_regular(results)
        results.open("ab").close()
    with reserved(results):
        former = read(results)
        earlier = {record.case: record for record in former.records}
        check_same_suite(spec, former.records, results)
        if not resume and results.stat().st_size:
            raise SuiteError(
                f"{results} already holds results; go on with --resume, or choose another folder"
            )
        todo = [case for case in cases if not is_done(case, earlier.get(case.id), results)]
        records: tuple[Record, ...] = ()
        spread = None
        if todo:
            with ExitStack() as stack:
                workers: list[Worker | InProcess] = []
                own = [Worker(spec.device, command, env=environment_of(name)) for name in devices]
                if in_process:
                    workers = [_in_process(spec.device, command)]
                else:
                    alone = [] if own else [Worker(spec.device, command)]
                    workers = [stack.enter_context(worker) for worker in own or alone]
                # Only the worker knows which GPU it has: this process never asks for one.
                todo = list(tuned(todo, workers[0].environment.processor))
                if devices:
                    check_equal(own)
                    spread = measure_spread(dict(zip(devices, own, strict=True)), todo)
                report = on_event or (lambda event: None)
                records = _run(todo, results, workers, on_event=report, deadline=deadline)
    again = sum(record.case in earlier for record in records)
    left = len(todo) - len(records)
    kept = len(cases) - len(todo)
    return RunOutcome(results, records, kept, again, former.skipped, left, spread)


def check_same_suite(spec: SuiteSpec, records: Iterable[Record], results: Path) -> None:
    """Refuse results of another suite, which may have this one's name.

    Raises:
        SuiteError: A record is of another suite, or of a case that this one does not have.
    """
    planned = {case.id for case in plan(spec)}
    for record in records:
        if record.suite != spec.name or record.case not in planned:
            raise SuiteError(
                f"{results} holds {record.case} of a suite {record.suite!r}, which {spec.source} "
                "does not have: it is another suite, or has changed; choose another folder (-o)"
            )


def _in_process(device: str, command: str) -> "InProcess":
    from radialbench.suites.attempt import InProcess

    return InProcess(device, command)


def _run(
    todo: list[Case],
    results: Path,
    workers: "Sequence[Worker | InProcess]",
    *,
    on_event: Callable[[RunEvent], None],
    deadline: float,
) -> tuple[Record, ...]:
    records: list[Record] = []
    places = {case.id: place for place, case in enumerate(todo, start=1)}
    work_done, work_total = 0.0, sum(case.work for case in todo)
    # Of several threads, one at a time reports and writes; none does after an interruption.
    alone, ended = threading.Lock(), threading.Event()
    left = deque(units(todo) if len(workers) > 1 else [list(batches(todo))])

    def on_case(case: Case) -> None:
        with alone:
            on_event(CaseStarted(places[case.id], len(todo), work_done, work_total, case))

    def try_all(worker: "Worker | InProcess") -> None:
        nonlocal work_done
        while left:
            try:
                unit = left.popleft()
            except IndexError:
                return
            for batch in unit:
                if time.monotonic() >= deadline or ended.is_set():
                    return
                tried = worker.attempt(batch, on_case)
                with alone:
                    for case, one in zip(batch, tried, strict=True):
                        if ended.is_set():
                            return
                        record = replace(one, created=now())
                        append(results, record)
                        records.append(record)
                        work_done += case.work
                        on_event(CaseEnded(places[case.id], len(todo), work_done, record))

    def on_device(worker: "Worker | InProcess") -> None:
        try:
            try_all(worker)
        except BaseException:
            ended.set()
            raise

    if len(workers) == 1:
        try_all(workers[0])
        return tuple(records)
    try:
        run_beside([partial(on_device, worker) for worker in workers])
    finally:
        ended.set()
    return tuple(records)


def is_done(case: Case, record: Record | None, results: Path) -> bool:
    """Return whether an earlier record of a case is final.

    Raises:
        SuiteError: It is of another mask or shape, or not of the configuration of the suite.
    """
    if record is None:
        return False
    # Where the suite leaves the configuration open, that of the earlier run stays.
    config = record.config if case.config_source != "suite" else case.config
    if (record.problem, record.config) != (case.problem, config):
        raise SuiteError(
            f"{results} holds {case.id} for another mask or shape; the suite has changed: "
            "choose another folder"
        )
    return record.status not in RETRYABLE
