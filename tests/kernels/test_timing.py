"""When sampling stops, what the median's interval is, and what a call adds to memory."""

import math
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat

import numpy as np
import pytest

from radialbench.kernels import timing
from radialbench.kernels.timing import measure, median_half_width, peak_memory

Clock = Callable[..., Callable[[], None]]


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give calls that take some milliseconds each on a clock of their own; the last repeats."""
    now = 0

    def calls(*costs_ms: float) -> Callable[[], None]:
        costs: Iterator[float] = chain(costs_ms, repeat(costs_ms[-1]))

        def run() -> None:
            nonlocal now
            now += round(next(costs) * 1e6)

        return run

    monkeypatch.setattr(time, "perf_counter_ns", lambda: now)
    return calls


def test_samples_are_the_times_of_the_calls_after_the_warmups(taking: Clock) -> None:
    measured = measure(taking(70, 80, 1, 2, 3), warmups=2, max_samples=3)
    assert measured.samples_ms == (1, 2, 3)
    assert measured.warmups == 2
    assert (measured.cache, measured.timer) == ("warm", "perf_counter")


def test_the_first_sample_is_taken_whatever_it_costs(taking: Clock) -> None:
    measured = measure(taking(9000), max_seconds=0.5, min_samples=5, warmups=0)
    assert measured.samples_ms == (9000,)


@pytest.mark.parametrize(("max_seconds", "samples"), [(0.29, 3), (0.3, 3), (0.31, 4), (10, 40)])
def test_no_sample_is_begun_when_the_time_is_up(
    taking: Clock, max_seconds: float, samples: int
) -> None:
    measured = measure(taking(100), target=0, max_seconds=max_seconds, max_samples=40)
    assert len(measured.samples_ms) == samples


def test_equal_samples_stop_at_the_fewest_that_have_an_interval(taking: Clock) -> None:
    assert len(measure(taking(1), min_samples=2).samples_ms) == 6
    assert len(measure(taking(1), min_samples=9).samples_ms) == 9


def test_scattered_samples_go_on_to_the_most(taking: Clock) -> None:
    scattered = [1, 2, 3, 4, 5] * 10
    assert len(measure(taking(*scattered), target=0.01, max_samples=25).samples_ms) == 25


def test_a_target_that_is_met_ends_the_sampling(taking: Clock) -> None:
    nearly_equal = [1.0, 1.01, 0.99] * 30
    few = measure(taking(*nearly_equal), target=0.02, min_samples=2)
    many = measure(taking(*nearly_equal), target=0.001, min_samples=2)
    assert len(few.samples_ms) == 6
    assert len(many.samples_ms) > 6


@pytest.mark.parametrize("count", [6, 7, 8, 9, 11, 12, 17, 20, 30, 100])
def test_the_interval_covers_the_median_19_times_in_20_and_no_narrower_one_does(count: int) -> None:
    ordered = [1000.0 + place for place in range(1, count + 1)]
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    half_width = median_half_width(ordered[::-1]) * middle
    rank = round((count + 1 - 2 * half_width) / 2)

    def covers(rank: int) -> float:
        """Chance that the median lies between the rank-th sample from below and from above."""
        outside = 2 * sum(math.comb(count, heads) for heads in range(rank))
        return 1 - float(outside / 2**count)

    assert covers(rank) >= 0.95 > covers(rank + 1)


def test_the_interval_holds_for_samples_of_any_distribution() -> None:
    generator = np.random.default_rng(7)
    trials, inside = 400, 0
    for _ in range(trials):
        samples = sorted(generator.lognormal(sigma=2, size=15))
        width = median_half_width(samples) * samples[7] * 2
        low = samples[3]
        assert low + width == pytest.approx(samples[11])
        inside += low <= 1.0 <= low + width
    assert inside / trials > 0.93


@pytest.mark.parametrize("count", range(1, 6))
def test_fewer_than_six_samples_have_no_interval(count: int) -> None:
    assert median_half_width([1.0] * count) == math.inf


def test_peak_memory_is_what_a_call_holds_at_once() -> None:
    size = 64 << 20

    def call() -> str:
        first = np.ones(size, np.uint8)
        del first
        np.ones(size, np.uint8)
        return "result"

    result, memory = peak_memory(call)
    assert result == "result"
    assert memory.peak_bytes is not None
    assert 0.95 * size <= memory.peak_bytes < 1.5 * size


def test_an_earlier_peak_does_not_count() -> None:
    np.ones(64 << 20, np.uint8)
    _, memory = peak_memory(lambda: None)
    assert memory.peak_bytes is not None
    assert memory.peak_bytes < 8 << 20


def test_a_system_without_a_mark_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nowhere = tmp_path_factory.mktemp("proc") / "none" / "clear_refs"
    monkeypatch.setattr(timing, "_CLEAR", nowhere)
    result, memory = peak_memory(lambda: 7)
    assert (result, memory.peak_bytes) == (7, None)
    assert memory.source.startswith("not measured")


def test_an_error_of_the_call_is_not_taken_for_one_of_the_system() -> None:
    def call() -> None:
        raise FileNotFoundError("weights")

    with pytest.raises(FileNotFoundError, match="weights"):
        peak_memory(call)
