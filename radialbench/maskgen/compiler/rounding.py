"""Block rounding: from pieces of blocks to the whole blocks that a published mask keeps."""

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.maskgen.compiler.blocks import BlockSet, merged, rule_blocks
from radialbench.maskgen.compiler.classify import products
from radialbench.maskgen.compiler.pool import MAX_SIDE, Pool, Words, ascending, ranked
from radialbench.maskgen.compiler.strips import Side, cut
from radialbench.maskgen.language.evaluate import Value, evaluate
from radialbench.maskgen.language.tree import KeepRule, Rounded, Share
from radialbench.maskgen.order import Coordinates
from radialbench.maskgen.table import unpack_bits

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


def kept_blocks(node: Rounded, at: Coordinates) -> Int64:
    """Find the blocks that a rounded rule keeps.

    Returns:
        Ascending row · columns + column on the node's own grid of blocks.

    Raises:
        SpecError: Frame pairs are to judge, but frames are not whole in the mask's order.
    """
    block = int(node.block.value or 0)
    by_frame = node.per == "frame_pair"
    if by_frame and at.order.kind != "raster":
        raise SpecError("rounding per frame_pair needs the raster order, where frames are whole")
    drop = node.overhang == "drop"
    frames = True if by_frame else (False if drop or node.keep.rule == "centre" else None)
    side = cut(at, block, frames=frames, drop_overhang=drop)
    columns = -(-at.grid.seq_len // block)
    video = np.flatnonzero(~side.text)
    if node.keep.rule == "centre":
        return _by_centre(node, side, video, columns)
    # A block larger than the sequence needs no bits for what is not there.
    size = min(block, at.grid.seq_len)
    if size > MAX_SIDE:
        raise SpecError(f"rules are rounded to blocks of at most {MAX_SIDE:,} tokens, got {size:,}")
    pool = Pool(size, size)

    def judge(contents: Int64, areas: Int64) -> Bool:
        return _judge(node.keep, contents, areas, pool, block)

    if by_frame:
        pieces = rule_blocks(node.of, (video, video), (side, side), pool, columns, judge)
        return ascending(pieces.key)
    pieces = merged(rule_blocks(node.of, (video, video), (side, side), pool, columns), pool)
    tokens = _video_tokens(side, columns)
    areas = tokens[pieces.key // columns] * tokens[pieces.key % columns]
    return pieces.key[judge(pieces.content, areas)]


def regrid(keys: Int64, block: int, at: Coordinates, pool: Pool, columns: int) -> BlockSet:
    """Write whole blocks of one size as blocks of another, with contents.

    Args:
        keys: Blocks of `block` × `block` tokens, as `kept_blocks` gives them.
        block: Their size.
        at: Coordinates of the tokens.
        pool: Contents of the new blocks, and their size.
        columns: New blocks in a row.

    Returns:
        The video pairs inside the blocks.
    """
    grid = at.grid
    begin, end = grid.video_start, grid.video_start + grid.video_tokens
    old_columns = -(-grid.seq_len // block)
    rows = keys // old_columns
    cells = keys - rows * old_columns
    q_parts = _Parts(block, pool.block_m, begin, end, grid.seq_len)
    k_parts = _Parts(block, pool.block_n, begin, end, grid.seq_len)
    count_q, count_k = q_parts.count[rows], k_parts.count[cells]
    pairs = products(q_parts.first[rows], count_q, k_parts.first[cells], count_k)
    q, k = pairs.q, pairs.k
    content = pool.rectangles(q_parts.low[q], q_parts.high[q], k_parts.low[k], k_parts.high[k])
    return merged(BlockSet(q_parts.block[q] * columns + k_parts.block[k], content), pool)


class _Parts:
    """A sequence cut at the borders of both block sizes.

    Attributes:
        first: [old blocks] first part of each old block.
        count: [old blocks] its parts.
        block: [parts] new block a part lies in.
        low: [parts] its first place in the new block.
        high: [parts] the place after its last.
    """

    def __init__(self, old: int, new: int, begin: int, end: int, seq_len: int) -> None:
        steps = (np.arange(begin - begin % step + step, end, step) for step in (old, new))
        borders = ascending(np.concatenate([[begin], *steps, [end]]))
        start, stop = borders[:-1], borders[1:]
        owner = start // old
        old_blocks = -(-seq_len // old)
        self.first = np.searchsorted(owner, np.arange(old_blocks))
        self.count = np.bincount(owner, minlength=old_blocks)
        self.block = start // new
        self.low = start - self.block * new
        self.high = stop - self.block * new


def _judge(keep: KeepRule, contents: Int64, areas: Int64, pool: Pool, block: int) -> Bool:
    """Judge contents; `areas` says how many pairs they could attend."""
    if keep.rule == "any":
        return np.ones(len(contents), np.bool_)
    if keep.rule == "all":
        every: Bool = pool.pairs()[contents] == areas
        return every
    numbers, place = ranked(contents, len(pool.bits))
    verdict = np.zeros(len(numbers), np.bool_)
    step = max(1, (1 << 24) // pool.block_m // pool.block_n)
    for start in range(0, len(numbers), step):
        part = slice(start, start + step)
        verdict[part] = _by_share(keep, pool.bits[numbers[part]], pool.block_n, block)
    return verdict[place]


def _by_share(keep: KeepRule, words: Words, columns: int, block: int) -> Bool:
    assert keep.rows is not None and keep.columns is not None
    counts = unpack_bits(words, columns).sum(axis=1, dtype=np.uint32).astype(np.int64)
    touched = (counts > 0).sum(axis=1)
    dense = ((counts > 0) & _passes(counts, keep.rows, block)).sum(axis=1)
    kept: Bool = (touched > 0) & _passes(dense, keep.columns, touched)
    return kept


def _video_tokens(side: Side, blocks: int) -> Int64:
    """[blocks] video tokens of each block."""
    video = ~np.repeat(side.text, side.cells)
    lengths = side.cell_stop - side.cell_start
    return np.bincount(side.cell_block[video], lengths[video], minlength=blocks).astype(np.int64)


def _passes(part: Int64, share: Share, whole: Int64 | int) -> Bool:
    left, right = part * share.bound.denominator, share.bound.numerator * np.asarray(whole)
    return left > right if share.strict else left >= right


def _by_centre(node: Rounded, side: Side, video: Int64, columns: int) -> Int64:
    cells = np.concatenate(
        [np.arange(side.cell_ptr[strip], side.cell_ptr[strip + 1]) for strip in video]
    )
    block = side.cell_block[cells]
    middle = np.clip(
        block * side.block + side.block // 2, side.cell_start[cells], side.cell_stop[cells] - 1
    )
    found = []
    step = max(1, (1 << 20) // max(1, len(cells)))
    for start in range(0, len(cells), step):
        part = slice(start, start + step)
        values: dict[str, Value] = {}
        for word in node.of.names():
            along = side.at.axis(word[1:])[middle].astype(np.float64)
            q, k = along[part, None], along[None, :]
            values[word] = {"q": q, "k": k, "r": q - k}[word[0]]
        shape = (len(middle[part]), len(middle))
        a, b = np.nonzero(np.broadcast_to(evaluate(node.of, values), shape))
        found.append(block[part][a] * columns + block[b])
    return np.unique(np.concatenate(found))
