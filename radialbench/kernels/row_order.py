"""row_order: in which order the query blocks of a table are launched."""

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.table import BlockTable

Int64 = NDArray[np.int64]

SM_COUNT = 132
"""SMs of an H100 SXM and an H200. Each is taken to have one thread block at a time."""

LONG = 1.5
"""Rows with more than this many times the median number of blocks are launched first."""


def row_order(table: BlockTable, sm_count: int = SM_COUNT) -> Int64:
    """Choose an order in which rows that run side by side read the same keys, and end together.

    What a row reads is read again by others while it is still in the cache if they are near in
    space and in time: a GPU at its power limit should run the faster the less comes from its
    memory. So most rows are taken in tiles of as many frames as have rows for all SMs, and
    within a tile all frames at one place, then the next. Before them come rows that are much
    longer, which would keep an SM busy while the others have nothing left; after them the
    shortest, as many as there are SMs.

    Args:
        table: What attends to what.
        sm_count: How many rows run at a time.

    Returns:
        [rows] every row once.
    """
    blocks = row_blocks(table)
    heavy = np.argsort(-blocks, kind="stable")
    long = blocks[heavy] > LONG * np.median(blocks)
    first, rest = heavy[long], heavy[~long]
    last = rest[max(0, len(rest) - sm_count) :]
    tiles = _tiles(table, sm_count)
    middle = tiles[~np.isin(tiles, np.concatenate([first, last]))]
    return np.concatenate([first, middle, last])


def row_blocks(table: BlockTable) -> Int64:
    """Count the blocks that each row of a table visits: [rows]."""
    return np.diff(table.full.indptr) + np.diff(table.partial.indptr)


def _tiles(table: BlockTable, sm_count: int) -> Int64:
    """Return the rows tile by tile; text, which is in no frame, as if it continued the video."""
    frame, place = np.divmod(np.arange(table.rows) * table.block_m, table.grid.frame_tokens)
    high = max(1, round(sm_count * table.block_m / table.grid.frame_tokens))
    order: Int64 = np.lexsort((frame, place // table.block_m, frame // high))
    return order
