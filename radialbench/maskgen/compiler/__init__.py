"""compile_mask: from a mask and a grid to the blocks that a kernel visits."""

from collections.abc import Mapping
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.compiler.bind import BoundMask, bind
from radialbench.maskgen.compiler.blocks import (
    FULL,
    MAX_SIDE,
    BlockSet,
    Pool,
    Words,
    ascending,
    complement,
    intersection,
    merged,
    ranked,
    starts,
    union,
)
from radialbench.maskgen.compiler.classify import products
from radialbench.maskgen.compiler.rules import rule_blocks
from radialbench.maskgen.compiler.strips import Side, cut
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.evaluate import Value, evaluate
from radialbench.maskgen.language.expressions import Expr, constant
from radialbench.maskgen.language.spec import HeadPlan, MaskSpec
from radialbench.maskgen.language.tree import (
    AllOf,
    AnyOf,
    BlockInput,
    KeepRule,
    MaskNode,
    Not,
    Rounded,
    Share,
    TokenRule,
)
from radialbench.maskgen.order import Coordinates
from radialbench.maskgen.table import (
    BlockTable,
    Csr,
    block_lengths,
    pack_bits,
    ranges,
    unpack_bits,
)

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


def compile_mask(
    spec: MaskSpec,
    grid: TokenGrid,
    block_m: int = 128,
    block_n: int = 128,
    *,
    tables: Mapping[str, Bool] | None = None,
) -> BlockTable:
    """Compile a mask into the blocks that a kernel visits, exactly.

    Never builds the token matrix: time and memory grow with the blocks kept, not with seq_len².

    Args:
        spec: Which pairs attend.
        grid: Token layout.
        block_m: Query tokens of a block, 1 to 8,192.
        block_n: Key tokens of a block, 1 to 8,192.
        tables: Block tables of the mask by name: [blocks, blocks] booleans over the
            whole sequence in the mask's order, in blocks of the size the mask states.

    Raises:
        SpecError: A token would attend nothing, an operation is undefined for some token, or a
            table is missing or of another shape.
    """
    for side, block in (("block_m", block_m), ("block_n", block_n)):
        whole = isinstance(block, int) and not isinstance(block, bool)
        if not whole or not 1 <= block <= MAX_SIDE:
            raise SpecError(f"{side} must be a whole number from 1 to {MAX_SIDE:,}, got {block!r}")
    _reuse_memory()
    bound = bind(spec, grid)
    compiler = _Compiler(bound, block_m, block_n, tables or {})
    pieces = compiler.fill_empty_rows(compiler.all_pairs())
    return compiler.table(pieces, spec.identity)


def compile_heads(
    plan: HeadPlan, grid: TokenGrid, block_m: int = 128, block_n: int = 128
) -> tuple[BlockTable, ...]:
    """Compile the table of each group of a plan, in the plan's order; equal masks share one.

    Raises:
        SpecError: As `compile_mask`; the message names the heads.
    """
    tables: dict[str, BlockTable] = {}
    for group in plan.groups:
        if group.mask.fingerprint not in tables:
            try:
                table = compile_mask(group.mask, grid, block_m, block_n)
            except SpecError as error:
                raise SpecError(f"heads {group.label}: {error}") from None
            tables[group.mask.fingerprint] = table
    return tuple(tables[group.mask.fingerprint] for group in plan.groups)


def _reuse_memory() -> None:
    """Make the C library reuse the memory of freed arrays, instead of fetching new pages.

    glibc does so for arrays up to the largest one freed before, below 32 MiB. Freeing one that was
    never touched makes a process's first table 10 to 20% faster.
    """
    np.empty((1 << 25) - (1 << 13), np.uint8)


class _Compiler:
    def __init__(
        self, bound: BoundMask, block_m: int, block_n: int, tables: Mapping[str, Bool]
    ) -> None:
        self.bound = bound
        self.grid = bound.grid
        self.tables = tables
        self.at = Coordinates(bound.grid, bound.order)
        self.pool = Pool(block_m, block_n)
        self.rows = -(-self.grid.seq_len // block_m)
        self.columns = -(-self.grid.seq_len // block_n)
        self.q = cut(self.at, block_m)
        self.k = cut(self.at, block_n)

    def all_pairs(self) -> BlockSet:
        """Return the blocks of the whole mask: pairs of video tokens, and pairs with text."""
        q_video, k_video = np.flatnonzero(~self.q.text), np.flatnonzero(~self.k.text)
        q_text, k_text = np.flatnonzero(self.q.text), np.flatnonzero(self.k.text)
        pieces = self.node(self.bound.mask)
        if not len(q_text):
            return pieces
        for strips in ((q_video, k_text), (q_text, k_video), (q_text, k_text)):
            extra = rule_blocks(self.bound.text, strips, (self.q, self.k), self.pool, self.columns)
            pieces = pieces.with_pieces(extra)
        return merged(pieces, self.pool)

    def node(self, node: MaskNode) -> BlockSet:
        match node:
            case TokenRule():
                return self.rule(node)
            case Rounded():
                return self.regridded(_kept_blocks(node, self.at), node.block)
            case BlockInput():
                return self.regridded(self.input_blocks(node), node.block)
            case Not():
                every = self.rule(TokenRule(constant(True)))
                return complement(self.node(node.part), every, self.pool)
        join = union if isinstance(node, AnyOf) else intersection
        assert isinstance(node, (AnyOf, AllOf))
        return reduce(lambda a, b: join(a, b, self.pool), map(self.node, node.parts))

    def rule(self, node: TokenRule) -> BlockSet:
        strips = (np.flatnonzero(~self.q.text), np.flatnonzero(~self.k.text))
        pieces = rule_blocks(node.expression, strips, (self.q, self.k), self.pool, self.columns)
        return merged(pieces, self.pool)

    def regridded(self, keys: Int64, block: Expr) -> BlockSet:
        return _regrid(keys, int(block.value or 0), self.at, self.pool, self.columns)

    def input_blocks(self, node: BlockInput) -> Int64:
        if node.name not in self.tables:
            raise SpecError(unknown("table", node.name, self.tables) + " Pass it as tables={…}")
        block = int(node.block.value or 0)
        count = -(-self.grid.seq_len // block)
        blocks = np.asarray(self.tables[node.name])
        if blocks.shape != (count, count) or blocks.dtype != np.bool_:
            raise SpecError(
                f"table {node.name!r} must be bool [{count}, {count}] (blocks of {block} tokens), "
                f"got {blocks.dtype} {list(blocks.shape)}"
            )
        return np.flatnonzero(blocks)

    def fill_empty_rows(self, pieces: BlockSet) -> BlockSet:
        """Fill or refuse query tokens that attend nothing, by the mask's `empty_rows`."""
        if self.bound.empty_rows == "keep":
            return pieces
        empty = self.empty_tokens(pieces)
        if not len(empty):
            return pieces
        if self.bound.empty_rows == "error":
            raise SpecError(self.empty_message(empty))
        own = self.bound.granularity
        block_m, block_n = self.pool.block_m, self.pool.block_n
        first = empty // own * own
        last = np.minimum(first + own, self.grid.seq_len)
        low, high = first // block_n, (last - 1) // block_n
        token, column = ranges(low, high - low + 1)
        start = np.maximum(first[token] - column * block_n, 0)
        stop = np.minimum(last[token] - column * block_n, block_n)
        row, place = empty[token] // block_m, empty[token] % block_m
        content = self.pool.rectangles(place, place + 1, start, stop)
        own_blocks = merged(BlockSet(row * self.columns + column, content), self.pool)
        return union(pieces, own_blocks, self.pool)

    def empty_tokens(self, pieces: BlockSet) -> Int64:
        """Return the positions of query tokens, except padding, that attend nothing."""
        row = pieces.key // self.columns
        covered = np.zeros(self.rows, np.bool_)
        covered[row[pieces.content == FULL]] = True
        attends = np.repeat(covered[:, None], self.pool.block_m, axis=1)
        checked = ~covered[row]
        row, content = row[checked], pieces.content[checked]
        if len(row):
            first = np.flatnonzero(starts(row))
            some: Bool = np.logical_or.reduce(self.pool.bits, axis=2)
            words = np.bitwise_or.reduceat(pack_bits(some)[content], first)
            attends[row[first]] = unpack_bits(words, self.pool.block_m)
        flat = attends.ravel()[: self.grid.seq_len]
        return np.flatnonzero(~flat & ~self.at.pad)

    def empty_message(self, empty: Int64) -> str:
        position = int(empty[0])
        raster = int(self.at.i[position])
        where = f"token {raster}"
        if self.at.text[position]:
            where += " (text)"
        else:
            t, y, x = (int(self.at.axis(axis)[position]) for axis in "tyx")
            where += f" (frame {t}, row {y}, column {x})"
        return (
            f"{len(empty):,} of {self.grid.seq_len:,} tokens would attend nothing on "
            f"{self.grid.label}, the first is {where}; choose empty_rows: own_block (it attends "
            f"the {self.bound.granularity}-token block it stands in), keep (its output is zero), "
            "or another size"
        )

    def table(self, pieces: BlockSet, mask: MaskIdentity) -> BlockTable:
        row = pieces.key // self.columns
        column = pieces.key - row * self.columns
        is_full = pieces.content == FULL
        other = np.flatnonzero(~is_full)
        tokens = block_lengths(self.grid.seq_len, self.pool.block_m)[row[other]]
        tokens *= block_lengths(self.grid.seq_len, self.pool.block_n)[column[other]]
        is_full[other] = self.pool.pairs()[pieces.content[other]] == tokens
        partial = ~is_full
        numbers, bitmap_of = ranked(pieces.content[partial], len(self.pool.bits))
        # Contents of the pool can be equal; those of a table are distinct.
        distinct = Pool(self.pool.block_m, self.pool.block_n)
        first = distinct.add(self.pool.bits[numbers]) - 1
        return BlockTable(
            grid=self.grid,
            order=self.bound.order,
            block_m=self.pool.block_m,
            block_n=self.pool.block_n,
            full=Csr.from_sorted(row[is_full], column[is_full], self.rows),
            partial=Csr.from_sorted(row[partial], column[partial], self.rows),
            bitmap_of=first[bitmap_of].astype(np.int32),
            bitmaps=distinct.bits[1:],
            mask=mask,
        )


def _kept_blocks(node: Rounded, at: Coordinates) -> Int64:
    """Return the blocks that a rounded rule keeps.

    Each is row · columns + column on the node's own grid of blocks, in ascending order.
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
    # A block larger than the sequence needs no bits beyond its end.
    size = min(block, at.grid.seq_len)
    if size > MAX_SIDE:
        raise SpecError(f"rules are rounded to blocks of at most {MAX_SIDE:,} tokens, got {size:,}")
    pool = Pool(size, size)

    def judge(contents: Int64, areas: Int64) -> Bool:
        return _is_kept(node.keep, contents, areas, pool, block)

    if by_frame:
        pieces = rule_blocks(node.of, (video, video), (side, side), pool, columns, judge)
        return ascending(pieces.key)
    pieces = merged(rule_blocks(node.of, (video, video), (side, side), pool, columns), pool)
    tokens = _video_tokens(side, columns)
    areas = tokens[pieces.key // columns] * tokens[pieces.key % columns]
    return pieces.key[judge(pieces.content, areas)]


def _regrid(keys: Int64, block: int, at: Coordinates, pool: Pool, columns: int) -> BlockSet:
    """Convert whole blocks of one size to blocks of the pool's size, with their video pairs."""
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
        block: [parts] new block of the part.
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


def _is_kept(keep: KeepRule, contents: Int64, areas: Int64, pool: Pool, block: int) -> Bool:
    """Decide which contents are kept; `areas` are the pairs that they could attend."""
    if keep.rule == "any":
        return np.ones(len(contents), np.bool_)
    if keep.rule == "all":
        every: Bool = pool.pairs()[contents] == areas
        return every
    numbers, place = ranked(contents, len(pool.bits))
    kept = np.zeros(len(numbers), np.bool_)
    step = max(1, (1 << 24) // pool.block_m // pool.block_n)
    for start in range(0, len(numbers), step):
        part = slice(start, start + step)
        kept[part] = _by_share(keep, pool.bits[numbers[part]], pool.block_n, block)
    return kept[place]


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
    keys = []
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
        keys.append(block[part][a] * columns + block[b])
    return np.unique(np.concatenate(keys))
