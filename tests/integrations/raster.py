"""The oracle's mask with tokens in raster order, as models keep them."""

import numpy as np
from numpy.typing import NDArray

from radialbench import TokenGrid
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.oracle import token_mask


def raster_mask(spec: MaskSpec, grid: TokenGrid) -> NDArray[np.bool_]:
    """Return the token mask in raster order: [seq_len, seq_len]."""
    index = spec.order_on(grid).source_index(grid)
    mask = np.empty((grid.seq_len, grid.seq_len), np.bool_)
    mask[np.ix_(index, index)] = token_mask(spec, grid)
    return mask
