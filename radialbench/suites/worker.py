"""A process that tries cases, so that one that crashes or hangs takes no other with it."""

import faulthandler
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Any

from radialbench.errors import SuiteError
from radialbench.kernels.backends import BACKENDS
from radialbench.records.result import Environment, Record, Status
from radialbench.suites.keeper import kill_group
from radialbench.suites.plan import Case, Preparing, Sampling, ended
from radialbench.suites.pool import describe_exit, served_pipe, start_child

START_SECONDS = 300.0
"""What a process may take to import PyTorch and describe the machine, on a slow network disk."""

END_SECONDS = 10.0
POLL_SECONDS = 0.5
"""How often a silent process is checked. One that dies closes its pipe, unless another that it has
started keeps it open."""

RecordsByCase = dict[str, Record]
"""Records by the ids of their cases."""


@dataclass(frozen=True, slots=True)
class _Setup:
    """The first message to the process: the device, the command, backends, folder of tables."""

    device: str
    command: str
    backends: dict[str, str]
    tables: Path | None


@dataclass(frozen=True, slots=True)
class _Lost:
    """The last message of a process that cannot go on: the status of its case, and why."""

    status: Status
    reason: str


def serve(handle: int) -> None:
    """Try the batches that come through a pipe, until it is closed."""
    with served_pipe(handle) as pipe:
        # Only now, as importing torch takes a second, in which the parent can die too.
        from radialbench.kernels.measure.telemetry import keep_open
        from radialbench.suites.attempt import InProcess, format_error, is_out_of_memory

        faulthandler.enable()
        setup: _Setup = pipe.recv()
        here = InProcess(setup.device, setup.command, tables=setup.tables, backends=setup.backends)
        pipe.send(here.environment)
        if here.environment.device != "cpu":
            keep_open()
        while True:
            cases = pipe.recv()
            try:
                records = here.attempt_steps(cases, pipe.send)
            except Exception as error:
                # The state of this process is unknown: another one goes on.
                status = Status.OOM if is_out_of_memory(error) else Status.CRASHED
                pipe.send(_Lost(status, format_error(error)))
                raise
            pipe.send(records)


class WorkerError(SuiteError):
    """The process that tries the cases cannot be started, or finds another device than before."""


class _LostError(Exception):
    """The process has died, cannot go on, or takes too long."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Worker:
    """Tries cases in a process of its own, and starts another when that one is lost.

    The first starts at once, and is waited for when it is needed: importing PyTorch takes seconds.
    `env` is added to its environment.
    """

    def __init__(
        self,
        device: str,
        command: str,
        *,
        tables: Path | None = None,
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._setup = _Setup(device, command, dict(BACKENDS), tables)
        self._env = dict(env)
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

    def __exit__(self, kind: Any, *error: Any) -> None:
        """Let the process end; kill it if it never answered, after an error, or if it does not."""
        if kind is None and self._process is not None and self._environment is not None:
            self.hang_up()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        self._kill()

    @property
    def environment(self) -> Environment:
        """What the cases run in; waits for the process to start.

        Raises:
            WorkerError: The process cannot be started.
        """
        if self._environment is None:
            self._environment = self._receive_environment()
        return self._environment

    def hang_up(self) -> None:
        """Let the process end, without waiting for it."""
        if self._process is not None:
            self._pipe.close()

    def attempt(self, cases: Sequence[Case], on_case: Callable[[Case], None]) -> list[Record]:
        """Try the cases of a batch; a case that ends the process does not affect the others.

        When the process is lost while several are sampled in turn, any of them may be the cause:
        each is tried alone, and those that end well are sampled in turn once more.

        Args:
            cases: The cases.
            on_case: Called before a case is prepared; again if it is tried again.

        Raises:
            WorkerError: The process or another one cannot be started, or its device is not the
                same.
        """
        done: RecordsByCase = {}
        isolated = False
        while left := [case for case in cases if case.id not in done]:
            new, suspects = self._try(left, on_case)
            done |= new
            if isolated:
                done |= suspects
            elif suspects:
                isolated = True
                for case in left:
                    if case.id in suspects:
                        alone, _ = self._try([case], on_case)
                        done |= {k: one for k, one in alone.items() if one.status != Status.OK}
        return [done[case.id] for case in cases]

    def _try(
        self, cases: list[Case], on_case: Callable[[Case], None]
    ) -> tuple[RecordsByCase, RecordsByCase]:
        """Return the records that are final, and those of cases one of which ended the process."""
        self._ready()
        sampling: Sampling | None = None
        place = 0
        limit = cases[0].protocol.timeout_seconds
        doing = "prepared"
        try:
            self._send(cases)
            while True:
                message = self._receive(limit, doing)
                if isinstance(message, Preparing):
                    place = message.place
                    on_case(cases[place])
                    limit = cases[place].protocol.timeout_seconds
                elif isinstance(message, Sampling):
                    sampling, doing = message, "sampled"
                    limit = _sampling_seconds(cases)
                else:
                    return {c.id: one for c, one in zip(cases, message, strict=True)}, {}
        except _LostError as error:
            self._kill()
            if sampling is None:
                lost = cases[place].record(self.environment)
                return {lost.case: ended(lost, error.status, str(error))}, {}
            done: RecordsByCase = {}
            suspects: RecordsByCase = {}
            for record, sampled in zip(sampling.records, sampling.sampled, strict=True):
                if sampled:
                    suspects[record.case] = ended(record, error.status, str(error))
                else:
                    done[record.case] = record
            return (done, suspects) if len(suspects) > 1 else (done | suspects, {})

    def _begin(self) -> None:
        # What a case prints must not come between the records on standard output.
        self._process, self._pipe = start_child(__name__, 2, **self._env)
        self._send(self._setup)

    def _receive_environment(self) -> Environment:
        """Wait until the process has started."""
        try:
            here: Environment = self._receive(START_SECONDS, "started")
        except _LostError as error:
            raise WorkerError(f"cannot start the process that tries the cases: {error}") from None
        return here

    def _ready(self) -> None:
        """Ensure that a process waits for cases: the first, or another after a loss."""
        known = self.environment
        if self._process is not None:
            return
        self._begin()
        here = self._receive_environment()
        if here.device != known.device:
            raise WorkerError(
                f"cases ran on {known.device}, but after one that lost its process a "
                f"new process finds {here.device} alone; see whether nvidia-smi still shows the GPU"
            )

    def _send(self, message: object) -> None:
        # That the process is gone is noticed when its answer is awaited.
        with suppress(ConnectionError):
            self._pipe.send(message)

    def _receive(self, limit: float, doing: str) -> Any:
        """Wait for the next message."""
        deadline = time.monotonic() + limit
        try:
            while not self._pipe.poll(max(0.0, min(POLL_SECONDS, deadline - time.monotonic()))):
                if self._ended() and not self._pipe.poll():
                    raise EOFError
                if time.monotonic() >= deadline:
                    raise _LostError(Status.TIMEOUT, f"stopped: not {doing} within {limit:g} s")
            message = self._pipe.recv()
        except (EOFError, OSError):
            reason = describe_exit(self._process, END_SECONDS)
            if "SIGKILL" in reason:
                reason += ", as it is when memory runs out,"
            raise _LostError(Status.CRASHED, f"{reason} while it was {doing}") from None
        if isinstance(message, _Lost):
            raise _LostError(message.status, message.reason)
        return message

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _kill(self) -> None:
        """Kill the process and what it has started."""
        if self._process is None:
            return
        self._pipe.close()
        # What a case has started may run on after its process has ended.
        kill_group(self._process.pid)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._process = None


def _sampling_seconds(cases: Sequence[Case]) -> float:
    """Return how long cases may be sampled: as long as their protocol says, and the timeout."""
    protocol, count = cases[0].protocol, len(cases)
    each = protocol.telemetry_seconds
    each += protocol.max_seconds if protocol.isolated_samples else 0.0
    return protocol.timeout_seconds + protocol.max_seconds + count * each
