"""Sittings: runs that were made one after the other, and what those of two sittings differ by."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import TypeVar

from radialbench.records.result import Record
from radialbench.reports.markdown_tables import table

PAUSE_S = 120.0
"""Runs that began further apart were made in two sittings, perhaps on two GPUs of one kind: runs
of before GPUs were told apart do not say."""

R = TypeVar("R", bound=Sequence[Record])


def sittings_of(runs: Sequence[R]) -> list[list[R]]:
    """Part runs where the GPU changes, or nothing was measured for a while."""
    parts = [[runs[0]]]
    for before, now in pairwise(runs):
        another = before[0].environment.card != now[0].environment.card
        if another or _begun(now) - _begun(before) > PAUSE_S:
            parts.append([])
        parts[-1].append(now)
    return parts


def apart_table(runs: Sequence[Sequence[Record]]) -> str:
    """Lay out how far each sitting is from the first; empty if there is only one."""
    parts = sittings_of(runs)
    headers = ("case", *(f"sitting {n} of {len(part)} runs" for n, part in enumerate(parts, 1)))
    rows = [
        (record.case, "1", *(f"{ratio:.4f}" for ratio in ratios))
        for record, ratios in zip(runs[0], _over_first(runs), strict=True)
    ]
    return table(headers, rows, words=1) if len(parts) > 1 else ""


def farthest(runs: Sequence[Sequence[Record]]) -> float:
    """Give the most that a case is from the first sitting, as a share; 0 if there is only one."""
    return max((abs(ratio - 1) for ratios in _over_first(runs) for ratio in ratios), default=0.0)


def _over_first(runs: Sequence[Sequence[Record]]) -> list[list[float]]:
    """For each case, the middle of each later sitting's medians over that of the first."""
    found = []
    for place in range(len(runs[0])):
        first, *later = (median(_median(run[place]) for run in part) for part in sittings_of(runs))
        found.append([ms / first for ms in later])
    return found


def _median(record: Record) -> float:
    assert record.timing is not None
    return record.timing.median_ms


def _begun(run: Sequence[Record]) -> float:
    return datetime.fromisoformat(run[0].created).timestamp()
