"""Figures of a mask's table, exact and the same on every machine."""

import hashlib

import numpy as np

from radialbench.kernels.row_order import SM_COUNT
from radialbench.maskgen.table import BlockTable
from radialbench.records.offline import MaskFigures
from radialbench.suites.schedule import launched, makespan


def mask_figures(table: BlockTable, heads: int, head_dim: int, *, attends: str) -> MaskFigures:
    """Sum up a table.

    Args:
        table: The table.
        heads: Heads of all sequences.
        head_dim: Numbers per head and token.
        attends: What `attends_hash` gives for the table.
    """
    works = launched(table, heads)
    visited = max(1, table.nnz)
    busiest = makespan(works)
    return MaskFigures(
        pairs=table.pairs,
        density=table.density,
        attends=attends,
        full=table.full.nnz,
        partial=table.partial.nnz,
        block_density=table.block_density,
        bitmaps=len(table.bitmaps),
        nbytes=table.nbytes,
        flops=table.flops(heads, head_dim),
        executed_flops=table.executed_flops(heads, head_dim),
        longest_row=max(works),
        imbalance=max(works) * table.rows / visited,
        makespan=busiest,
        over_ideal=busiest * SM_COUNT / (visited * heads),
    )


def attends_hash(table: BlockTable) -> str:
    """Give a short hash of which pairs attend, however the table numbers its bitmaps."""
    found = hashlib.blake2b(digest_size=8)
    sizes = f"{table.grid}|{table.order}|{table.block_m}|{table.block_n}"
    found.update(sizes.encode())
    digests = [hashlib.blake2b(bits.tobytes(), digest_size=8).digest() for bits in table.bitmaps]
    hashes = np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)
    parts = (table.full, table.partial)
    arrays = [array for part in parts for array in (part.indptr, part.indices)]
    for array in (*arrays, hashes[table.bitmap_of]):
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
