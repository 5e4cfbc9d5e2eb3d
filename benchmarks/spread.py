"""What the medians of runs of the same code differ by, from runs that were recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from benchmarks.sittings import sittings_of
from radialbench.records.measurement import Measurement
from radialbench.records.result import Record
from radialbench.reports.check.metrics import RUNS_GPU
from radialbench.reports.check.significance import Z
from radialbench.reports.interval import Interval, of_median
from radialbench.reports.markdown_tables import table
from radialbench.reports.numbers import three

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]
Runs = Sequence[Sequence[Record]]
"""For each process the records of the same cases, in the same order."""

FEWEST = 8
"""Runs that an interval takes: what fewer differ by may be nearly anything."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What two runs of the same code differ by, as the standard deviation of the ratio's logarithm.

    Attributes:
        case: The case, or `all cases`.
        median_ms: The middle of the runs' medians; None for all cases.
        calls: Relative standard deviation of the calls of one run, by their quartiles.
        ratio: Of two runs' medians, as they were measured.
        runs: Of that, what the runs differ by besides the uncertainty that their own samples show:
            what a check takes `RUNS_GPU` for.
        interval: 95% interval of `runs`.
    """

    case: str
    median_ms: float | None
    calls: float
    ratio: float
    runs: float
    interval: Interval


def spreads(runs: Runs) -> list[Spread]:
    """Give what runs differ by, for each case, and at the end for all of them together.

    The variance between runs is that of the medians' logarithms, less the mean square of what the
    interval of each median says of its own error. Its interval is from the jackknife, which
    leaves a whole run out each time: the cases of a run may have moved together. Runs of several
    sittings are compared with those of their own alone.

    Args:
        runs: At least `FEWEST`, of cases with at least six samples each.
    """
    timings = [[_timing(record) for record in run] for run in runs]
    logs = np.log([[timing.median_ms for timing in run] for run in timings])
    parts = sittings_of(runs)
    sitting = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    own = np.array([[_own_variance(timing) for timing in run] for run in timings])
    calls = np.array([[_of_calls(timing) for timing in run] for run in timings])
    found = [
        _spread(
            record.case,
            float(np.exp(np.median(logs[:, place]))),
            sitting,
            *(each[:, place : place + 1] for each in (logs, own, calls)),
        )
        for place, record in enumerate(runs[0])
    ]
    return [*found, _spread("all cases", None, sitting, logs, own, calls)]


def spread_table(runs: Runs) -> str:
    """Lay out what runs differ by, in percent."""
    headers = ("case", "ms", "calls", "two medians", "two runs", "95% of it")
    rows = [
        (
            one.case,
            "" if one.median_ms is None else three(one.median_ms),
            *(f"{share:.2%}" for share in (one.calls, one.ratio, one.runs)),
            f"{one.interval.low:.2%} to {one.interval.high:.2%}",
        )
        for one in spreads(runs)
    ]
    return table(headers, rows, words=1)


def told_beside(one: Spread) -> str:
    """Say how what was measured stands to what checks take it for."""
    where = "holds"
    if one.interval.low > RUNS_GPU:
        where = "lies above"
    elif one.interval.high < RUNS_GPU:
        where = "lies below"
    return (
        f"{one.runs:.2%} over all cases; its 95% interval, {one.interval.low:.2%} to "
        f"{one.interval.high:.2%}, {where} the {RUNS_GPU:.1%} that a check assumes"
    )


def _spread(case: str, ms: float | None, sitting: Ints, *columns: Floats) -> Spread:
    logs, own, calls = columns
    count, within = len(logs), float(own.mean())
    variance = _variance(logs, sitting)
    left_out = np.array(
        [_variance(np.delete(logs, one, axis=0), np.delete(sitting, one)) for one in range(count)]
    )
    # The logarithm of a variance is more nearly normal, and ends above 0.
    wide = sqrt((count - 1) / count * float(((np.log(left_out / variance)) ** 2).sum()))
    reach = float(np.exp(_t(count - 1) * wide))
    ends = [sqrt(2 * max(0.0, each - within)) for each in (variance / reach, variance * reach)]
    return Spread(
        case,
        ms,
        float(np.sqrt((calls**2).mean())),
        sqrt(2 * variance),
        sqrt(2 * max(0.0, variance - within)),
        Interval(*ends),
    )


def _variance(logs: Floats, sitting: Ints) -> float:
    """The mean variance of the cases within sittings."""
    apart = [logs[sitting == one] - logs[sitting == one].mean(axis=0) for one in set(sitting)]
    freedom = len(logs) - len(apart)
    return float(sum((each**2).sum() for each in apart) / freedom / logs.shape[1])


def _t(freedom: int) -> float:
    """What Student's t reaches to either side in 95%: within 0.003 of it from 8 degrees on."""
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


def _own_variance(timing: Measurement) -> float:
    """Of a median's logarithm, as its own samples show it."""
    ends = of_median(timing.steady_ms)
    assert ends is not None
    return (log(ends.high / ends.low) / (2 * Z)) ** 2


def _of_calls(timing: Measurement) -> float:
    # The quartiles of a normal distribution are 1.349 standard deviations apart.
    return timing.iqr_ms / 1.349 / timing.median_ms


def _timing(record: Record) -> Measurement:
    assert record.timing is not None
    return record.timing
