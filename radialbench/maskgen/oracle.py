"""The definition of a mask, pair by pair: slow and short; every table is compared with it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.maskgen.compiler.bind import BoundMask, bind
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.evaluate import evaluate
from radialbench.maskgen.language.expressions import AXES, Expr
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.language.tree import (
    AllOf,
    AnyOf,
    BlockInput,
    KeepRule,
    MaskNode,
    Not,
    Rounded,
    TokenRule,
)
from radialbench.maskgen.library import as_spec
from radialbench.maskgen.order import Coordinates

Bool = NDArray[np.bool_]


def token_mask(
    spec: MaskSpec | str, grid: TokenGrid, *, tables: Mapping[str, Any] | None = None
) -> Bool:
    """Evaluate a mask for every pair of tokens.

    Args:
        spec: The mask, or its name.
        grid: Token layout; small, as the result has an entry for each pair.
        tables: Block tables of the mask by name; see `MaskSpec.with_tables`.

    Returns:
        [q_len, seq_len] whether the query (row) attends the key (column), in the mask's order.
    """
    spec = as_spec(spec).with_tables(tables or {})
    given = {table.name: table.blocks for table in spec.tables}
    return _Oracle(bind(spec, grid), given).mask()


class _Oracle:
    def __init__(self, bound: BoundMask, tables: Mapping[str, Bool]) -> None:
        self.bound = bound
        self.tables = tables
        self.at = Coordinates(bound.grid, bound.order)
        self.n = bound.grid.seq_len
        self.values: dict[str, NDArray[Any]] = {}
        for axis in AXES:
            self.values[f"q{axis}"] = self.at.axis(axis).astype(np.float64)[:, None]
            self.values[f"k{axis}"] = self.at.axis(axis).astype(np.float64)[None, :]
            self.values[f"r{axis}"] = self.values[f"q{axis}"] - self.values[f"k{axis}"]
        for word in ("seg", "text", "pad"):
            self.values[f"q{word}"] = self.at.axis(word)[:, None]
            self.values[f"k{word}"] = self.at.axis(word)[None, :]

    def mask(self) -> Bool:
        q, k = self.at.seg[:, None], self.at.seg[None, :]
        video = self.bound.grid.segment_number("video")
        allowed = self.pairs(self.bound.text)
        for q_number, k_number, rule in self.bound.pairs:
            allowed = np.where((q == q_number) & (k == k_number), self.pairs(rule), allowed)
        allowed = np.where((q == video) & (k == video), self.node(self.bound.mask), allowed)
        empty = ~allowed.any(axis=1) & ~self.at.pad
        queries = slice(*self.bound.order.query_range(self.bound.grid))
        if self.bound.empty_rows == "own_block":
            own = self.at.p // self.bound.granularity
            allowed |= empty[:, None] & (own[:, None] == own[None, :])
        elif self.bound.empty_rows == "error" and empty[queries].any():
            at = queries.start + empty[queries].argmax()
            raise SpecError(f"the token at position {at} attends nothing")
        return allowed[queries]

    def pairs(self, tree: Expr) -> Bool:
        return np.broadcast_to(evaluate(tree, self.values), (self.n, self.n)).astype(np.bool_)

    def node(self, node: MaskNode) -> Bool:
        match node:
            case TokenRule():
                return self.pairs(node.expression)
            case AnyOf() | AllOf():
                join = np.logical_or if isinstance(node, AnyOf) else np.logical_and
                joined: Bool = join.reduce([self.node(part) for part in node.parts])
                return joined
            case Not():
                return ~self.node(node.part)
            case BlockInput():
                return self.whole_blocks(self.tables[node.name], int(node.block.value or 0))
            case Rounded():
                block = int(node.block.value or 0)
                return self.whole_blocks(self.rounded(node, block), block)

    def whole_blocks(self, blocks: Bool, block: int) -> Bool:
        own = self.at.p // block
        return blocks[own[:, None], own[None, :]]

    def rounded(self, node: Rounded, block: int) -> Bool:
        """Return the blocks of which a piece, of a frame pair or of the whole video, is kept."""
        allowed = self.pairs(node.of)
        count = -(-self.n // block)
        kept = np.zeros((count, count), np.bool_)
        owner = self.at.t if node.per == "frame_pair" else np.zeros(self.n, np.int64)
        video = np.flatnonzero(self.at.seg == self.bound.grid.segment_number("video"))
        for q_owner in np.unique(owner[video]):
            for k_owner in np.unique(owner[video]):
                rows = video[owner[video] == q_owner]
                columns = video[owner[video] == k_owner]
                for a in self._blocks(rows, block, node.overhang):
                    for b in self._blocks(columns, block, node.overhang):
                        inside_q = rows[rows // block == a]
                        inside_k = columns[columns // block == b]
                        kept[a, b] |= _is_kept(allowed, inside_q, inside_k, node.keep, block)
        return kept

    def _blocks(self, tokens: NDArray[np.int64], block: int, overhang: str) -> list[int]:
        blocks: list[int] = np.unique(tokens // block).tolist()
        return blocks[: -(-len(tokens) // block)] if overhang == "drop" else blocks


def _is_kept(
    allowed: Bool, rows: NDArray[np.int64], columns: NDArray[np.int64], keep: KeepRule, block: int
) -> bool:
    inside = allowed[np.ix_(rows, columns)]
    if keep.rule == "any":
        return bool(inside.any())
    if keep.rule == "all":
        return bool(inside.all())
    if keep.rule == "centre":
        middle = [min(side[0] // block * block + block // 2, side[-1]) for side in (rows, columns)]
        return bool(allowed[max(middle[0], rows[0]), max(middle[1], columns[0])])
    assert keep.rows is not None and keep.columns is not None
    counts = inside.sum(axis=0)
    touched = int((counts > 0).sum())
    dense = sum(_passes(int(count), keep.rows, block) for count in counts if count)
    return touched > 0 and _passes(dense, keep.columns, touched)


def _passes(part: int, share: Any, whole: int) -> bool:
    bound = share.bound * whole
    return bool(part > bound if share.strict else part >= bound)
