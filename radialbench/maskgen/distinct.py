"""Equal things, found by table or by sort, whichever is smaller.

NumPy's own `unique` sorts everything, which would take most of the compiler's time.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

TABLE = 8
"""Entries a value up to which a table is faster than a sort."""


def ascending(values: Int64) -> Int64:
    """Sort numbers that mostly come in ascending runs, and keep each once."""
    # The stable sort of 64-bit numbers merges such runs: ten times faster than the default.
    found = np.sort(values, kind="stable")
    return found[starts(found)]


def starts(values: Int64) -> Bool:
    """[n] whether a value is the first of a run of equal ones."""
    first = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first


def ranked(values: Int64, below: int) -> tuple[Int64, Int64]:
    """Find the distinct numbers in 0 … below - 1, and the place of each value among them."""
    if below > TABLE * len(values):
        distinct, place = np.unique(values, return_inverse=True)
        return distinct, place
    seen = np.zeros(below, np.bool_)
    seen[values] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[values]


def kinds(columns: Iterable[NDArray[Any]]) -> tuple[Int64, Int64]:
    """Sort the rows of a table into kinds: rows of one kind are equal.

    Args:
        columns: [n] each, at least one; whole numbers or floats.

    Returns:
        One row of each kind, and the kind of each row.
    """
    numbered = map(_numbered, columns)
    key, below = next(numbered)
    for part, size in numbered:
        if below * size > TABLE * len(key):
            distinct, key = ranked(key, below)
            below = len(distinct)
        key = key * size + part
        below *= size
    distinct, kind = ranked(key, below)
    some = np.empty(len(distinct), np.int64)
    some[kind] = np.arange(len(kind))
    return some, kind


def _numbered(column: NDArray[Any]) -> tuple[Int64, int]:
    """Small numbers from 0 on that are equal where the column is, and their bound."""
    if column.dtype.kind == "i" and len(column):
        low = int(column.min())
        return column - low, int(column.max()) - low + 1
    distinct, part = np.unique(column, return_inverse=True)
    return part, max(1, len(distinct))
