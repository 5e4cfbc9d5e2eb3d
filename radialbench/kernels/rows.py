"""The token mask of chosen query rows, without the whole matrix."""

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.table import BlockTable, Csr


def mask_rows(table: BlockTable, queries: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Give the rows of the token mask that belong to some queries.

    Args:
        table: The mask.
        queries: [rows] positions in the table's order, in any order.

    Returns:
        [rows, seq_len] whether the query attends to each key.
    """
    blocks, places = np.divmod(queries, table.block_m)
    mask = np.zeros((len(queries), table.columns, table.block_n), np.bool_)
    row, entry = _entries(table.full, blocks)
    mask[row, table.full.indices[entry]] = True
    row, entry = _entries(table.partial, blocks)
    words = table.bitmaps[table.bitmap_of[entry], places[row]]
    mask[row, table.partial.indices[entry]] = _bits(words, table.block_n)
    return mask.reshape(len(queries), table.columns * table.block_n)[:, : table.seq_len]


def _entries(csr: Csr, blocks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give (place in `blocks`, entry of `csr`) of every entry in the named rows."""
    first = csr.indptr[blocks]
    count = csr.indptr[blocks + 1] - first
    row = np.repeat(np.arange(len(blocks)), count)
    before = np.cumsum(count) - count
    return row, np.arange(len(row)) - np.repeat(before - first, count)


def _bits(words: NDArray[np.uint32], count: int) -> NDArray[np.bool_]:
    as_bytes = np.ascontiguousarray(words.astype("<u4", copy=False)).view(np.uint8)
    return np.unpackbits(as_bytes, axis=1, count=count, bitorder="little").view(np.bool_)
