"""Binding of a mask to a grid: its parameters become numbers, and every domain is checked."""

from dataclasses import dataclass

from radialbench.errors import GridError, SpecError
from radialbench.maskgen.compiler.domain import check_domain
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.evaluate import fold, fold_size
from radialbench.maskgen.language.expressions import AXES, COMPARISONS, Expr, constant, name
from radialbench.maskgen.language.spec import MaskSpec, at_key, check_segments
from radialbench.maskgen.language.tree import MaskNode, block_sizes, map_expressions
from radialbench.maskgen.order import TokenOrder

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
        text: Rule for all pairs without another one, in such coordinates of `i` and `p` and in
            segments.
        pairs: Rules for pairs of a query of one segment and a key of another: the numbers of the
            segments, and the rule.
        empty_rows: As in the spec.
        granularity: Block side of `own_block`: that of the first rounded part, else 128.
    """

    grid: TokenGrid
    order: TokenOrder
    mask: MaskNode
    text: Expr
    pairs: tuple[tuple[int, int, Expr], ...]
    empty_rows: str
    granularity: int


def bind(spec: MaskSpec, grid: TokenGrid) -> BoundMask:
    """Bind a mask to a grid.

    Raises:
        SpecError: An operation is undefined for some tokens, a size is not a whole number, or the
            grid has no segment of a name.
    """
    values = spec.names_on(grid)
    with at_key("order"):
        order = spec.order_on(grid)

    def rule(tree: Expr, pair: tuple[int, int] | None) -> Expr:
        folded = fold(tree, values)
        check_segments(folded, grid)
        for node in folded.walk():
            if node.op == "largest_divisor" and node.names():
                raise SpecError(f"largest_divisor() is for sizes, not for coordinates, in '{tree}'")
        check_domain(folded, grid, pair, raster=order.kind == "raster")
        return _relative(fold(folded, _DISTANCES))

    def size(tree: Expr) -> Expr:
        return constant(fold_size(tree, values, "a block"))

    with at_key("mask"):
        video = grid.segment_number("video")
        mask = map_expressions(spec.mask, lambda tree: rule(tree, (video, video)), size)
    with at_key("text"):
        text = rule(spec.text, None)
    pairs = []
    for q, k, tree in spec.pairs:
        with at_key("pairs", f"{q}-{k}"):
            numbers = _number(grid, q), _number(grid, k)
            if min(numbers) >= 0:
                pairs.append((*numbers, rule(tree, numbers)))
    sizes = block_sizes(mask)
    return BoundMask(
        grid=grid,
        order=order,
        mask=mask,
        text=text,
        pairs=tuple(pairs),
        empty_rows=spec.empty_rows,
        granularity=int(sizes[0].value or 0) if sizes else 128,
    )


def _number(grid: TokenGrid, name: str) -> int:
    try:
        return grid.segment_number(name)
    except GridError as error:
        raise SpecError(str(error)) from None


def _relative(tree: Expr) -> Expr:
    """Replace differences of a query's and a key's coordinate by one name.

    Comparing the two is comparing their difference with zero.
    """
    done: dict[Expr, Expr] = {}
    for node in tree.walk():
        whole = Expr(node.op, tuple(done[argument] for argument in node.args), node.value)
        if node.op in COMPARISONS and Expr("-", whole.args) in _DIFFERENCES:
            whole = Expr(node.op, (_DIFFERENCES[Expr("-", whole.args)], constant(0)))
        done[node] = _DIFFERENCES.get(whole, whole)
    return done[tree]
