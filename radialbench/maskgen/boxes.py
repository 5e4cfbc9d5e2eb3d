"""BoxTable: tables whose blocks are read where their tokens stand in raster order.

A tile of tokens is rows of neighbours. Padded to whole runs, and the tile to whole blocks, these
need no permutation: half a block is one box of a frame, or a few runs. Padding attends to nothing
and nothing attends to it, so that bits of the tables stay those of the exact mask.
"""

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import TableError
from radialbench.maskgen.compiler.blocks import unique_rows
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.table import BlockTable, Csr, pack_bits

Bool = NDArray[np.bool_]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

BLOCK_M = 128
PIECE = 64
"""Slots that are copied together at most: half a query block, or half a key block of 128."""
SHORTEST = 8
"""Shortest run that is copied: eight rows of the swizzle of shared memory."""

EMPTY, FULL = -1, 0
"""Kinds of blocks of a table; a partial block is of kind 1 + its bitmap."""


@dataclass(frozen=True, eq=False)
class BoxTable:
    """One table, or those of groups of heads, over slots: tokens in boxes, with padding.

    Attributes:
        source: What it was made from. Attention is the same, on q, k and v in raster order.
        tables: Tables of `source` over slots, as of one row of flat tokens.
        slots: [blocks · 128] int32 the raster token of each slot, -1 for padding.
        run: Slots that are neighbours in a row of tokens.
        runs: [pieces of 64 slots, 64 / run] int32 the first token of each run, seq_len where there
            is none; -1 - token in the first run of a piece that is a box of 64 / run rows.
    """

    source: AnyTable
    tables: tuple[BlockTable, ...]
    slots: Int32
    run: int
    runs: Int32

    @property
    def grid(self) -> TokenGrid:
        """Token layout."""
        return self.source.grid

    @property
    def label(self) -> str:
        """Name of the mask for people."""
        return self.source.label

    @property
    def group_of_head(self) -> tuple[int, ...]:
        """The table of each head; empty if all share one."""
        return self.source.group_of_head if isinstance(self.source, HeadTables) else ()

    def __repr__(self) -> str:
        padding = 1 - self.grid.seq_len / len(self.slots)
        return (
            f"<BoxTable of {self.label} on {self.grid.label}: runs of {self.run}, "
            f"{padding:.1%} padding>"
        )


def box_reasons(table: AnyTable) -> list[str]:
    """Return why a table cannot be read in boxes; empty if it can."""
    orders = table.orders if isinstance(table, HeadTables) else (table.order,)
    if len(set(orders)) > 1:
        return ["its heads have different token orders"]
    order, reasons = orders[0], []
    if order.kind != "tiles":
        reasons.append(f"only tiles are boxes, and its token order is {order}")
    elif order.tile_thw[2] % SHORTEST:
        reasons.append(
            f"tiles are multiples of {SHORTEST} columns wide, got {order.tile_thw[2]} columns"
        )
    if table.block_m != BLOCK_M or table.block_n not in (PIECE, 2 * PIECE):
        reasons.append(
            f"blocks are {BLOCK_M}×{PIECE} or {BLOCK_M}×{2 * PIECE}, got "
            f"{table.block_m}×{table.block_n}"
        )
    if table.q_len != table.k_len:
        reasons.append(f"all tokens are queries, got {table.q_len:,} of {table.k_len:,}")
    return reasons


def boxed(table: AnyTable) -> BoxTable:
    """Return a table, or the tables of heads, over boxes of tokens in raster order.

    Raises:
        TableError: It cannot be; see `box_reasons`.
    """
    if reasons := box_reasons(table):
        raise TableError(f"{table.label} cannot be read in boxes: {'; '.join(reasons)}")
    order = table.orders[0] if isinstance(table, HeadTables) else table.order
    ways = [True, False] if np.prod(order.tile_thw) % BLOCK_M == 0 else [False]
    # Tiles that begin with a block share none, but a ragged one ends in more padding.
    return min((_packed(table, order, apart=apart) for apart in ways), key=_visited)


def _visited(boxes: BoxTable) -> int:
    return sum(table.nnz for table in boxes.tables)


def _packed(table: AnyTable, order: TokenOrder, *, apart: bool) -> BoxTable:
    """Return a table over boxes; `apart` says whether tiles begin with a block of their own."""
    tables = table.tables if isinstance(table, HeadTables) else (table,)
    grid, run = table.grid, min(PIECE, order.tile_thw[2] & -order.tile_thw[2])
    positions = _positions(grid, order, run, apart=apart)
    slots = np.where(positions < 0, -1, order.source_index(grid)[positions]).astype(np.int32)
    queries, keys = _Side.of(positions, BLOCK_M), _Side.of(positions, table.block_n)
    over_slots = tuple(_over_slots(one, queries, keys, len(slots)) for one in tables)
    return BoxTable(table, over_slots, slots, run, _runs(slots, grid, run))


def _positions(grid: TokenGrid, order: TokenOrder, run: int, *, apart: bool) -> Int64:
    """[slots] the position of each slot in a token order, -1 for padding."""
    parts: list[Int64] = []
    count = first = 0
    for segment in grid.layout:
        rows: list[tuple[int, int]] = [(1, segment.tokens)]
        if segment.sides:
            edges = product(*map(pairwise, order.tile_edges(segment)))
            rows = [((t1 - t0) * (y1 - y0), x1 - x0) for (t0, t1), (y0, y1), (x0, x1) in edges]
        for lines, length in rows:
            padded = np.full((lines, -(-length // run) * run), -1, np.int64)
            padded[:, :length] = first + np.arange(lines * length).reshape(lines, length)
            first += lines * length
            parts.append(padded.ravel())
            count += padded.size
            if apart:
                parts.append(np.full(-count % BLOCK_M, -1, np.int64))
                count += -count % BLOCK_M
    parts.append(np.full(-count % BLOCK_M, -1, np.int64))
    return np.concatenate(parts)


def _runs(slots: Int32, grid: TokenGrid, run: int) -> Int32:
    """Return `BoxTable.runs`."""
    width, lines = grid.width, PIECE // run
    first = slots.reshape(-1, lines, run)[:, :, 0]
    runs = np.where(first < 0, grid.seq_len, first).astype(np.int32)
    box = first[:, 0, None, None] + width * np.arange(lines)[:, None] + np.arange(run)
    whole = (slots.reshape(-1, lines, run) == box).all(axis=(1, 2)) & (first[:, 0] >= 0)
    whole &= first[:, 0] % width + run <= width
    runs[whole, 0] = -1 - runs[whole, 0]
    return runs


@dataclass(frozen=True, eq=False)
class _Side:
    """Blocks of slots along queries or keys; the positions of a block are neighbours.

    Attributes:
        block: Slots of a block, and positions of a block of the source.
        first: [blocks] block of the source in which a block begins.
        last: [blocks] that in which it ends.
        kind: [blocks] number of its pattern.
        patterns: Of each kind, [block] the place of each slot behind the beginning of `first`, -1
            for padding.
    """

    block: int
    first: Int64
    last: Int64
    kind: Int64
    patterns: Int64

    @classmethod
    def of(cls, positions: Int64, block: int) -> "_Side":
        by_block = positions.reshape(-1, block)
        last = by_block.max(axis=1)
        first = np.where(by_block < 0, last[:, None], by_block).min(axis=1)
        # A key block of 64 may be padding alone, in which nothing attends.
        first, last = np.maximum(first, 0) // block, np.maximum(last, 0) // block
        places = np.where(by_block < 0, -1, by_block - (first * block)[:, None])
        patterns, kind = np.unique(places, axis=0, return_inverse=True)
        return cls(block, first, last, kind.ravel(), patterns)


def _over_slots(table: BlockTable, queries: _Side, keys: _Side, slots: int) -> BlockTable:
    """Return a table over slots, block by block from the up to four blocks it lies in."""
    kinds = np.full((table.rows, table.columns), EMPTY, np.int64)
    kinds[table.full.rows, table.full.indices] = FULL
    kinds[table.partial.rows, table.partial.indices] = 1 + table.bitmap_of
    corners = [
        kinds[np.ix_(row, column)]
        for row in (queries.first, queries.last)
        for column in (keys.first, keys.last)
    ]
    whole = keys.patterns.min(axis=1)[keys.kind] >= 0
    full = np.logical_and.reduce([corner == FULL for corner in corners]) & whole
    some = np.logical_or.reduce([corner != EMPTY for corner in corners]) & ~full
    rows, columns = np.nonzero(some)
    parts = [corner[rows, columns] for corner in corners]
    which, number = unique_rows([*parts, queries.kind[rows], keys.kind[columns]])
    of_query, of_key = queries.kind[rows[which]], keys.kind[columns[which]]
    packed, becomes_full = _contents(
        table, [part[which] for part in parts], queries.patterns, keys.patterns, of_query, of_key
    )
    full[rows, columns] |= becomes_full[number]
    left = packed.any(axis=(1, 2)) & ~becomes_full
    distinct, same = np.unique(packed[left], axis=0, return_inverse=True)
    new = np.zeros(len(which), np.int32)
    new[left] = same.ravel()
    kept = left[number]
    full_rows, full_columns = np.nonzero(full)
    return BlockTable(
        grid=TokenGrid(1, 1, slots),
        order=TokenOrder(),
        block_m=queries.block,
        block_n=keys.block,
        full=Csr.from_sorted(full_rows, full_columns, len(full)),
        partial=Csr.from_sorted(rows[kept], columns[kept], len(full)),
        bitmap_of=new[number[kept]],
        bitmaps=distinct,
        mask=table.mask,
    )


def _contents(
    table: BlockTable,
    corners: list[Int64],
    queries: Int64,
    keys: Int64,
    of_query: Int64,
    of_key: Int64,
) -> tuple[NDArray[np.uint32], Bool]:
    """Return the packed bits of blocks over slots, and whether all that is stored of them attends.

    `corners` are the kinds of the four blocks of the source, `of_query` and `of_key` the patterns.
    """
    block_m, block_n = table.block_m, table.block_n
    source = np.ones((2 + len(table.bitmaps), block_m, block_n), np.bool_)
    source[1 + EMPTY] = False
    source[2 + FULL :] = table.unpacked_bitmaps()
    q_real, k_real = (
        [(np.flatnonzero(one >= 0), one[one >= 0]) for one in side] for side in (queries, keys)
    )
    pair = np.empty((2 * block_m, 2 * block_n), np.bool_)
    packed = np.zeros((len(of_query), block_m, -(-block_n // 32)), np.uint32)
    full = np.zeros(len(of_query), np.bool_)
    for n, (a, b, c, d) in enumerate(zip(*corners, strict=True)):
        pair[:block_m, :block_n], pair[:block_m, block_n:] = source[1 + a], source[1 + b]
        pair[block_m:, :block_n], pair[block_m:, block_n:] = source[1 + c], source[1 + d]
        (q_slots, q_places), (k_slots, k_places) = q_real[of_query[n]], k_real[of_key[n]]
        content = np.zeros((block_m, block_n), np.bool_)
        content[np.ix_(q_slots, k_slots)] = pair[q_places][:, k_places]
        packed[n] = pack_bits(content)
        # Queries that are padding are not stored: what they attend to does not matter.
        full[n] = content[q_slots].all()
    return packed, full
