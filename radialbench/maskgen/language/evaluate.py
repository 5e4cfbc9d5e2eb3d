"""The operators of the mask language: their values in float64 arrays, domains and bounds.

Bounds are three-valued evaluation: the least and the greatest value on a box of coordinates. A
truth value is bounded like a number, in bool or float64: (0, 0) never, (1, 1) always, (0, 1) mixed.
Bounds are never too tight; loose bounds only cost time.

`and`, `or` and `where` need only what decides. Where a value is not needed it may be undefined, nan
or infinite: truth values made of it do not count. A bound that is nan is not known.
"""

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
"""Greatest number with a `largest_divisor`; a sequence has fewer tokens."""

PARTIAL = ("/", "//", "%", "**", "sqrt", "log2", "largest_divisor", "+", "-", "*")
"""Operators that are not defined everywhere; sums and products can be too large."""

_UNDEFINED = {
    "**": "a power that is too large or undefined in",
    "sqrt": "square root of a negative number in",
    "log2": "logarithm of zero or less in",
    "largest_divisor": "divisors of something other than a whole number from 1 to 2^31 in",
}

_WHOLE_NAMES = {*COORDINATES, *RELATIVE}


def evaluate(tree: Expr, values: Mapping[str, Value]) -> Value:
    """Compute an expression.

    Numbers are float64 throughout, so whole numbers are exact up to 2^53. What is undefined becomes
    nan or infinity, or a truth value that does not count; `undefined` finds it.

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
    """Replace names by constants and compute all constant parts.

    Constant parts that are undefined, such as a division by zero, stay as they are: they may be
    needed nowhere.
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


def fold_value(tree: Expr, values: Mapping[str, Expr]) -> float | bool:
    """Compute an expression whose names are all given.

    Raises:
        SpecError: An operation is undefined, such as a division by zero.
    """
    folded = fold(tree, values)
    for node in folded.walk():
        # What is left of constant parts is undefined.
        if node.args and all(map(_is_constant, node.args)):
            raise SpecError(
                undefined_message(node, [np.asarray(argument.value) for argument in node.args])
            )
    assert isinstance(folded.value, (bool, float))
    return folded.value


def fold_size(tree: Expr, values: Mapping[str, Expr], what: str, least: int = 1) -> int:
    """Compute a size, such as a block's side.

    Raises:
        SpecError: It is not a whole number of at least `least`; the message begins with `what`.
    """
    value = fold_value(tree, values)
    if not isinstance(value, float) or value != int(value) or not least <= value < 2**31:
        given = f"{value:g}" if tree.op == "number" else f"'{short(tree)}' = {value:g}"
        raise SpecError(f"{what} is a whole number of at least {least}, got {given}")
    return int(value)


def is_undefined(node: Expr, args: list[Value]) -> Value:
    """Return for which values of its operands an operation has no finite value."""
    if node.op not in PARTIAL:
        return np.zeros((), np.bool_)
    with np.errstate(all="ignore"):
        return ~np.isfinite(OPERATIONS[node.op](*(np.asarray(a, np.float64) for a in args)))


def undefined_message(node: Expr, args: list[Value], where: str = "") -> str:
    """Return the message for an operation that is undefined for some operands."""
    reason = _UNDEFINED.get(node.op, "the value is too large:")
    if node.op in ("/", "//", "%") and args[1] == 0:
        reason = "division by zero in"
    return f"{reason} '{short(node)}'{where}; guard it, e.g. with max(…, 1)"


def log2(x: Value) -> Float:
    """Return the logarithm to base 2, exact at powers of two."""
    mantissa, exponent = np.frexp(x)
    return cast(Float, np.log2(mantissa * 2) + (exponent - 1))


def bit_length(x: Value) -> Float:
    """Return the bits of ⌊|x|⌋: 0 for 0, else ⌊log2⌋ + 1."""
    return cast(Float, np.frexp(np.floor(np.abs(x)))[1].astype(np.float64))


def largest_divisor(number: Value, limit: Value) -> Float:
    """Return the largest divisor of `number` up to `limit`: 1 if there is none.

    It is nan unless the number is whole and from 1 to `MAX_DIVIDED`.
    """

    def one(whole: float, most: float) -> float:
        if not 1 <= whole <= MAX_DIVIDED or whole != int(whole):
            return np.nan
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


def _is_constant(node: Expr) -> bool:
    return node.op in ("number", "truth")


def _is_total(tree: Expr) -> bool:
    """Return whether an expression is surely defined, so that it may be dropped."""
    return not any(node.op in PARTIAL for node in tree.walk())


def _folded(node: Expr) -> Expr:
    args = node.args
    if all(map(_is_constant, args)):
        value = evaluate(node, {}).item()
        return constant(value) if np.isfinite(value) else node
    if node.op in ("and", "or"):
        decisive = constant(node.op == "or")
        if decisive in args:
            return decisive if args[0] is decisive or _is_total(args[0]) else node
        if args[0].op == "truth" or args[1].op == "truth":
            return args[1] if args[0].op == "truth" else args[0]
    if node.op == "where" and args[0].op == "truth":
        return args[1] if args[0].value else args[2]
    return _simpler(node)


def _simpler(node: Expr) -> Expr:
    """Drop operations with 0 and 1 that change nothing, and rounding of whole numbers."""
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
    if op == "//" and second is constant(1) and _whole(first):
        return first
    if op == "%" and second is constant(1) and _whole(first) and _is_total(first):
        return constant(0)
    return node


def _whole(tree: Expr) -> bool:
    """Return whether every value is surely a whole number."""
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


Array = NDArray[Any]

Interval = tuple[Array, Array]
"""Least and greatest value: arrays of one shape, or that broadcast."""


def bound(tree: Expr, boxes: Mapping[str, Interval]) -> Interval:
    """Bound an expression by the bounds of its names."""
    return bound_nodes(tree, boxes)[tree]


def bound_nodes(tree: Expr, boxes: Mapping[str, Interval]) -> dict[Expr, Interval]:
    """Bound an expression and every part of it by the bounds of its names."""
    done: dict[Expr, Interval] = {}
    with np.errstate(all="ignore"):
        for node in tree.walk():
            if node.op == "name":
                done[node] = boxes[str(node.value)]
            elif node.op in ("number", "truth"):
                value = np.asarray(node.value)
                done[node] = (value, value)
            else:
                done[node] = _RULES[node.op](node.op, *(done[argument] for argument in node.args))
    return done


def _rising(op: str, *args: Interval) -> Interval:
    """Bound an operator that grows with every operand."""
    f = OPERATIONS[op]
    return f(*(low for low, _ in args)), f(*(high for _, high in args))


def _abs(op: str, a: Interval) -> Interval:
    low, high = a
    nearest = np.maximum(np.maximum(low, -high), 0.0)
    return nearest, np.maximum(np.abs(low), np.abs(high))


def _corners(op: str, a: Interval, b: Interval) -> Interval:
    f = OPERATIONS[op]
    corners = [f(x, y) for x in a for y in b]
    # 0·inf is nan: there is no bound.
    low = _known(np.minimum.reduce(np.broadcast_arrays(*corners)), -np.inf)
    return low, _known(np.maximum.reduce(np.broadcast_arrays(*corners)), np.inf)


def _divide(op: str, a: Interval, b: Interval) -> Interval:
    low, high = _corners(op, a, b)
    crosses = (b[0] <= 0) & (b[1] >= 0)
    return np.where(crosses, -np.inf, low), np.where(crosses, np.inf, high)


def _mod(op: str, a: Interval, b: Interval) -> Interval:
    fixed = b[0] == b[1]
    same = fixed & (np.floor_divide(a[0], b[0]) == np.floor_divide(a[1], b[0]))
    low = np.where(same, np.mod(a[0], b[0]), np.minimum(b[0], 0.0))
    high = np.where(same, np.mod(a[1], b[0]), np.maximum(b[1], 0.0))
    # What is less than the divisor stays as it is.
    less = (a[0] >= 0) & (a[1] < b[0])
    low, high = np.where(less, a[0], low), np.where(less, a[1], high)
    # The quotient of two floats can round up to the next whole number: check the order.
    ordered = low <= high
    return (
        np.where(ordered, low, np.minimum(b[0], 0.0)),
        np.where(ordered, high, np.maximum(b[1], 0.0)),
    )


def _power(op: str, a: Interval, b: Interval) -> Interval:
    low, high = _corners(op, a, b)
    point = (a[0] == a[1]) & (b[0] == b[1])
    known = (point & np.isfinite(low)) | (~point & (a[0] >= 0))
    # pow need not be monotone to the last bit.
    low = np.where(point, low, np.nextafter(low, -np.inf))
    # No power of what is not negative is.
    low = np.where(a[0] >= 0, np.maximum(low, 0.0), low)
    high = np.where(point, high, np.nextafter(high, np.inf))
    crosses = (a[0] <= 0) & (b[0] < 0) & ~point
    unknown = ~known | crosses
    return np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high)


def _log2(op: str, a: Interval) -> Interval:
    low, high = _rising(op, a)
    point = a[0] == a[1]
    # Like pow, but the value lies between the powers of two around it.
    low = np.where(point, low, np.maximum(np.nextafter(low, -np.inf), np.frexp(a[0])[1] - 1.0))
    high = np.where(point, high, np.minimum(np.nextafter(high, np.inf), np.frexp(a[1])[1]))
    known = np.isfinite(a[1]) & (a[1] > 0)
    return np.where(a[0] > 0, low, -np.inf), np.where(known, high, np.inf)


def _bit_length(op: str, a: Interval) -> Interval:
    low, high = _abs("abs", a)
    known = np.isfinite(high)
    return np.where(known, bit_length(low), 0.0), np.where(known, bit_length(high), np.inf)


def _sqrt(op: str, a: Interval) -> Interval:
    low, high = _rising(op, a)
    return _known(low, -np.inf), _known(high, np.inf)


def _less(op: str, a: Interval, b: Interval) -> Interval:
    # Bounds that are nan compare as false: then neither is the comparison certain nor its opposite.
    never = OPERATIONS[">=" if op == "<" else ">"](a[0], b[1])
    return _truth(OPERATIONS[op](a[1], b[0]), ~never)


def _equal(op: str, a: Interval, b: Interval) -> Interval:
    certain = (a[0] == a[1]) & (b[0] == b[1]) & (a[0] == b[0])
    possible = ~((a[0] > b[1]) | (b[0] > a[1]))
    return _truth(certain, possible) if op == "==" else _truth(~possible, ~certain)


def _both(op: str, a: Interval, b: Interval) -> Interval:
    f = np.minimum if op == "and" else np.maximum
    return f(a[0], b[0]), f(a[1], b[1])


def _where(op: str, c: Interval, a: Interval, b: Interval) -> Interval:
    low = np.where(c[0] == 1, a[0], np.where(c[1] == 0, b[0], np.minimum(a[0], b[0])))
    return low, np.where(c[0] == 1, a[1], np.where(c[1] == 0, b[1], np.maximum(a[1], b[1])))


def _truth(certain: Array, possible: Array) -> Interval:
    return certain, possible


def _known(value: Array, otherwise: float) -> Array:
    return np.where(np.isnan(value), otherwise, value)


_RULES: dict[str, Callable[..., Interval]] = {
    "+": _rising,
    "-": lambda op, a, b: (a[0] - b[1], a[1] - b[0]),
    "*": _corners,
    "/": _divide,
    "//": _divide,
    "%": _mod,
    "**": _power,
    "neg": lambda op, a: (-a[1], -a[0]),
    "<": _less,
    "<=": _less,
    ">": lambda op, a, b: _less("<", b, a),
    ">=": lambda op, a, b: _less("<=", b, a),
    "==": _equal,
    "!=": _equal,
    "and": _both,
    "or": _both,
    "not": lambda op, a: (np.logical_not(a[1]), np.logical_not(a[0])),
    "abs": _abs,
    "min": _rising,
    "max": _rising,
    "floor": _rising,
    "ceil": _rising,
    "sqrt": _sqrt,
    "log2": _log2,
    "bit_length": _bit_length,
    "where": _where,
    "largest_divisor": lambda op, a, b: (np.asarray(-np.inf), np.asarray(np.inf)),
}
