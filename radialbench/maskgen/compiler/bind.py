"""Binding of a mask to a grid: its parameters become numbers, and every domain is checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.evaluate import (
    Interval,
    bound_nodes,
    evaluate,
    first_case,
    fold,
    fold_size,
    refuse_undefined,
)
from radialbench.maskgen.language.expressions import (
    AXES,
    COORDINATES,
    SEGMENTS,
    Expr,
    constant,
    name,
    short,
)
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.language.tree import MaskNode, block_sizes, map_expressions
from radialbench.maskgen.order import TokenOrder

MAX_ENUMERATED = 1 << 24
"""Most operations to evaluate all cases of an expression; a fraction of a second."""

_PARTIAL = ("/", "//", "%", "**", "sqrt", "log2")
"""Operators that are not defined everywhere."""

_DISTANCES = {f"d{axis}": Expr("abs", (name(f"r{axis}"),)) for axis in AXES}
_DIFFERENCES = {
    Expr("-", (name(f"q{axis}"), name(f"k{axis}"))): name(f"r{axis}") for axis in AXES
} | {
    Expr("-", (name(f"k{axis}"), name(f"q{axis}"))): Expr("neg", (name(f"r{axis}"),))
    for axis in AXES
}


@dataclass(frozen=True)
class BoundMask:
    """A mask on a grid.

    Attributes:
        grid: Token layout.
        order: Token order of the sequence.
        mask: Rule for pairs of video tokens, in coordinates of the query (`qt …`), of the key
            (`kt …`) and query minus key (`rt …`).
        text: Rule for pairs with text, in such coordinates of `i` and `p` and in segments.
        empty_rows: As in the spec.
        granularity: Block side of `own_block`: that of the first rounded part, else 128.
    """

    grid: TokenGrid
    order: TokenOrder
    mask: MaskNode
    text: Expr
    empty_rows: str
    granularity: int


def bind(spec: MaskSpec, grid: TokenGrid) -> BoundMask:
    """Bind a mask to a grid.

    Raises:
        SpecError: An operation is undefined for some tokens, or a size is not a whole number.
    """
    values = spec.names_on(grid)

    def rule(tree: Expr) -> Expr:
        folded = fold(tree, values)
        if "largest_divisor" in {node.op for node in folded.walk()}:
            raise SpecError(f"largest_divisor() is for sizes, not for coordinates, in '{tree}'")
        check_domain(folded, grid)
        return _relative(fold(folded, _DISTANCES))

    def size(tree: Expr) -> Expr:
        return constant(fold_size(tree, values, "a block"))

    mask = map_expressions(spec.mask, rule, size)
    sizes = block_sizes(mask)
    return BoundMask(
        grid=grid,
        order=spec.order_on(grid),
        mask=mask,
        text=rule(spec.text),
        empty_rows=spec.empty_rows,
        granularity=int(sizes[0].value or 0) if sizes else 128,
    )


def check_domain(tree: Expr, grid: TokenGrid) -> None:
    """Refuse an expression that is undefined for some tokens: by bounds, then by all cases."""
    n = grid.seq_len
    counts = (grid.frames, grid.height, grid.width, grid.frame_tokens, n, n)
    sizes = dict(zip(AXES, counts, strict=True))
    boxes: dict[str, Interval] = {
        word: (np.zeros(()), np.asarray(sizes[word[1]] - 1.0)) for word in COORDINATES
    }
    boxes |= {word: (np.zeros(()), np.ones(())) for word in SEGMENTS}
    bounds = bound_nodes(tree, boxes)
    left = MAX_ENUMERATED
    for node in tree.walk():
        if node.op in _PARTIAL or not np.all(np.isfinite(bounds[node])):
            arguments = [bounds[argument] for argument in node.args]
            if not _surely_defined(node.op, arguments, bounds[node]):
                left -= _check_cases(node, sizes, left)


def _relative(tree: Expr) -> Expr:
    """Replace differences of a query's and a key's coordinate by one name."""
    done: dict[Expr, Expr] = {}
    for node in tree.walk():
        whole = Expr(node.op, tuple(done[argument] for argument in node.args), node.value)
        done[node] = _DIFFERENCES.get(whole, whole)
    return done[tree]


def _surely_defined(op: str, args: list[Interval], result: Interval) -> bool:
    if not all(np.all(np.isfinite(interval)) for interval in (*args, result)):
        return False
    low, high = args[-1]
    if op in ("/", "//", "%"):
        return bool(low > 0 or high < 0)
    if op == "sqrt":
        return bool(low >= 0)
    if op == "log2":
        return bool(low > 0)
    return True


def _check_cases(node: Expr, sizes: Mapping[str, int], most: int) -> int:
    """Evaluate a node for all values of its coordinates; return the operations that took."""
    words = sorted(node.names())
    shape = [2 if word in SEGMENTS else sizes[word[1]] for word in words]
    work = prod(shape) * len(list(node.walk()))
    if work > most:
        raise SpecError(
            f"cannot tell whether '{short(node)}' is defined for all tokens; guard it, "
            "e.g. with max(…, 1)"
        )
    values: dict[str, NDArray[Any]] = {}
    for place, (word, size) in enumerate(zip(words, shape, strict=True)):
        along = [1] * len(words)
        along[place] = size
        kind = np.bool_ if word in SEGMENTS else np.float64
        values[word] = np.arange(size).astype(kind).reshape(along)
    arguments = [evaluate(argument, values) for argument in node.args]
    refuse_undefined(node, arguments, values)
    result = evaluate(node, values)
    if not np.all(np.isfinite(result)):
        raise SpecError(
            f"the value is too large: '{short(node)}'{first_case(~np.isfinite(result), words)}"
        )
    return work
