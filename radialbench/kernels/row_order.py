"""row_order and column_order: in which order the blocks of a table's two sides are launched."""

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.table import BlockTable

Int64 = NDArray[np.int64]

SM_COUNT = 132
"""SMs of an H100 SXM and an H200. Each is assumed to run one thread block at a time."""

LONG = 1.5
"""Rows with more than this many times the median number of blocks are launched first."""


def row_order(table: BlockTable, sm_count: int = SM_COUNT) -> Int64:
    """Return [rows], an order in which concurrent rows read the same keys and end together.

    Rows that are near in space and time read the same keys from the cache, and a GPU at its power
    limit runs faster with fewer reads from memory. So most rows come in tiles of as many frames as
    have rows for all SMs; within a tile, all frames at one position come before the next position.
    Much longer rows come first, so that none runs alone at the end. The shortest rows come last,
    one for each SM.
    """
    return _launch_order(row_blocks(table), table.block_m, table.grid.frame_tokens, sm_count)


def column_order(table: BlockTable, sm_count: int = SM_COUNT) -> Int64:
    """Return [columns], an order as `row_order` for key blocks, which a backward pass computes."""
    return _launch_order(column_blocks(table), table.block_n, table.grid.frame_tokens, sm_count)


def row_blocks(table: BlockTable) -> Int64:
    """Return the number of blocks in each row of a table: [rows]."""
    return np.diff(table.full.indptr) + np.diff(table.partial.indptr)


def column_blocks(table: BlockTable) -> Int64:
    """Return the number of blocks in each column of a table: [columns]."""
    columns = np.concatenate([table.full.indices, table.partial.indices])
    return np.bincount(columns, minlength=table.columns)


def _launch_order(blocks: Int64, block: int, frame_tokens: int, sm_count: int) -> Int64:
    heavy = np.argsort(-blocks, kind="stable")
    long = blocks[heavy] > LONG * np.median(blocks)
    first, rest = heavy[long], heavy[~long]
    last = rest[max(0, len(rest) - sm_count) :]
    tiles = _tiles(len(blocks), block, frame_tokens, sm_count)
    middle = tiles[~np.isin(tiles, np.concatenate([first, last]))]
    return np.concatenate([first, middle, last])


def _tiles(count: int, block: int, frame_tokens: int, sm_count: int) -> Int64:
    """Return the blocks of a side tile by tile; text counts as further frames of the video."""
    frame, place = np.divmod(np.arange(count) * block, frame_tokens)
    high = max(1, round(sm_count * block / frame_tokens))
    order: Int64 = np.lexsort((frame, place // block, frame // high))
    return order
