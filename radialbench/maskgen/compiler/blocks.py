"""Sparse sets of blocks, their contents in a pool, and fast searches for equal values.

NumPy's own `unique` sorts everything, which would take most of the compiler's time: here a table or
a sort, whichever is smaller, finds equal values.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.table import pack_bits

Int64 = NDArray[np.int64]
Words = NDArray[np.uint32]
Bool = NDArray[np.bool_]

FULL = 0
"""Number of the content in which every pair of a block attends."""

MAX_SIDE = 8192
"""Most tokens of a block's side: the bits of one such block fill 8 MiB."""

TABLE = 8
"""Entries per value up to which a table is faster than a sort."""


def span(start: Int64, stop: Int64, size: int) -> Bool:
    """[n, size] whether a place lies in start … stop - 1."""
    places = np.arange(size)
    return (places >= start[:, None]) & (places < stop[:, None])


class Pool:
    """Contents of blocks, each stored once; content 0 is a whole block.

    Attributes:
        block_m: Query tokens of a block.
        block_n: Key tokens of a block.
    """

    def __init__(self, block_m: int, block_n: int) -> None:
        self.block_m = block_m
        self.block_n = block_n
        self.words = -(-block_n // 32)
        self._weights = _weights(block_m * self.words)
        self._chunks: list[Words] = []
        self._count = 0
        self._whole: Words | None = None
        self.add(self.rectangle_bits(*(np.array([v]) for v in (0, block_m, 0, block_n))))

    @property
    def bits(self) -> Words:
        """[contents, block_m, words] all contents."""
        if self._whole is None or len(self._whole) != self._count:
            self._whole = np.concatenate(self._chunks)
            self._chunks = [self._whole]
        return self._whole

    def add(self, bits: Words) -> Int64:
        """Store contents and return their numbers, equal for equal contents of one call."""
        first, inverse = self._distinct(bits)
        self._chunks.append(bits[first])
        numbers = self._count + inverse
        self._count += len(first)
        return numbers

    def rectangles(self, top: Int64, bottom: Int64, left: Int64, right: Int64) -> Int64:
        """Store contents in which rows top … bottom - 1 attend columns left … right - 1."""
        numbers = np.zeros(len(top), np.int64)
        part = (top > 0) | (bottom < self.block_m) | (left > 0) | (right < self.block_n)
        if part.any():
            sides = np.stack([side[part] for side in (top, bottom, left, right)])
            some, kind = unique_rows(sides)
            numbers[part] = self.add(self.rectangle_bits(*sides[:, some]))[kind]
        return numbers

    def rectangle_bits(self, top: Int64, bottom: Int64, left: Int64, right: Int64) -> Words:
        """[n, block_m, words] the bits of rectangles."""
        rows = span(top, bottom, self.block_m)
        columns = pack_bits(span(left, right, self.block_n))
        return np.where(rows[:, :, None], columns[:, None, :], np.uint32(0))

    def pairs(self) -> Int64:
        """[contents] attending pairs of each content."""
        pairs: Int64 = np.bitwise_count(self.bits).sum(axis=(1, 2), dtype=np.int64)
        return pairs

    def combine(self, a: Int64, b: Int64, *, union: bool) -> Int64:
        """Store the union or the intersection of contents, pair by pair."""
        some, kind = unique_rows((a, b))
        left, right = self.bits[a[some]], self.bits[b[some]]
        return self.add(left | right if union else left & right)[kind]

    def _distinct(self, bits: Words) -> tuple[Int64, Int64]:
        flat = bits.reshape(len(bits), self.block_m * self.words)
        if len(flat) <= 1:
            return np.arange(len(flat)), np.zeros(len(flat), np.int64)
        hashes = np.zeros(len(flat), np.uint64)
        parts = [slice(start, start + 4096) for start in range(0, len(flat), 4096)]
        for part in parts:
            hashes[part] = (flat[part] * self._weights).sum(axis=1, dtype=np.uint64)
        _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        for part in parts:
            if not np.array_equal(flat[part], flat[first[inverse[part]]]):
                _, first, inverse = np.unique(flat, axis=0, return_index=True, return_inverse=True)
                break
        return first, inverse.reshape(-1)


def ascending(values: Int64) -> Int64:
    """Sort numbers that mostly come in ascending runs, and keep each once."""
    # The stable sort of 64-bit numbers merges such runs: ten times faster than the default.
    ordered = np.sort(values, kind="stable")
    return ordered[starts(ordered)]


def starts(values: Int64) -> Bool:
    """[n] whether a value is the first of a run of equal ones."""
    first = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first


def ranked(values: Int64, below: int) -> tuple[Int64, Int64]:
    """Return the distinct values, all in 0 … below - 1, and the place of each value among them."""
    if below > TABLE * len(values):
        distinct, place = np.unique(values, return_inverse=True)
        return distinct, place
    seen = np.zeros(below, np.bool_)
    seen[values] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[values]


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
            distinct, key = ranked(key, below)
            below = len(distinct)
        key = key * size + part
        below *= size
    distinct, kind = ranked(key, below)
    some = np.empty(len(distinct), np.int64)
    some[kind] = np.arange(len(kind))
    return some, kind


def _weights(count: int) -> NDArray[np.uint64]:
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


@dataclass(frozen=True, eq=False)
class BlockSet:
    """Blocks that attend something.

    Attributes:
        key: [n] row · columns + column, ascending and distinct (unless said otherwise).
        content: [n] number in the pool.
    """

    key: Int64
    content: Int64

    def __len__(self) -> int:
        return len(self.key)

    def with_pieces(self, other: "BlockSet") -> "BlockSet":
        """Return the pieces of both, in no order."""
        key = np.concatenate([self.key, other.key])
        return BlockSet(key, np.concatenate([self.content, other.content]))


def merged(pieces: BlockSet, pool: Pool) -> BlockSet:
    """Sort blocks and join those that appear more than once."""
    if (pieces.key[1:] > pieces.key[:-1]).all():
        return pieces
    key, content = _sorted(pieces.key, pieces.content, len(pool.bits))
    first = starts(key)
    shared = ~first
    shared[:-1] |= ~first[1:]
    content[first & shared] = _joined(key[shared], content[shared], pool)
    return BlockSet(key[first], content[first])


def union(a: BlockSet, b: BlockSet, pool: Pool) -> BlockSet:
    """Return the blocks of either, with the pairs of either."""
    if not len(a) or not len(b):
        return a if len(a) else b
    return merged(a.with_pieces(b), pool)


def intersection(a: BlockSet, b: BlockSet, pool: Pool) -> BlockSet:
    """Return the blocks of both, with the pairs of both."""
    key, at_a, at_b = np.intersect1d(a.key, b.key, assume_unique=True, return_indices=True)
    content = pool.combine(a.content[at_a], b.content[at_b], union=False)
    some = pool.pairs()[content] > 0
    return BlockSet(key[some], content[some])


def complement(a: BlockSet, inside: BlockSet, pool: Pool) -> BlockSet:
    """Return the blocks of `inside`, without the pairs of `a`."""
    _, at_inside, at_a = np.intersect1d(inside.key, a.key, assume_unique=True, return_indices=True)
    numbers, place = ranked(a.content, len(pool.bits))
    flipped = pool.add(~pool.bits[numbers])[place]
    content = inside.content.copy()
    content[at_inside] = pool.combine(content[at_inside], flipped[at_a], union=False)
    some = pool.pairs()[content] > 0
    return BlockSet(inside.key[some], content[some])


def _joined(key: Int64, content: Int64, pool: Pool) -> Int64:
    """Unite the contents of each run of equal keys."""
    while not (start := starts(key)).all():
        # Join the first with the second of every run, the third with the fourth, and so on.
        place = np.arange(len(key)) - np.flatnonzero(start)[np.cumsum(start) - 1]
        second = np.flatnonzero(place % 2 == 1)
        content[second - 1] = pool.combine(content[second - 1], content[second], union=True)
        keep = place % 2 == 0
        key, content = key[keep], content[keep]
    return content


def _sorted(key: Int64, content: Int64, contents: int) -> tuple[Int64, Int64]:
    bits = int(contents).bit_length()
    if len(key) and int(key.max()).bit_length() + bits < 63:
        # Pieces come in ascending runs, one a strip pair: a stable sort merges them.
        joint = key << bits
        joint |= content
        joint.sort(kind="stable")
        return joint >> bits, joint & ((1 << bits) - 1)
    order = np.argsort(key, kind="stable")
    return key[order], content[order]
