"""A mask on a grid: parameters and grid constants become numbers, and every domain is checked."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radialbench.errors import SpecError
from radialbench.maskgen.domain import check_domain, refuse_undefined
from radialbench.maskgen.evaluate import evaluate
from radialbench.maskgen.expr import (
    AXES,
    COORDINATES,
    RELATIVE,
    SEGMENTS,
    Expr,
    constant,
    name,
)
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.spec import MaskSpec
from radialbench.maskgen.tree import AllOf, AnyOf, Given, MaskNode, Not, Pairs, Rounded
from radialbench.maskgen.unparse import short

_WHOLE_NAMES = {*COORDINATES, *RELATIVE}
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
        mask: Rule for pairs of video tokens; its expressions mention coordinates of the query
            (`qt …`), of the key (`kt …`) and query minus key (`rt …`) only.
        text: Rule for pairs with text; mentions those of `i` and `p` and the segments only.
        empty_rows: As in the spec.
        granularity: Block side that `own_block` means: of the first rounded part, else 128.
    """

    grid: TokenGrid
    order: TokenOrder
    mask: MaskNode
    text: Expr
    empty_rows: str
    granularity: int


def bind(spec: MaskSpec, grid: TokenGrid) -> BoundMask:
    """Put a mask on a grid.

    Raises:
        SpecError: Some operation is undefined for some tokens, or a size is not a whole number.
    """
    binder = _Binder(spec, grid)
    mask = binder.node(spec.mask)
    return BoundMask(
        grid=grid,
        order=bind_order(spec, grid),
        mask=mask,
        text=binder.rule(spec.text),
        empty_rows=spec.empty_rows,
        granularity=_granularity(mask) or 128,
    )


def bind_order(spec: MaskSpec, grid: TokenGrid) -> TokenOrder:
    """Tell the token order of a mask on a grid."""
    binder = _Binder(spec, grid)
    sides = [binder.size(side, "a tile's side") for side in spec.order.tile_thw]
    return (
        TokenOrder(spec.order.kind, (sides[0], sides[1], sides[2]))
        if sides
        else (TokenOrder(spec.order.kind))
    )


def part_value(tree: Expr, grid: TokenGrid, coordinates: Mapping[str, float]) -> float | bool:
    """Compute an expression for one pair of tokens."""
    missing = sorted((tree.names() & {*COORDINATES, *SEGMENTS}) - set(coordinates))
    if missing:
        raise SpecError(f"the value depends on {', '.join(missing)}: give them, such as dt=3")
    given = {word: constant(value) for word, value in coordinates.items()}
    folded = fold(tree, _constants(grid) | given)
    value = folded.value
    assert isinstance(value, (bool, float))
    return value


def fold(tree: Expr, values: Mapping[str, Expr]) -> Expr:
    """Replace names by constants and compute all that is constant.

    Raises:
        SpecError: A constant part is undefined, such as a division by zero.
    """
    done: dict[Expr, Expr] = {}
    for node in tree.walk():
        if node.op == "name":
            done[node] = values.get(str(node.value), node)
        elif not node.args:
            done[node] = node
        else:
            done[node] = _folded(Expr(node.op, tuple(done[argument] for argument in node.args)))
    return done[tree]


class _Binder:
    def __init__(self, spec: MaskSpec, grid: TokenGrid) -> None:
        self.grid = grid
        self.values = {word: fold(tree, _constants(grid)) for word, tree in spec.parts.items()}
        self.values |= _constants(grid)

    def node(self, node: MaskNode) -> MaskNode:
        match node:
            case Pairs():
                return Pairs(self.rule(node.expression))
            case AnyOf():
                return AnyOf(tuple(map(self.node, node.parts)))
            case AllOf():
                return AllOf(tuple(map(self.node, node.parts)))
            case Not():
                return Not(self.node(node.part))
            case Rounded():
                block = constant(self.size(node.block, "a block"))
                return Rounded(self.rule(node.of), block, node.per, node.keep, node.overhang)
            case Given():
                return Given(node.name, constant(self.size(node.block, "a block")))

    def rule(self, tree: Expr) -> Expr:
        folded = fold(tree, self.values)
        if "largest_divisor" in {node.op for node in folded.walk()}:
            raise SpecError(f"largest_divisor() is for sizes, not for coordinates, in '{tree}'")
        check_domain(folded, self.grid)
        return _relative(fold(folded, _DISTANCES))

    def size(self, tree: Expr, what: str) -> int:
        value = fold(tree, self.values).value
        if not isinstance(value, float) or value != int(value) or not 1 <= value < 2**31:
            given = f"{value:g}" if tree.op == "number" else f"'{short(tree)}' = {value:g}"
            raise SpecError(f"{what} is a whole number of at least 1, got {given}")
        return int(value)


def _constants(grid: TokenGrid) -> dict[str, Expr]:
    return {
        "frames": constant(grid.frames),
        "height": constant(grid.height),
        "width": constant(grid.width),
        "frame_tokens": constant(grid.frame_tokens),
        "video_tokens": constant(grid.video_tokens),
        "video_start": constant(grid.video_start),
        "text_tokens": constant(grid.text_tokens),
        "text_valid": constant(grid.real_text),
        "seq_len": constant(grid.seq_len),
    }


def _relative(tree: Expr) -> Expr:
    """Write differences of a query's and a key's coordinate as one name."""
    done: dict[Expr, Expr] = {}
    for node in tree.walk():
        whole = Expr(node.op, tuple(done[argument] for argument in node.args), node.value)
        done[node] = _DIFFERENCES.get(whole, whole)
    return done[tree]


def _granularity(node: MaskNode) -> int | None:
    match node:
        case Rounded() | Given():
            return int(node.block.value or 0)
        case AnyOf() | AllOf():
            return next(filter(None, map(_granularity, node.parts)), None)
        case Not():
            return _granularity(node.part)
    return None


def _folded(node: Expr) -> Expr:
    args = node.args
    if all(argument.op in ("number", "truth") for argument in args):
        refuse_undefined(node, [np.asarray(argument.value) for argument in args], {})
        value = evaluate(node, {}).item()
        if not np.isfinite(value):
            raise SpecError(f"the value is too large: '{node}'")
        return constant(value)
    if node.op in ("and", "or"):
        known = [argument for argument in args if argument.op == "truth"]
        if known:
            decides = known[0].value is (node.op == "or")
            return known[0] if decides else next(a for a in args if a is not known[0])
    if node.op == "where" and args[0].op == "truth":
        return args[1] if args[0].value else args[2]
    return _simpler(node)


def _simpler(node: Expr) -> Expr:
    """Drop operations with 0 and 1 that change nothing, and roundings of whole numbers."""
    op, first = node.op, node.args[0]
    second = node.args[-1]
    if op in ("+", "-") and second is constant(0):
        return first
    if op in ("*", "/") and second is constant(1):
        return first
    if op in ("+", "*") and first is constant(1.0 if op == "*" else 0.0):
        return second
    if op in ("floor", "ceil") and _whole(first):
        return first
    if op in ("//", "%") and second is constant(1) and _whole(first):
        return first if op == "//" else constant(0)
    return node


def _whole(tree: Expr) -> bool:
    """Whether every value is surely a whole number."""
    whole: dict[Expr, bool] = {}
    for node in tree.walk():
        if node.op == "number":
            whole[node] = node.value == np.floor(node.value)  # type: ignore[arg-type]
        elif node.op in ("+", "-", "*", "//", "%", "min", "max", "neg", "abs"):
            whole[node] = all(whole[argument] for argument in node.args)
        elif node.op == "where":
            whole[node] = whole[node.args[1]] and whole[node.args[2]]
        elif node.op == "name":
            whole[node] = node.value in _WHOLE_NAMES
        else:
            whole[node] = node.op in ("floor", "ceil", "bit_length")
    return whole[tree]
