"""Small block tables with every kind of block, and tensors to go with them."""

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.table import BlockTable, Csr, pack_bits
from radialbench.records.problem import KernelConfig, Problem

Bool = NDArray[np.bool_]


def table_of(
    mask: Bool,
    block_m: int,
    block_n: int,
    *,
    order: TokenOrder | None = None,
    frames: int = 1,
    first: int = 0,
) -> BlockTable:
    """Build the table of a token mask [q_len, k_len], block by block.

    `first` is the position of the first query, where not all tokens are queries.
    """
    q_len, k_len = mask.shape
    grid = TokenGrid(frames, 1, k_len // frames)
    if q_len < k_len:
        grid = TokenGrid(k_len, 1, 1, query_frames=(first, first + q_len - 1))
    rows, columns = -(-q_len // block_m), -(-k_len // block_n)
    padded = np.zeros((rows * block_m, columns * block_n), np.bool_)
    inside = padded.copy()
    padded[:q_len, :k_len] = mask
    inside[:q_len, :k_len] = True
    shape = (rows, block_m, columns, block_n)
    blocks = padded.reshape(shape).swapaxes(1, 2)
    outside = ~inside.reshape(shape).swapaxes(1, 2)
    full: Bool = np.all(blocks | outside, axis=(2, 3))
    partial: Bool = np.any(blocks, axis=(2, 3)) & ~full
    bitmaps, bitmap_of = np.unique(pack_bits(blocks[partial]), axis=0, return_inverse=True)
    return BlockTable(
        grid=grid,
        order=order or TokenOrder(),
        block_m=block_m,
        block_n=block_n,
        full=_csr(full),
        partial=_csr(partial),
        bitmap_of=bitmap_of.astype(np.int32),
        bitmaps=bitmaps.reshape(-1, block_m, -(-block_n // 32)),
    )


def rows_of(table: BlockTable, first: int, q_len: int) -> BlockTable:
    """Return the table of `q_len` queries, from a query block on, and all keys."""
    start = first * table.block_m
    mask = table.to_dense()[start : start + q_len]
    return table_of(mask, table.block_m, table.block_n, order=table.order, first=start)


def _csr(blocks: Bool) -> Csr:
    row, column = np.nonzero(blocks)
    return Csr.from_sorted(row, column, len(blocks))


def mixed_mask(seq_len: int, *, seed: int = 0, empty: bool = True) -> Bool:
    """Return a mask with bands, full stretches, scattered pairs and (if asked) empty rows."""
    generator = np.random.default_rng(seed)
    token = np.arange(seq_len)
    mask = np.abs(token[:, None] - token) < max(1, seq_len // 5)
    mask |= token[None, :] < seq_len // 8
    mask |= generator.random((seq_len, seq_len)) < 0.01
    mask[seq_len // 2 : seq_len // 2 + seq_len // 6, seq_len // 3 :] = True
    if empty and seq_len > 2:
        mask[seq_len // 4] = False
        mask[seq_len - seq_len // 5 : seq_len - 1] = False
    return mask


def problem_of(table: BlockTable, **fields: object) -> Problem:
    """Return a problem that fits a table."""
    given: dict[str, object] = {
        "mask_fingerprint": table.fingerprint,
        "grid": table.grid,
        "batch": 1,
        "heads": 1,
        "head_dim": 32,
        "dtype": "float32",
    }
    return Problem(**(given | fields))  # type: ignore[arg-type]


def config_of(table: BlockTable) -> KernelConfig:
    """Return the configuration a table was made for."""
    return KernelConfig(table.block_m, table.block_n)
