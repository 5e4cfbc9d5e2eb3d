"""Whether a mask compiles, tried on small grids."""

from collections.abc import Sequence

import numpy as np

from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.evaluate import fold_size
from radialbench.maskgen.language.spec import MaskSpec, SpecErrorAt, at_key
from radialbench.maskgen.language.tree import BlockInput, leaves

SMALL_GRIDS = (TokenGrid(9, 12, 16), TokenGrid(7, 9, 20, text_tokens=30, text_valid=20))
"""Without and with text; sides are even and odd."""


def try_mask(spec: MaskSpec, grids: Sequence[TokenGrid] = SMALL_GRIDS) -> None:
    """Compile a mask on some grids; the blocks of run-time tables are all kept.

    Raises:
        SpecErrorAt: The mask does not compile: an operation is undefined, a token would attend
            nothing, or a size is not a whole number. The message names the grid.
    """
    for grid in grids:
        try:
            with at_key():
                tables = {}
                for leaf in leaves(spec.mask):
                    if isinstance(leaf, BlockInput):
                        block = fold_size(leaf.block, spec.names_on(grid), "a block")
                        tables[leaf.name] = np.ones((-(-grid.seq_len // block),) * 2, np.bool_)
                compile_mask(spec, grid, tables=tables)
        except SpecErrorAt as error:
            where = "" if grid.label in error.reason else f" (on a grid of {grid.label} tokens)"
            raise SpecErrorAt(error.path or ("mask",), error.reason + where) from None
