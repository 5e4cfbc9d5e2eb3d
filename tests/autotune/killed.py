"""A search that is killed again and again, and goes on each time until it is done."""

import json
import os
import random
import select
import signal
import sys
import time

from radialbench.autotune import storage
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.autotune.tuner import Progress, Tuned, tune
from radialbench.records.problem import KernelConfig
from tests.autotune import landscape
from tests.autotune.fake import Fake

SHAPE = landscape.shape(5)
AMONG = landscape.candidates(SHAPE)
CONFIGS = list(AMONG.feasible)
TRIAL_S = 0.006


class Slow(Fake):
    """Takes a moment for a trial, and says when it begins with one; some crash."""

    def __init__(self, into: int) -> None:
        super().__init__(noise=0, time=lambda config: landscape.true_ms(config, SHAPE))
        self._into = into

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        place = CONFIGS.index(config)
        os.write(self._into, f"tries {place}\n".encode())
        time.sleep(TRIAL_S)
        if place % 10 == 3:
            return Trial(config, TrialOutcome.CRASHED, "ended by SIGABRT")
        return super().quick(config, best_ms=best_ms)


def searched(trials: int, into: int, storage: str | None = None) -> Tuned:
    """Search, or go on with it, and say what is kept."""

    def watch(now: Progress) -> None:
        if now.trial is not None:
            os.write(into, f"keeps {CONFIGS.index(now.trial.config)}\n".encode())

    return tune(AMONG, Slow(into), seed=11, trials=trials, storage=storage, study="s", watch=watch)


def main(storage: str, trials: int, *, longest_s: float, seed: int) -> None:
    """Print a line of JSON for every life of the search: what it said, and whether it was killed.

    Args:
        storage: Where trials are kept.
        trials: Of the search.
        longest_s: A search is killed at most that long after it has begun.
        seed: Of the moments of the kills.
    """
    moments = random.Random(seed)
    killed = True
    while killed:
        said, killed = _life(storage, trials, moments.uniform(0, longest_s))
        sys.stdout.write(json.dumps({"said": said, "killed": killed}) + "\n")
        sys.stdout.flush()


def _life(storage: str, trials: int, seconds: float) -> tuple[list[str], bool]:
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        os.write(into, b"begins\n")
        searched(trials, into, storage)
        os._exit(0)
    os.close(into)
    select.select([out], [], [])
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(out) as told:
        said = told.read().splitlines()[1:]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the search has failed"
    return said, os.WIFSIGNALED(status)


if __name__ == "__main__":
    # By chance a configuration may be tried while its process is killed more often than is allowed.
    storage.LOSSES = 1000
    main(sys.argv[1], int(sys.argv[2]), longest_s=float(sys.argv[3]), seed=int(sys.argv[4]))
