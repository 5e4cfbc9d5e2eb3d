"""compile_mask: from a mask and a grid to the blocks that a kernel visits."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError, load_plugin
from radialbench.maskgen.compiler.bind import bind
from radialbench.maskgen.compiler.blocks import by_parts, distinct, ranked, reordered, sorted_blocks
from radialbench.maskgen.compiler.coordinates import Coordinates, Matrix
from radialbench.maskgen.compiler.rounding import kept_blocks
from radialbench.maskgen.compiler.rules import Contents, contents
from radialbench.maskgen.compiler.sides import MAX_SIDE, whole_blocks
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.expressions import Expr, join, name
from radialbench.maskgen.language.given import find_blocks
from radialbench.maskgen.language.heads import AnyMask, HeadPlan
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
from radialbench.maskgen.library import as_spec
from radialbench.maskgen.order import coordinates_of
from radialbench.maskgen.table import BlockTable, Csr, pack_bits, unpack_bits
from radialbench.plain import plain

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

Evaluate = Callable[[Expr, Coordinates, Callable[[float], None]], Contents]

EVALUATORS = {
    "cpu": "radialbench.maskgen.compiler.rules:contents",
    "cuda": "radialbench.kernels.triton.mask_blocks:contents",
}
"""Functions that find the contents of blocks, by the device on which they do so."""


def compile_mask(
    mask: MaskSpec | str | Path,
    grid: TokenGrid,
    block_m: int = 128,
    block_n: int = 128,
    *,
    tables: Mapping[str, Any] | None = None,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> BlockTable:
    """Compile a mask into the blocks that a kernel visits, exactly.

    Never builds the token matrix: time and memory grow with the blocks kept, not with seq_len².

    Args:
        mask: Which pairs attend; or the name of a mask of the library, or the path of a file.
        grid: Token layout.
        block_m: Query tokens of a block, 1 to 8,192.
        block_n: Key tokens of a block, 1 to 8,192.
        tables: Block tables of the mask by name, beside those that it has; see
            `MaskSpec.with_tables`.
        device: `cpu`, or `cuda`: the current GPU evaluates what bounds leave open; the table is the
            same.
        progress: Called now and then with the share that is done; by the CPU only.

    Raises:
        SpecError: A token would attend nothing, an operation is undefined for some token, a
            table is missing or of another shape, or the table does not fit into memory.
    """
    block_m, block_n = plain(block_m), plain(block_n)
    for side, block in (("block_m", block_m), ("block_n", block_n)):
        whole = isinstance(block, int) and not isinstance(block, bool)
        if not whole or not 1 <= block <= MAX_SIDE:
            raise SpecError(f"{side} must be a whole number from 1 to {MAX_SIDE:,}, got {block!r}")
    if not isinstance(grid, TokenGrid):
        raise SpecError(f"the grid must be a TokenGrid, got {type(grid).__name__}")
    _reuse_memory()
    spec = as_spec(mask).with_tables(tables or {})
    compiler = _Compiler(spec, grid, block_m, block_n)
    compiler.evaluate = load_plugin(EVALUATORS, device, kind="device", error=SpecError)
    compiler.progress = progress or compiler.progress
    return compiler.table(spec.identity)


def compile_heads(
    plan: HeadPlan, grid: TokenGrid, block_m: int = 128, block_n: int = 128
) -> HeadTables:
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
    by_group = tuple(tables[group.mask.fingerprint] for group in plan.groups)
    return HeadTables(by_group, plan.group_of_head, plan.identity)


def compile_any(mask: AnyMask, grid: TokenGrid, block_m: int, block_n: int) -> AnyTable:
    """Compile a mask, or a head plan; errors as `compile_mask`."""
    if isinstance(mask, HeadPlan):
        return compile_heads(mask, grid, block_m, block_n)
    return compile_mask(mask, grid, block_m, block_n)


def _reuse_memory() -> None:
    """Make the C library reuse the memory of freed arrays, instead of fetching new pages.

    glibc does so for arrays up to the largest one freed before, below 32 MiB. Freeing one that was
    never touched makes a process's first table 10 to 20% faster.
    """
    np.empty((1 << 25) - (1 << 13), np.uint8)


class _Compiler:
    def __init__(self, spec: MaskSpec, grid: TokenGrid, block_m: int, block_n: int) -> None:
        self.bound = bind(spec, grid)
        self.grid = grid
        self.tables = {table.name: table for table in spec.tables}
        self.at = coordinates_of(grid, self.bound.order)
        self.first, stop = self.bound.order.query_range(grid)
        self.q = whole_blocks(self.at, block_m, self.first, stop)
        self.k = whole_blocks(self.at, block_n, 0, grid.seq_len)
        self.evaluate: Evaluate = contents
        self.progress: Callable[[float], None] = lambda share: None
        self.matrices: dict[str, Matrix] = {}
        self.rule = self.whole_rule()

    def whole_rule(self) -> Expr:
        """Return the mask as one rule: for pairs of video tokens, and for all others."""
        rule = self.node(self.bound.mask)
        if self.grid.seq_len == self.grid.video_tokens:
            return rule
        video = self.grid.segment_number("video")
        rules = [(video, video, rule), *self.bound.pairs]
        ruled = [name("qseg").equals(q) & name("kseg").equals(k) for q, k, _ in rules]
        parts = [own & rule for own, (_, _, rule) in zip(ruled, rules, strict=True)]
        return join("or", [*parts, ~join("or", ruled) & self.bound.text])

    def node(self, node: MaskNode) -> Expr:
        match node:
            case TokenRule():
                return node.expression
            case Rounded():
                return self.matrix(int(node.block.value or 0), kept_blocks(node, self.at))
            case BlockInput():
                block = int(node.block.value or 0)
                return self.matrix(
                    block, find_blocks(self.tables, node.name, self.grid.seq_len, block)
                )
            case Not():
                return ~self.node(node.part)
        assert isinstance(node, (AnyOf, AllOf))
        return join("or" if isinstance(node, AnyOf) else "and", map(self.node, node.parts))

    def matrix(self, block: int, blocks: Bool) -> Expr:
        word = f"#{len(self.matrices)}"
        self.matrices[word] = Matrix(block, blocks)
        return name(word)

    def table(self, mask: MaskIdentity) -> BlockTable:
        found = self.blocks(self.rule, np.arange(len(self.q)))
        full = self.full(found)
        empty = self.empty_tokens(found, full)
        if len(empty):
            if self.bound.empty_rows == "error":
                raise SpecError(self.empty_message(empty))
            found = self.with_own_blocks(found, empty)
            full = self.full(found)
        row, column, content, bits = found.q, found.k, found.content, found.bits
        flat = bits.reshape(len(bits), self.q.size * bits.shape[2])
        if found.distinct:
            used, place = ranked(content[~full], len(bits))
            # Mostly those that are not full come first.
            first_ones = len(used) > 0 and used[-1] == len(used) - 1
            bitmaps = flat[: len(used)] if first_ones else reordered(flat, used)
        else:
            first, kind = distinct(flat)
            used, place = ranked(kind[content[~full]], len(first))
            bitmaps = reordered(flat, first[used])
        # Blocks before each row, and of these the full ones.
        start = np.searchsorted(row, np.arange(len(self.q) + 1))
        full_start = np.concatenate([[0], np.cumsum(full)])[start]
        columns = column.astype(np.int32)
        return BlockTable(
            grid=self.grid,
            order=self.bound.order,
            block_m=self.q.size,
            block_n=self.k.size,
            full=Csr(full_start, columns[full]),
            partial=Csr(start - full_start, columns[~full]),
            bitmap_of=place.astype(np.int32),
            bitmaps=bitmaps.reshape(-1, *bits.shape[1:]),
            mask=mask,
        )

    def blocks(self, rule: Expr, rows: Int64, **axes: Int64) -> Contents:
        """Return the contents of the blocks of some rows, by row, then column."""
        known = Coordinates(self.q.take(rows), self.k, self.matrices, axes)
        found = self.evaluate(rule, known, self.progress)
        row, column, content = sorted_blocks(found.q, found.k, found.content)
        return replace(found, q=rows[row], k=column, content=content)

    def full(self, found: Contents) -> Bool:
        """[blocks] whether all pairs of tokens of a block attend."""
        full: Bool = (found.pairs == self.q.size * self.k.size)[found.content]
        # Blocks at an end of the sequence have fewer pairs.
        short_q, short_k = (side.lengths < side.size for side in (self.q, self.k))
        short = np.flatnonzero(short_q[found.q] | short_k[found.k])
        areas = self.q.lengths[found.q[short]] * self.k.lengths[found.k[short]]
        full[short] = found.pairs[found.content[short]] == areas
        return full

    def empty_tokens(self, found: Contents, full: Bool) -> Int64:
        """Return the positions of query tokens, except padding, that must not attend nothing."""
        if self.bound.empty_rows == "keep":
            return np.zeros(0, np.int64)
        row, content, bits = found.q, found.content, found.bits
        attends = np.zeros((len(self.q), self.q.size), np.bool_)
        settled = np.zeros(len(self.q), np.bool_)
        settled[row[full]] = True
        left = np.flatnonzero(~settled[row])
        if len(left):
            used, place = ranked(content[left], len(bits))
            some = np.zeros((len(used), self.q.size), np.bool_)

            def attending(part: slice) -> None:
                # Word by word: `np.bitwise_or.reduce` of so few takes seven times as long.
                words = np.moveaxis(bits[used[part]], 2, 0)
                np.not_equal(reduce(np.bitwise_or, words), 0, out=some[part])

            by_parts(attending, len(used), bits.shape[1] * bits.shape[2] * 4)
            # In most rows one block alone has every token attend something.
            row = row[left]
            alone = np.asarray(some.all(axis=1))
            settled[row[alone[place]]] = True
            left = np.flatnonzero(~settled[row])
            if len(left):
                row, words = row[left], pack_bits(some)[place[left]]
                first = np.flatnonzero(np.diff(row, prepend=-1))
                attends[row[first]] = unpack_bits(np.bitwise_or.reduceat(words, first), self.q.size)
        attends[settled] = True
        flat = attends.ravel()[: self.grid.q_len]
        return self.first + np.flatnonzero(~flat & ~self.at.pad[self.first :][: len(flat)])

    def with_own_blocks(self, found: Contents, empty: Int64) -> Contents:
        """Fill the rows of tokens that attend nothing: they attend their own block."""
        flags = np.zeros(self.grid.seq_len, np.int64)
        flags[empty] = 1
        rows = np.unique((empty - self.first) // self.q.size)
        rule = self.rule | name("qempty").equals(1) & name("rown").equals(0)
        own = self.at.p // self.bound.granularity
        more = self.blocks(rule, rows, empty=flags, own=own)
        kept = ~np.isin(found.q, rows)
        parts = (
            *((found.q, more.q), (found.k, more.k)),
            (found.content, more.content + len(found.bits)),
        )
        row, column, content = sorted_blocks(
            *(np.concatenate([whole[kept], part]) for whole, part in parts)
        )
        bits = np.concatenate([found.bits, more.bits])
        return Contents(row, column, content, bits, np.concatenate([found.pairs, more.pairs]))

    def empty_message(self, empty: Int64) -> str:
        position = int(empty[0])
        raster = int(self.at.i[position])
        segment = self.grid.layout[self.at.seg[position]]
        where = "" if segment.name == "video" else segment.name
        if segment.sides:
            t, y, x = (int(self.at.axis(axis)[position]) for axis in "tyx")
            where += f"{', ' * bool(where)}frame {t}, row {y}, column {x}"
        where = f"token {raster} ({where})"
        return (
            f"{len(empty):,} of {self.grid.q_len:,} tokens would attend nothing on "
            f"{self.grid.label}, the first is {where}; choose empty_rows: own_block (it attends "
            f"the {self.bound.granularity}-token block it stands in), keep (its output is zero), "
            "or another size"
        )
