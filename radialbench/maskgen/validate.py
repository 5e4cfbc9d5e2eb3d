"""Whether a mask compiles, tried on small grids."""

from collections.abc import Sequence

import numpy as np

from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import Segment, TokenGrid
from radialbench.maskgen.language.evaluate import fold_size
from radialbench.maskgen.language.spec import MaskSpec, SpecErrorAt, at_key
from radialbench.maskgen.language.tree import BlockInput, leaves

SMALL_GRIDS = (TokenGrid(9, 12, 16), TokenGrid(7, 9, 20, text_tokens=30, text_valid=20))
"""Without and with text; sides are even and odd."""


def small_grids(spec: MaskSpec) -> tuple[TokenGrid, ...]:
    """Return small grids for a mask, with flat segments of the names that it mentions."""
    others = sorted(spec.segments - {"video", "text"})
    if not others:
        return SMALL_GRIDS
    text, video = Segment("text", 30, valid=20), Segment("video", sides=(9, 12, 16))
    return (TokenGrid.of(text, video, *(Segment(name, 25, valid=21) for name in others)),)


def try_mask(spec: MaskSpec, grids: Sequence[TokenGrid] = ()) -> None:
    """Compile a mask on some grids, or small ones; the blocks of run-time tables are all kept.

    Raises:
        SpecErrorAt: The mask does not compile: an operation is undefined, a token would attend
            nothing, or a size is not a whole number. The message names the grid.
    """
    for grid in grids or small_grids(spec):
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
