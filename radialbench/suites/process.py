"""What runs in the processes that this program starts: a `Worker`'s, and those of a `JobPool`."""

import ctypes
import faulthandler
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from radialbench.errors import RadialBenchError
from radialbench.suites.pool import Failed

if TYPE_CHECKING:
    from radialbench.suites.together import InProcess
    from radialbench.suites.worker import Start

PR_SET_PDEATHSIG = 1

NICENESS = 10
"""Those of a pool give way to the process that measures."""


def try_cases(handle: int) -> None:
    """Try the batches that come through a pipe, until it is closed."""
    end_with_parent()
    # Only now, as importing torch takes a second, in which the parent can die too.
    from radialbench.kernels.measure.telemetry import keep_open
    from radialbench.suites.together import InProcess

    os.set_inheritable(handle, False)
    faulthandler.enable()
    with Connection(handle) as pipe, suppress(EOFError, ConnectionError):
        start: Start = pipe.recv()
        here = InProcess(start.device, start.command, tables=start.tables, backends=start.backends)
        pipe.send(here.environment)
        if here.environment.device != "cpu":
            keep_open()
        while True:
            _answer(pipe, here)


def _answer(pipe: Connection, here: "InProcess") -> None:
    from radialbench.records.result import Status
    from radialbench.suites.attempt import line_of, out_of_memory
    from radialbench.suites.worker import Lost

    cases = pipe.recv()
    try:
        records = here.steps(cases, pipe.send)
    except Exception as error:
        # Nobody knows what state this process is in: another one goes on.
        status = Status.OOM if out_of_memory(error) else Status.CRASHED
        pipe.send(Lost(status, line_of(error)))
        raise
    pipe.send(records)


def do_jobs(handle: int) -> None:
    """Do the jobs that come through a pipe, until it is closed."""
    end_with_parent()
    os.nice(NICENESS)
    os.set_inheritable(handle, False)
    with Connection(handle) as pipe, suppress(EOFError, ConnectionError):
        while True:
            job = pipe.recv()
            try:
                result = job.run()
            except RadialBenchError as error:
                result = Failed(str(error))
            except Exception as error:
                result = Failed(f"{type(error).__name__}: {error}")
            pipe.send(result)


def end_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it dies, even in a kernel's call."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(kind: str, handle: int) -> None:
    """Do what a process of one kind does, `worker` or `pool`, with the pipe it was given."""
    {"worker": try_cases, "pool": do_jobs}[kind](handle)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
    # Nothing is left to do, and PyTorch takes a second to take itself apart.
    os._exit(0)
