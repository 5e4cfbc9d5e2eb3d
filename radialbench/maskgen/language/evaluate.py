"""What each operator of the mask language computes, in float64 on arrays, and where it may not."""

from collections.abc import Callable, Mapping
from math import isqrt
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.maskgen.language.expressions import COORDINATES, RELATIVE, Expr, constant, short

Float = NDArray[np.float64]
Value = NDArray[Any]
"""float64 for numbers, bool for truth values; any shape, operands broadcast."""

MAX_DIVIDED = 2**31
"""Numbers up to this have their divisors looked for; a sequence has fewer tokens."""

_WHOLE_NAMES = {*COORDINATES, *RELATIVE}


def evaluate(tree: Expr, values: Mapping[str, Value]) -> Value:
    """Compute an expression.

    Numbers are float64 throughout, so whole numbers are exact up to 2^53. Domain errors are not
    looked for here (`refuse_undefined` does that): they give nan or infinity.

    Args:
        tree: The expression.
        values: float64 or bool array for every name in it.
    """
    done: dict[Expr, Value] = {}
    with np.errstate(all="ignore"):
        for node in tree.walk():
            if node.op == "name":
                done[node] = values[str(node.value)]
            elif node.op in ("number", "truth"):
                done[node] = np.asarray(node.value)
            else:
                done[node] = OPERATIONS[node.op](*(done[argument] for argument in node.args))
    return done[tree]


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


def fold_size(tree: Expr, values: Mapping[str, Expr], what: str) -> int:
    """Compute a size, such as a block's side.

    Raises:
        SpecError: It is not a whole number of at least 1; the message begins with `what`.
    """
    value = fold(tree, values).value
    if not isinstance(value, float) or value != int(value) or not 1 <= value < 2**31:
        given = f"{value:g}" if tree.op == "number" else f"'{short(tree)}' = {value:g}"
        raise SpecError(f"{what} is a whole number of at least 1, got {given}")
    return int(value)


def refuse_undefined(
    node: Expr, args: list[NDArray[Any]], values: Mapping[str, NDArray[Any]]
) -> None:
    """Refuse an operation on operands for which it is undefined.

    Args:
        node: The operation.
        args: Values of its operands.
        values: Values of the coordinates; all along axes of their own.

    Raises:
        SpecError: It is undefined; the message names the first case.
    """
    bad: NDArray[np.bool_] = np.zeros((), np.bool_)
    reason = ""
    if node.op in ("/", "//", "%"):
        bad, reason = args[1] == 0, "division by zero"
    elif node.op == "sqrt":
        bad, reason = args[0] < 0, "square root of a negative number"
    elif node.op == "log2":
        bad, reason = args[0] <= 0, "logarithm of zero or less"
    elif node.op == "**":
        with np.errstate(all="ignore"):
            power = np.power(np.asarray(args[0], np.float64), args[1])
        bad, reason = ~np.isfinite(power), "a power that is too large or undefined"
    elif node.op == "largest_divisor":
        fits = (args[0] >= 1) & (args[0] <= MAX_DIVIDED) & (args[0] == np.floor(args[0]))
        bad, reason = ~fits, "divisors of something other than a whole number from 1 to 2^31"
    if np.any(bad):
        where = first_case(bad, sorted(values))
        raise SpecError(f"{reason} in '{short(node)}'{where}; guard it, e.g. with max(…, 1)")


def first_case(bad: NDArray[np.bool_], words: list[str]) -> str:
    """Return ` where qt = 3`: the first case that is bad, on axes with these names."""
    if not words or bad.ndim != len(words):
        return ""
    first = np.argwhere(bad)[0]
    return " where " + ", ".join(f"{word} = {at}" for word, at in zip(words, first, strict=True))


def log2(x: Value) -> Float:
    """Logarithm to base 2, exact at powers of two."""
    mantissa, exponent = np.frexp(x)
    return cast(Float, np.log2(mantissa * 2) + (exponent - 1))


def bit_length(x: Value) -> Float:
    """Bits needed to write ⌊|x|⌋: 0 for 0, else ⌊log2⌋ + 1."""
    return cast(Float, np.frexp(np.floor(np.abs(x)))[1].astype(np.float64))


def largest_divisor(number: Value, limit: Value) -> Float:
    """Largest divisor of `number` that is at most `limit`; 1 if there is none."""

    def one(whole: float, most: float) -> float:
        small = [d for d in range(1, isqrt(int(whole)) + 1) if whole % d == 0]
        return max((d for d in (*small, *(whole // d for d in small)) if d <= most), default=1.0)

    return cast(Float, np.vectorize(one, otypes=[np.float64])(number, limit))


OPERATIONS: dict[str, Callable[..., Value]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.mod,
    "**": np.power,
    "neg": np.negative,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "abs": np.abs,
    "min": np.minimum,
    "max": np.maximum,
    "floor": np.floor,
    "ceil": np.ceil,
    "sqrt": np.sqrt,
    "log2": log2,
    "bit_length": bit_length,
    "where": np.where,
    "largest_divisor": largest_divisor,
}


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
