"""FlashAttention-4: the block lists of its CuTe kernels."""

from dataclasses import dataclass
from typing import ClassVar

from radialbench.maskgen.export import BlockLists


@dataclass(frozen=True, eq=False)
class Fa4Table(BlockLists):
    """The content of `flash_attn.cute.block_sparsity.BlockSparseTensorsTorch`, there CUDA tensors.

    The kernels call a `mask_mod` on every pair of the blocks in `mask_block_idx`. In the CuTe DSL,
    with `aux_tensors=[bitmap_at, bits]`, it has to compute

        bits[bitmap_at[q // block_m, k // block_n], q % block_m, k % block_n // 32] >> (k % 32) & 1

    with `k % 32` counted in the block (the same thing where block_n is a multiple of 32). The
    kernels require block_n to be a multiple of their tile's keys, and block_m of its queries.
    """

    names: ClassVar[tuple[str, ...]] = (
        "mask_block_cnt",
        "mask_block_idx",
        "full_block_cnt",
        "full_block_idx",
    )
