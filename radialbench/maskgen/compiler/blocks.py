"""Contents of blocks, each stored once, and searches for equal values and rows.

NumPy's own `unique` sorts everything, which would take most of the compiler's time: here a table or
a sort, whichever is smaller, finds equal values.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench.machine import cores

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

MAX_KEY = 1 << 62

TABLE = 8
"""Entries per value up to which a table is faster than a sort."""

MIN_TASKS = 4
"""Tasks for each thread, at least: starting a thread takes as long as a task."""

MAX_COPY = 1 << 25
"""Bytes of rows that are copied at once."""

ROWS = 256
"""Rows that are read at once, so that what is made of them fits the cache."""


def distinct(rows: NDArray[Any]) -> tuple[Int64, Int64]:
    """Find the distinct rows of a table.

    Args:
        rows: [n, columns] uint32, or small numbers as uint64: the hash does not tell apart numbers
            of which only the highest bits differ.

    Returns:
        A row of each kind, and the kind of every row; rows of a kind are equal.
    """
    if len(rows) <= 1:
        return np.arange(len(rows)), np.zeros(len(rows), np.int64)
    weights = hash_weights(rows.shape[1])
    hashes = np.empty(len(rows), np.uint64)

    def hash_rows(part: slice) -> None:
        np.sum(rows[part] * weights, axis=1, dtype=np.uint64, out=hashes[part])

    by_parts(hash_rows, len(rows), rows[0].nbytes)
    _, first, kind = np.unique(hashes, return_index=True, return_inverse=True)
    kind = kind.reshape(-1)
    others = np.flatnonzero(first[kind] != np.arange(len(rows)))
    for start in range(0, len(others), 256):
        some = others[start : start + 256]
        if not np.array_equal(rows[some], rows[first[kind[some]]]):
            _, first, kind = np.unique(rows, axis=0, return_index=True, return_inverse=True)
            break
    return first, kind.reshape(-1)


def copied(rows: NDArray[Any], places: Int64, out: NDArray[Any]) -> None:
    """Copy the rows at some places to `out`."""

    def copy(part: slice) -> None:
        rows.take(places[part], axis=0, out=out[part], mode="clip")

    by_parts(copy, len(places), rows[0].nbytes)


def reordered(rows: NDArray[Any], places: Int64) -> NDArray[Any]:
    """Return the rows at some distinct places, in a table's own memory if these are most of it.

    Args:
        rows: [n, columns] the table, which is overwritten.
        places: [m] the place of each row that is returned.
    """
    if 2 * len(places) < len(rows):
        return rows[places]
    # Few columns at once, so that a copy of them reuses memory.
    step = max(1, rows.shape[1] * MAX_COPY // max(1, rows.nbytes))

    def reorder(start: int) -> None:
        part = slice(start, start + step)
        rows[: len(places), part] = rows[places, part]

    spread(reorder, range(0, rows.shape[1], step))
    return rows[: len(places)]


def pairs_of(bits: NDArray[np.uint32]) -> Int64:
    """Count the bits of each content, [contents, size of q, words]."""
    flat = bits.reshape(len(bits), bits.shape[1] * bits.shape[2])
    pairs = np.empty(len(bits), np.int64)

    def count(part: slice) -> None:
        np.sum(np.bitwise_count(flat[part]), axis=1, dtype=np.int64, out=pairs[part])

    by_parts(count, len(bits), flat.shape[1] * 4)
    return pairs


def ranked(values: Int64, below: int) -> tuple[Int64, Int64]:
    """Return the distinct values, all in 0 … below - 1, and the place of each value among them."""
    if below > TABLE * len(values):
        # Sorting values is many times faster than sorting their places.
        ordered = np.sort(values)
        distinct = ordered[np.diff(ordered, prepend=-1) > 0]
        return distinct, np.searchsorted(distinct, values)
    seen = np.zeros(below, np.bool_)
    seen[values] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[values]


def distinct_values(values: NDArray[Any]) -> tuple[NDArray[Any], Int64]:
    """Return the distinct values in ascending order, and the place of each value among them."""
    low, high = float(values.min()), float(values.max())
    if high - low < TABLE * len(values) and np.array_equal(
        whole := values.astype(np.int64), values
    ):
        least = int(low)
        some, place = ranked(whole - least, int(high) - least + 1)
        return (some + least).astype(values.dtype), place
    distinct, place = np.unique(values, return_inverse=True)
    return distinct, place.reshape(-1)


def unique_rows(columns: Iterable[NDArray[Any]]) -> tuple[Int64, Int64]:
    """Find the distinct rows of a table.

    Args:
        columns: [n] each, at least one; whole numbers or floats.

    Returns:
        A row of each kind, and the kind of every row; rows of a kind are equal.
    """
    numbered = map(_numbered, columns)
    key, below = next(numbered)
    for part, size in numbered:
        if below * size > TABLE * len(key):
            some, key = ranked(key, below)
            below = len(some)
        if below * size > MAX_KEY:
            some, part = ranked(part, size)
            size = len(some)
        key = key * size + part
        below *= size
    numbers, kind = ranked(key, below)
    some = np.empty(len(numbers), np.int64)
    some[kind] = np.arange(len(kind))
    return some, kind


def hash_weights(count: int) -> NDArray[np.uint64]:
    """Return multipliers of a hash, without NumPy's random numbers: importing them takes 10 ms."""
    mixed = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)


def _numbered(column: NDArray[Any]) -> tuple[Int64, int]:
    """Return small numbers from 0 on that are equal where the column is, and their bound."""
    if column.dtype.kind == "i" and len(column):
        low = int(column.min())
        return column - low, int(column.max()) - low + 1
    distinct, part = np.unique(column, return_inverse=True)
    return part, max(1, len(distinct))


def spread(task: Callable[[int], None], items: Sequence[int]) -> None:
    """Run a task for each item, on the cores that this process may use."""
    workers = min(len(items) // MIN_TASKS, cores()) if len(items) > MIN_TASKS else 1
    if workers == 1:
        for item in items:
            task(item)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(task, items))


def by_parts(task: Callable[[slice], None], count: int, row: int) -> None:
    """Run a task for parts of rows, of which each has some bytes, on the cores there are."""
    # A thread takes many parts, as handing it one takes as long as the part itself.
    step = max(ROWS, MAX_COPY // max(1, 4 * row) // ROWS * ROWS)

    def run(first: int) -> None:
        for start in range(first, min(first + step, count), ROWS):
            task(slice(start, start + ROWS))

    spread(run, range(0, count, step))


def sorted_blocks(row: Int64, column: Int64, content: Int64) -> tuple[Int64, Int64, Int64]:
    """Sort blocks by row, then column, and their contents with them."""
    if not len(row):
        return row, column, content
    below_row = int(column.max()).bit_length()
    below_column = int(content.max()).bit_length()
    joint = (row << below_row) | column
    if (joint[1:] > joint[:-1]).all():
        return row, column, content
    if int(row.max()).bit_length() + below_row + below_column < 63:
        # Rows come in ascending runs: a stable sort merges them.
        joint <<= below_column
        joint |= content
        joint.sort(kind="stable")
        content = joint & ((1 << below_column) - 1)
        joint >>= below_column
        return joint >> below_row, joint & ((1 << below_row) - 1), content
    order = np.lexsort((column, row))
    return row[order], column[order], content[order]
