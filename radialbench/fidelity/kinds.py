"""Spatial and temporal heads, by the rule of Sparse VideoGen (arXiv 2502.01776)."""

from dataclasses import dataclass

import numpy as np
import torch

from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.mass import Int64, chunks, raster_mask, row_weights
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.table import BlockTable
from radialbench.records.decay import OTHER, SPATIAL, TEMPORAL

BLOCK = 128
"""Tokens of a block of both masks, in frames of at least `BLOCKS_OF_A_FRAME` times as many."""

BLOCKS_OF_A_FRAME = 4


@dataclass(frozen=True, slots=True)
class HeadKind:
    """What a head is by the two masks.

    Attributes:
        spatial_error: ‖out - dense‖ / ‖dense‖ of the spatial mask, over all rows together.
        temporal_error: Of the temporal mask.
        spatial_mass: Mean share of the attention mass that the spatial mask keeps.
        temporal_mass: That of the temporal mask.
    """

    spatial_error: float
    temporal_error: float
    spatial_mass: float
    temporal_mass: float

    @property
    def kind(self) -> str:
        """The mask of the lesser error, as in the authors' code; `other` if it keeps under half.

        Their code knows no third kind.
        """
        spatial = self.spatial_error <= self.temporal_error
        kept = self.spatial_mass if spatial else self.temporal_mass
        return OTHER if kept < 0.5 else SPATIAL if spatial else TEMPORAL


def head_kinds(inputs: AttentionInputs, rows: Int64) -> list[HeadKind]:
    """Compare the spatial and the temporal mask in each head of each sequence.

    The masks are `svg_profile` with the preset for Wan, for HunyuanVideo where the grid has text,
    or for CogVideoX where text comes first. In frames of few tokens blocks are smaller than theirs.

    Args:
        inputs: q, k and v of a layer.
        rows: Ascending raster queries in the video; the authors take 32 to 64.
    """
    tables = profile_tables(inputs.grid)
    sequences, heads = inputs.q.shape[:2]
    mass = np.zeros((2, sequences, heads))
    off, size = np.zeros((2, 2, sequences, heads))
    for part in chunks(inputs, rows):
        masks = [raster_mask(table, rows[part]).to(inputs.q.device) for table in tables]
        for sequence, head in np.ndindex(sequences, heads):
            place = sequence, head
            weights = row_weights(inputs, sequence, head, rows[part])
            v = inputs.v[sequence, head // (heads // inputs.v.shape[1])].double()
            dense = weights @ v
            for number, mask in enumerate(masks):
                kept = weights * mask
                sums = kept.sum(dim=1, keepdim=True)
                out = kept @ v / torch.where(sums > 0, sums, 1.0)
                mass[number][place] += float(sums.sum())
                off[number][place] += float((out - dense).square().sum())
                size[number][place] += float(dense.square().sum())
    errors = np.sqrt(off / np.maximum(size, np.finfo(np.float64).tiny)).reshape(2, -1)
    found = np.concatenate([errors, mass.reshape(2, -1) / len(rows)])
    return [HeadKind(*numbers) for numbers in found.T.tolist()]


def profile_tables(grid: TokenGrid) -> tuple[BlockTable, BlockTable]:
    """Compile the spatial and the temporal mask for a grid."""
    model = "cogvideox" if grid.text_first else "hunyuan" if grid.text_tokens else "wan"
    block = max(1, min(BLOCK, grid.frame_tokens // BLOCKS_OF_A_FRAME))
    spatial, temporal = (
        compile_mask(load_mask(f"svg_profile:{model}_{kind}", block=block), grid)
        for kind in (SPATIAL, TEMPORAL)
    )
    return spatial, temporal
