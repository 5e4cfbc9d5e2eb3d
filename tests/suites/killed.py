"""A run that is killed again and again, and goes on each time."""

import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from radialbench.records.store import RESULTS
from radialbench.suites.run import CaseEnds, Event, run
from radialbench.suites.schema import SuiteSpec
from radialbench.suites.together import InProcess
from tests.suites import small

LONGEST_S = 0.4
"""A run is killed at most that long after it has begun."""


def suite() -> SuiteSpec:
    """Plan more cases than the kills let end; one takes some milliseconds."""
    grids = [{"frames": list(range(2, 402)), "height": 1, "width": 2}]
    backends, protocol = ["cpu", "reference"], {"max_samples": 3}
    return small.matrix(grids=grids, backends=backends, heads=1, protocol=protocol)


def main(folder: Path, *, kills: int, seed: int) -> None:
    """Print a line of JSON for every kill: the cases said to have ended, and the file's size."""
    spec, moments = suite(), random.Random(seed)
    for _ in range(kills):
        ended = list(_killed(spec, folder, moments.uniform(0, LONGEST_S)))
        size = (folder / RESULTS).stat().st_size if (folder / RESULTS).exists() else 0
        sys.stdout.write(json.dumps({"ended": ended, "size": size}) + "\n")


def _killed(spec: SuiteSpec, folder: Path, seconds: float) -> Iterator[str]:
    """Kill a run some time after it has begun, and give the cases that it said had ended."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        _run(spec, folder, into)
    os.close(into)
    select.select([out], [], [])
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the run was over before it was killed"
    with os.fdopen(out) as told:
        yield from told.read().splitlines()[1:]


def _run(spec: SuiteSpec, folder: Path, into: int) -> None:
    """Go on with a run in this process; it says that it begins, and each case that has ended."""

    def tell(event: Event) -> None:
        if isinstance(event, CaseEnds):
            os.write(into, f"{event.record.case}\n".encode())

    os.write(into, b"begins\n")
    run(spec, folder, resume=True, in_process=True, on_event=tell)
    os._exit(0)


if __name__ == "__main__":
    # What is imported and set up once is not what is to be killed.
    InProcess("cpu", "")
    main(Path(sys.argv[1]), kills=int(sys.argv[2]), seed=int(sys.argv[3]))
