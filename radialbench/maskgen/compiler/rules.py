"""The blocks of a rule; its mixed cell pairs are evaluated token by token, as packed bits.

A rule is a tree of truth values. Each subtree is evaluated in its cheapest way, and the packed bits
are joined: subtrees of one side are evaluated on that side, those of a distance along a line once
per diagonal, those of one axis for each of the few values of the axis, the rest pair by pair.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from radialbench.maskgen.compiler.blocks import BlockSet, Pool, Words, unique_rows
from radialbench.maskgen.compiler.classify import (
    CellPairs,
    Classified,
    classify,
    concatenated,
    products,
)
from radialbench.maskgen.compiler.strips import Side
from radialbench.maskgen.language.evaluate import Value, evaluate
from radialbench.maskgen.language.expressions import Expr
from radialbench.maskgen.table import pack_bits, ranges

Int64 = NDArray[np.int64]
Float = NDArray[np.float64]

CHUNK_BITS = 1 << 23
"""Pairs evaluated at once: in float64, with some temporaries, they fit the cache."""
Bool = NDArray[np.bool_]

Judge = Callable[[Int64, Int64], Bool]
"""Decides by the contents and the areas of cell pairs which of them are kept."""


def rule_blocks(
    rule: Expr,
    strips: tuple[Int64, Int64],
    sides: tuple[Side, Side],
    pool: Pool,
    columns: int,
    judge: Judge | None = None,
) -> BlockSet:
    """Return the blocks that a rule keeps of the pairs of some strips.

    Args:
        rule: The rule, bound to the grid.
        strips: Strips of queries and of keys that take part.
        sides: The queries and the keys.
        pool: Pool for the contents.
        columns: Key blocks of the sequence.
        judge: Decides which cell pairs with an attending pair are kept.

    Returns:
        One piece per cell pair, in no order; blocks that strips share appear more than once.
    """
    q, k = sides
    classified = classify(rule, q, k, *strips)
    evaluated = _MixedEvaluator(classified.rule, classified.constants, q, k, pool).numbers(
        classified.open
    )
    kept = evaluated >= 0
    partial, contents = classified.open.take(kept), evaluated[kept]
    cells = concatenated([classified.full, partial])
    contents = np.concatenate([_rectangles(classified.full, q, k, pool), contents])
    a, b = classified.whole
    whole = products(q.cell_ptr[a], q.cells[a], k.cell_ptr[b], k.cells[b])
    whole_contents = _rectangles(whole, q, k, pool)
    if judge is not None:
        chosen = judge(contents, _area(cells, q, k))
        cells, contents = cells.take(chosen), contents[chosen]
        chosen = judge(whole_contents, _area(whole, q, k))
        whole, whole_contents = whole.take(chosen), whole_contents[chosen]
    pieces = BlockSet(q.cell_block[whole.q] * columns + k.cell_block[whole.k], whole_contents)
    return pieces.with_pieces(_spread(classified, cells, contents, q, k, columns))


def _rectangles(cells: CellPairs, q: Side, k: Side, pool: Pool) -> Int64:
    return pool.rectangles(
        q.cell_low[cells.q], q.cell_high[cells.q], k.cell_low[cells.k], k.cell_high[cells.k]
    )


def _spread(
    classified: Classified, cells: CellPairs, contents: Int64, q: Side, k: Side, columns: int
) -> BlockSet:
    """Copy the templates' cells to all their strip pairs."""
    templates = len(classified.sample[0])
    order = np.argsort(cells.template, kind="stable")
    cells, contents = cells.take(order), contents[order]
    count = np.bincount(cells.template, minlength=templates)
    first = np.cumsum(count) - count
    # Blocks relative to the sample's first block.
    row = q.cell_block[cells.q] - _first_block(q)[classified.sample[0]][cells.template]
    column = k.cell_block[cells.k] - _first_block(k)[classified.sample[1]][cells.template]
    sizes = count[classified.template_of]
    base = _first_block(q)[classified.mixed[0]] * columns + _first_block(k)[classified.mixed[1]]
    strip_pair, at = ranges(first[classified.template_of], sizes)
    return BlockSet((row * columns + column)[at] + base[strip_pair], contents[at])


def _first_block(side: Side) -> Int64:
    return side.cell_block[side.cell_ptr[:-1]]


def _area(cells: CellPairs, q: Side, k: Side) -> Int64:
    rows = (q.cell_stop - q.cell_start)[cells.q]
    return rows * (k.cell_stop - k.cell_start)[cells.k]


class _MixedEvaluator:
    def __init__(
        self, rule: Expr, constants: Mapping[str, Float], q: Side, k: Side, pool: Pool
    ) -> None:
        self.rule = rule
        self.constants = constants
        self.q = q
        self.k = k
        self.pool = pool
        self.linear = q.linear & k.linear

    def numbers(self, pairs: CellPairs) -> Int64:
        """[pairs] number of each content in the pool, -1 where nothing attends."""
        same = self.repeats(pairs)
        if same is None:
            return self.contents(pairs)
        some, kind = same
        return self.contents(pairs.take(some))[kind]

    def contents(self, pairs: CellPairs) -> Int64:
        numbers = np.full(len(pairs), -1, np.int64)
        step = max(1, 16 * CHUNK_BITS // (self.pool.block_m * self.pool.words * 32))
        for start in range(0, len(pairs), step):
            part = pairs.take(slice(start, start + step))
            sides = self._sides(part)
            frame = self.pool.rectangle_bits(*sides)
            bits = self.bits(self.rule, part) & frame
            some = bits.any(axis=(1, 2))
            every = (bits == frame).all(axis=(1, 2))
            part_numbers = np.full(len(part), -1, np.int64)
            part_numbers[every] = self.pool.rectangles(*(side[every] for side in sides))
            partly = some & ~every
            if partly.any():
                part_numbers[partly] = self.pool.add(bits[partly])
            numbers[start : start + step] = part_numbers
        return numbers

    def repeats(self, pairs: CellPairs) -> tuple[Int64, Int64] | None:
        """Return one pair of each kind with equal bits, and the kind of each pair, if known."""
        axes = self.rule.names() - set(self.constants)
        if not all(word[0] == "r" and word[1:] in self.linear for word in axes):
            return None
        columns = [*self._sides(pairs), *(self._origin(word[1:], pairs) for word in sorted(axes))]
        if self.constants:
            columns.append(unique_rows(self.constants.values())[1][pairs.template])
        return unique_rows(columns)

    def bits(self, node: Expr, pairs: CellPairs) -> Words:
        """[pairs, block_m or 1, words] bits, not yet cut to the cells."""
        names = node.names() - set(self.constants)
        if not any(word[0] in "kr" for word in names):
            return self._queries_only(node, pairs)
        if not any(word[0] in "qr" for word in names):
            return self._keys_only(node, pairs)
        if all(word[0] == "r" for word in names) and len(names) == 1:
            axis = next(iter(names))[1:]
            if axis in self.linear:
                return self._diagonals(node, axis, pairs)
        axes = {word[1:] for word in names}
        if len(axes) == 1 and axes <= {"t", "y", "x"}:
            tabulated = self._tabulated(node, next(iter(axes)), pairs)
            if tabulated is not None:
                return tabulated
        if node.op == "and":
            return self.bits(node.args[0], pairs) & self.bits(node.args[1], pairs)
        if node.op == "or":
            return self.bits(node.args[0], pairs) | self.bits(node.args[1], pairs)
        if node.op == "not":
            return ~self.bits(node.args[0], pairs)
        return self._pair_by_pair(node, pairs)

    def _queries_only(self, node: Expr, pairs: CellPairs) -> Words:
        values = self._values(node, pairs, rows=True, columns=False)
        truth = np.broadcast_to(evaluate(node, values), (len(pairs), self.pool.block_m, 1)).astype(
            np.bool_
        )
        return np.where(truth, np.uint32(0xFFFFFFFF), np.uint32(0))

    def _keys_only(self, node: Expr, pairs: CellPairs) -> Words:
        values = self._values(node, pairs, rows=False, columns=True)
        shape = (len(pairs), 1, self.pool.block_n)
        return pack_bits(np.broadcast_to(evaluate(node, values), shape).astype(np.bool_))

    def _diagonals(self, node: Expr, axis: str, pairs: CellPairs) -> Words:
        m, n = self.pool.block_m, self.pool.block_n
        distance = self._origin(axis, pairs)[:, None] - np.arange(1 - m, n)
        values: dict[str, Value] = {f"r{axis}": distance.astype(np.float64)}
        values |= {w: v[pairs.template][:, None] for w, v in self.constants.items()}
        truth = np.broadcast_to(evaluate(node, values), distance.shape).astype(np.bool_)
        # Row i of a block reads the diagonals from the i-th place before the last start on.
        return pack_bits(sliding_window_view(truth, n, axis=1)[:, ::-1])

    def _tabulated(self, node: Expr, axis: str, pairs: CellPairs) -> Words | None:
        """Evaluate every value of the axis on the queries' side, then look rows up."""
        m, n = self.pool.block_m, self.pool.block_n
        inner = [word for word in self.constants if word in node.names()]
        columns = [self.constants[word][pairs.template] for word in inner]
        some, entry = unique_rows([pairs.k, *columns])
        at = self.q.at.axis(axis)[self._tokens(self.q, pairs.q, m)]
        low = int(at.min())
        size = int(at.max()) - low + 1
        if len(some) * size > len(pairs) * m:
            return None
        sample = pairs.take(some)
        known: dict[str, Value] = {
            w: self.constants[w][sample.template][:, None, None] for w in inner
        }
        known[f"q{axis}"] = (np.arange(size) + low).astype(np.float64)[None, :, None]
        tokens = self._tokens(self.k, sample.k, n)
        known[f"k{axis}"] = self.k.at.axis(axis)[tokens].astype(np.float64)[:, None, :]
        known[f"r{axis}"] = known[f"q{axis}"] - known[f"k{axis}"]
        truth = np.broadcast_to(evaluate(node, known), (len(some), size, n)).astype(np.bool_)
        table = pack_bits(truth).reshape(-1, self.pool.words)
        return table.take(entry.reshape(-1, 1) * size + (at - low), axis=0)

    def _pair_by_pair(self, node: Expr, pairs: CellPairs) -> Words:
        m, n = self.pool.block_m, self.pool.block_n
        out = np.empty((len(pairs), m, self.pool.words), np.uint32)
        step = max(1, CHUNK_BITS // 64 // (m * n))
        for start in range(0, len(pairs), step):
            part = pairs.take(slice(start, start + step))
            values = self._values(node, part, rows=True, columns=True)
            truth = np.broadcast_to(evaluate(node, values), (len(part), m, n))
            out[start : start + step] = pack_bits(truth.astype(np.bool_))
        return out

    def _values(
        self, node: Expr, pairs: CellPairs, *, rows: bool, columns: bool
    ) -> dict[str, Value]:
        values: dict[str, Value] = {}
        q = self._tokens(self.q, pairs.q, self.pool.block_m)[:, :, None] if rows else None
        k = self._tokens(self.k, pairs.k, self.pool.block_n)[:, None, :] if columns else None
        for word in node.names():
            if word in self.constants:
                values[word] = self.constants[word][pairs.template][:, None, None]
            elif word[0] == "q":
                values[word] = self.q.at.axis(word[1:])[q].astype(np.float64)
            elif word[0] == "k":
                values[word] = self.k.at.axis(word[1:])[k].astype(np.float64)
            else:
                axis = word[1:]
                distance = self.q.at.axis(axis)[q] - self.k.at.axis(axis)[k]
                values[word] = distance.astype(np.float64)
        return values

    def _tokens(self, side: Side, cells: Int64, size: int) -> Int64:
        """[cells, size] positions of a block's tokens; those outside the cell are clamped."""
        places = side.cell_block[cells][:, None] * side.block + np.arange(size)
        return np.clip(places, side.cell_start[cells][:, None], side.cell_stop[cells][:, None] - 1)

    def _origin(self, axis: str, pairs: CellPairs) -> Int64:
        """[pairs] distance along a line between the first places of the blocks."""
        at_q = self.q.at.axis(axis)[self.q.cell_start] - self.q.cell_low
        at_k = self.k.at.axis(axis)[self.k.cell_start] - self.k.cell_low
        return at_q[pairs.q] - at_k[pairs.k]

    def _sides(self, pairs: CellPairs) -> tuple[Int64, Int64, Int64, Int64]:
        """[pairs] top, bottom, left and right of the pairs in their blocks."""
        q, k = self.q, self.k
        return q.cell_low[pairs.q], q.cell_high[pairs.q], k.cell_low[pairs.k], k.cell_high[pairs.k]
