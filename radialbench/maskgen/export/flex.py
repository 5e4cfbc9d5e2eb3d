"""FlexAttention: the arrays of a `BlockMask`, and the `mask_mod` of its partial blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from radialbench.maskgen.export import BlockLists, Int32, mask_mod


@dataclass(frozen=True, eq=False)
class FlexTable(BlockLists):
    """The arguments of `torch.nn.attention.flex_attention.BlockMask.from_kv_blocks`.

    flex = FlexTable.of(table)
    upload = lambda array: torch.from_numpy(array).cuda()
    mask = BlockMask.from_kv_blocks(
        *map(upload, flex.block_arrays().values()),
        BLOCK_SIZE=flex.block_size,
        mask_mod=flex.mask_mod(upload),
        seq_lengths=(flex.q_len, flex.k_len),
    )
    """

    names: ClassVar[tuple[str, ...]] = (
        "kv_num_blocks",
        "kv_indices",
        "full_kv_num_blocks",
        "full_kv_indices",
    )

    def mask_mod(self, upload: Callable[[Int32], Any]) -> Callable[..., Any]:
        """Return the function that decides whether a pair attends.

        Args:
            upload: Turns an array into a tensor on the device of the attention.
        """
        return mask_mod(upload(self.bitmap_at), upload(self.bits), *self.block_size)
