"""Suites made of recorded runs: processes are drawn, and then calls of theirs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from radialbench.kernels.timing import median_half_width
from radialbench.records.measurement import Measurement, Rounds
from radialbench.records.result import Record
from radialbench.suites.spec import Protocol
from tests.reports.check.noise import Noise

T = TypeVar("T")

STRETCH = 10
"""Successive calls that are drawn together, since what disturbs one may last."""

Suite = list[Record]


class Resampled:
    """Draws pairs of runs of suites whose noise is that of recorded runs.

    A case of a suite is a recorded one, drawn anew for each pair, at another length. Its two runs
    are two different processes, drawn for each case by itself: were one process drawn for a whole
    suite, its cases would go up and down together as the few recorded ones did, and fewer suites
    would fail.

    Args:
        runs: For each process the records of the same cases, in the same order; at least two.
        seed: Of what is drawn.
        cases: Of a suite.
        calls: Of a case.
    """

    def __init__(
        self, runs: Sequence[Sequence[Record]], seed: int, *, cases: int = 50, calls: int = 100
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.cases, self.calls = cases, calls
        self.runs = runs
        middles = [[_timing(record).median_ms for record in run] for run in runs]
        self.middles_ms = np.median(middles, axis=0)

    def pair(self) -> tuple[Suite, Suite]:
        """Draw two runs of one suite: before, and now."""
        truth_ms = Noise(int(self.rng.integers(1 << 32)), cases=self.cases).truth_ms
        before: Suite = []
        now: Suite = []
        for place, ms in enumerate(truth_ms):
            case = int(self.rng.integers(len(self.middles_ms)))
            two = self.rng.choice(len(self.runs), 2, replace=False)
            for suite, process in zip((before, now), two, strict=True):
                record = self.runs[process][case]
                timing = self._drawn(_timing(record), float(ms / self.middles_ms[case]))
                suite.append(replace(record, case=f"case{place}", timing=timing))
        return before, now

    def _drawn(self, timing: Measurement, factor: float) -> Measurement:
        """Draw calls of a measurement, with what was read beside them, at another length."""
        count = len(timing.samples_ms)
        starts = self.rng.integers(count, size=-(-self.calls // STRETCH))
        places = ((starts[:, None] + np.arange(STRETCH)) % count).ravel()[: self.calls].tolist()
        times = tuple(factor * timing.samples_ms[place] for place in places)
        return replace(timing, samples_ms=times, rounds=_beside(timing.rounds, places))


def as_stopped(record: Record, protocol: Protocol) -> Record:
    """Give a record as a protocol would have left it: the calls until the median is known enough.

    What it holds must be the calls of a longer run of the same protocol: then the shorter run is
    its beginning.
    """
    timing = _timing(record)
    steady: list[float] = []
    calls = zip(timing.samples_ms, timing.throttled, strict=True)
    for count, (ms, slow) in enumerate(calls, start=1):
        if not slow:
            steady.append(ms)
        if len(steady) >= protocol.min_samples and median_half_width(steady) < protocol.target:
            rounds, times = _beside(timing.rounds, range(count)), timing.samples_ms[:count]
            timing = replace(timing, samples_ms=times, rounds=rounds, stopped="precise")
            return replace(record, timing=timing)
    return record


def _beside(rounds: Rounds | None, places: Sequence[int]) -> Rounds | None:
    """What was read beside the calls at these places."""
    if rounds is None:
        return None

    def drawn(column: Sequence[T]) -> tuple[T, ...]:
        return tuple(column[place] for place in places) if column else ()

    return Rounds(
        rounds.source,
        sm_mhz=drawn(rounds.sm_mhz),
        power_w=drawn(rounds.power_w),
        temperature_c=drawn(rounds.temperature_c),
        slowed_by=drawn(rounds.slowed_by),
    )


def _timing(record: Record) -> Measurement:
    assert record.timing is not None
    return record.timing
