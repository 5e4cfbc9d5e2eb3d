"""SpargeAttn: its int8 block mask."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import TableError, unknown
from radialbench.maskgen.export import Partial, pairs_of, whole_blocks
from radialbench.maskgen.table import BlockTable

ARCHITECTURES = ("sm80", "sm86", "sm87", "sm89", "sm90")
"""GPUs that SpargeAttn is built for."""


@dataclass(frozen=True, eq=False)
class Sparge:
    """The `mask_id` of `spas_sage_attn.block_sparse_sage2_attn_cuda`.

    Attributes:
        mask_id: [batch, heads, rows, columns] int8, 1 where a block attends.
        block_size: Query and key tokens of a block: 64 and 128 on Hopper, else 128 and 64.
        q_len: Query tokens.
        k_len: Key tokens.
        added_pairs: Pairs that attend here and not in the table.
    """

    keeps_partial: ClassVar[bool] = False

    mask_id: NDArray[np.int8]
    block_size: tuple[int, int]
    q_len: int
    k_len: int
    added_pairs: int

    @classmethod
    def of(
        cls,
        table: BlockTable,
        *,
        partial: Partial = "refuse",
        arch: str = "sm80",
        heads: int = 1,
        batch: int = 1,
    ) -> Self:
        """Convert a table.

        Args:
            table: The table, compiled with the block size of the architecture.
            partial: `full` attends partial blocks whole; `added_pairs` counts what that adds.
            arch: The GPU's architecture, one of `ARCHITECTURES`.
            heads: Heads of q, which share the mask.
            batch: Sequences of q, which share it too: the kernels read a mask for each.

        Raises:
            TableError: There is no such architecture, the table has another block size, or partial
                blocks where `partial` is `refuse`.
        """
        block_m, block_n = cls.blocks(arch=arch)
        if (table.block_m, table.block_n) != (block_m, block_n):
            raise TableError(
                f"SpargeAttn on {arch} has blocks of {block_m}×{block_n} tokens, got a table of "
                f"{table.block_m}×{table.block_n}; compile the mask with block_m={block_m}, "
                f"block_n={block_n} (--block-m {block_m} --block-n {block_n})"
            )
        blocks, added = whole_blocks(table, partial, "SpargeAttn")
        shared = np.broadcast_to(blocks.astype(np.int8), (batch, heads, *blocks.shape))
        mask_id = np.ascontiguousarray(shared)
        return cls(mask_id, (block_m, block_n), table.q_len, table.k_len, added)

    @staticmethod
    def blocks(*, arch: str = "sm80") -> tuple[int, int]:
        """Return the query and key tokens of a block on an architecture.

        Raises:
            TableError: There is no such architecture.
        """
        if arch not in ARCHITECTURES:
            raise TableError(unknown("architecture of SpargeAttn", arch, ARCHITECTURES))
        return (64, 128) if arch == "sm90" else (128, 64)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the array by SpargeAttn's name."""
        return {"mask_id": self.mask_id}

    def token_mask(self) -> NDArray[np.bool_]:
        """[q_len, k_len] read head 0 back. For small sequences."""
        blocks: NDArray[np.bool_] = self.mask_id[0, 0] != 0
        return pairs_of(blocks, *self.block_size, self.q_len, self.k_len)
