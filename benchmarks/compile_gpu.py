"""Time how long masks take to compile on a GPU, beside the CPU of the same machine.

    python -m benchmarks.compile_gpu   # on an NVIDIA GPU; a minute

The rules of `benchmarks/rules` and `radial`, at 75,600 and at 579,600 tokens (21 and 161 latent
frames of 720p), in blocks of 128×128. Every table is compared with the CPU's.
"""

import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask
from radialbench.maskgen.language.spec import MaskSpec

RULES = Path(__file__).parent / "rules"
CALLS = 5


def main() -> None:
    """Print the first call and the median of the later ones."""
    if not torch.cuda.is_available():
        sys.exit("this times a GPU, and PyTorch finds none")
    print(torch.cuda.get_device_name())
    masks = {path.stem: load_mask(path) for path in sorted(RULES.glob("*.yaml"))}
    masks["radial"] = load_mask("radial")
    for frames in (21, 161):
        grid = TokenGrid(frames, 45, 80)
        print(f"{grid.seq_len:,} tokens: ms on the GPU (first call), ms on the CPU")
        for name, mask in masks.items():
            table, first = timed(mask, grid, "cuda")
            later = median(timed(mask, grid, "cuda")[1] for _ in range(CALLS))
            expected, cpu = timed(mask, grid, "cpu")
            same = "equal" if table == expected else "THE TABLES DIFFER"
            print(f"{name:14} {later:8.1f} ({first:8.1f}) {cpu:10.1f}  {same}", flush=True)


def timed(mask: MaskSpec, grid: TokenGrid, device: str) -> tuple[BlockTable, float]:
    """Return the table, and the milliseconds it took."""
    start = perf_counter()
    table = compile_mask(mask, grid, device=device)
    return table, (perf_counter() - start) * 1e3


if __name__ == "__main__":
    main()
