"""Rounded rules: whole blocks, decided from the rule of the tokens in them."""

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.maskgen.compiler.coordinates import Coordinates
from radialbench.maskgen.compiler.rules import contents
from radialbench.maskgen.compiler.sides import MAX_SIDE, Side, video_parts
from radialbench.maskgen.language.tree import KeepRule, Rounded, Share
from radialbench.maskgen.order import Coordinates as TokenCoordinates
from radialbench.maskgen.table import unpack_bits

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Words = NDArray[np.uint32]


def kept_blocks(node: Rounded, at: TokenCoordinates) -> Bool:
    """[blocks, blocks] the blocks that a rounded rule keeps, of its own size.

    Raises:
        SpecError: The rule needs frames that are whole, or smaller blocks.
    """
    block = int(node.block.value or 0)
    by_frame = node.per == "frame_pair"
    if by_frame and at.order.kind != "raster":
        raise SpecError("rounding per frame_pair needs the raster order, where frames are whole")
    parts = video_parts(at, block, by_frame=by_frame, drop_overhang=node.overhang == "drop")
    if parts.size > MAX_SIDE and node.keep.rule != "centre":
        raise SpecError(
            f"rules are rounded to blocks of at most {MAX_SIDE:,} tokens, got {parts.size:,}"
        )
    own = parts.start // block
    if node.keep.rule == "centre":
        middle = np.clip(own * block + block // 2, parts.start, parts.stop - 1)
        parts = Side(at, 1, middle, middle + 1)
    found = contents(node.of, Coordinates(parts, parts))
    kept = np.ones(len(found.q), np.bool_)
    if node.keep.rule == "all":
        area = parts.lengths[found.q] * parts.lengths[found.k]
        kept = found.pairs[found.content] == area
    elif node.keep.rule == "share":
        kept = _by_share(node.keep, found.bits, parts.size, block)[found.content]
    blocks = -(-at.grid.seq_len // block)
    table = np.zeros((blocks, blocks), np.bool_)
    table[own[found.q[kept]], own[found.k[kept]]] = True
    return table


def _by_share(keep: KeepRule, bits: Words, columns: int, block: int) -> Bool:
    """[contents] which contents have enough dense columns."""
    assert keep.rows is not None and keep.columns is not None
    kept = np.zeros(len(bits), np.bool_)
    step = max(1, (1 << 24) // max(1, bits[0].size * 32)) if len(bits) else 1
    for start in range(0, len(bits), step):
        truth = unpack_bits(bits[start : start + step], columns)
        counts = truth.sum(axis=1, dtype=np.uint32).astype(np.int64)
        touched = (counts > 0).sum(axis=1)
        dense = ((counts > 0) & _passes(counts, keep.rows, block)).sum(axis=1)
        kept[start : start + step] = (touched > 0) & _passes(dense, keep.columns, touched)
    return kept


def _passes(part: Int64, share: Share, whole: Int64 | int) -> Bool:
    left, right = part * share.bound.denominator, share.bound.numerator * np.asarray(whole)
    return left > right if share.strict else left >= right
