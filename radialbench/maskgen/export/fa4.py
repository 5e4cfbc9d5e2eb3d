"""FlashAttention-4: the block lists of its CuTe kernels."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.export._blocks import (
    bit_lookup,
    mask_mod,
    padded_rows,
    read_lists,
)
from radialbench.maskgen.table import BlockTable

Int32 = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Fa4:
    """What `flash_attn.cute.block_sparsity.BlockSparseTensorsTorch` holds, as CUDA tensors there.

    The kernels call a `mask_mod` on every pair of the blocks in `mask_block_idx`. Written in the
    CuTe DSL, with `aux_tensors=[bitmap_at, bits]`, it has to compute

        bits[bitmap_at[q // block_m, k // block_n], q % block_m, k % block_n // 32] >> (k % 32) & 1

    with `k % 32` counted in the block (the same thing where block_n is a multiple of 32). The
    kernels want block_n to be a multiple of their tile's keys, and block_m of its queries.

    Attributes:
        mask_block_cnt: [1, 1, rows] int32, partial blocks of a row.
        mask_block_idx: [1, 1, rows, columns] int32, their key blocks first, then zeros.
        full_block_cnt: The same of full blocks.
        full_block_idx: The same of full blocks.
        bitmap_at: [rows, columns] int32, the bitmap of each block.
        bits: [bitmaps, block_m, ⌈block_n / 32⌉] int32; bit b of word w is key 32·w + b.
        block_size: Query and key tokens of a block.
        seq_len: Tokens.
    """

    keeps_partial: ClassVar[bool] = True

    mask_block_cnt: Int32
    mask_block_idx: Int32
    full_block_cnt: Int32
    full_block_idx: Int32
    bitmap_at: Int32
    bits: Int32
    block_size: tuple[int, int]
    seq_len: int

    @classmethod
    def of(cls, table: BlockTable) -> Self:
        """Convert a table. Memory grows with rows × columns: the format wants it."""
        return cls(
            *padded_rows(table.partial, table.columns),
            *padded_rows(table.full, table.columns),
            *bit_lookup(table),
            block_size=(table.block_m, table.block_n),
            seq_len=table.seq_len,
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the block lists, and the two arrays that a `mask_mod` has to read."""
        return {
            "mask_block_cnt": self.mask_block_cnt,
            "mask_block_idx": self.mask_block_idx,
            "full_block_cnt": self.full_block_cnt,
            "full_block_idx": self.full_block_idx,
            "bitmap_at": self.bitmap_at,
            "bits": self.bits,
        }

    def token_mask(self) -> NDArray[np.bool_]:
        """[seq_len, seq_len] read the arrays back as the kernels do. For small sequences."""
        return read_lists(
            (self.mask_block_cnt, self.mask_block_idx),
            (self.full_block_cnt, self.full_block_idx),
            mask_mod(self.bitmap_at, self.bits, *self.block_size),
            self.block_size,
            self.seq_len,
        )
