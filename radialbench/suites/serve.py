"""What runs in the process of a `Worker`."""

import ctypes
import faulthandler
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from radialbench.records.result import Status
from radialbench.suites.worker import Lost, Start

if TYPE_CHECKING:
    from radialbench.suites.in_process import InProcess

PR_SET_PDEATHSIG = 1


def main(handle: int) -> None:
    """Try the batches that come through a pipe, until it is closed."""
    end_with_parent()
    # Only now, as importing torch takes a second, in which the parent can die too.
    from radialbench.kernels.telemetry import keep_open
    from radialbench.suites.in_process import InProcess

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
    from radialbench.suites.attempt import line_of, out_of_memory

    cases = pipe.recv()
    try:
        findings = here.steps(cases, pipe.send)
    except Exception as error:
        # Nobody knows what state this process is in: another one goes on.
        status = Status.OOM if out_of_memory(error) else Status.CRASHED
        pipe.send(Lost(status, line_of(error)))
        raise
    pipe.send(findings)


def end_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it dies, even in a kernel's call."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
    # Nothing is left to do, and PyTorch takes a second to take itself apart.
    os._exit(0)
