"""Time FlexAttention's `create_block_mask` on the radial mask, beside `compile_mask`.

    python benchmarks/flex_block_mask.py FRAMES HEIGHT WIDTH CALLS

Prints one JSON object. `benchmarks/compile.py` runs it, each grid in a process of its own.
"""

import json
import resource
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, TypeVar

import torch
from torch.nn.attention.flex_attention import create_block_mask

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask

T = TypeVar("T")


def radial(frames: int, frame_tokens: int) -> Callable[..., torch.Tensor]:
    """Write Eq. 4 of the paper (arXiv 2506.19852), with a sink of one frame, as a `mask_mod`."""
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


def equal_blocks(theirs: Any, ours: BlockTable) -> bool:
    """Tell whether full and partial blocks are the same ones."""
    full, some = ours.full_blocks(), ours.any_blocks()
    if ours.seq_len % ours.block_m:
        # FlexAttention pads the sequence: what we call full at its ragged edge, it calls partial.
        full[-1], full[:, -1] = False, False
    return all(
        blocks[row].nonzero()[0].tolist() == sorted(indices[0, 0, row, : count[0, 0, row]].tolist())
        for blocks, count, indices in (
            (full, theirs.full_kv_num_blocks, theirs.full_kv_indices),
            (some & ~full, theirs.kv_num_blocks, theirs.kv_indices),
        )
        for row in range(len(full))
    )


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds of a call, and its result."""
    start = perf_counter()
    result = call()
    return perf_counter() - start, result


def main(frames: int, height: int, width: int, calls: int) -> None:
    """Build the mask both ways some times, and print what that took."""
    grid, spec = TokenGrid(frames, height, width), load_mask("radial")
    mask_mod, n = radial(frames, grid.frame_tokens), grid.seq_len

    def build() -> Any:
        return create_block_mask(mask_mod, None, None, n, n, device="cpu", BLOCK_SIZE=128)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first, theirs = timed(build)
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ours = compile_mask(spec, grid)
    facts = {
        "grid": grid.label,
        "tokens": n,
        "theirs_s": median([first, *(timed(build)[0] for _ in range(calls - 1))]),
        "ours_s": median(timed(lambda: compile_mask(spec, grid))[0] for _ in range(calls)),
        "added_bytes": added * 1024,
        "equal": equal_blocks(theirs, ours),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
