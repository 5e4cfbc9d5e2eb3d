"""Child processes, any of which may die or hang, and a pool of them that does jobs."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, Protocol

from radialbench.errors import RadialBenchError
from radialbench.suites.keeper import keep_group, kill_group, temporary_folder

END_SECONDS = 5.0

PR_SET_PDEATHSIG = 1

NICENESS = 10
"""The processes of a pool give way to the process that measures."""


def start_child(module: str, output: int | IO[bytes], **env: str) -> tuple[Any, Any]:
    """Start a process that calls `serve` of a module with its end of a pipe.

    Its standard output goes to a descriptor, or its output and errors to a file.

    Returns:
        The `Popen` of the process, and this process's end of the pipe.
    """
    ours, theirs = Pipe()
    with theirs:
        handle = theirs.fileno()
        process = subprocess.Popen(
            [sys.executable, "-P", "-u", "-c", f"from {module} import serve; serve({handle})"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | env,
            pass_fds=[handle],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if isinstance(output, int) else output,
            # Ctrl-C is for this process, which then ends the others.
            start_new_session=True,
        )
    try:
        keep_group(process.pid)
    except BaseException:
        kill_group(process.pid)
        raise
    return process, ours


@contextmanager
def served_pipe(handle: int) -> Iterator[Connection]:
    """Open a child's end of its pipe until this process's parent closes it, or dies."""
    with suppress(AttributeError, OSError):
        # Linux kills this process when its parent dies, even within a kernel's call.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.set_inheritable(handle, False)
    with Connection(handle) as pipe, suppress(EOFError, ConnectionError):
        yield pipe
    # Nothing is left to do, and PyTorch takes a second to take itself apart.
    os._exit(0)


def describe_exit(process: "subprocess.Popen[bytes] | None", seconds: float = END_SECONDS) -> str:
    """Describe how a process that no longer answers ended, within some seconds."""
    code = None
    if process is not None:
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(seconds)
    if code is None:
        return "the process closed its pipe"
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process exited with code {code}"


class PoolJob(Protocol):
    """What a child does; equal jobs are done once. It is sent there and back by pickle."""

    def run(self) -> object:
        """Do it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The result of a job that raised, hung, or ended its process, and the reason."""

    reason: str


def serve(handle: int) -> None:
    """Do the jobs that come through a pipe, until it is closed."""
    with served_pipe(handle) as pipe:
        os.nice(NICENESS)
        while True:
            job = pipe.recv()
            try:
                result = job.run()
            except RadialBenchError as error:
                result = Failed(str(error))
            except Exception as error:
                result = Failed(f"{type(error).__name__}: {error}")
            pipe.send(result)


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
        self._open = ExitStack()
        folder = self._open.enter_context(temporary_folder())
        self._children = [_Child(folder / f"child{number}") for number in range(children)]
        self._threads = [
            threading.Thread(target=self._serve, args=(child,), daemon=True)
            for child in self._children
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "JobPool":
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
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
        self._open.close()

    def add(self, jobs: Iterable[PoolJob]) -> None:
        """Queue jobs after those that wait already."""
        with self._changed:
            for job in jobs:
                if job not in self._results and job not in self._busy:
                    self._waiting.setdefault(job)
            self._changed.notify_all()

    def drop(self) -> None:
        """Remove the jobs that wait; those that run go on."""
        with self._changed:
            self._waiting.clear()

    def result(self, job: PoolJob) -> Any:
        """Return the result of a job, or `Failed`; it runs next if it does not run yet."""
        with self._changed:
            if job not in self._results and job not in self._busy:
                self._waiting.setdefault(job)
                self._waiting.move_to_end(job, last=False)
                self._changed.notify_all()
            self._changed.wait_for(lambda: job in self._results)
            return self._results[job]

    def _serve(self, child: "_Child") -> None:
        """Have a child do one job after the other, and end it."""
        while (job := self._next()) is not None:
            result = child.run(job, self._limit_s)
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
    """A process that does jobs, started for the first one; `folder` is for its temporary files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any]
        self._starting = threading.Lock()
        self._closed = False

    def run(self, job: PoolJob, limit_s: float) -> object:
        """Have a job done; `Failed` if it is not, whatever the reason."""
        output = self._folder / "output"
        try:
            with self._starting:
                if self._closed:
                    raise EOFError
                if self._process is None:
                    self._start(output)
            os.truncate(output, 0)
            self._pipe.send(job)
            if not self._pipe.poll(limit_s):
                self.end()
                return Failed(f"stopped: not done within {limit_s:g} s")
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            reason = describe_exit(self._process)
            text = " ".join(output.read_bytes()[:2000].decode(errors="replace").split())
            self.end()
            return Failed(f"{reason}; it said: {text[:300]}" if text else reason)
        except Exception as error:  # A thread that ends would leave others waiting for ever.
            self.end()
            return Failed(f"cannot be done in a process of its own: {error}")

    def _start(self, output: Path) -> None:
        self._folder.mkdir(exist_ok=True)
        # A GPU is for the process that measures.
        env = {"CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(self._folder)}
        with output.open("a+b", buffering=0) as file:
            self._process, self._pipe = start_child(__name__, file, **env)

    def end(self) -> None:
        """Kill the process, and wait for its end."""
        process, self._process = self._process, None
        if process is None:
            return
        kill_group(process.pid)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)

    def close(self) -> None:
        """Kill the process for good; the thread that gives it jobs waits for its end."""
        with self._starting:
            self._closed = True
        if (process := self._process) is not None:
            kill_group(process.pid)
