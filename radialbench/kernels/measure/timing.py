"""How long calls take, sampled until it is known well enough."""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from statistics import median

from radialbench.kernels.measure.clocks import Clock, HostClock, Round
from radialbench.kernels.measure.telemetry import rounds_of
from radialbench.records.measurement import Measurement
from radialbench.records.statistics import estimate_median

TARGET = 0.005
"""Half-width of a median's interval, as a share of it, at which it is known well enough."""

EXTRA_ROUNDS = 20
"""Rounds that are taken at most beyond those asked for, in place of throttled ones."""

STRETCH_S = 0.05
SAME = 0.02
LONGEST_S = 1.0
"""A device is warm when the medians of two successive stretches of rounds differ by less than that
share, and at the latest after that many seconds: a GPU's clocks take some ten milliseconds to rise,
and seconds to come down as it heats up, which warming up cannot wait for."""

SLOW_S = 0.03
"""Whether a call is too slow to go on with is judged by the fastest of the calls that take this
long together: the first may find a GPU's clocks down."""


def measure(
    run: Callable[[], object],
    *,
    target: float = TARGET,
    min_samples: int = 5,
    max_samples: int = 100,
    max_seconds: float = 10.0,
    min_seconds: float = 0.0,
    warmups: int = 1,
    give_up_ms: float = math.inf,
    clock: Clock | None = None,
) -> Measurement:
    """Time a call again and again, until its median is known well enough or the time is up.

    Samples taken while heat or the hardware held a GPU's clocks back are kept and flagged; others
    are taken in their place, up to `EXTRA_ROUNDS`.

    Args:
        run: The call.
        target: Once there are `min_samples`, stop when the half-width of the median's 95% interval
            is below this share of the median.
        min_samples: Samples to take before that, if the time allows.
        max_samples: Samples after which to stop in any case.
        max_seconds: When this much time is spent on samples no other is begun. The first is
            always taken.
        min_seconds: Time to spend on samples before the median is taken as known well enough: what
            disturbs successive calls alike, as a GPU's power limit does, their interval does not
            show.
        warmups: Calls that are not timed, at least; a GPU gets more, until its times stay the same.
        give_up_ms: If the first call that is timed takes longer, it is the only sample. On a GPU
            all that fit into 30 ms must, the last is the sample, and it is not warmed up for more.
        clock: What takes the time; the host's clock if not given.
    """
    (measured,) = measure_together(
        [run],
        target=target,
        min_samples=min_samples,
        max_samples=max_samples,
        max_seconds=max_seconds,
        min_seconds=min_seconds,
        warmups=warmups,
        give_up_ms=give_up_ms,
        clock=clock,
    )
    return measured


def measure_together(
    runs: Sequence[Callable[[], object]],
    *,
    target: float = TARGET,
    min_samples: int = 5,
    max_samples: int = 100,
    max_seconds: float = 10.0,
    min_seconds: float = 0.0,
    warmups: int = 1,
    give_up_ms: float = math.inf,
    clock: Clock | None = None,
) -> list[Measurement]:
    """Time calls in turn, round by round, so that what disturbs the machine meets all of them.

    Sample i of one call was taken beside sample i of every other: their ratio is a paired sample.
    Every round has an order of its own, drawn from a fixed seed: the clock of a GPU that its power
    limits remembers the call before, and none should always follow the same one. Arguments as
    `measure`; the target holds for every call, the seconds and `give_up_ms` for all together.
    """
    clock = clock or HostClock()
    for _ in range(warmups):
        for run in runs:
            run()
    taken: list[Round] = []
    steady: list[list[float]] = [[] for _ in runs]
    spent_ms, stopped = 0.0, ""

    def precise(samples: Sequence[float]) -> bool:
        return len(samples) >= min_samples and estimate_median(samples).half_width < target

    with closing(clock.rounds(runs, _orders(len(runs)))) as rounds:
        slow: list[Round] = []
        if clock.settles:
            count, slow = _settle(rounds, give_up_ms)
            warmups += count
        for one in chain(slow, rounds):
            taken.append(one)
            spent_ms += sum(one.times_ms)
            if not one.throttled:
                for samples, ms in zip(steady, one.times_ms, strict=True):
                    samples.append(ms)
            if spent_ms >= 1000 * min_seconds and all(map(precise, steady)):
                stopped = "precise"
            elif spent_ms >= 1000 * max_seconds or (len(taken) == 1 and spent_ms > give_up_ms):
                stopped = "time"
            elif max(len(steady[0]), len(taken) - EXTRA_ROUNDS) >= max_samples:
                stopped = "samples"
            if stopped:
                break
    return [
        Measurement(
            samples_ms=tuple(one.times_ms[place] for one in taken),
            warmups=warmups,
            cache=clock.cache,
            timer=clock.timer,
            clocks=None,
            launches=clock.launches,
            stopped="precise" if precise(samples) else stopped,
            rounds=rounds_of([one.reading for one in taken]),
        )
        for place, samples in enumerate(steady)
    ]


def _settle(rounds: Iterator[Round], give_up_ms: float) -> tuple[int, list[Round]]:
    """Let rounds pass until their times stay the same.

    Returns:
        How many, and the next, uncounted, if all took longer than is worth going on for.
    """
    begin, count, before = time.perf_counter_ns(), 0, math.inf
    while True:
        stretch, start = [], time.perf_counter_ns()
        for one in rounds:
            stretch.append(sum(one.times_ms))
            if count == 0 and min(stretch) > give_up_ms and sum(stretch) >= SLOW_S * 1e3:
                return len(stretch) - 1, [one]
            if time.perf_counter_ns() - start >= STRETCH_S * 1e9:
                break
        count, middle = count + len(stretch), median(stretch)
        if time.perf_counter_ns() - begin >= LONGEST_S * 1e9:
            return count, []
        if abs(middle - before) < SAME * before < math.inf:
            return count, []
        before = middle


def _orders(count: int) -> Iterator[list[int]]:
    """Yield one random order of the calls after the other, without end."""
    generator = random.Random(0)
    while True:
        yield generator.sample(range(count), count)
