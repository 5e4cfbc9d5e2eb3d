"""Sparse sets of blocks with contents, and the set operations on them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.compiler.classify import CellPairs, Classified, classify, products
from radialbench.maskgen.compiler.mixed import evaluate_mixed
from radialbench.maskgen.compiler.pool import Pool, ranked, starts
from radialbench.maskgen.compiler.strips import Side
from radialbench.maskgen.language.expressions import Expr

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BlockSet:
    """Blocks that attend something.

    Attributes:
        key: [n] row · columns + column, ascending and distinct (unless said otherwise).
        content: [n] number in the pool.
    """

    key: Int64
    content: Int64

    def __len__(self) -> int:
        return len(self.key)


Judge = Callable[[Int64, Int64], Bool]
"""Decides by contents, and by how many pairs the cells have, which cell pairs to keep."""


def rule_blocks(
    rule: Expr,
    strips: tuple[Int64, Int64],
    sides: tuple[Side, Side],
    pool: Pool,
    columns: int,
    judge: Judge | None = None,
) -> BlockSet:
    """Find what a rule keeps of the pairs of some strips.

    Args:
        rule: What decides, bound to the grid.
        strips: Strips of queries and of keys that take part.
        sides: The queries and the keys.
        pool: Where the contents are kept.
        columns: Key blocks of the sequence.
        judge: Keeps some of the cell pairs that attend anything.

    Returns:
        One piece per cell pair, in no order; blocks that strips share appear more than once.
    """
    q, k = sides
    found = classify(rule, q, k, *strips)
    evaluated = evaluate_mixed(found.rule, found.constants, found.open, q, k, pool)
    kept = evaluated >= 0
    partial, contents = found.open.take(kept), evaluated[kept]
    full_contents = _rectangles(found.full, q, k, pool)
    cells = CellPairs(
        np.concatenate([found.full.template, partial.template]),
        np.concatenate([found.full.q, partial.q]),
        np.concatenate([found.full.k, partial.k]),
    )
    contents = np.concatenate([full_contents, contents])
    whole, whole_contents = _whole(found.whole, q, k, pool)
    if judge is not None:
        chosen = judge(contents, _area(cells, q, k))
        cells, contents = cells.take(chosen), contents[chosen]
        chosen = judge(whole_contents, _area(whole, q, k))
        whole, whole_contents = whole.take(chosen), whole_contents[chosen]
    spread = _spread(found, cells, contents, q, k, columns)
    whole_key = q.cell_block[whole.q] * columns + k.cell_block[whole.k]
    return BlockSet(
        np.concatenate([whole_key, spread.key]), np.concatenate([whole_contents, spread.content])
    )


def merged(pieces: BlockSet, pool: Pool) -> BlockSet:
    """Sort blocks and join those that appear more than once."""
    if (pieces.key[1:] > pieces.key[:-1]).all():
        return pieces
    key, content = _sorted(pieces.key, pieces.content, len(pool.bits))
    first = starts(key)
    shared = ~first
    shared[:-1] |= ~first[1:]
    content[first & shared] = _joined(key[shared], content[shared], pool)
    return BlockSet(key[first], content[first])


def union(a: BlockSet, b: BlockSet, pool: Pool) -> BlockSet:
    """Blocks of either, with what either attends."""
    if not len(a) or not len(b):
        return a if len(a) else b
    both = BlockSet(np.concatenate([a.key, b.key]), np.concatenate([a.content, b.content]))
    return merged(both, pool)


def intersection(a: BlockSet, b: BlockSet, pool: Pool) -> BlockSet:
    """Blocks of both, with what both attend."""
    key, at_a, at_b = np.intersect1d(a.key, b.key, assume_unique=True, return_indices=True)
    content = pool.combine(a.content[at_a], b.content[at_b], union=False)
    some = pool.pairs()[content] > 0
    return BlockSet(key[some], content[some])


def complement(a: BlockSet, inside: BlockSet, pool: Pool) -> BlockSet:
    """Blocks of `inside`, with what `a` does not attend."""
    _, at_inside, at_a = np.intersect1d(inside.key, a.key, assume_unique=True, return_indices=True)
    numbers, place = ranked(a.content, len(pool.bits))
    flipped = pool.add(~pool.bits[numbers])[place]
    content = inside.content.copy()
    content[at_inside] = pool.combine(content[at_inside], flipped[at_a], union=False)
    some = pool.pairs()[content] > 0
    return BlockSet(inside.key[some], content[some])


def _joined(key: Int64, content: Int64, pool: Pool) -> Int64:
    """Unite the contents of each run of equal keys."""
    while not (start := starts(key)).all():
        # Join the first with the second of every run, the third with the fourth, and so on.
        place = np.arange(len(key)) - np.flatnonzero(start)[np.cumsum(start) - 1]
        second = np.flatnonzero(place % 2 == 1)
        content[second - 1] = pool.combine(content[second - 1], content[second], union=True)
        keep = place % 2 == 0
        key, content = key[keep], content[keep]
    return content


def _sorted(key: Int64, content: Int64, contents: int) -> tuple[Int64, Int64]:
    bits = int(contents).bit_length()
    if len(key) and int(key.max()).bit_length() + bits < 63:
        # Pieces come in ascending runs, one a strip pair: a stable sort merges them.
        joint = key << bits
        joint |= content
        joint.sort(kind="stable")
        return joint >> bits, joint & ((1 << bits) - 1)
    order = np.argsort(key, kind="stable")
    return key[order], content[order]


def _rectangles(cells: CellPairs, q: Side, k: Side, pool: Pool) -> Int64:
    return pool.rectangles(
        q.cell_low[cells.q], q.cell_high[cells.q], k.cell_low[cells.k], k.cell_high[cells.k]
    )


def _spread(
    found: Classified, cells: CellPairs, contents: Int64, q: Side, k: Side, columns: int
) -> BlockSet:
    """Copy the templates' cells to all strip pairs they stand for."""
    templates = len(found.sample[0])
    order = np.argsort(cells.template, kind="stable")
    cells, contents = cells.take(order), contents[order]
    count = np.bincount(cells.template, minlength=templates)
    first = np.cumsum(count) - count
    # Blocks relative to the sample's first block.
    row = q.cell_block[cells.q] - _first_block(q)[found.sample[0]][cells.template]
    column = k.cell_block[cells.k] - _first_block(k)[found.sample[1]][cells.template]
    sizes = count[found.template_of]
    base = _first_block(q)[found.mixed[0]] * columns + _first_block(k)[found.mixed[1]]
    shift = first[found.template_of] - (np.cumsum(sizes) - sizes)
    at = np.arange(sizes.sum()) + np.repeat(shift, sizes)
    return BlockSet((row * columns + column)[at] + np.repeat(base, sizes), contents[at])


def _first_block(side: Side) -> Int64:
    return side.cell_block[side.cell_ptr[:-1]]


def _whole(strips: tuple[Int64, Int64], q: Side, k: Side, pool: Pool) -> tuple[CellPairs, Int64]:
    cells = products(
        q.cell_ptr[strips[0]], q.cells[strips[0]], k.cell_ptr[strips[1]], k.cells[strips[1]]
    )
    return cells, _rectangles(cells, q, k, pool)


def _area(cells: CellPairs, q: Side, k: Side) -> Int64:
    rows = (q.cell_stop - q.cell_start)[cells.q]
    return rows * (k.cell_stop - k.cell_start)[cells.k]
