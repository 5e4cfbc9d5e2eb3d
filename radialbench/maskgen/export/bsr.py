"""Block sparse rows, as FlashInfer and SciPy have them."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.export import Partial, pairs_of, whole_blocks
from radialbench.maskgen.table import BlockTable

Int32 = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Bsr:
    """The arguments of `flashinfer.BlockSparseAttentionWrapper.plan`.

    That wrapper reads every key block whole, so k_len has to be a multiple of block_n.
    `VariableBlockSparseAttentionWrapper` also takes the block sizes, so any length works.

    Attributes:
        indptr: [rows + 1] int32; row r owns `indices[indptr[r]:indptr[r + 1]]`.
        indices: [nnz] int32, key blocks, ascending within a row.
        block_row_sz: [rows] int32, query tokens of each row of blocks; the last may be short.
        block_col_sz: [columns] int32, key tokens of each column of blocks.
        block_size: Query and key tokens of a block, `R` and `C` there.
        q_len: Query tokens, `M` there.
        k_len: Key tokens, `N` there.
        added_pairs: Pairs that attend here and not in the table.
    """

    keeps_partial: ClassVar[bool] = False

    indptr: Int32
    indices: Int32
    block_row_sz: Int32
    block_col_sz: Int32
    block_size: tuple[int, int]
    q_len: int
    k_len: int
    added_pairs: int

    @classmethod
    def of(cls, table: BlockTable, *, partial: Partial = "refuse") -> Self:
        """Convert a table.

        Args:
            table: The table.
            partial: `full` attends partial blocks whole; `added_pairs` counts what that adds.

        Raises:
            TableError: There are partial blocks, and `partial` is `refuse`.
        """
        blocks, added = whole_blocks(table, partial, "BSR")
        return cls(
            indptr=np.append(0, np.cumsum(blocks.sum(axis=1))).astype(np.int32),
            indices=np.nonzero(blocks)[1].astype(np.int32),
            block_row_sz=table.row_lengths.astype(np.int32),
            block_col_sz=table.column_lengths.astype(np.int32),
            block_size=(table.block_m, table.block_n),
            q_len=table.q_len,
            k_len=table.k_len,
            added_pairs=added,
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by FlashInfer's names."""
        return {
            "indptr": self.indptr,
            "indices": self.indices,
            "block_row_sz": self.block_row_sz,
            "block_col_sz": self.block_col_sz,
        }

    def token_mask(self) -> NDArray[np.bool_]:
        """[q_len, k_len] read the arrays back. For small sequences."""
        blocks = np.zeros((len(self.block_row_sz), len(self.block_col_sz)), np.bool_)
        for row, (start, stop) in enumerate(zip(self.indptr[:-1], self.indptr[1:], strict=True)):
            blocks[row, self.indices[start:stop]] = True
        return pairs_of(blocks, *self.block_size, self.q_len, self.k_len)
