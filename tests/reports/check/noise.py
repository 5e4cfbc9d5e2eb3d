"""Records of made-up times, and runs of them as `radialbench noise` records runs."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from radialbench.records.measurement import Measurement
from radialbench.records.result import Record
from radialbench.suites.noise import RunRecords
from tests.reports.factory import elsewhere
from tests.reports.factory import made as made_record

(GPU_RECORD,) = elsewhere([made_record(samples=(1.0,), order=0.0)], device="Example GPU")

TIMES_MS = (0.05, 0.6, 2.0, 6.0)
CALLS = 0.006
"""Standard deviation of the calls of `made`."""


def record(case: str, samples: list[float]) -> Record:
    """A case on a GPU with these times, and nothing else that is compared."""
    timing = Measurement(tuple(samples), 1, "cold", "cuda_event", None)
    return replace(GPU_RECORD, case=case, timing=timing)


def made(
    seed: int, *, processes: float = 0.003, runs: int = 24, times_ms: Sequence[float] = TIMES_MS
) -> list[RunRecords]:
    """Runs whose cases have an offset for each process, and noise of each call."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(runs):
        offsets = rng.normal(0, processes, len(times_ms))
        calls = rng.normal(0, CALLS, (len(times_ms), 100))
        times = np.array(times_ms)[:, None] * np.exp(offsets[:, None] + calls)
        found.append(
            named(number, [record(f"case{n}", row.tolist()) for n, row in enumerate(times)])
        )
    return found


def named(number: int, records: Sequence[Record]) -> RunRecords:
    """A run with a command of its own, as recorded."""
    command = f"radialbench run noise.yaml -o run{number + 1:02}"
    return tuple(replace(r, environment=replace(r.environment, command=command)) for r in records)


def flat(runs: Sequence[RunRecords]) -> list[Record]:
    return [one for run in runs for one in run]


def medians(suite: Sequence[Record]) -> list[float]:
    return [one.timing.median_ms for one in suite if one.timing]


def later(runs: Sequence[RunRecords], *, minutes: int, slower: float) -> list[RunRecords]:
    """Runs as of another sitting."""
    return [
        tuple(
            replace(
                one,
                created=(
                    datetime.fromisoformat(one.created) + timedelta(minutes=minutes)
                ).isoformat(),
                timing=replace(
                    one.timing, samples_ms=tuple(slower * ms for ms in one.timing.samples_ms)
                ),
            )
            for one in run
            if one.timing
        )
        for run in runs
    ]
