"""A run that is killed again and again, and goes on each time."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from radialbench.records.store import RESULTS
from radialbench.suites.attempt import InProcess
from radialbench.suites.run import CaseEnded, RunEvent, run
from radialbench.suites.schema import SuiteSpec
from tests.suites import small

MOST_CASES = 12
"""A run is killed once at most as many cases have ended in it, however long they take."""

PAUSE_S = 0.02
"""And at most that long after: within the next case, or between two."""


def suite() -> SuiteSpec:
    """Plan more cases than the kills let end; one takes some milliseconds."""
    grids = [{"frames": list(range(2, 402)), "height": 1, "width": 2}]
    backends, protocol = ["cpu", "reference"], {"max_samples": 3}
    return small.matrix(grids=grids, backends=backends, heads=1, protocol=protocol)


def main(folder: Path, *, kills: int, seed: int) -> None:
    """Print a line of JSON for every kill: the cases said to have ended, and the file's size."""
    spec, moments = suite(), random.Random(seed)
    for _ in range(kills):
        cases, pause = moments.randint(0, MOST_CASES), moments.uniform(0, PAUSE_S)
        ended = _killed(spec, folder, cases, pause)
        size = (folder / RESULTS).stat().st_size if (folder / RESULTS).exists() else 0
        sys.stdout.write(json.dumps({"ended": ended, "size": size}) + "\n")


def _killed(spec: SuiteSpec, folder: Path, cases: int, pause: float) -> list[str]:
    """Kill a run a moment after some cases have ended, and give those that it said had."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        _run(spec, folder, into)
    os.close(into)
    with os.fdopen(out) as told:
        # That it begins, and the cases.
        lines = [told.readline() for _ in range(1 + cases)]
        time.sleep(pause)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the run was over before it was killed"
        return [line.strip() for line in (*lines, *told)][1:]


def _run(spec: SuiteSpec, folder: Path, into: int) -> None:
    """Go on with a run in this process; it says that it begins, and each case that has ended."""

    def tell(event: RunEvent) -> None:
        if isinstance(event, CaseEnded):
            os.write(into, f"{event.record.case}\n".encode())

    os.write(into, b"begins\n")
    run(spec, folder, resume=True, in_process=True, on_event=tell)
    os._exit(0)


if __name__ == "__main__":
    # What is imported and set up once is not what is to be killed.
    InProcess("cpu", "")
    main(Path(sys.argv[1]), kills=int(sys.argv[2]), seed=int(sys.argv[3]))
