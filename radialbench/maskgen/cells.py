"""Attending pairs in the cells of a picture, counted exactly from block tables."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import TableError
from radialbench.maskgen.table import BlockTable, pack_bits, ranges, unpack_bits

Int64 = NDArray[np.int64]
Words = NDArray[np.uint32]
Bool = NDArray[np.bool_]

RASTER_LIMIT = 150_000
"""Longest sequence compared pair by pair: 22.5 billion pairs, half a minute on one core."""

_ROWS = 255
"""Query tokens compared at a time; 8 bits can count them."""


def edges(tokens: int, cells: int) -> Int64:
    """[cells + 1] first token of each cell, and the end; cells differ by at most one token."""
    return np.arange(cells + 1, dtype=np.int64) * tokens // cells


def cell_pairs(table: BlockTable, width: int, height: int) -> Int64:
    """[height, width] attending pairs of each cell, in the table's order.

    Time grows with the blocks kept and the cells, never with seq_len².
    """
    return _count(_blocks(table), table, width, height)


def difference_pairs(a: BlockTable, b: BlockTable, cells: int) -> Int64:
    """Count the pairs of two masks: those only in A, only in B, and in both.

    Tables of one order are compared block by block, in that order. Others are compared pair by
    pair in the raster order; its time grows with seq_len².

    Args:
        a: A table.
        b: A table of the same grid and block sizes.
        cells: Cells along queries and along keys, ≤ q_len.

    Returns:
        [3, cells, cells] pairs in each cell.

    Raises:
        TableError: The grids or blocks differ, or the orders do and there are more than
            `RASTER_LIMIT` tokens.
    """
    if (a.grid, a.block_m, a.block_n) != (b.grid, b.block_m, b.block_n):
        raise TableError(
            f"only tables of one grid and block size can be compared, got {a.grid.label} in "
            f"{a.block_m}×{a.block_n} and {b.grid.label} in {b.block_m}×{b.block_n}"
        )
    if a.order == b.order:
        return _by_blocks(a, b, cells)
    if a.seq_len > RASTER_LIMIT:
        raise TableError(
            f"the masks have different token orders ({a.order}, {b.order}): they are compared pair "
            f"by pair, which is done up to {RASTER_LIMIT:,} tokens, and {a.grid.label} has "
            f"{a.seq_len:,}; take a smaller grid, such as fewer frames"
        )
    return _by_pairs(a, b, cells)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Blocks with at least one pair, and their bits.

    Attributes:
        row: [blocks] query block.
        column: [blocks] key block.
        content: [blocks] index into `bits`.
        bits: [contents, block_m, words] as a table's bitmaps; bits outside the sequence may be 1.
    """

    row: Int64
    column: Int64
    content: Int64
    bits: Words


def _blocks(table: BlockTable) -> _Blocks:
    whole = pack_bits(np.ones((1, table.block_m, table.block_n), np.bool_))
    return _Blocks(
        row=np.concatenate([table.full.rows, table.partial.rows]),
        column=np.concatenate([table.full.indices, table.partial.indices]).astype(np.int64),
        content=np.concatenate(
            [np.zeros(table.full.nnz, np.int64), table.bitmap_of.astype(np.int64) + 1]
        ),
        bits=np.concatenate([whole, table.bitmaps]),
    )


class _Cuts:
    """The queries or the keys, cut at the borders of blocks and of cells.

    Attributes:
        first: [blocks] first piece of each block.
        count: [blocks] its pieces.
        low: [pieces] first place in the block.
        high: [pieces] place after the last.
        cell: [pieces] cell of the piece.
    """

    def __init__(self, tokens: int, block: int, cells: int) -> None:
        of_cells = edges(tokens, cells)
        borders = np.union1d(np.append(np.arange(0, tokens, block), tokens), of_cells)
        start, stop = borders[:-1], borders[1:]
        owner = start // block
        blocks = -(-tokens // block)
        self.first = np.searchsorted(owner, np.arange(blocks))
        self.count = np.bincount(owner, minlength=blocks)
        self.low = start - owner * block
        self.high = stop - owner * block
        self.cell = np.searchsorted(of_cells, start, side="right") - 1


def _count(blocks: _Blocks, table: BlockTable, width: int, height: int) -> Int64:
    q = _Cuts(table.q_len, table.block_m, height)
    k = _Cuts(table.k_len, table.block_n, width)
    counted = np.zeros(height * width, np.int64)
    by_content = np.argsort(blocks.content, kind="stable")
    content = blocks.content[by_content]
    step = max(1, (1 << 23) // ((table.block_m + 1) * (table.block_n + 1)))
    for first in range(0, len(blocks.bits), step):
        begin, end = np.searchsorted(content, (first, first + step))
        chosen = by_content[begin:end]
        below = _summed(blocks.bits[first : first + step], table.block_n)
        row, column, number = blocks.row[chosen], blocks.column[chosen], content[begin:end] - first
        count_k = k.count[column]
        sizes = q.count[row] * count_k
        source, place = ranges(np.zeros_like(sizes), sizes)
        i = q.first[row[source]] + place // count_k[source]
        j = k.first[column[source]] + place % count_k[source]
        at = number[source]
        pairs = (
            below[at, q.high[i], k.high[j]].astype(np.int64)
            - below[at, q.low[i], k.high[j]]
            - below[at, q.high[i], k.low[j]]
            + below[at, q.low[i], k.low[j]]
        )
        np.add.at(counted, q.cell[i] * width + k.cell[j], pairs)
    return counted.reshape(height, width)


def _summed(bits: Words, block_n: int) -> NDArray[np.int32]:
    """[contents, block_m + 1, block_n + 1] pairs above and left of each place."""
    dense = unpack_bits(bits, block_n)
    summed = np.zeros((len(dense), dense.shape[1] + 1, block_n + 1), np.int32)
    np.cumsum(dense, axis=1, out=summed[:, 1:, 1:])
    np.cumsum(summed[:, 1:, 1:], axis=2, out=summed[:, 1:, 1:])
    return summed


def _by_blocks(a: BlockTable, b: BlockTable, cells: int) -> Int64:
    blocks = _blocks(a), _blocks(b)
    keys = [part.row * a.columns + part.column for part in blocks]
    every = np.unique(np.concatenate(keys))
    # The content after a table's own ones is the empty block.
    contents = [np.full(len(every), len(part.bits)) for part in blocks]
    for content, key, part in zip(contents, keys, blocks, strict=True):
        content[np.searchsorted(every, key)] = part.content
    bits = [np.concatenate([part.bits, np.zeros_like(part.bits[:1])]) for part in blocks]
    joint, content = np.unique(contents[0] * len(bits[1]) + contents[1], return_inverse=True)
    in_a, in_b = bits[0][joint // len(bits[1])], bits[1][joint % len(bits[1])]
    row, column = every // a.columns, every % a.columns
    return np.stack(
        [
            _count(_Blocks(row, column, content, kept), a, cells, cells)
            for kept in (in_a & ~in_b, in_b & ~in_a, in_a & in_b)
        ]
    )


def _by_pairs(a: BlockTable, b: BlockTable, cells: int) -> Int64:
    n, first = a.q_len, a.grid.query_start
    # Position of each raster token in each table's own order.
    places = [np.argsort(table.order.source_index(table.grid)) for table in (a, b)]
    rows = [
        place[first : first + n] - table.q_start
        for table, place in zip((a, b), places, strict=True)
    ]
    of_cells, of_rows = edges(a.k_len, cells), edges(n, cells)
    counted = np.zeros((3, cells, cells), np.int64)
    chunks = np.union1d(of_rows, np.arange(0, n, _ROWS))
    for start, stop in pairwise(chunks):
        in_a, in_b = (
            _token_rows(table, row[start:stop], place)
            for table, row, place in zip((a, b), rows, places, strict=True)
        )
        own = np.searchsorted(of_rows, start, side="right") - 1
        for number, kept in enumerate((in_a & ~in_b, in_b & ~in_a, in_a & in_b)):
            by_token = np.add.reduce(kept.view(np.uint8), axis=0, dtype=np.uint8)
            counted[number, own] += np.add.reduceat(by_token, of_cells[:-1], dtype=np.int64)
    return counted


def _token_rows(table: BlockTable, rows: Int64, columns: Int64) -> Bool:
    """[rows, columns] the token mask of some queries at some positions of the table's order."""
    row, within = rows // table.block_m, rows % table.block_m
    attends = np.zeros((len(rows), table.columns, table.block_n), np.bool_)
    source, entry = ranges(table.full.indptr[row], np.diff(table.full.indptr)[row])
    attends[source, table.full.indices[entry]] = True
    source, entry = ranges(table.partial.indptr[row], np.diff(table.partial.indptr)[row])
    bits = table.bitmaps[table.bitmap_of[entry], within[source]]
    attends[source, table.partial.indices[entry]] = unpack_bits(bits, table.block_n)
    flat = attends.reshape(len(rows), -1)
    if table.order.kind == "raster":
        return flat[:, : table.k_len]
    return np.take(flat, columns, axis=1)
