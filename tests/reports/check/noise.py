"""Suites with noise of two levels: what differs from process to process, and from call to call."""

from dataclasses import replace

import numpy as np

from radialbench.records.measurement import Measurement
from radialbench.records.result import Record
from tests.reports.factory import elsewhere, made

PROCESSES = 0.003
CALLS = 0.015
TAILS = 0.03
"""Share of calls that are disturbed, by up to 10%."""

(GPU_RECORD,) = elsewhere([made(samples=(1.0,), order=0.0)], device="Example GPU")


class Noise:
    """Draws runs of one suite whose true times are known."""

    def __init__(
        self, seed: int, *, cases: int = 50, calls: int = 100, processes: float = PROCESSES
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.truth_ms = np.exp(self.rng.uniform(np.log(0.1), np.log(50), cases))
        self.calls = calls
        self.processes = processes

    def run(self, slowed: dict[int, float] | None = None) -> list[Record]:
        """One process: every case has its own offset in it."""
        count = len(self.truth_ms)
        offsets = self.rng.normal(0, self.processes, (count, 1))
        calls = self.rng.normal(0, CALLS, (count, self.calls))
        disturbed = self.rng.random(calls.shape) < TAILS
        tails = disturbed * self.rng.uniform(0, 0.1, calls.shape)
        times = self.truth_ms[:, None] * np.exp(offsets + calls + tails)
        for case, factor in (slowed or {}).items():
            times[case] *= factor
        return [record(f"case{place}", row.tolist()) for place, row in enumerate(times)]


def record(case: str, samples: list[float]) -> Record:
    """A case on a GPU with these times, and nothing else that is compared."""
    timing = Measurement(tuple(samples), 1, "cold", "cuda_event", None)
    return replace(GPU_RECORD, case=case, timing=timing)
