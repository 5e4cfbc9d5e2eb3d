"""A process that tries cases, so that one that crashes or hangs takes no other with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from radialbench.errors import SuiteError
from radialbench.kernels.backends import BACKENDS
from radialbench.records.result import Environment, Record, Status
from radialbench.suites.plan import Case, ended

START_SECONDS = 300.0
"""What a process may take to import PyTorch and describe the machine, on a slow network disk."""

END_SECONDS = 10.0
LOOK_SECONDS = 0.5
"""How often a process that says nothing is looked after. One that dies closes its pipe, unless
another that it has started keeps it open."""

Found = dict[str, Record]
"""Records by the ids of their cases."""


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to the process.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        command: What was typed, for the records.
        backends: The backends, with those that this program has added.
        tables: A folder in which others leave tables.
    """

    device: str
    command: str
    backends: dict[str, str]
    tables: Path | None


@dataclass(frozen=True, slots=True)
class Lost:
    """The last message of a process that cannot go on.

    Attributes:
        status: How the case ends that led there.
        reason: Why.
    """

    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Begins:
    """A case is about to be prepared.

    Attributes:
        place: Its place among those that are tried together, from 0.
    """

    place: int


@dataclass(frozen=True, slots=True)
class Samples:
    """All cases that are tried together are prepared; those that can be are sampled from here on.

    Attributes:
        records: Of each, as far as it is known.
        sampled: Whether each is sampled; the record of one that is not says how it ended.
    """

    records: tuple[Record, ...]
    sampled: tuple[bool, ...]


Step = Begins | Samples


class WorkerError(SuiteError):
    """The process that tries the cases cannot be started, or finds another device than before."""


class _GoneError(Exception):
    """The process has died, cannot go on, or takes too long."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Worker:
    """Tries cases in a process of its own, and starts another when that one is lost.

    The first is started at once and waited for when it is needed: it takes seconds to import
    PyTorch, in which this one can do something else.
    """

    def __init__(self, device: str, command: str, *, tables: Path | None = None) -> None:
        self._start = Start(device, command, dict(BACKENDS), tables)
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any]
        self._environment: Environment | None = None

    def __enter__(self) -> "Worker":
        try:
            self._begin()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the process end; kill it if it was of no use, something went wrong or it does not."""
        if kind is None and self._process is not None and self._environment is not None:
            self.hang_up()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        self._kill()

    @property
    def environment(self) -> Environment:
        """What the cases run in; waits for the process to tell, if it has not.

        Raises:
            WorkerError: The process cannot be started.
        """
        if self._environment is None:
            self._environment = self._met()
        return self._environment

    def hang_up(self) -> None:
        """Have the process end, and do not wait for it; it tries no more cases."""
        if self._process is not None:
            self._pipe.close()

    def attempt(self, cases: Sequence[Case], begins: Callable[[Case], None]) -> list[Record]:
        """Try the cases of a batch; one that the process is lost with leaves the others theirs.

        When it is lost while several are sampled in turn, any of them may have done it: each is
        tried alone, and those that end well that way are sampled in turn once more.

        Args:
            cases: The cases.
            begins: Told before a case is prepared; again if it is tried again.

        Raises:
            WorkerError: The process or another one cannot be started, or its device is not the
                same.
        """
        done: Found = {}
        told_apart = False
        while left := [case for case in cases if case.id not in done]:
            new, suspects = self._try(left, begins)
            done |= new
            if told_apart:
                done |= suspects
            elif suspects:
                told_apart = True
                for case in left:
                    if case.id in suspects:
                        alone, _ = self._try([case], begins)
                        done |= {k: one for k, one in alone.items() if one.status != Status.OK}
        return [done[case.id] for case in cases]

    def _try(self, cases: list[Case], begins: Callable[[Case], None]) -> tuple[Found, Found]:
        """Return what has ended, and the cases of which one or more have lost the process."""
        self._ready()
        samples: Samples | None = None
        place = 0
        limit = cases[0].protocol.timeout_seconds
        doing = "prepared"
        try:
            self._send(cases)
            while True:
                told = self._told(limit, doing)
                if isinstance(told, Begins):
                    place = told.place
                    begins(cases[place])
                    limit = cases[place].protocol.timeout_seconds
                elif isinstance(told, Samples):
                    samples, doing = told, "sampled"
                    limit = _sampling_seconds(cases)
                else:
                    return {c.id: one for c, one in zip(cases, told, strict=True)}, {}
        except _GoneError as gone:
            self._kill()
            if samples is None:
                lost = cases[place].record(self.environment)
                return {lost.case: ended(lost, gone.status, str(gone))}, {}
            done: Found = {}
            suspects: Found = {}
            for record, sampled in zip(samples.records, samples.sampled, strict=True):
                if sampled:
                    suspects[record.case] = ended(record, gone.status, str(gone))
                else:
                    done[record.case] = record
            return (done, suspects) if len(suspects) > 1 else (done | suspects, {})

    def _begin(self) -> None:
        ours, theirs = Pipe()
        with theirs:
            handle = theirs.fileno()
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-u",
                    "-m",
                    "radialbench.suites.process",
                    "worker",
                    str(handle),
                ],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                pass_fds=[handle],
                stdin=subprocess.DEVNULL,
                # What a case prints must not come between the records on standard output.
                stdout=2,
                # Ctrl-C is for this process, which then ends the other.
                start_new_session=True,
            )
        self._pipe = ours
        self._send(self._start)

    def _met(self) -> Environment:
        """Wait until the process has started, and give what it finds."""
        try:
            here: Environment = self._told(START_SECONDS, "started")
        except _GoneError as gone:
            raise WorkerError(f"cannot start the process that tries the cases: {gone}") from None
        return here

    def _ready(self) -> None:
        """Have a process that waits for cases: the first, or another if that is lost."""
        known = self.environment
        if self._process is not None:
            return
        self._begin()
        here = self._met()
        if here.device != known.device:
            raise WorkerError(
                f"cases ran on {known.device}, but after one that lost its process a "
                f"new process finds {here.device} alone; see whether nvidia-smi still shows the GPU"
            )

    def _send(self, message: object) -> None:
        # A process that is gone is found out when its answer is awaited.
        with suppress(ConnectionError):
            self._pipe.send(message)

    def _told(self, limit: float, doing: str) -> Any:
        """Wait for the next message."""
        deadline = time.monotonic() + limit
        try:
            while not self._pipe.poll(max(0.0, min(LOOK_SECONDS, deadline - time.monotonic()))):
                if self._ended() and not self._pipe.poll():
                    raise EOFError
                if time.monotonic() >= deadline:
                    raise _GoneError(Status.TIMEOUT, f"stopped: not {doing} within {limit:g} s")
            told = self._pipe.recv()
        except (EOFError, OSError):
            raise _GoneError(Status.CRASHED, f"{self._death()} while it was {doing}") from None
        if isinstance(told, Lost):
            raise _GoneError(told.status, told.reason)
        return told

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _death(self) -> str:
        """Return how the process ended, in words."""
        code = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(END_SECONDS)
        if code is None:
            return "the process closed its pipe"
        if code >= 0:
            return f"the process exited with code {code}"
        name = signal.Signals(-code).name
        memory = ", as it is when memory runs out," if name == "SIGKILL" else ""
        return f"the process was ended by {name}{memory}"

    def _kill(self) -> None:
        """Kill the process and what it has started."""
        if self._process is None:
            return
        self._pipe.close()
        if not self._ended():
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        self._process = None


def _sampling_seconds(cases: Sequence[Case]) -> float:
    """Return how long cases may be sampled: as long as their protocol says, and the timeout."""
    protocol, count = cases[0].protocol, len(cases)
    apart = protocol.telemetry_seconds
    apart += protocol.max_seconds if protocol.isolated_samples else 0.0
    return protocol.timeout_seconds + protocol.max_seconds + count * apart
