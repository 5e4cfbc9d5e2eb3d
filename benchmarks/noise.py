"""Draw suites with noise: assumed, of several kinds, or resampled from recorded runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.parts import timing_of
from radialbench.records.measurement import Measurement
from radialbench.records.pooling import pooled
from radialbench.records.result import Record
from radialbench.records.statistics import estimate_median
from radialbench.suites.schema import Protocol

CALLS = 0.015
TAILS = 0.03
"""Share of calls that are slower, by up to 10%."""

STRETCH = 10
"""Successive calls that are drawn together, since a disturbance may last."""

PROCESSES = 0.003
KINDS = {
    "quiet": "a process is off by 0.3%, a call by 1.5%",
    "clock states": "and one case in ten is in a clock state 3% slower",
    "AR(1)": "and calls wander by 1%, as an AR(1) of 0.99",
    "drift": "and calls drift by 3% from the first to the last, up or down",
    "processes": "and a process is off by 0.7%",
    "whole runs": "and all cases of a process are off by the same 1%",
}
"""Kinds of noise: standard deviations, of each case in each process alone where nothing is said."""

Suite = list[Record]
Floats = NDArray[np.float64]


class Noise:
    """Draws runs of one suite with known true times.

    All other fields are those of the record `like`, whose times alone may vary from run to run.
    `offset` is the standard deviation of a case's offset in a process.
    """

    def __init__(
        self,
        like: Record,
        seed: int,
        *,
        kind: str = "quiet",
        cases: int = 50,
        calls: int = 100,
        offset: float = PROCESSES,
    ) -> None:
        self.like = like
        self.kind = kind
        self.rng = np.random.default_rng(seed)
        self.truth_ms = np.exp(self.rng.uniform(np.log(0.1), np.log(50), cases))
        self.calls = calls
        self.offset = offset

    def run(self, slowed: Mapping[int, float] | None = None, processes: int = 1) -> Suite:
        """Draw a run by some processes, with an offset for every case in each."""
        shape = (len(self.truth_ms), processes, self.calls)
        calls = self.rng.normal(0, CALLS, shape)
        disturbed = self.rng.random(shape) < TAILS
        tails = disturbed * self.rng.uniform(0, 0.1, shape)
        logs = self.rng.normal(0, self.offset, (*shape[:2], 1)) + calls + tails
        times = self.truth_ms[:, None, None] * np.exp(logs + self._disturbance(shape))
        suite = [
            replace(self.like, case=f"case{place}", timing=_measured(row))
            for place, row in enumerate(times)
        ]
        return slower(suite, slowed or {})

    def pair(self, processes: int = 1) -> tuple[Suite, Suite]:
        """Draw two runs of the suite: before, and now."""
        return self.run(processes=processes), self.run(processes=processes)

    def _disturbance(self, shape: tuple[int, int, int]) -> Floats:
        each, found = (*shape[:2], 1), np.zeros(shape)
        if self.kind == "clock states":
            found += 0.03 * (self.rng.random(each) < 0.1)
        if self.kind == "AR(1)":
            found += self.rng.normal(0, 0.01, shape)
            for call in range(1, self.calls):
                found[..., call] *= (1 - 0.99**2) ** 0.5
                found[..., call] += 0.99 * found[..., call - 1]
        if self.kind == "drift":
            found += self.rng.choice([-1, 1], each) * np.linspace(0, 0.03, self.calls)
        if self.kind == "processes":
            found += self.rng.normal(0, (0.007**2 - self.offset**2) ** 0.5, each)
        if self.kind == "whole runs":
            found += self.rng.normal(0, 0.01, (1, shape[1], 1))
        return found


def _measured(times: Floats) -> Measurement:
    counts = (times.shape[1],) * times.shape[0] if len(times) > 1 else ()
    samples = tuple(times.ravel().tolist())
    return Measurement(samples, 1, "cold", "cuda_event", None, processes=counts)


def slower(suite: Suite, slowed: Mapping[int, float]) -> Suite:
    """Return a suite in which the cases at some places are slower by a factor."""
    found = [*suite]
    for place, factor in slowed.items():
        timing = timing_of(suite[place])
        times = tuple(factor * ms for ms in timing.samples_ms)
        found[place] = replace(suite[place], timing=replace(timing, samples_ms=times))
    return found


class Resampled:
    """Draws pairs of runs of a suite with the noise of recorded runs.

    The cases of the suite are the recorded ones, in turn. The processes of a pair are of one
    sitting, drawn for each case separately: with the same ones for a whole suite, its cases would
    move together as the few recorded ones did, and fewer suites would fail. Calls are drawn from
    about the same place of the run, since a GPU's clock changes in its first tenth of a second,
    and as many as the default protocol takes.

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

    def pair(self, processes: int = 1) -> tuple[Suite, Suite]:
        """Draw two runs of one suite: before, and now; of a small sitting by fewer processes."""
        before: Suite = []
        now: Suite = []
        for place in range(self.cases):
            runs = self.sittings[self.rng.choice(len(self.sittings), p=self.shares)]
            case = place % len(runs[0])
            each = min(processes, len(runs) // 2)
            drawn = self.rng.choice(len(runs), 2 * each, replace=False).tolist()
            for suite, part in ((before, drawn[:each]), (now, drawn[each:])):
                records = [self._drawn(runs[process][case]) for process in part]
                whole = records[0] if each == 1 else pooled(records)
                suite.append(replace(whole, case=f"case{place}"))
        return before, now

    def _drawn(self, record: Record) -> Record:
        """Draw calls of a record, with their telemetry."""
        timing = timing_of(record)
        count = len(timing.samples_ms)
        starts = np.arange(0, count, STRETCH)
        starts = starts + self.rng.integers(-STRETCH // 2, STRETCH // 2 + 1, len(starts))
        starts = starts.clip(0, max(0, count - STRETCH))
        drawn = timing.at((starts[:, None] + np.arange(STRETCH)).ravel()[:count].tolist())
        return as_stopped(replace(record, timing=drawn), Protocol())


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
