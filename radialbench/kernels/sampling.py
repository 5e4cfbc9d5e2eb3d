"""Which query rows to check when checking all of them would take too long."""

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.table import BlockTable

Int64 = NDArray[np.int64]


def sample_rows(table: BlockTable, rows: int, *, seed: int) -> Int64:
    """Choose query rows that between them meet every part of a table.

    The first and the last row; for up to half as many partial blocks as there are rows to choose,
    spread over all of them, a row that the bitmap cuts where it has one; and of the other rows one
    at random in each of as many equal stretches as are missing.

    Returns:
        [rows] ascending positions without repeats; all rows if the sequence is no longer than
        4·rows.
    """
    seq_len = table.seq_len
    if seq_len <= 4 * rows:
        return np.arange(seq_len, dtype=np.int64)
    generator = np.random.default_rng(seed)
    chosen = np.unique(np.append(_cut_rows(table, rows // 2 - 1, generator), [0, seq_len - 1]))
    others = np.setdiff1d(np.arange(seq_len), chosen, assume_unique=True)
    stretches = rows - len(chosen)
    edges = np.arange(stretches + 1) * len(others) // max(stretches, 1)
    return np.union1d(chosen, others[generator.integers(edges[:-1], edges[1:])])


def _cut_rows(table: BlockTable, rows: int, generator: np.random.Generator) -> Int64:
    """Choose a row in each of up to `rows` partial blocks, one its bitmap cuts if there is one."""
    count = min(rows, table.partial.nnz)
    entries = np.arange(count) * table.partial.nnz // max(count, 1)
    blocks = table.partial.rows[entries]
    bits = np.bitwise_count(table.bitmaps[table.bitmap_of[entries]]).sum(axis=2)
    inside = np.arange(table.block_m) < table.row_lengths[blocks][:, None]
    widths = table.column_lengths[table.partial.indices[entries]][:, None]
    weight = inside * generator.uniform(1, 2, bits.shape) + 2 * ((bits > 0) & (bits < widths))
    chosen: Int64 = blocks * table.block_m + np.argmax(weight, axis=1)
    return chosen
