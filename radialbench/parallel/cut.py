"""cut_table and shard_work: block tables between ranges of queries and keys, and their work."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import TableError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.table import (
    BlockTable,
    Bool,
    Csr,
    Int64,
    block_lengths,
    pack_bits,
    ranges,
)

UNPACKED = 4096
"""Most contents of blocks that are unpacked at a time: 64 MiB at 128×128."""


def cut_table(
    table: BlockTable, queries: range, keys: range, k_len: int | None = None
) -> BlockTable:
    """Return the table of a range of queries and a range of keys, exactly, wherever they are cut.

    Args:
        table: The whole table.
        queries: Positions of the queries, counted from the table's first query.
        keys: Positions of the keys.
        k_len: Keys of the result, at least as many as queries: those after `keys` are padding that
            no query attends to. As many as either range has if not given.

    Returns:
        A table in blocks of the same size, which begin where the ranges do; its grid is flat.

    Raises:
        TableError: A range is empty or not within the table, or k_len is too small.
    """
    for word, part, tokens in (("queries", queries, table.q_len), ("keys", keys, table.k_len)):
        if part.step != 1 or not 0 <= part.start < part.stop <= tokens:
            raise TableError(
                f"{word} are cut to positions {part.start} to {part.stop}: "
                f"the table has 0 to {tokens}"
            )
    least = max(len(queries), len(keys))
    k_len = least if k_len is None else k_len
    if k_len < least:
        raise TableError(f"k_len must be at least {least}, got {k_len}")
    rows, columns = -(-len(queries) // table.block_m), -(-len(keys) // table.block_n)
    corners = _corners(table, queries.start, keys.start, rows, columns)
    # Blocks at the end of a range are shorter: what lies behind it is left out.
    short = np.zeros((rows, columns), np.int32)
    short[-1] |= 1
    short[:, -1] |= 2
    at_row, at_column = np.nonzero(corners.any(axis=0))
    kinds, kind = _kinds(np.stack([*corners[:, at_row, at_column], short[at_row, at_column]]))
    contents, pairs = _contents(table, queries, keys, kinds)
    # A full block attends to padding too, if there is some in it.
    height = block_lengths(len(queries), table.block_m)[at_row]
    width = np.minimum(k_len - at_column * table.block_n, table.block_n)
    visited, full = pairs[kind] > 0, pairs[kind] == height * width
    partial = np.flatnonzero(visited & ~full)
    used, bitmap_of = np.unique(kind[partial], return_inverse=True)
    csr = [
        Csr.from_sorted(at_row[chosen], at_column[chosen], rows)
        for chosen in (np.flatnonzero(visited & full), partial)
    ]
    whole = None if len(queries) == k_len else (0, len(queries) - 1)
    return BlockTable(
        grid=TokenGrid(k_len, 1, 1, query_frames=whole),
        order=TokenOrder(),
        block_m=table.block_m,
        block_n=table.block_n,
        full=csr[0],
        partial=csr[1],
        bitmap_of=bitmap_of.astype(np.int32),
        bitmaps=contents[used],
    )


def _corners(
    table: BlockTable, first_query: int, first_key: int, rows: int, columns: int
) -> NDArray[np.int32]:
    """[4, rows, columns] the contents of the blocks that a new block lies on: 0 for none.

    1 is a full block, 2 + b one of bitmap b. The order is upper left, upper right, lower left,
    lower right; those that a new block does not reach count as none.
    """
    row, down = divmod(first_query, table.block_m)
    column, right = divmod(first_key, table.block_n)
    contents = np.zeros((rows + 1, columns + 1), np.int32)
    for csr, values in ((table.full, 1), (table.partial, table.bitmap_of + 2)):
        own = slice(csr.indptr[row], csr.indptr[min(row + rows + 1, table.rows)])
        at = csr.indices[own].astype(np.int64) - column
        inside = (at >= 0) & (at <= columns)
        ends = csr.indptr[row : row + rows + 2]
        at_row = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
        found = values if isinstance(values, int) else values[own][inside]
        contents[at_row[inside], at[inside]] = found
    shifted = np.stack([contents[i : i + rows, j : j + columns] for i in (0, 1) for j in (0, 1)])
    shifted[2:] *= bool(down)
    shifted[1::2] *= bool(right)
    return shifted


def _kinds(features: NDArray[np.int32]) -> tuple[NDArray[np.int32], Int64]:
    """Return the different columns of [features, blocks], and the one of each block."""
    key = np.zeros(features.shape[1], np.int64)
    for values in features:
        if values.any():
            # One number after the other: sorting whole columns takes ten times as long.
            key = np.unique(key, return_inverse=True)[1] * (int(values.max()) + 1) + values
    _, first, kind = np.unique(key, return_index=True, return_inverse=True)
    return features[:, first], kind


def _contents(
    table: BlockTable, queries: range, keys: range, kinds: NDArray[np.int32]
) -> tuple[NDArray[np.uint32], Int64]:
    """Return the bitmap and the attending pairs of each kind of block."""
    m, n = table.block_m, table.block_n
    down, right = queries.start % m, keys.start % n
    last = [block_lengths(len(part), block)[-1] for part, block in ((queries, m), (keys, n))]
    bitmaps = np.zeros((kinds.shape[1], m, -(-n // 32)), np.uint32)
    pairs = np.zeros(kinds.shape[1], np.int64)
    for start in range(0, kinds.shape[1], UNPACKED):
        part = slice(start, start + UNPACKED)
        upper_left, upper_right, lower_left, lower_right, short = kinds[:, part]
        bits = np.zeros((len(short), m, n), np.bool_)
        bits[:, : m - down, : n - right] = _unpacked(table, upper_left)[:, down:, right:]
        if right:
            bits[:, : m - down, n - right :] = _unpacked(table, upper_right)[:, down:, :right]
        if down:
            bits[:, m - down :, : n - right] = _unpacked(table, lower_left)[:, :down, right:]
        if down and right:
            bits[:, m - down :, n - right :] = _unpacked(table, lower_right)[:, :down, :right]
        bits[(short & 1) > 0, last[0] :] = False
        bits[(short & 2) > 0, :, last[1] :] = False
        pairs[part] = bits.sum(axis=(1, 2))
        bitmaps[part] = pack_bits(bits)
    return bitmaps, pairs


def _unpacked(table: BlockTable, contents: NDArray[np.int32]) -> Bool:
    """[contents, block_m, block_n] the bits of contents as `_corners` numbers them."""
    used, which = np.unique(contents, return_inverse=True)
    bits = np.zeros((len(used), table.block_m, table.block_n), np.bool_)
    bits[used == 1] = True
    partial = used > 1
    words = np.ascontiguousarray(table.bitmaps[used[partial] - 2].astype("<u4", copy=False))
    flat = np.unpackbits(words.view(np.uint8), axis=-1, count=table.block_n, bitorder="little")
    bits[partial] = flat.view(np.bool_)
    whole: Bool = bits[which]
    return whole


@dataclass(frozen=True, eq=False)
class ShardWork:
    """Work of a table between shards of its sequence.

    Attributes:
        pairs: [shards, shards] attending pairs, by shard of queries, then of keys.
        blocks: [shards, shards] blocks that a kernel visits for them, as `cut_table` makes them.
    """

    pairs: Int64
    blocks: Int64


def shard_work(table: BlockTable, lengths: Sequence[int]) -> ShardWork:
    """Count the work between shards, exactly, without cutting.

    Args:
        table: The whole table, of as many queries as keys.
        lengths: Tokens of each shard; their sum is that of the table.
    """
    if len(lengths) == 1:
        return ShardWork(np.array([[table.pairs]]), np.array([[table.nnz]]))
    edges = np.concatenate([[0], np.cumsum(lengths)])
    starts = np.concatenate([np.arange(a, b, table.block_n) for a, b in pairwise(edges)])
    first_block = np.searchsorted(starts, edges[:-1])
    pieces = _pieces(table, starts)
    pairs, blocks = np.zeros((2, len(lengths), len(lengths)), np.int64)
    whole = range(table.k_len)
    for shard, (first, stop) in enumerate(pairwise(edges)):
        own = cut_table(table, range(int(first), int(stop)), whole)
        by_block, reached = _by_block(own, pieces, len(starts))
        pairs[shard] = np.add.reduceat(by_block, first_block)
        blocks[shard] = np.add.reduceat(reached.sum(axis=0), first_block)
    return ShardWork(pairs, blocks)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """What the columns of a table and other blocks of keys have in common, piece by piece.

    Attributes:
        first: [columns] the first piece of each column.
        count: [columns] the pieces of each column.
        block: [pieces] the other block.
        start: [pieces] its first key, counted in the column.
        stop: [pieces] the key after its last.
    """

    first: Int64
    count: Int64
    block: Int64
    start: Int64
    stop: Int64


def _pieces(table: BlockTable, starts: Int64) -> _Pieces:
    """Return the pieces between a table's columns and blocks of all keys that start somewhere."""
    columns = np.arange(table.columns)
    cuts = np.unique(np.concatenate([starts, columns * table.block_n]))
    column = cuts // table.block_n
    ends = np.append(cuts[1:], table.k_len)
    first, stop = (np.searchsorted(column, columns, side) for side in ("left", "right"))
    block = np.searchsorted(starts, cuts, "right") - 1
    origin = column * table.block_n
    return _Pieces(first, stop - first, block, cuts - origin, ends - origin)


def _by_block(table: BlockTable, pieces: _Pieces, blocks: int) -> tuple[Int64, Bool]:
    """Return attending pairs of each other block, and [rows, blocks] whether a row has some."""
    pairs, reached = np.zeros(blocks, np.int64), np.zeros((table.rows, blocks), np.bool_)
    # Pairs of each bitmap before each key column.
    before = np.zeros((len(table.bitmaps), table.block_n + 1), np.int64)
    for first in range(0, len(before), UNPACKED):
        numbers = np.arange(first, min(first + UNPACKED, len(before)), dtype=np.int32)
        bits = _unpacked(table, numbers + 2).sum(axis=1)
        before[numbers, 1:] = bits.cumsum(axis=1)
    for csr in (table.full, table.partial):
        entry, piece = ranges(pieces.first[csr.indices], pieces.count[csr.indices])
        rows, block = csr.rows[entry], pieces.block[piece]
        start, stop = pieces.start[piece], pieces.stop[piece]
        if csr is table.full:
            found = table.row_lengths[rows] * (stop - start)
        else:
            bitmap = table.bitmap_of[entry]
            found = before[bitmap, stop] - before[bitmap, start]
        # Sums below 2^53 are exact in float64.
        pairs += np.bincount(block, found, minlength=blocks).astype(np.int64)
        some = found > 0
        reached[rows[some], block[some]] = True
    return pairs, reached
