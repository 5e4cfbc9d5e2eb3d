"""Workers that tune recorded trials together, on a computed clock: what they find, and how fast."""

import json

import pytest

from benchmarks.parts import file_hash
from benchmarks.tune_workers import (
    CALLS,
    ROUND_TRIPS_MS,
    SHOWN_MS,
    STORED,
    WORKERS,
    Clock,
    Replayed,
    replayed,
    whole_problems,
)
from benchmarks.tuning import SWEEP
from radialbench.autotune.tuner import TRIALS
from radialbench.records.codec import from_dict

STORED_ROWS = json.loads(STORED.read_text(encoding="utf-8"))


def test_threads_take_turns_by_their_computed_time() -> None:
    clock = Clock()
    seen: list[tuple[str, float]] = []

    def body(name: str, pause: float) -> None:
        for _ in range(2):
            clock.sleep(pause)
            seen.append((name, clock.now))

    clock.run([lambda: body("a", 2.0), lambda: body("b", 3.0)])
    assert seen == [("a", 2.0), ("b", 3.0), ("a", 4.0), ("b", 6.0)]

    def fails() -> None:
        clock.sleep(1.0)
        raise ValueError("told")

    with pytest.raises(ValueError, match="told"):
        Clock().run([fails])


@pytest.mark.parametrize(("problems", "share"), [(1, 0.8), (6, 0.5)])
def test_eight_workers_try_as_much_as_one_in_less_time(problems: int, share: float) -> None:
    chosen, trips = whole_problems()[:problems], dict.fromkeys(CALLS, 5.0)
    one, eight, again = (
        replayed(chosen, workers, SHOWN_MS, trips, trials=16) for workers in (1, 8, 8)
    )
    assert again == eight
    assert one.runoffs == eight.runoffs == problems
    assert one.trials == 16 * problems <= eight.trials < 16 * problems + 8
    assert eight.worst <= one.worst + 0.05
    # A runoff takes longer than the trials of so short a search, and nobody shares it.
    assert eight.seconds < share * one.seconds


def test_what_the_page_says_of_eight_workers() -> None:
    """The same regret in at most a sixth of the time, with a storage in the same room."""
    rows = [from_dict(Replayed, row) for row in STORED_ROWS["rows"]]
    assert STORED_ROWS["sweep"] == file_hash(SWEEP)
    found = {(row.problems, row.workers, row.round_trip_ms): row for row in rows}
    many = len(whole_problems())
    assert {*found} == {(p, w, t) for p in (many, 1) for w in WORKERS for t in ROUND_TRIPS_MS}
    one, eight = (found[many, workers, SHOWN_MS] for workers in (1, 8))
    assert eight.seconds <= one.seconds / 6
    assert (eight.regret, eight.worst) == (one.regret, one.worst)
    for row in rows:
        assert row.runoffs == row.problems
        assert row.problems * TRIALS <= row.trials <= row.problems * TRIALS + row.workers
