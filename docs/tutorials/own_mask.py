"""A mask of one's own: state it, see what it keeps, compare it, run it, save it.

python own_mask.py        # a few seconds on a CPU; writes into the current folder
"""

from pathlib import Path

import torch

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask
from radialbench.integrations.module import RadialAttention
from radialbench.maskgen.picture import save_pictures

# A mask is a condition on a query and a key token, here with one parameter. Frames are qt and kt,
# dt is their distance, and ds the distance of the two places within a frame.
Path("keyframes.yaml").write_text(
    """\
name: keyframes
about: The frames around, every EVERY-th frame, and the same place in all others.
params:
  every: {type: int, default: 6, min: 1, help: distance of key frames}
mask: dt <= 1 or kt % every == 0 or ds == 0
"""
)

# The latent tokens of a short video: 13 frames of 30 × 52, 832×480 pixels on Wan.
grid = TokenGrid(frames=13, height=30, width=52)
mask = load_mask("keyframes.yaml", every=4)

# Compiling counts exactly: which blocks of 128 × 128 tokens are full, which are partial.
table = compile_mask(mask, grid, block_m=128, block_n=128)
dense = compile_mask("dense", grid)
print(f"keyframes keeps {table.density:.1%} of {dense.pairs:,} pairs")
print(f"in {table.full.nnz:,} full and {table.partial.nnz:,} partial of {dense.nnz:,} blocks")

# Beside a mask of the library, in numbers and as a picture.
radial = compile_mask("radial", grid)
print(f"radial keeps {radial.density:.1%} in {radial.nnz:,} blocks")
save_pictures("keyframes.png", [("keyframes", table), ("radial", radial)])

# Run it: block sizes change speed, never which pairs attend. On a GPU, block_sparse_attention
# takes the table; RadialAttention runs anywhere. This is the result by the definition:
small = TokenGrid(frames=5, height=6, width=8)
q, k, v = torch.randn(3, 1, 2, small.seq_len, 64, generator=torch.manual_seed(0))
out = RadialAttention(small, mask)(q, k, v)
pairs = torch.from_numpy(compile_mask(mask, small, 16, 16).to_dense())
wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=pairs)
print(f"the largest difference from the definition is {(out - wanted).abs().max():.0e}")

# A table is saved once and loaded in moments; `radialbench export table` writes other forms.
table.save("keyframes.npz")
assert BlockTable.load("keyframes.npz") == table
print("wrote keyframes.yaml, keyframes.png and keyframes.npz")
