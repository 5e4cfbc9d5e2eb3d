"""The time of calls, sampled until the median is precise."""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import chain, repeat
from statistics import median

import torch

from radialbench.kernels.measure.clocks import Clock, HostClock, Round
from radialbench.kernels.measure.telemetry import rounds_of
from radialbench.records.measurement import Measurement
from radialbench.records.result import CEILING_SIZE
from radialbench.records.statistics import estimate_median

TARGET = 0.005
"""Half-width of a median's interval, as a share of it, at which it is precise."""

EXTRA_ROUNDS = 20
"""Most rounds that are taken in place of throttled ones."""

STRETCH_S = 0.05
SAME = 0.02
LONGEST_S = 1.0
"""A device is warm when the medians of two successive stretches of rounds differ by less than that
share, or after `LONGEST_S`: a GPU's clocks take some ten milliseconds to rise, and seconds to fall
as it heats up, which is too long to wait for."""

SLOW_S = 0.03
"""Calls are too slow if the fastest of those that take this long together is too slow: a GPU's
clocks may be low at the first."""


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
    """Time calls in turn, round by round, until their medians are precise or the time is up.

    Whatever disturbs the machine disturbs all calls of a round, so that sample i of one call and
    sample i of another are a pair. Each round has an order of its own, drawn from a fixed seed: the
    clock of a power-limited GPU depends on the call before, and no call should always follow the
    same one. Samples of a throttled GPU are kept and flagged, and up to `EXTRA_ROUNDS` others are
    taken in their place.

    Args:
        runs: The calls.
        target: Once there are `min_samples`, stop when the half-width of the 95% interval of every
            median is below this share of it.
        min_samples: Samples to take before that, if the time allows.
        max_samples: Samples after which to stop in any case.
        max_seconds: Start no other round once all samples took this long, but take the first.
        min_seconds: Least time to spend on samples. The interval does not show what disturbs
            successive calls in the same way, such as a GPU's power limit.
        warmups: Rounds before the timed ones; a GPU gets more, until its times stay the same.
        give_up_ms: If the first round takes longer, it is the only one. On a GPU all rounds that
            fit into 30 ms must take longer; the last is the sample, without more warm-up.
        clock: The clock; the host's clock if not given.
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

    draw, indices = random.Random(0), range(len(runs))
    orders = (draw.sample(indices, len(runs)) for _ in repeat(None))
    with closing(clock.rounds(runs, orders)) as rounds:
        slow: list[Round] = []
        if clock.settles:
            count, slow = _settle(rounds, give_up_ms)
            warmups += count
        for sampled in chain(slow, rounds):
            taken.append(sampled)
            spent_ms += sum(sampled.times_ms)
            if not sampled.throttled:
                for samples, ms in zip(steady, sampled.times_ms, strict=True):
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
            samples_ms=tuple(sampled.times_ms[index] for sampled in taken),
            warmups=warmups,
            cache=clock.cache,
            timer=clock.timer,
            clocks=None,
            launches=clock.launches,
            stopped="precise" if precise(samples) else stopped,
            rounds=rounds_of([sampled.reading for sampled in taken]),
        )
        for index, samples in enumerate(steady)
    ]


def ceiling_matmul(dtype: torch.dtype, device: str) -> Callable[[], object]:
    """Return a call that multiplies two square matrices of normal numbers, `CEILING_SIZE` wide.

    Its throughput is the ceiling for a kernel timed beside it.
    """
    shape = (CEILING_SIZE, CEILING_SIZE)
    left, right = (torch.randn(shape, device=device).to(dtype) for _ in range(2))
    return lambda: left @ right


def _settle(rounds: Iterator[Round], give_up_ms: float) -> tuple[int, list[Round]]:
    """Discard rounds until their times stay the same.

    Returns:
        The number of rounds, and if all took longer than `give_up_ms`, the last, not counted.
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
