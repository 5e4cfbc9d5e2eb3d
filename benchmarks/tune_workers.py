"""Replay how many workers tune together: recorded trials, a clock that is computed, one storage.

    python -m benchmarks.tune_workers                   # a few minutes on one core
    python -m benchmarks.tune_workers --storage URL     # counts round trips on that database first
    python -m benchmarks.pages scale

Every worker runs the code of `radialbench worker`; only its clock, its trials and its storage are
replaced. A trial lasts as long as its recorded calls and `TRIAL_S`, and a call of the storage as
long as the round trips that were counted for it. benchmarks/results/tune_workers.json holds the
results. Not in it: compiling, and that transactions of a database wait for each other.
"""

import argparse
import heapq
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any
from unittest.mock import patch

import optuna
from optuna.storages import InMemoryStorage

from benchmarks.parts import RESULTS, file_hash, write_rows
from benchmarks.tuning import SWEEP
from radialbench.autotune import join as joining
from radialbench.autotune import study as studies
from radialbench.autotune import tuner
from radialbench.autotune.jobs import TRIAL_S, TuningJob
from radialbench.autotune.offer import SCHEMA, Offer
from radialbench.autotune.replay import (
    Replay,
    by_problem,
    problem_name,
    recorded_candidates,
    regret_of,
    true_times,
)
from radialbench.autotune.space import Candidates
from radialbench.autotune.study import Study
from radialbench.autotune.trials import SweepTrial, Trial, measured, read_sweep
from radialbench.autotune.tuner import TRIALS, decide
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.problem import KernelConfig, Problem
from radialbench.reports.text import markdown_table

STORED = RESULTS / "tune_workers.json"

WORKERS = (1, 2, 4, 8, 16, 32, 64)
ROUND_TRIPS_MS = (0.0, 0.5, 5.0)
"""Of a storage: none, one in the same room, one in another city."""

SHOWN_MS = 0.5

CALLS = (
    *("get_all_studies", "get_n_trials", "get_study_user_attrs", "set_study_user_attr"),
    *("create_new_trial", "get_all_trials", "set_trial_user_attr", "set_trial_state_values"),
)
"""Methods of a storage that cost round trips."""

Trips = dict[str, float]
"""Round trips of a call of each method."""


class Clock:
    """A computed time for threads, of which one runs at a moment: the one whose time is next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[tuple[float, int, threading.Event]] = []
        self._count = 0
        self._ended = threading.Event()

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let the threads run whose time comes before."""
        mine = self._wait(seconds)
        self._wake()
        mine.wait()

    def run(self, functions: Sequence[Callable[[], object]]) -> None:
        """Run functions beside each other, until all have ended."""
        errors: list[BaseException] = []

        def body(function: Callable[[], object], start: threading.Event) -> None:
            start.wait()
            try:
                function()
            except BaseException as error:
                errors.append(error)
            self._wake()

        starts = [self._wait(0.0) for _ in functions]
        for function, start in zip(functions, starts, strict=True):
            threading.Thread(target=body, args=(function, start), daemon=True).start()
        self._wake()
        self._ended.wait()
        if errors:
            raise errors[0]

    def _wait(self, seconds: float) -> threading.Event:
        event = threading.Event()
        self._count += 1
        heapq.heappush(self._waiting, (self.now + seconds, self._count, event))
        return event

    def _wake(self) -> None:
        if not self._waiting:
            self._ended.set()
            return
        self.now, _, event = heapq.heappop(self._waiting)
        event.set()


class Timed(Replay):
    """A replay whose trials last as long as on the device that they were recorded on."""

    def __init__(self, recorded: Sequence[SweepTrial], clock: Clock, seed: int) -> None:
        super().__init__(recorded, seed=seed)
        self._clock = clock

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        """Draw a trial; one that takes far longer than the best has one call."""
        trial = super().quick(config, best_ms=best_ms)
        calls = 0.0
        if trial.ms is not None:
            early = best_ms is not None and trial.ms > 1.4 * best_ms
            # Two warm it up and compare it; then up to ten are timed, for 0.4 s at most.
            calls = 2e-3 * trial.ms + (1e-3 * trial.ms if early else min(0.4, 1e-2 * trial.ms))
        self._clock.sleep(TRIAL_S["cuda"] + calls)
        return trial

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        """Draw trials of equal length."""
        trials = super().runoff(configs)
        each = sum(1e-3 * trial.ms for trial in trials if trial.ms is not None)
        self._clock.sleep(len(configs) * TRIAL_S["cuda"] + min(5.0, 40 * each))
        return trials


class NoBeat:
    """No sign of life: nobody dies."""

    def __init__(self, give: Callable[[int], None]) -> None:
        del give

    def stop(self) -> None:
        """Do nothing."""


def slow_storage(clock: Clock, trips: Trips, round_trip_ms: float) -> tuple[Any, Counter[str]]:
    """Create a storage in memory whose calls take time, and what counts them."""
    storage, calls = InMemoryStorage(), Counter[str]()
    within = threading.local()

    def timed(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if getattr(within, "call", False):
                return method(*given, **named)
            calls[name] += 1
            clock.sleep(1e-3 * round_trip_ms * trips.get(name, 0.0))
            within.call = True
            try:
                return method(*given, **named)
            finally:
                within.call = False

        return call

    for name in CALLS:
        setattr(storage, name, timed(name, getattr(storage, name)))
    return storage, calls


def offer_of(name: str, trials: int, seed: int) -> Offer:
    """Return the offer of a recorded problem, whose mask and shape do not matter here."""
    mask, grid = load_mask("dense"), TokenGrid(1, 1, 8)
    problem = Problem(mask.fingerprint, grid, batch=1, heads=1, head_dim=64, dtype="float32")
    return Offer(
        schema=SCHEMA,
        name=name,
        mask=mask.to_yaml(),
        problem=problem,
        backend="triton",
        config=KernelConfig(),
        config_source="default",
        device="cpu",
        search="tpe",
        seed=seed,
        trials=trials,
        neighbours=(),
    )


def _candidates(job: TuningJob) -> Candidates:
    assert job.candidates is not None
    return job.candidates


@dataclass(frozen=True, slots=True)
class Replayed:
    """Workers that tuned problems together.

    Attributes:
        problems: Number of problems.
        workers: Number of workers.
        round_trip_ms: Time of a round trip to the storage.
        seconds: From the start to the last record.
        trials: Trials that were measured.
        runoffs: Runoffs that were measured.
        regret: Median of the problems' regrets.
        worst: The largest regret.
        trips: Round trips to the storage.
    """

    problems: int
    workers: int
    round_trip_ms: float
    seconds: float
    trials: int
    runoffs: int
    regret: float
    worst: float
    trips: float


def replayed(
    problems: Sequence[Sequence[SweepTrial]],
    workers: int,
    round_trip_ms: float,
    trips: Trips,
    *,
    trials: int = TRIALS,
    seed: int = 0,
) -> Replayed:
    """Have workers tune problems.

    Args:
        problems: The recorded trials of each.
        workers: How many join.
        round_trip_ms: Time of a round trip to the storage.
        trips: Round trips of each call.
        trials: Trials of a problem.
        seed: Of the search, and of what is drawn from the recorded samples.
    """
    clock = Clock()
    storage, calls = slow_storage(clock, trips, round_trip_ms)
    by_name = {problem_name(recorded[0]): recorded for recorded in problems}
    offers = [offer_of(name, trials, seed) for name in by_name]
    names = threading.local()

    def job_of(offer: Offer) -> TuningJob:
        recorded = by_name[offer.name]
        return TuningJob(offer.case(), recorded[0].key, recorded_candidates(recorded))

    def join(place: int) -> None:
        names.own = f"host{place} 1 1 0"
        works.append(
            joining.join(
                "replay",
                lambda job: Timed(by_name[job.case.id], clock, seed),
                wait_s=0.0,
                job_of=job_of,
            )
        )

    works: list[joining.Work] = []
    with ExitStack() as stack:
        for place, name, value in (
            (joining, "time", clock),
            (tuner, "time", clock),
            (joining, "open_storage", lambda url: storage),
            (joining, "trial_owner", lambda: names.own),
            (studies, "trial_owner", lambda: names.own),
            (studies, "is_here", lambda owner: False),
            (studies, "Beat", NoBeat),
        ):
            stack.enter_context(patch.object(place, name, value))
        names.own = "tune 1 1 0"
        opened = [
            Study("replay", offer.name, _candidates(job_of(offer)), offer.versions, storage)
            for offer in offers
        ]
        for offer, study in zip(offers, opened, strict=True):
            study.open(to_dict(offer))
        clock.now = 0.0
        calls.clear()
        clock.run([partial(join, place) for place in range(workers)])
        seconds, count = clock.now, sum(trips.get(name, 0.0) * n for name, n in calls.items())
        regrets = [
            regret_of(true_times(by_name[offer.name]), decide(study.finals()).config)
            for offer, study in zip(offers, opened, strict=True)
        ]
        done = sum(measured(study.trials()) for study in opened)
    return Replayed(
        problems=len(problems),
        workers=workers,
        round_trip_ms=round_trip_ms,
        seconds=round(seconds, 2),
        trials=done,
        runoffs=sum(work.runoffs for work in works),
        regret=round(median(regrets), 5),
        worst=round(max(regrets), 5),
        trips=round(count),
    )


def whole_problems() -> list[tuple[SweepTrial, ...]]:
    """Return the recorded problems that have more candidates than a search has trials."""
    return [
        recorded
        for recorded in by_problem(read_sweep(SWEEP)).values()
        if measured(recorded) > TRIALS
    ]


def count_trips(url: str) -> Trips:
    """Count the round trips of each call on a database, while a worker tunes a problem there.

    A statement is one, and so are the beginning and the end of a transaction.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    total, calls = Counter[str](), Counter[str]()
    inside: list[str] = []

    def trip(*given: Any) -> None:
        if inside:
            total[inside[0]] += 1

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            inside.append(name)
            calls[inside[0]] += len(inside) == 1
            try:
                return method(*given, **named)
            finally:
                inside.pop()

        return call

    for kind in ("before_cursor_execute", "begin", "commit", "rollback"):
        event.listen(Engine, kind, trip)
    recorded = whole_problems()[0]
    offer = offer_of(problem_name(recorded[0]), TRIALS, 0)
    job = TuningJob(offer.case(), recorded[0].key, recorded_candidates(recorded))
    with ExitStack() as stack:
        for storage in (optuna.storages.RDBStorage, optuna.storages._CachedStorage):
            for name in CALLS:
                method = counted(name, getattr(storage, name))
                # A function, so that it is a method of what has it.
                bound = lambda self, *given, method=method, **named: method(self, *given, **named)  # noqa: E731
                stack.enter_context(patch.object(storage, name, bound))
        study = Study(url, offer.name, _candidates(job), offer.versions)
        study.open(to_dict(offer))
        total.clear()
        calls.clear()
        joining.join(url, lambda job: Replay(recorded), wait_s=0.0, job_of=lambda offer: job)
    return {name: round(total[name] / calls[name], 2) for name in CALLS if calls[name]}


def parts() -> dict[str, str]:
    """Return the tables of docs/scale.md."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    rows = [from_dict(Replayed, row) for row in stored["rows"]]
    return {"tune-workers": workers_table(rows), "tune-trips": trips_table(stored["trips"])}


def workers_table(rows: Sequence[Replayed]) -> str:
    """Return how long some numbers of workers took."""
    body = []
    for problems in dict.fromkeys(row.problems for row in rows):
        alone = {r.round_trip_ms: r for r in rows if (r.problems, r.workers) == (problems, 1)}
        for workers in WORKERS:
            of = {
                r.round_trip_ms: r for r in rows if (r.problems, r.workers) == (problems, workers)
            }
            shown = of[SHOWN_MS]
            gain = alone[SHOWN_MS].seconds / shown.seconds
            body.append(
                [
                    str(problems),
                    str(workers),
                    *(f"{of[trip].seconds:.1f}" for trip in ROUND_TRIPS_MS),
                    f"{gain:.1f}",
                    f"{gain / workers:.0%}",
                    str(shown.trials),
                    f"{shown.regret:.2%}",
                    f"{shown.worst:.2%}",
                    f"{shown.trips / shown.trials:.0f}",
                ]
            )
    times = [f"s at {trip:g} ms" for trip in ROUND_TRIPS_MS]
    headers = ["problems", "workers", *times, "times as fast", "efficiency", "trials"]
    headers += ["median regret", "worst", "round trips a trial"]
    return markdown_table(headers, body, text_columns=0)


def trips_table(trips: Trips) -> str:
    """Return the round trips of each call of the storage."""
    body = [[f"`{name}`", f"{count:.1f}"] for name, count in trips.items()]
    return markdown_table(["call", "round trips"], body, text_columns=1)


def main() -> None:
    """Compute all rows."""
    parser = argparse.ArgumentParser(description="Replay workers that tune together.")
    parser.add_argument("--storage", metavar="URL", help="count round trips on this database")
    options = parser.parse_args()
    if options.storage:
        trips = count_trips(options.storage)
        counted = (
            f"python -m benchmarks.tune_workers --storage {options.storage.partition(':')[0]}:…"
        )
    else:
        stored = json.loads(STORED.read_text(encoding="utf-8"))
        trips, counted = stored["trips"], stored["counted"]
    rows = []
    problems = whole_problems()
    for chosen in (problems, problems[:1]):
        for workers in WORKERS:
            for round_trip_ms in ROUND_TRIPS_MS:
                row = replayed(chosen, workers, round_trip_ms, trips)
                rows.append(to_dict(row))
                print(row, flush=True)
    head = {"trips": trips, "counted": counted, "sweep": file_hash(SWEEP)}
    write_rows(STORED, rows, json.dumps(head)[:-1] + ', "rows": [', "]}")


if __name__ == "__main__":
    main()
