"""Pool: jobs done in child processes, any of which may die or hang."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import IO, Any, Protocol

END_SECONDS = 5.0


class PoolJob(Protocol):
    """What a child does; equal jobs are done once. It travels there and back by pickle."""

    def run(self) -> object:
        """Do it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """What a job that raised, hung, or took its process with it leaves.

    Attributes:
        reason: Why.
    """

    reason: str


class JobPool:
    """Does jobs in child processes, in the order in which they are needed.

    A child that dies or hangs loses its job and no other; another child takes its place.

    Args:
        children: How many work at a time.
        limit_s: A job that takes longer is stopped.
    """

    def __init__(self, children: int, *, limit_s: float) -> None:
        self._limit_s = limit_s
        self._results: dict[PoolJob, object] = {}
        self._waiting: OrderedDict[PoolJob, None] = OrderedDict()
        self._busy: set[PoolJob] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._children = [_Child() for _ in range(children)]
        self._threads = [
            threading.Thread(target=self._serve, args=(child,), daemon=True)
            for child in self._children
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "JobPool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the children, whatever they do."""
        self.close()

    def close(self) -> None:
        """End the children, all at the same time: each thread waits for its own."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for child in self._children:
            child.close()
        for thread in self._threads:
            thread.join()

    def add(self, jobs: Iterable[PoolJob]) -> None:
        """Have jobs done after those that wait already."""
        with self._changed:
            for job in jobs:
                if job not in self._results and job not in self._busy:
                    self._waiting.setdefault(job)
            self._changed.notify_all()

    def drop(self) -> None:
        """Forget the jobs that wait; those begun go on."""
        with self._changed:
            self._waiting.clear()

    def result(self, job: PoolJob) -> Any:
        """Return what a job gave, or `Failed`; it is done next if it was not begun."""
        with self._changed:
            if job not in self._results and job not in self._busy:
                self._waiting.setdefault(job)
                self._waiting.move_to_end(job, last=False)
                self._changed.notify_all()
            self._changed.wait_for(lambda: job in self._results)
            return self._results[job]

    def _serve(self, child: "_Child") -> None:
        """Have a child do one job after the other, and see it end."""
        with tempfile.TemporaryFile("a+b", buffering=0) as said:
            while (job := self._next()) is not None:
                result = child.do(job, self._limit_s, said)
                with self._changed:
                    self._results[job] = result
                    self._busy.discard(job)
                    self._changed.notify_all()
        child.end()

    def _next(self) -> PoolJob | None:
        """Wait for a job, and take it; None once the pool is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            if self._closed:
                return None
            job, _ = self._waiting.popitem(last=False)
            self._busy.add(job)
            return job


class _Child:
    """A process that does jobs, started when there is one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any]
        self._starting = threading.Lock()
        self._closed = False

    def do(self, job: PoolJob, limit_s: float, said: IO[bytes]) -> object:
        """Have a job done; `Failed` if it is not. What the process says goes to a file."""
        try:
            if self._process is None:
                self._begin(said)
            said.truncate(0)
            self._pipe.send(job)
            if not self._pipe.poll(limit_s):
                self.end()
                return Failed(f"stopped: not done within {limit_s:g} s")
            return self._pipe.recv()
        except (EOFError, OSError):
            reason = self._death(said)
            self.end()
            return Failed(reason)

    def end(self) -> None:
        """Kill the process, and see it end."""
        process, self._process = self._process, None
        if process is None:
            return
        _kill(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)

    def close(self) -> None:
        """Kill the process for good; the thread that has it do jobs sees it end."""
        with self._starting:
            self._closed = True
        if (process := self._process) is not None:
            _kill(process)

    def _begin(self, said: IO[bytes]) -> None:
        ours, theirs = Pipe()
        with self._starting, theirs:
            if self._closed:
                raise EOFError
            handle = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "radialbench.suites.process", "pool", str(handle)],
                # A GPU is for the process that measures.
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""},
                pass_fds=[handle],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                # Ctrl-C is for this process, which then ends the others.
                start_new_session=True,
            )
        self._pipe = ours

    def _death(self, said: IO[bytes]) -> str:
        """Return how the process ended, and what it said."""
        code = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(END_SECONDS)
        if code is None:
            end = "the process closed its pipe"
        elif code < 0:
            end = f"the process was ended by {signal.Signals(-code).name}"
        else:
            end = f"the process exited with code {code}"
        said.seek(0)
        words = " ".join(said.read(2000).decode(errors="replace").split())
        return f"{end}; it said: {words[:300]}" if words else end


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
