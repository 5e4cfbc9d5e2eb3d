"""What rules make of two runs of a suite: of equal code, and with one case slowed down."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import erfc, sqrt
from statistics import median
from typing import Any

import numpy as np

from radialbench.records.result import Record
from radialbench.reports.check.compare import check
from radialbench.reports.check.verdict import Outcome, exit_code
from radialbench.reports.markdown_tables import table

COMPARISONS = 1000
SLOWED = 7
SLOWDOWNS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.09, 0.1, 0.11, 0.12, 0.14)
TOLD = (0.02, 0.03, 0.04, 0.05, 0.1)
THRESHOLD = 0.05
SURE = 0.002
"""asv's bound on the probability of its test."""

CHECK = "check"
ASV = ("asv, factor 1.1", "asv, factor 1.02")
OTHERS = (*ASV, f"threshold {THRESHOLD:.0%}")

Row = dict[str, Any]
"""For a rule and a number of calls a case: how many of how many comparisons of equal code failed or
were inconclusive, and how many slowdowns of each size were caught."""


def row_of(rule: str, calls: int | str, comparisons: int = COMPARISONS) -> Row:
    """Give a row that counts nothing yet."""
    counts = {"failed": 0, "inconclusive": 0, "caught": {f"{size:g}": 0 for size in SLOWDOWNS}}
    return {"rule": rule, "calls": calls, "comparisons": comparisons} | counts


def count(row: Row, now: Sequence[Record], before: Sequence[Record]) -> None:
    """Add a comparison to a row."""
    failed, inconclusive = _equal(row["rule"], now, before)
    row["failed"] += failed
    row["inconclusive"] += inconclusive
    for size in SLOWDOWNS:
        row["caught"][f"{size:g}"] += _caught(row["rule"], now, before, size)


def rates_table(rates: Iterable[Row]) -> str:
    """Lay out what the rows have counted."""
    headers = ("rule", "calls a case", "failed", "inconclusive", *(f"{s:.0%}" for s in TOLD))
    rows = [
        (
            row["rule"],
            str(row["calls"]),
            _share(row, row["failed"]),
            _share(row, row["inconclusive"]) if row["rule"] == CHECK else "–",
            *(_share(row, row["caught"][f"{size:g}"]) for size in TOLD),
        )
        for row in rates
    ]
    return table(headers, rows, words=1)


def _equal(rule: str, now: Sequence[Record], before: Sequence[Record]) -> tuple[bool, bool]:
    """Whether a comparison of equal code fails, and whether it is inconclusive."""
    if rule == CHECK:
        code = exit_code(check(now, before).verdicts)
        return code == 1, code == 3
    pairs = zip(now, before, strict=True)
    return any(_slower(rule, _samples(one), _samples(other)) for one, other in pairs), False


def _caught(rule: str, now: Sequence[Record], before: Sequence[Record], size: float) -> bool:
    """Whether a slowdown of one case is called one."""
    slowed = _slowed(now[SLOWED], 1 + size)
    if rule != CHECK:
        return _slower(rule, _samples(slowed), _samples(before[SLOWED]))
    verdicts = check([*now[:SLOWED], slowed, *now[SLOWED + 1 :]], before).verdicts
    return any(
        one.outcome is Outcome.REGRESSED and (one.case, one.metric) == (slowed.case, "latency")
        for one in verdicts
    )


def _slower(rule: str, now: Sequence[float], before: Sequence[float]) -> bool:
    """Whether a case counts as slower by asv's rule, or by a plain threshold on the medians.

    asv's (7032df7, `asv/_stats.py` and `asv/commands/compare.py`): the ratio of the medians is
    above the factor, 1.1 unless told otherwise, and a Mann–Whitney test of the samples finds them
    different with p below 0.002. Its confidence intervals only count where samples are too few.
    """
    ratio = median(now) / median(before)
    if rule.startswith("threshold"):
        return ratio > 1 + THRESHOLD
    return ratio > float(rule.split()[-1]) and _mann_whitney(now, before) < SURE


def _mann_whitney(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided probability, by the normal distribution: right for more than 20 samples each."""
    m, n = len(one), len(other)
    above = float((np.asarray(one)[:, None] > np.asarray(other)).sum())
    z = abs(above - m * n / 2) / sqrt(m * n * (m + n + 1) / 12)
    return erfc(z / sqrt(2))


def _slowed(record: Record, factor: float) -> Record:
    assert record.timing is not None
    times = tuple(factor * ms for ms in record.timing.samples_ms)
    return replace(record, timing=replace(record.timing, samples_ms=times))


def _samples(record: Record) -> tuple[float, ...]:
    assert record.timing is not None
    return record.timing.samples_ms


def _share(row: Row, count: int) -> str:
    share = count / row["comparisons"]
    return f"{share:.1%}" if share < 0.1 or 0.99 < share < 1 else f"{share:.0%}"
