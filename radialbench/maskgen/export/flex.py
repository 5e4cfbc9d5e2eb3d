"""FlexAttention: the arrays of a `BlockMask`, and the `mask_mod` of its partial blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

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
class Flex:
    """What `torch.nn.attention.flex_attention.BlockMask.from_kv_blocks` takes.

        flex = Flex.of(table)
        upload = lambda array: torch.from_numpy(array).cuda()
        mask = BlockMask.from_kv_blocks(
            *map(upload, flex.block_arrays().values()),
            BLOCK_SIZE=flex.block_size,
            mask_mod=flex.mask_mod(upload),
            seq_lengths=(flex.seq_len, flex.seq_len),
        )

    Attributes:
        kv_num_blocks: [1, 1, rows] int32, partial blocks of a row.
        kv_indices: [1, 1, rows, columns] int32, their key blocks first, then zeros.
        full_kv_num_blocks: The same of full blocks.
        full_kv_indices: The same of full blocks.
        bitmap_at: [rows, columns] int32, the bitmap of each block.
        bits: [bitmaps, block_m, ⌈block_n / 32⌉] int32; bit b of word w is key 32·w + b.
        block_size: Query and key tokens of a block, `BLOCK_SIZE` there.
        seq_len: Tokens.
    """

    keeps_partial: ClassVar[bool] = True

    kv_num_blocks: Int32
    kv_indices: Int32
    full_kv_num_blocks: Int32
    full_kv_indices: Int32
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

    def block_arrays(self) -> dict[str, Int32]:
        """Return the four arrays of the block mask, in the order `from_kv_blocks` wants them."""
        return {
            "kv_num_blocks": self.kv_num_blocks,
            "kv_indices": self.kv_indices,
            "full_kv_num_blocks": self.full_kv_num_blocks,
            "full_kv_indices": self.full_kv_indices,
        }

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the block mask's arrays, and the two that `mask_mod` reads."""
        return {**self.block_arrays(), "bitmap_at": self.bitmap_at, "bits": self.bits}

    def mask_mod(self, upload: Callable[[Int32], Any]) -> Callable[..., Any]:
        """Make the function that says of a pair whether it attends.

        Args:
            upload: Turns an array into a tensor on the device of the attention.
        """
        return mask_mod(upload(self.bitmap_at), upload(self.bits), *self.block_size)

    def token_mask(self) -> NDArray[np.bool_]:
        """[seq_len, seq_len] read the arrays back as FlexAttention does. For small sequences."""
        return read_lists(
            (self.kv_num_blocks, self.kv_indices),
            (self.full_kv_num_blocks, self.full_kv_indices),
            mask_mod(self.bitmap_at, self.bits, *self.block_size),
            self.block_size,
            self.seq_len,
        )
