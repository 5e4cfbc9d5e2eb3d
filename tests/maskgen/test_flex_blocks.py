"""FlexAttention's own `create_block_mask` finds the blocks of the radial mask that we compile."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask


def radial(frames: int, frame_tokens: int) -> Callable[..., torch.Tensor]:
    """Eq. 4 of the paper (arXiv 2506.19852), with a sink of one frame, as a `mask_mod`."""
    octaves = torch.tensor([1 << max(dt, 1).bit_length() - 1 for dt in range(frames)])

    def mask_mod(
        b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor
    ) -> torch.Tensor:
        dt = (q // frame_tokens - k // frame_tokens).abs()
        ds = (q % frame_tokens - k % frame_tokens).abs()
        octave = octaves[dt]
        near = (octave <= frame_tokens) & ((ds + 1) * octave <= frame_tokens)
        aligned = dt % ((octave + frame_tokens - 1) // frame_tokens) == 0
        return (k < frame_tokens) | near | (aligned & (ds == 0))

    return mask_mod


def listed(counts: torch.Tensor, indices: torch.Tensor) -> list[list[int]]:
    """The blocks of each row, sorted."""
    return [
        sorted(row[:count].tolist()) for row, count in zip(indices[0, 0], counts[0, 0], strict=True)
    ]


def full_and_partial(table: BlockTable) -> tuple[Any, Any]:
    full, some = table.full_blocks(), table.any_blocks()
    if table.seq_len % table.block_m:
        # FlexAttention pads the sequence: what we call full at its ragged edge, it calls partial.
        full[-1], full[:, -1] = False, False
    return full, some & ~full


@pytest.mark.parametrize("grid", [TokenGrid(3, 15, 26), TokenGrid(5, 8, 16)])
def test_blocks_are_those_of_create_block_mask(grid: TokenGrid) -> None:
    n = grid.seq_len
    mask_mod = radial(grid.frames, grid.frame_tokens)
    theirs = create_block_mask(mask_mod, None, None, n, n, device="cpu", BLOCK_SIZE=128)
    full, partial = full_and_partial(compile_mask(load_mask("radial"), grid))
    assert theirs.full_kv_num_blocks is not None and theirs.full_kv_indices is not None
    for ours, counts, indices in (
        (full, theirs.full_kv_num_blocks, theirs.full_kv_indices),
        (partial, theirs.kv_num_blocks, theirs.kv_indices),
    ):
        assert [row.nonzero()[0].tolist() for row in ours] == listed(counts, indices)
