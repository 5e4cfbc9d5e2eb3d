"""What several formats share: padded rows, whole blocks, and looking up a pair's bit."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import TableError
from radialbench.maskgen.table import BlockTable, Csr

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]
Partial: TypeAlias = Literal["refuse", "full"]


def padded_rows(csr: Csr, columns: int) -> tuple[Int32, Int32]:
    """Spread a CSR into rows of equal width.

    Returns:
        counts [1, 1, rows] and indices [1, 1, rows, columns], both int32; of row r the first
        `counts[r]` indices are meant, the rest is 0.
    """
    counts = np.diff(csr.indptr)
    indices = np.zeros((len(counts), columns), np.int32)
    place = np.arange(csr.nnz) - np.repeat(csr.indptr[:-1], counts)
    indices[csr.rows, place] = csr.indices
    return counts.astype(np.int32)[None, None], indices[None, None]


def listed(counts: Int32, indices: Int32) -> Bool:
    """[rows, columns] which blocks the rows of `padded_rows` list."""
    meant = np.arange(indices.shape[3]) < counts[0, 0, :, None]
    rows, places = np.nonzero(meant)
    blocks = np.zeros(indices.shape[2:], np.bool_)
    blocks[rows, indices[0, 0, rows, places]] = True
    return blocks


def pairs_of(blocks: Bool, block_m: int, block_n: int, seq_len: int) -> Bool:
    """[seq_len, seq_len] the pairs of some blocks."""
    spread = blocks.repeat(block_m, axis=0).repeat(block_n, axis=1)
    return spread[:seq_len, :seq_len]


def whole_blocks(table: BlockTable, partial: Partial, format_name: str) -> tuple[Bool, int]:
    """Write a table as blocks that are there or not.

    Args:
        table: The table.
        partial: What becomes of partial blocks.
        format_name: For the message.

    Returns:
        [rows, columns] the blocks, and the pairs they attend beyond the table's.

    Raises:
        TableError: There are partial blocks, and they are not to be filled.
    """
    lengths = table.row_lengths[table.partial.rows], table.column_lengths[table.partial.indices]
    full_area = table.row_lengths[table.full.rows] @ table.column_lengths[table.full.indices]
    added = int(full_area) + int(lengths[0] @ lengths[1]) - table.pairs
    if table.partial.nnz and partial != "full":
        raise TableError(
            f"{format_name} has no partial blocks, and {table.label} has "
            f"{table.partial.nnz:,} of them; partial='full' attends them whole, which adds "
            f"{added:,} pairs to {table.pairs:,}"
        )
    return table.any_blocks(), added


def bit_lookup(table: BlockTable) -> tuple[Int32, Int32]:
    """Return the arrays that `mask_mod` reads.

    Returns:
        bitmap_at [rows, columns] int32, which bitmap a block has, and bits
        [distinct + 2, block_m, ⌈block_n / 32⌉] int32: the table's bitmaps, then one without any
        bit, then one with all of them, so that absent and full blocks need no case of their own.
    """
    distinct = len(table.bitmaps)
    extra = np.zeros((2, *table.bitmaps.shape[1:]), np.uint32)
    extra[1] = 0xFFFFFFFF
    bitmap_at = np.full((table.rows, table.columns), distinct, np.int32)
    bitmap_at[table.full.rows, table.full.indices] = distinct + 1
    bitmap_at[table.partial.rows, table.partial.indices] = table.bitmap_of
    return bitmap_at, np.concatenate([table.bitmaps, extra]).view(np.int32)


def mask_mod(bitmap_at: Any, bits: Any, block_m: int, block_n: int) -> Callable[..., Any]:
    """Make a function (batch, head, query, key) -> bool over arrays or tensors of any library."""

    def attends(batch: Any, head: Any, query: Any, key: Any) -> Any:
        bitmap = bitmap_at[query // block_m, key // block_n]
        word = bits[bitmap, query % block_m, key % block_n // 32]
        return (word >> (key % block_n % 32)) & 1 == 1

    return attends


def read_lists(
    partial: tuple[Int32, Int32],
    full: tuple[Int32, Int32],
    attends: Callable[..., Any],
    block_size: tuple[int, int],
    seq_len: int,
) -> Bool:
    """[seq_len, seq_len] the pairs of listed blocks.

    Args:
        partial: Counts and indices of the blocks that `attends` decides.
        full: Counts and indices of the blocks whose every pair attends.
        attends: What `mask_mod` made.
        block_size: Query and key tokens of a block.
        seq_len: Tokens.
    """
    token = np.arange(seq_len)
    decided: Bool = attends(0, 0, token[:, None], token)
    decided &= pairs_of(listed(*partial), *block_size, seq_len)
    return decided | pairs_of(listed(*full), *block_size, seq_len)
