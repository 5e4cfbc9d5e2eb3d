"""When sampling stops, and what a call adds to memory."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import pytest

from radialbench.kernels.measure.clocks import Calls, EventClock, HostClock, Orders, Round
from radialbench.kernels.measure.telemetry import Reading
from radialbench.kernels.measure.timing import EXTRA_ROUNDS, measure_together
from radialbench.records.measurement import Measurement

Clock = Callable[..., Callable[[], None]]


def measure(call: Callable[[], None], **limits: Any) -> Measurement:
    (measured,) = measure_together([call], **limits)
    return measured


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return calls that take these milliseconds on a simulated clock; the last repeats."""
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
def test_no_sample_is_started_when_the_time_is_up(
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


def test_calls_are_sampled_round_by_round_in_changing_order(taking: Clock) -> None:
    order: list[str] = []

    def named(name: str, run: Callable[[], None]) -> Callable[[], None]:
        def call() -> None:
            order.append(name)
            run()

        return call

    costs = {"a": range(1, 12), "b": range(101, 112), "c": range(201, 212)}
    calls = [named(name, taking(*values)) for name, values in costs.items()]
    measured = measure_together(calls, warmups=1, max_samples=10, target=0)
    rounds = [tuple(order[start : start + 3]) for start in range(0, len(order), 3)]
    assert len(rounds) == 11
    assert {frozenset(one) for one in rounds} == {frozenset("abc")}
    assert len(set(rounds)) > 2
    for values, one in zip(costs.values(), measured, strict=True):
        assert one.samples_ms == tuple(values)[1:]  # the warm-up is no sample


def test_sampling_goes_on_until_every_call_is_known(taking: Clock) -> None:
    steady, scattered = taking(1), taking(*[1, 2, 3, 4, 5] * 10)
    together = measure_together([steady, scattered], target=0.01, max_samples=25)
    assert [len(measured.samples_ms) for measured in together] == [25, 25]


def test_the_seconds_are_for_all_calls_together(taking: Clock) -> None:
    together = measure_together([taking(100), taking(200)], target=0, max_seconds=0.9)
    assert [len(measured.samples_ms) for measured in together] == [3, 3]


@pytest.mark.parametrize(
    ("costs", "limits", "why"),
    [
        ([1], {}, "precise"),
        ([1, 2, 3, 4, 5] * 10, {"max_samples": 25}, "samples"),
        ([1, 2, 3, 4, 5] * 10, {"max_seconds": 0.02}, "time"),
        ([1], {"max_samples": 3}, "samples"),  # three samples have no interval
        ([1], {"max_samples": 6}, "precise"),
    ],
)
def test_a_measurement_says_why_sampling_stopped(
    taking: Clock, costs: list[float], limits: dict[str, float], why: str
) -> None:
    assert measure(taking(*costs), **limits).stopped == why


def test_a_call_that_is_known_says_so_though_another_was_waited_for(taking: Clock) -> None:
    together = measure_together([taking(1), taking(*[1, 2, 3, 4, 5] * 10)], max_samples=25)
    assert [one.stopped for one in together] == ["precise", "samples"]


@dataclass(frozen=True)
class Warming(HostClock):
    """The host's clock on a device that has to be warmed up and says what slows it."""

    readings: tuple[Reading, ...] = ()

    settles = True

    def rounds(self, runs: Calls, orders: Orders) -> Generator[Round]:
        readings = chain(self.readings, repeat(Reading("nvml", 1700.0, 600.0, 50.0)))
        for one, reading in zip(super().rounds(runs, orders), readings, strict=False):
            yield Round(one.times_ms, reading)


@pytest.mark.parametrize(
    ("costs", "warmups"),
    [
        # Stretches of at least 50 ms: five rounds of 10 ms each, two of which agree.
        ([10], 10),
        # 20 ms until the fourth stretch, then faster: six stretches.
        ([20] * 3 + [17] * 3 + [15] * 4 + [12] * 5 + [10] * 20, 25),
        # Never the same: at the latest after a second.
        ([60, 70] * 20, 16),
        # One call may take longer than that.
        ([3000], 1),
    ],
)
def test_a_device_is_warmed_up_until_its_times_stay_the_same(
    taking: Clock, costs: list[float], warmups: int
) -> None:
    measured = measure(taking(*costs), warmups=0, max_samples=7, clock=Warming())
    assert measured.warmups == warmups
    assert (
        measured.samples_ms == tuple(costs + [costs[-1]] * 99)[warmups:][: len(measured.samples_ms)]
    )


@pytest.mark.parametrize(
    ("first", "samples"),
    # The second call is slow too: only the first says whether to go on.
    [(20.001, 1), (20, 5), (9, 5)],
)
def test_what_takes_too_long_at_first_is_the_only_sample(
    taking: Clock, first: float, samples: int
) -> None:
    measured = measure(taking(70, first, 30, 10), warmups=1, max_samples=5, target=0, give_up_ms=20)
    assert len(measured.samples_ms) == samples
    if samples == 1:
        assert measured.samples_ms == (first,)
        assert (measured.warmups, measured.stopped) == (1, "time")


@pytest.mark.parametrize(
    ("calls", "warmups", "sample"),
    # Calls are judged once they have taken 30 ms together, by the fastest of them.
    [((31, 1), 1, 31), ((21, 22, 1), 2, 22), ((9, 8, 7, 7, 1), 4, 7)],
)
def test_on_a_gpu_the_first_calls_must_all_take_too_long(
    taking: Clock, calls: Sequence[float], warmups: int, sample: float
) -> None:
    measured = measure(taking(70, *calls), warmups=1, give_up_ms=6.9, clock=Warming())
    assert measured.samples_ms == (sample,)
    assert (measured.warmups, measured.stopped) == (warmups, "time")


def test_a_gpu_whose_clocks_are_down_at_first_is_not_given_up(taking: Clock) -> None:
    measured = measure(
        taking(70, 9, 9, 6.9, 6, 5), warmups=1, max_samples=5, give_up_ms=7, clock=Warming()
    )
    assert measured.samples_ms == (5,) * 5


def test_some_time_is_spent_on_samples_however_precise_they_are(taking: Clock) -> None:
    assert len(measure(taking(10), min_seconds=0.2).samples_ms) == 20
    assert len(measure(taking(10), min_seconds=0.2, max_samples=7).samples_ms) == 7
    together = measure_together([taking(10), taking(30)], min_seconds=0.4)
    assert [len(one.samples_ms) for one in together] == [10, 10]


HOT = Reading("nvml", 900.0, 650.0, 88.0, ("power cap", "thermal limit (hardware)"))
CAPPED = Reading("nvml", 1400.0, 700.0, 60.0, ("power cap",))


def test_throttled_rounds_are_kept_flagged_and_taken_again(taking: Clock) -> None:
    warm = (CAPPED,) * 10
    clock = Warming(readings=(*warm, CAPPED, HOT, HOT, CAPPED))
    costs = [10] * 10 + [10, 30, 31] + [10, 11] * 50
    measured = measure(taking(*costs), warmups=0, target=0, max_samples=5, clock=clock)
    assert measured.samples_ms == (10, 30, 31, 10, 11, 10, 11)
    assert measured.throttled == (False, True, True, False, False, False, False)
    assert measured.steady_ms == (10, 10, 11, 10, 11)
    assert measured.median_ms == 10
    assert measured.rounds is not None
    assert measured.rounds.sm_mhz[:3] == (1400, 900, 900)
    assert measured.rounds.slowed_by[:2] == ("power cap", "power cap, thermal limit (hardware)")


def test_a_gpu_that_stays_hot_is_measured_a_limited_number_of_times(taking: Clock) -> None:
    clock = Warming(readings=(HOT,) * 1000)
    measured = measure(taking(10), warmups=0, max_samples=5, clock=clock)
    assert measured.samples_ms == (10,) * (5 + EXTRA_ROUNDS)
    assert sum(measured.throttled) == 5 + EXTRA_ROUNDS
    assert (measured.median_ms, measured.stopped) == (10, "samples")


def test_a_gpu_without_counters_says_so_and_is_measured(taking: Clock) -> None:
    clock = Warming(readings=(Reading("none: no driver"),) * 1000)
    measured = measure(taking(10), clock=clock)
    assert measured.rounds is not None
    assert measured.rounds.source == "none: no driver"
    assert (measured.rounds.sm_mhz, measured.rounds.slowed_by) == ((), ())
    assert not any(measured.throttled)


@pytest.mark.gpu
@pytest.mark.parametrize("pause_s", [0.0, 0.01])
def test_events_time_what_runs_on_the_gpu(pause_s: float) -> None:
    import torch

    long = torch.randn(4096, 4096, device="cuda")
    short = long[:64, :64].contiguous()
    clock = EventClock(pause_s=pause_s)
    one, two = measure_together(
        [lambda: long @ long, lambda: short @ short], max_samples=20, clock=clock
    )
    assert one.timer == "cuda_event"
    assert one.cache == "cold"
    assert one.launches == ("isolated" if pause_s else "sustained")
    assert 1 < one.median_ms < 20  # 137 GFLOP in float32
    assert two.median_ms < 0.1  # no time of the host is in it
    assert one.warmups == 1 if pause_s else one.warmups > 3
    assert one.rounds is not None
    if one.rounds.source == "nvml":
        assert len(one.rounds.sm_mhz) == len(one.samples_ms)
        assert max(one.rounds.sm_mhz) > 500
