"""Numbers and truth values: which of the two an expression is."""

from collections.abc import Mapping

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.expr import COMPARISONS, NUMBER, TRUTH, Expr
from radialbench.maskgen.unparse import short


def kind_of(tree: Expr, kinds: Mapping[str, str]) -> str:
    """Tell whether an expression is a number or a truth value, and check its operands.

    Args:
        tree: The expression.
        kinds: Kind of every name it may mention.

    Raises:
        SpecError: A name is unknown, or an operand is of the wrong kind.
    """
    known: dict[Expr, str] = {}
    for node in tree.walk():
        known[node] = _kind(node, [known[argument] for argument in node.args], kinds)
    return known[tree]


def _kind(node: Expr, args: list[str], kinds: Mapping[str, str]) -> str:
    op = node.op
    if op == "name":
        if node.value not in kinds:
            raise SpecError(unknown("name", node.value, kinds))
        return kinds[str(node.value)]
    if op in ("number", "truth"):
        return NUMBER if op == "number" else TRUTH
    if op in ("and", "or", "not"):
        return _wanted(node, args, [TRUTH] * len(args), TRUTH)
    if op == "where":
        return _wanted(node, args, [TRUTH, args[1], args[1]], args[1])
    if op in ("==", "!="):
        return _wanted(node, args, [args[0]] * 2, TRUTH)
    return _wanted(node, args, [NUMBER] * len(args), TRUTH if op in COMPARISONS else NUMBER)


def _wanted(node: Expr, got: list[str], wanted: list[str], result: str) -> str:
    for argument, has, needs in zip(node.args, got, wanted, strict=True):
        if has != needs:
            shown = "-" if node.op == "neg" else node.op
            raise SpecError(
                f"{shown!r} wants a {needs} but '{short(argument)}' is a {has}, in '{short(node)}'"
            )
    return result
