"""compile_mask: from a mask and a grid to the blocks a kernel has to visit."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.compiler.bind import BoundMask, bind
from radialbench.maskgen.compiler.blocks import (
    BlockSet,
    complement,
    intersection,
    merged,
    rule_blocks,
    union,
)
from radialbench.maskgen.compiler.pool import FULL, MAX_SIDE, Pool, ranked, starts
from radialbench.maskgen.compiler.rounding import kept_blocks, regrid
from radialbench.maskgen.compiler.strips import cut
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.expressions import Expr, constant
from radialbench.maskgen.language.heads import HeadPlan
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.language.tree import (
    AllOf,
    AnyOf,
    BlockInput,
    MaskNode,
    Not,
    Rounded,
    TokenRule,
)
from radialbench.maskgen.order import Coordinates
from radialbench.maskgen.table import BlockTable, Csr, block_lengths, pack_bits, unpack_bits

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
    """Compile a mask into the blocks a kernel has to visit, exactly.

    Never builds the token matrix: time and memory grow with the blocks kept, not with seq_len².

    Args:
        spec: Which pairs attend.
        grid: Token layout.
        block_m: Query tokens of a block, 1 to 8,192.
        block_n: Key tokens of a block, 1 to 8,192.
        tables: Block tables that the mask asks for by name: [blocks, blocks] booleans over the
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
    """Compile the table of each group of a plan, in the plan's order; equal masks once.

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
    """Make the C library reuse the memory of freed arrays, instead of fetching new pages for each.

    glibc does that for arrays up to the largest that was ever freed, if below 32 MiB. So one is
    made, never touched, and freed: a process's first table takes 10 to 20% less time.
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
        """Blocks of the whole mask: pairs of video tokens, and pairs with text."""
        q_video, k_video = np.flatnonzero(~self.q.text), np.flatnonzero(~self.k.text)
        q_text, k_text = np.flatnonzero(self.q.text), np.flatnonzero(self.k.text)
        found = self.node(self.bound.mask)
        if not len(q_text):
            return found
        for strips in ((q_video, k_text), (q_text, k_video), (q_text, k_text)):
            extra = rule_blocks(self.bound.text, strips, (self.q, self.k), self.pool, self.columns)
            found = BlockSet(
                np.concatenate([found.key, extra.key]),
                np.concatenate([found.content, extra.content]),
            )
        return merged(found, self.pool)

    def node(self, node: MaskNode) -> BlockSet:
        match node:
            case TokenRule():
                return self.rule(node)
            case Rounded():
                return self.regridded(kept_blocks(node, self.at), node.block)
            case BlockInput():
                return self.regridded(self.given(node), node.block)
            case Not():
                every = self.rule(TokenRule(constant(True)))
                return complement(self.node(node.part), every, self.pool)
        join = union if isinstance(node, AnyOf) else intersection
        assert isinstance(node, (AnyOf, AllOf))
        found = self.node(node.parts[0])
        for part in node.parts[1:]:
            found = join(found, self.node(part), self.pool)
        return found

    def rule(self, node: TokenRule) -> BlockSet:
        strips = (np.flatnonzero(~self.q.text), np.flatnonzero(~self.k.text))
        pieces = rule_blocks(node.expression, strips, (self.q, self.k), self.pool, self.columns)
        return merged(pieces, self.pool)

    def regridded(self, keys: Int64, block: Expr) -> BlockSet:
        return regrid(keys, int(block.value or 0), self.at, self.pool, self.columns)

    def given(self, node: BlockInput) -> Int64:
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
        """Fill or refuse query tokens that attend nothing, as the mask says."""
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
        count = high - low + 1
        token = np.repeat(np.arange(len(empty)), count)
        column = low[token] + np.arange(len(token)) - np.repeat(np.cumsum(count) - count, count)
        start = np.maximum(first[token] - column * block_n, 0)
        stop = np.minimum(last[token] - column * block_n, block_n)
        row, place = empty[token] // block_m, empty[token] % block_m
        content = self.pool.rectangles(place, place + 1, start, stop)
        return union(
            pieces, merged(BlockSet(row * self.columns + column, content), self.pool), self.pool
        )

    def empty_tokens(self, pieces: BlockSet) -> Int64:
        """Positions of query tokens (padding apart) that attend nothing."""
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
        bitmaps, first = self._distinct(numbers)
        return BlockTable(
            grid=self.grid,
            order=self.bound.order,
            block_m=self.pool.block_m,
            block_n=self.pool.block_n,
            full=Csr.from_sorted(row[is_full], column[is_full], self.rows),
            partial=Csr.from_sorted(row[partial], column[partial], self.rows),
            bitmap_of=first[bitmap_of].astype(np.int32),
            bitmaps=bitmaps,
            mask=mask,
        )

    def _distinct(self, numbers: Int64) -> tuple[NDArray[np.uint32], Int64]:
        """The contents of some numbers, each once, and where each number's content is."""
        last = Pool(self.pool.block_m, self.pool.block_n)
        first = last.add(self.pool.bits[numbers]) - 1
        return last.bits[1:], first
