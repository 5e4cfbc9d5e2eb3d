"""How long calls take, sampled until it is known well enough."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

from radialbench.kernels.clocks import Clock, EventClock, HostClock
from radialbench.records.measurement import Measurement


def measure(
    run: Callable[[], object],
    *,
    target: float = 0.01,
    min_samples: int = 5,
    max_samples: int = 100,
    max_seconds: float = 10.0,
    warmups: int = 1,
    clock: Clock | None = None,
) -> Measurement:
    """Time a call again and again, until its median is known well enough or the time is up.

    Args:
        run: The call.
        target: Once there are `min_samples`, stop when the half-width of the median's 95% interval
            is below this share of the median.
        min_samples: Samples to take before that, if the time allows.
        max_samples: Samples after which to stop in any case.
        max_seconds: When this much time is spent on samples no other is begun. The first is
            always taken.
        warmups: Calls that are not timed.
        clock: What takes the time; the host's clock if not given.
    """
    (measured,) = measure_together(
        [run],
        target=target,
        min_samples=min_samples,
        max_samples=max_samples,
        max_seconds=max_seconds,
        warmups=warmups,
        clock=clock,
    )
    return measured


def measure_together(
    runs: Sequence[Callable[[], object]],
    *,
    target: float = 0.01,
    min_samples: int = 5,
    max_samples: int = 100,
    max_seconds: float = 10.0,
    warmups: int = 1,
    clock: Clock | None = None,
) -> list[Measurement]:
    """Time calls in turn, round by round, so that what disturbs the machine meets all of them.

    Sample i of one call was taken beside sample i of every other: their ratio is a paired sample.
    Every round has an order of its own, drawn from a fixed seed: the clock of a GPU that its power
    limits remembers the call before, and none should always follow the same one. Arguments as
    `measure`; the target holds for every call, the seconds for all together.
    """
    clock = clock or HostClock()
    for _ in range(warmups):
        for run in runs:
            run()
    samples: list[list[float]] = [[] for _ in runs]
    spent_ms = 0.0
    for times in clock.rounds(runs, _orders(len(runs))):
        for kept, ms in zip(samples, times, strict=True):
            kept.append(ms)
        spent_ms += sum(times)
        count = len(samples[0])
        if spent_ms >= 1000 * max_seconds or count >= max_samples:
            break
        if count >= min_samples and all(median_half_width(kept) < target for kept in samples):
            break
    pause = isinstance(clock, EventClock) and clock.pause_s > 0
    plain = Measurement((1.0,), warmups, clock.cache, clock.timer, None)
    launches = "isolated" if pause else "sustained"
    return [replace(plain, samples_ms=tuple(kept), launches=launches) for kept in samples]


def _orders(count: int) -> Iterator[list[int]]:
    """Give one random order of the calls after the other, without end."""
    generator = random.Random(0)
    while True:
        yield generator.sample(range(count), count)


def median_half_width(samples: Sequence[float]) -> float:
    """Give half the width of the median's 95% interval, as a share of the median.

    The interval lies between two order statistics, found from the binomial distribution, and
    assumes nothing about the samples' own. With fewer than six samples no such interval reaches
    95%: infinite.
    """
    count, ordered = len(samples), sorted(samples)
    below = _rank(count)
    if below == 0:
        return math.inf
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return (ordered[count - below] - ordered[below - 1]) / 2 / middle


@cache
def _rank(count: int) -> int:
    """Count the samples on either side of the interval's ends, the ends included.

    The largest r with P(fewer than r of `count` fair coins show heads) ≤ 2.5%; exact.
    """
    rank, ways, sum_of_ways = 0, 1, 1
    while 40 * sum_of_ways <= 2**count:
        rank += 1
        ways = ways * (count - rank + 1) // rank
        sum_of_ways += ways
    return rank
