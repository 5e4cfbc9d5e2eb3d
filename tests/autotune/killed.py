"""A search that is killed again and again, and goes on each time until it is done."""

import json
import os
import random
import signal
import sys
import time

import optuna

from radialbench.autotune import study
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


def main(storage: str, trials: int, *, seed: int) -> None:
    """Print a line of JSON for every life of the search: what it said, and whether it was killed.

    A life is killed after a drawn number of its trials, or before its first one: moments are
    counted in what the search has done, never in seconds, so that a slow machine changes nothing.

    Args:
        storage: Where trials are kept.
        trials: Of the search.
        seed: Of the moments of the kills.
    """
    # Imported here, once, and not in each life again: SQLAlchemy's models take a second.
    optuna.storages.RDBStorage("sqlite://").remove_session()
    moments = random.Random(seed)
    killed, place, opening_s = True, 0, 0.0
    while killed:
        place += 1
        # Every fifth life ends while it opens the storage or reads what is there.
        after = 0 if place % 5 == 0 else moments.randint(1, trials // 8)
        said, killed, step_s = _life(storage, trials, after, moments.random(), opening_s)
        opening_s = step_s or opening_s
        sys.stdout.write(json.dumps({"said": said, "killed": killed}) + "\n")
        sys.stdout.flush()


def _life(
    storage: str, trials: int, after: int, part: float, opening_s: float
) -> tuple[list[str], bool, float]:
    """Run a search until it has begun with a number of trials and a part of the next step."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        os.write(into, b"begins\n")
        searched(trials, into, storage)
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as told:
        said = [told.readline()]
        begun, step_s, first_s = time.monotonic(), opening_s, 0.0
        while sum(words.startswith("tries") for words in said) < after and (
            line := told.readline()
        ):
            said.append(line)
            step_s, begun = time.monotonic() - begun, time.monotonic()
            first_s = first_s or step_s
        # Anywhere within a step as long as the last one: while a trial runs, or while it is kept.
        time.sleep(part * step_s)
        os.kill(child, signal.SIGKILL)
        said += told.readlines()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the search has failed"
    return [line.strip() for line in said[1:]], os.WIFSIGNALED(status), first_s


if __name__ == "__main__":
    # By chance a configuration may be tried while its process is killed more often than is allowed.
    study.LOSSES = 1000
    main(sys.argv[1], int(sys.argv[2]), seed=int(sys.argv[3]))
