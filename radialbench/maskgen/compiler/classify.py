"""Classification of cell pairs: a rule keeps them, drops them, or is evaluated token by token.

Strip pairs are bounded first. Those with a mixed answer are sorted into templates: within one, the
rule has the same values wherever it does not vary inside a strip, and the same cells, so that one
strip pair represents all.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.compiler.blocks import unique_rows
from radialbench.maskgen.compiler.strips import GROUP, Boxes, PairBoxes, Side
from radialbench.maskgen.language.evaluate import Array, Interval, bound, bound_nodes, fold
from radialbench.maskgen.language.expressions import COMPARISONS, Expr, constant, name
from radialbench.maskgen.table import ranges

Int64 = NDArray[np.int64]
Float = NDArray[np.float64]

MAX_AT_ONCE = 1 << 20
"""Pairs bounded at once; more are bounded in groups first."""


@dataclass(frozen=True, eq=False)
class CellPairs:
    """Pairs of cells of the representatives.

    Attributes:
        template: [n] template each pair belongs to.
        q: [n] query cell.
        k: [n] key cell.
    """

    template: Int64
    q: Int64
    k: Int64

    def __len__(self) -> int:
        return len(self.q)

    def take(self, chosen: Array | slice) -> "CellPairs":
        """Return some of the pairs."""
        return CellPairs(self.template[chosen], self.q[chosen], self.k[chosen])


@dataclass(frozen=True, eq=False)
class Classified:
    """A rule on the requested strip pairs.

    Attributes:
        whole: Strip pairs (queries, keys) in which every pair attends.
        mixed: Strip pairs (queries, keys) that vary inside.
        template_of: [mixed] template of each mixed strip pair.
        sample: Strip pair (queries, keys) that represents each template.
        rule: The rule inside a template, with its fixed parts replaced by names `c0, c1 …`.
        constants: [templates] value of each `c…`.
        full: Cell pairs in which every pair attends.
        open: Cell pairs to be evaluated token by token.
    """

    whole: tuple[Int64, Int64]
    mixed: tuple[Int64, Int64]
    template_of: Int64
    sample: tuple[Int64, Int64]
    rule: Expr
    constants: dict[str, Float]
    full: CellPairs
    open: CellPairs


def classify(rule: Expr, q: Side, k: Side, q_strips: Int64, k_strips: Int64) -> Classified:
    """Classify the cells of all pairs of the given strips by a rule that is bound to the grid."""
    boxes = Boxes(rule.names(), q, k)
    whole, mixed = _strip_pairs(rule, boxes.strips(), q_strips, k_strips)
    rule, constants = _specialise(rule, boxes.strips(), mixed)
    template_of, sample = _templates(rule, constants, q, k, mixed)
    at_sample = {word: values[sample] for word, values in constants.items()}
    pair = (mixed[0][sample], mixed[1][sample])
    boxes = boxes.only(rule.names() - set(constants))
    full, mixed_cells = _cell_pairs(rule, boxes, q, k, pair, at_sample)
    return Classified(whole, mixed, template_of, pair, rule, at_sample, full, mixed_cells)


def _strip_pairs(
    rule: Expr, boxes: PairBoxes, q: Int64, k: Int64
) -> tuple[tuple[Int64, Int64], tuple[Int64, Int64]]:
    rows = max(1, MAX_AT_ONCE // max(1, len(k)))
    always: list[tuple[Int64, Int64]] = []
    mixed: list[tuple[Int64, Int64]] = []
    for start in range(0, len(q), rows):
        part = q[start : start + rows]
        low, high = bound(rule, boxes.on(part[:, None], k[None, :]))
        shape = (len(part), len(k))
        low, high = np.broadcast_to(low, shape), np.broadcast_to(high, shape)
        for pairs, chosen in ((always, low == 1), (mixed, (low == 0) & (high == 1))):
            a, b = np.nonzero(chosen)
            pairs.append((part[a], k[b]))
    return _joined(always), _joined(mixed)


def _joined(parts: list[tuple[Int64, Int64]]) -> tuple[Int64, Int64]:
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])


def _specialise(
    rule: Expr, boxes: PairBoxes, mixed: tuple[Int64, Int64]
) -> tuple[Expr, dict[str, Float]]:
    """Replace parts that do not vary inside any mixed strip pair by their value there."""
    if not len(mixed[0]):
        return constant(False), {}
    bounds = bound_nodes(rule, boxes.on(*mixed))
    fixed = {node for node, (low, high) in bounds.items() if np.array_equal(low, high)}
    constants: dict[str, Float] = {}
    replaced: dict[Expr, Expr] = {}

    def value_of(node: Expr) -> Expr:
        values = np.broadcast_to(bounds[node][0], mixed[0].shape).astype(np.float64)
        if values.size and (values == values[0]).all():
            truth = node.op in (*COMPARISONS, "and", "or", "not", "truth")
            return constant(bool(values[0]) if truth else float(values[0]))
        word = f"c{len(constants)}"
        constants[word] = values
        return name(word)

    def rebuild(node: Expr) -> Expr:
        if node not in replaced:
            if node.op not in ("number", "truth") and node in fixed:
                replaced[node] = value_of(node)
            else:
                replaced[node] = Expr(node.op, tuple(map(rebuild, node.args)), node.value)
        return replaced[node]

    residual = fold(rebuild(rule), {})
    used = residual.names()
    return residual, {word: values for word, values in constants.items() if word in used}


def _templates(
    rule: Expr, constants: dict[str, Float], q: Side, k: Side, mixed: tuple[Int64, Int64]
) -> tuple[Int64, Int64]:
    """Return the template of each mixed strip pair, and a sample of each template."""
    a, b = mixed
    columns: list[Array] = [*constants.values(), q.shape[a], k.shape[b], q.phase[a], k.phase[b]]
    for word in sorted(rule.names() - set(constants)):
        starts_q = q.at.axis(word[1:])[q.start]
        starts_k = k.at.axis(word[1:])[k.start]
        if word[0] == "q":
            columns.append(starts_q[a])
        elif word[0] == "k":
            columns.append(starts_k[b])
        else:
            columns.append(starts_q[a] - starts_k[b])
    sample, template_of = unique_rows(columns)
    return template_of, sample


def _cell_pairs(
    rule: Expr,
    boxes: Boxes,
    q: Side,
    k: Side,
    pair: tuple[Int64, Int64],
    constants: dict[str, Float],
) -> tuple[CellPairs, CellPairs]:
    rows, columns = q.cells[pair[0]], k.cells[pair[1]]
    if (rows * columns).sum() <= MAX_AT_ONCE:
        cells = products(q.cell_ptr[pair[0]], rows, k.cell_ptr[pair[1]], columns)
        return _bounded(rule, boxes.cells(), cells, cells.q, cells.k, constants)
    q_groups, q_ptr = _groups(q)
    k_groups, k_ptr = _groups(k)
    groups = products(q_ptr[pair[0]], -(-rows // GROUP), k_ptr[pair[1]], -(-columns // GROUP))
    grouped = boxes.grouped(q_groups, k_groups)
    full, mixed = _bounded(rule, grouped, groups, groups.q, groups.k, constants)
    spans = (q_groups, q.cell_ptr, k_groups, k.cell_ptr)
    full, mixed = _ungrouped(full, *spans), _ungrouped(mixed, *spans)
    also_full, mixed = _bounded(rule, boxes.cells(), mixed, mixed.q, mixed.k, constants)
    return concatenated([full, also_full]), mixed


def _bounded(
    rule: Expr,
    boxes: PairBoxes,
    pairs: CellPairs,
    q: Int64,
    k: Int64,
    constants: dict[str, Float],
) -> tuple[CellPairs, CellPairs]:
    """Bound the rule on pairs; return those that attend always, and those that vary."""
    rule, boxes = _one_sided(rule, boxes, constants)
    always: list[CellPairs] = []
    mixed: list[CellPairs] = []
    for start in range(0, max(1, len(pairs)), MAX_AT_ONCE):
        part = slice(start, start + MAX_AT_ONCE)
        on = boxes.on(q[part], k[part])
        known: dict[str, Interval] = {
            word: (values[pairs.template[part]],) * 2 for word, values in constants.items()
        }
        low, high = bound(rule, on | known)
        chunk = CellPairs(pairs.template[part], pairs.q[part], pairs.k[part])
        low, high = np.broadcast_to(low, q[part].shape), np.broadcast_to(high, q[part].shape)
        always.append(chunk.take(low == 1))
        mixed.append(chunk.take((low == 0) & (high == 1)))
    return concatenated(always), concatenated(mixed)


def _one_sided(rule: Expr, boxes: PairBoxes, constants: dict[str, Float]) -> tuple[Expr, PairBoxes]:
    """Bound parts that depend on one side once per cell, not per pair; they become coordinates."""
    sides = {"q": dict(boxes.q), "k": dict(boxes.k)}
    done: dict[Expr, Expr] = {}
    for node in rule.walk():
        part = Expr(node.op, tuple(done[argument] for argument in node.args), node.value)
        words = [str(argument.value) for argument in part.args if argument.op == "name"]
        letter = "".join({word[0] for word in words})
        if letter in sides and not any(argument.args for argument in part.args):
            axes = sides[letter]
            axes[str(len(axes))] = bound(part, {word: axes[word[1:]] for word in words})
            part = name(f"{letter}{len(axes) - 1}")
        done[node] = part
    names = sorted(done[rule].names() - set(constants))
    return done[rule], PairBoxes(names, sides["q"], sides["k"], boxes.flags)


def concatenated(parts: list[CellPairs]) -> CellPairs:
    """Return all pairs of some parts."""
    return CellPairs(
        np.concatenate([part.template for part in parts]),
        np.concatenate([part.q for part in parts]),
        np.concatenate([part.k for part in parts]),
    )


def products(q_first: Int64, rows: Int64, k_first: Int64, columns: Int64) -> CellPairs:
    """Return the pairs of `rows[j]` from `q_first[j]` on and `columns[j]` from `k_first[j]` on."""
    # A large case: whole blocks that become blocks of the same size.
    if (rows == 1).all() and (columns == 1).all():
        return CellPairs(np.arange(len(rows)), q_first, k_first)
    owner, q = ranges(q_first, rows)
    row, k = ranges(k_first[owner], columns[owner])
    return CellPairs(owner[row], q[row], k)


def _groups(side: Side) -> tuple[Int64, Int64]:
    """Return the first cell of each group of neighbours, and each strip's first group."""
    count = -(-side.cells // GROUP)
    pointer = np.concatenate([[0], np.cumsum(count)])
    strip = np.repeat(np.arange(len(count)), count)
    return side.cell_ptr[strip] + (np.arange(pointer[-1]) - pointer[strip]) * GROUP, pointer


def _ungrouped(
    pairs: CellPairs, q_groups: Int64, q_ptr: Int64, k_groups: Int64, k_ptr: Int64
) -> CellPairs:
    def extent(groups: Int64, ptr: Int64, chosen: Int64) -> tuple[Int64, Int64]:
        first = groups[chosen]
        end = ptr[np.searchsorted(ptr, first, side="right")]
        return first, np.minimum(end - first, GROUP)

    cells = products(*extent(q_groups, q_ptr, pairs.q), *extent(k_groups, k_ptr, pairs.k))
    return CellPairs(pairs.template[cells.template], cells.q, cells.k)
