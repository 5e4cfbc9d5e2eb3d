"""What two runs of the same code differ by, from runs that were recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, pairwise
from math import log, sqrt
from statistics import median
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import ReportError
from radialbench.records.measurement import Measurement
from radialbench.records.result import Record
from radialbench.records.statistics import Estimate, estimate_median, paired_ratio
from radialbench.reports.check.compare import check
from radialbench.reports.check.metrics import ALL_CASES, RUNS_CPU, RUNS_GPU
from radialbench.reports.check.significance import Z
from radialbench.reports.check.verdict import exit_code
from radialbench.reports.text import format_interval, format_sig3

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]
Runs = Sequence[Sequence[Record]]
"""For each process the records of the same cases, in the same order."""

R = TypeVar("R", bound=Sequence[Record])

COLUMNS = ("case", "ms", "calls", "in turn", "two medians", "two runs", "95% of it")

MIN_RUNS = 8
"""Runs that an interval takes: what fewer differ by may be nearly anything."""

PAUSE_S = 120.0
"""Runs that began further apart are two sittings, perhaps on two GPUs of one kind: older records do
not name the GPU."""

TINY = 1e-12
"""Variance below the resolution of timers: medians may be equal."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What two runs of the same code differ by, as the standard deviation of the ratio's logarithm.

    Attributes:
        case: The case, or `all cases`.
        median_ms: Median of the runs' medians; None for all cases.
        calls: Relative standard deviation of the calls of one run, by their quartiles.
        in_turn: How far from 1 the 95% interval of a case's ratio to itself reaches within a run,
            with its calls assigned in turn to either side; None with too few calls.
        ratio: Of two runs' medians, as they were measured.
        runs: Of that, the part beyond the uncertainty of their own samples: what `RUNS_GPU` or
            `RUNS_CPU` stands for in a check.
    """

    case: str
    median_ms: float | None
    calls: float
    in_turn: float | None
    ratio: float
    runs: Estimate


def sittings_of(runs: Sequence[R]) -> list[list[R]]:
    """Split runs where the GPU changes, or after a pause."""
    parts = [[runs[0]]]
    for before, now in pairwise(runs):
        another = before[0].environment.card != now[0].environment.card
        if another or _start_s(now) - _start_s(before) > PAUSE_S:
            parts.append([])
        parts[-1].append(now)
    return parts


def equal_codes(runs: Runs) -> list[int]:
    """Check every run against each one before it in its sitting, and return the exit codes."""
    return [
        exit_code(check(now, before).verdicts)
        for part in sittings_of(runs)
        for before, now in combinations(part, 2)
    ]


def spreads(runs: Runs) -> list[Spread]:
    """Return what runs differ by, for each case, and at the end for all of them together.

    The variance between runs is that of the medians' logarithms, less the mean variance of a median
    by its own interval. Its interval is from the jackknife, which leaves a whole run out each time:
    the cases of a run may have moved together. Runs are compared within their sitting only.

    Raises:
        ReportError: There are fewer than `MIN_RUNS` runs, or a case has fewer than six samples.
    """
    if len(runs) < MIN_RUNS:
        raise ReportError(
            f"what runs differ by takes {MIN_RUNS} runs, got {len(runs)}; record more of them with "
            "radialbench noise"
        )
    timings = [[_timing(record) for record in run] for run in runs]
    logs = np.log([[timing.median_ms for timing in run] for run in timings])
    parts = sittings_of(runs)
    sitting = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    own = np.array([[_own_variance(record) for record in run] for run in runs])
    # The quartiles of a normal distribution are 1.349 standard deviations apart.
    calls = np.array(
        [[timing.iqr_ms / 1.349 / timing.median_ms for timing in run] for run in timings]
    )
    turns = [[_in_turn(timing) for timing in run] for run in timings]
    cases = [
        _spread(
            record.case,
            float(np.exp(np.median(logs[:, place]))),
            _known_median([run[place] for run in turns]),
            sitting,
            *(each[:, place : place + 1] for each in (logs, own, calls)),
        )
        for place, record in enumerate(runs[0])
    ]
    every = _known_median([one for run in turns for one in run])
    return [*cases, _spread(ALL_CASES, None, every, sitting, logs, own, calls)]


def noise_floors(runs: Runs) -> dict[str, float]:
    """Return what two runs differ by, as `check` takes it: over all cases, or in one if it is more.

    Errors as `spreads`.
    """
    found = spreads(runs)
    return {one.case: max(one.runs.value, found[-1].runs.value) for one in found}


def describe_noise(one: Spread, *, device: str) -> str:
    """Describe a measured spread beside what checks assume of a device."""
    assumed = RUNS_CPU if device == "cpu" else RUNS_GPU
    where = "lies above" if one.runs.surely_above(assumed) else "holds"
    where = "lies below" if one.runs.surely_below(assumed) else where
    return (
        f"{one.runs.value:.2%} over all cases; its 95% interval, "
        f"{format_interval(one.runs, '{:.2%}'.format)}, "
        f"{where} the {assumed:.1%} that a check assumes"
    )


def spread_cells(one: Spread) -> tuple[str, ...]:
    """Return a spread as cells of `COLUMNS`, in percent."""
    return (
        one.case,
        "" if one.median_ms is None else format_sig3(one.median_ms),
        f"{one.calls:.2%}",
        "–" if one.in_turn is None else f"{one.in_turn:.2%}",
        f"{one.ratio:.2%}",
        f"{one.runs.value:.2%}",
        format_interval(one.runs, "{:.2%}".format),
    )


def _spread(
    case: str, ms: float | None, in_turn: float | None, sitting: Ints, *columns: Floats
) -> Spread:
    logs, own, calls = columns
    count, within = len(logs), float(own.mean())
    variance = _variance(logs, sitting)
    jackknife = np.array(
        [_variance(np.delete(logs, one, axis=0), np.delete(sitting, one)) for one in range(count)]
    )
    # The logarithm of a variance is more nearly normal, and its ends are above 0.
    wide = sqrt((count - 1) / count * float(((np.log(jackknife / variance)) ** 2).sum()))
    reach = float(np.exp(_t(count - 1) * wide))
    low, middle, high = (
        sqrt(2 * max(0.0, each - within)) for each in (variance / reach, variance, variance * reach)
    )
    return Spread(
        case,
        ms,
        float(np.sqrt((calls**2).mean())),
        in_turn,
        sqrt(2 * variance),
        Estimate(middle, low, high, "jackknife"),
    )


def _variance(logs: Floats, sitting: Ints) -> float:
    """Return the mean variance of the cases within sittings."""
    parts = [logs[sitting == one] for one in set(sitting)]
    total = sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts)
    return max(TINY, float(total / (len(logs) - len(parts)) / logs.shape[1]))


def _t(freedom: int) -> float:
    """Return the 97.5% quantile of Student's t, within 0.003 from 8 degrees of freedom on."""
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


def _own_variance(record: Record) -> float:
    """Return the variance of a median's logarithm by its own samples."""
    ends = estimate_median(_timing(record).steady_ms).ends
    if ends is None:
        raise ReportError(
            f"{record.case} has fewer than six samples, which say nothing of their own noise; let "
            "the suite's protocol take more (min_samples)"
        )
    return (log(ends[1] / ends[0]) / (2 * Z)) ** 2


def _in_turn(timing: Measurement) -> float | None:
    """Return how far from 1 the interval of a case's ratio to itself reaches, in turn A B, B A."""
    calls = timing.steady_ms
    pairs = [calls[place : place + 2] for place in range(0, len(calls) - 1, 2)]
    turned = [pair[:: (-1) ** place] for place, pair in enumerate(pairs)]
    if not turned:
        return None
    ends = paired_ratio([one for one, _ in turned], [other for _, other in turned]).ends
    return max(abs(end - 1) for end in ends) if ends else None


def _known_median(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return median(known) if known else None


def _timing(record: Record) -> Measurement:
    assert record.timing is not None
    return record.timing


def _start_s(run: Sequence[Record]) -> float:
    return datetime.fromisoformat(run[0].created).timestamp()
