"""Workers that join searches of recorded trials, and are killed at drawn calls of the storage."""

import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any

import optuna

from radialbench.autotune import join as joining
from radialbench.autotune.jobs import TuningJob
from radialbench.autotune.join import join
from radialbench.autotune.offer import SCHEMA, Offer
from radialbench.autotune.replay import Replay, recorded_candidates
from radialbench.autotune.run import JobProgress
from radialbench.autotune.study import Study
from radialbench.autotune.trials import SweepTrial, Trial
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask
from radialbench.records.codec import to_dict
from radialbench.records.problem import KernelConfig, Problem
from tests.autotune import landscape

PROBLEMS = ("one", "two", "three")
TRIALS = 20
SEATS = 8
SEED = 5

CALLS = (
    *("get_all_studies", "get_study_user_attrs", "set_study_user_attr", "create_new_trial"),
    *("_create_new_trial", "set_trial_user_attr", "set_trial_state_values"),
)
"""Methods of storages before or after which a worker may be killed."""


@cache
def recorded(name: str) -> tuple[SweepTrial, ...]:
    """Give every trial of a problem."""
    return tuple(landscape.sweep([landscape.shape(PROBLEMS.index(name))]))


@cache
def offer_of(name: str) -> Offer:
    """Give the offer of a problem; what is recorded of it has nothing to do with its mask."""
    mask, grid = load_mask("radial"), TokenGrid(3, 4, 8)
    return Offer(
        schema=SCHEMA,
        name=name,
        mask=mask.to_yaml(),
        problem=Problem(mask.fingerprint, grid, batch=1, heads=2, head_dim=64, dtype="float32"),
        backend="cpu",
        config=KernelConfig(),
        config_source="default",
        device="cpu",
        search="tpe",
        seed=SEED,
        trials=TRIALS,
        neighbours=(),
    )


def job_of(offer: Offer) -> TuningJob:
    """Give the job of an offer, with the candidates that were recorded."""
    trials = recorded(offer.name)
    return TuningJob(offer.case(), trials[0].key, recorded_candidates(trials))


def study_of(url: str, name: str, **versions: str) -> Study:
    """Open the study of a problem."""
    offer = offer_of(name)
    return Study(url, name, recorded_candidates(recorded(name)), offer.versions | versions)


def offer_all(url: str, names: Iterable[str] = PROBLEMS) -> None:
    """Let others join the searches of problems."""
    for name in names:
        study_of(url, name).open(to_dict(offer_of(name)))


class Told(Replay):
    """A replay that says what it tries."""

    def __init__(self, name: str, say: Callable[..., None]) -> None:
        super().__init__(recorded(name), seed=SEED)
        self._name, self._say = name, say

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        self._say("tries", self._name, config)
        return super().quick(config, best_ms=best_ms)

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        self._say("measures", self._name)
        return super().runoff(configs)


def work(url: str, say: Callable[..., None]) -> None:
    """Join, and say what is done."""

    def on_event(event: JobProgress) -> None:
        if event.progress.trial is not None:
            say("keeps", event.job.case.id, event.progress.trial.config)

    joining.POLL_SECONDS = 0.01  # type: ignore[attr-defined]
    join(
        url,
        lambda job: Told(job.case.id, say),
        wait_s=0.0,
        job_of=job_of,
        on_event=on_event,
    )


def killed_after(calls: int) -> None:
    """Have this process killed before or after a call of a storage."""
    left = [calls]

    def counted(method: Callable[..., Any], *given: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(*given, **named)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    storages = optuna.storages
    for kind in (storages.RDBStorage, storages.JournalStorage, storages.GrpcStorageProxy):
        for name in CALLS:
            if method := getattr(kind, name, None):
                # A function, so that it becomes a method again.
                setattr(kind, name, (lambda m: lambda *g, **n: counted(m, *g, **n))(method))


def main(url: str, kills: int) -> None:
    """Run workers until all is done, and print a line of JSON for all that they say.

    Args:
        url: The storage, with open searches.
        kills: Lives that are to end by a kill; a seat that has had its share works to the end.
    """
    # Imported here, once, and not in each life again: SQLAlchemy's models take a second.
    optuna.storages.RDBStorage("sqlite://").remove_session()
    for name in PROBLEMS:
        job_of(offer_of(name))
    draw = random.Random(SEED)
    seats: dict[int, int] = {}
    ends = [kills // SEATS + (seat < kills % SEATS) for seat in range(SEATS)]
    out, into = os.pipe()

    def start(seat: int) -> None:
        calls = 0 if ends[seat] == 0 else draw.randint(1, 40)
        ends[seat] = max(0, ends[seat] - 1)
        child = os.fork()
        if child:
            seats[child] = seat
            return
        os.close(out)
        if calls:
            killed_after(calls)
        work(url, partial(say, seat))
        os._exit(0)

    def say(seat: int, word: str, name: str, config: KernelConfig | None = None) -> None:
        place = -1 if config is None else [one.config for one in recorded(name)].index(config)
        os.write(into, f"{seat} {word} {name} {place}\n".encode())

    for seat in range(SEATS):
        start(seat)
    deaths = 0
    while seats:
        child, status = os.wait()
        seat = seats.pop(child)
        if os.WIFSIGNALED(status):
            deaths += 1
            start(seat)
        else:
            assert os.WEXITSTATUS(status) == 0, "a worker has failed"
    os.close(into)
    with os.fdopen(out) as told:
        sys.stdout.write(json.dumps({"kills": deaths, "said": told.read().split("\n")[:-1]}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
