"""Sittings: runs that were made one after the other, and what those of two sittings differ by."""

from collections.abc import Sequence
from datetime import datetime
from itertools import combinations, pairwise
from statistics import median
from typing import TypeVar

from radialbench.records.result import Record
from radialbench.reports.formats._tables import table

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
    """Lay out how far the later of two sittings is from the earlier; empty if there is only one."""
    parts = sittings_of(runs)
    headers = ("case", *(f"sitting {n} of {len(part)} runs" for n, part in enumerate(parts, 1)))
    rows = []
    for place, record in enumerate(runs[0]):
        middles = [median(_median(run[place]) for run in part) for part in parts]
        rows.append((record.case, "1", *(f"{ms / middles[0]:.4f}" for ms in middles[1:])))
    return table(headers, rows, words=1) if len(parts) > 1 else ""


def farthest(runs: Sequence[Sequence[Record]]) -> float:
    """Give the most that a case differs by between two sittings, as a share; 0 if there is one."""
    parts = sittings_of(runs)
    return max(
        (
            abs(
                median(_median(run[place]) for run in now)
                / median(_median(run[place]) for run in before)
                - 1
            )
            for before, now in combinations(parts, 2)
            for place in range(len(runs[0]))
        ),
        default=0.0,
    )


def _median(record: Record) -> float:
    assert record.timing is not None
    return record.timing.median_ms


def _begun(run: Sequence[Record]) -> float:
    return datetime.fromisoformat(run[0].created).timestamp()
