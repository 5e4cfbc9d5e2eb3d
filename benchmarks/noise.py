"""Draw suites with noise: assumed, at two levels, or resampled from recorded runs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.parts import timing_of
from radialbench.records.measurement import Measurement
from radialbench.records.result import Record
from radialbench.records.statistics import estimate_median
from radialbench.suites.schema import Protocol

PROCESSES = 0.003
CALLS = 0.015
TAILS = 0.03
"""Share of calls that are slower, by up to 10%."""

STRETCH = 10
"""Successive calls that are drawn together, since a disturbance may last."""

Suite = list[Record]


class Noise:
    """Draws runs of one suite with known true times.

    All other fields are those of the record `like`, whose times alone may vary from run to run.
    `processes` is the standard deviation of a case's offset in a run.
    """

    def __init__(
        self,
        like: Record,
        seed: int,
        *,
        cases: int = 50,
        calls: int = 100,
        processes: float = PROCESSES,
    ) -> None:
        self.like = like
        self.rng = np.random.default_rng(seed)
        self.truth_ms = np.exp(self.rng.uniform(np.log(0.1), np.log(50), cases))
        self.calls = calls
        self.processes = processes

    def run(self, slowed: dict[int, float] | None = None) -> Suite:
        """Draw one process, with an offset for every case."""
        count = len(self.truth_ms)
        offsets = self.rng.normal(0, self.processes, (count, 1))
        calls = self.rng.normal(0, CALLS, (count, self.calls))
        disturbed = self.rng.random(calls.shape) < TAILS
        tails = disturbed * self.rng.uniform(0, 0.1, calls.shape)
        times = self.truth_ms[:, None] * np.exp(offsets + calls + tails)
        for case, factor in (slowed or {}).items():
            times[case] *= factor
        timings = [Measurement(tuple(row), 1, "cold", "cuda_event", None) for row in times.tolist()]
        return [
            replace(self.like, case=f"case{place}", timing=timing)
            for place, timing in enumerate(timings)
        ]


class Resampled:
    """Draws pairs of runs of a suite with the noise of recorded runs.

    Each case of a pair is a recorded case, drawn at random. Its two runs are two processes of one
    sitting, drawn for each case separately: with one process for a whole suite, its cases would
    move together as the few recorded ones did, and fewer suites would fail. Calls are drawn from
    about the same place of the run, since a GPU's clock changes in its first tenth of a second.

    Every sitting holds at least two processes, each with records of the same cases.
    """

    def __init__(
        self, sittings: Sequence[Sequence[Sequence[Record]]], seed: int, *, cases: int = 50
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.cases = cases
        self.sittings = sittings
        pairs = np.array([len(part) * (len(part) - 1) for part in sittings])
        self.shares = pairs / pairs.sum()

    def pair(self) -> tuple[Suite, Suite]:
        """Draw two runs of one suite: before, and now."""
        before: Suite = []
        now: Suite = []
        for place in range(self.cases):
            runs = self.sittings[self.rng.choice(len(self.sittings), p=self.shares)]
            case = int(self.rng.integers(len(runs[0])))
            two = self.rng.choice(len(runs), 2, replace=False)
            for suite, process in zip((before, now), two, strict=True):
                record = runs[process][case]
                timing = self._drawn(timing_of(record))
                suite.append(replace(record, case=f"case{place}", timing=timing))
        return before, now

    def _drawn(self, timing: Measurement) -> Measurement:
        """Draw as many calls of a measurement, with their telemetry."""
        count = len(timing.samples_ms)
        starts = np.arange(0, count, STRETCH)
        starts = starts + self.rng.integers(-STRETCH // 2, STRETCH // 2 + 1, len(starts))
        starts = starts.clip(0, max(0, count - STRETCH))
        return timing.at((starts[:, None] + np.arange(STRETCH)).ravel()[:count].tolist())


def as_stopped(record: Record, protocol: Protocol) -> Record:
    """Return a record with the calls that a protocol takes until the median is precise enough.

    The record must be of a longer run of the same protocol, so that the shorter run is its start.
    """
    timing = timing_of(record)
    steady: list[float] = []
    spent_ms = 0.0
    calls = zip(timing.samples_ms, timing.throttled, strict=True)
    for count, (ms, slow) in enumerate(calls, start=1):
        spent_ms += ms
        if not slow:
            steady.append(ms)
        if spent_ms < 1e3 * protocol.min_seconds or len(steady) < protocol.min_samples:
            continue
        if estimate_median(steady).half_width < protocol.target:
            return replace(record, timing=replace(timing.at(range(count)), stopped="precise"))
    return record
