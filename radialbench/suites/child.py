"""What runs in a child process of a `Pool`."""

import os
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from radialbench.errors import RadialBenchError
from radialbench.suites.pool import Failed
from radialbench.suites.serve import end_with_parent

NICENESS = 10
"""Children give way to the process that measures."""


def main(handle: int) -> None:
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


if __name__ == "__main__":
    main(int(sys.argv[1]))
