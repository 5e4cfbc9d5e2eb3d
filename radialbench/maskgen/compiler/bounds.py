"""Three-valued evaluation: what an expression can be on a box of coordinates.

A truth value is bounded like a number: (0, 0) never, (1, 1) always, (0, 1) mixed. Bounds are never
too tight; how loose they are only costs time.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.language.evaluate import OPERATIONS
from radialbench.maskgen.language.expressions import Expr

Array = NDArray[Any]
Interval = tuple[Array, Array]
"""Least and greatest value, arrays of one shape (or broadcasting)."""


def bound(tree: Expr, boxes: Mapping[str, Interval]) -> Interval:
    """Bound an expression on boxes of coordinates."""
    return bound_nodes(tree, boxes)[tree]


def bound_nodes(tree: Expr, boxes: Mapping[str, Interval]) -> dict[Expr, Interval]:
    """Bound an expression and every part of it on boxes of coordinates.

    Args:
        tree: The expression.
        boxes: For every name in it, its least and greatest value in each box.
    """
    done: dict[Expr, Interval] = {}
    with np.errstate(all="ignore"):
        for node in tree.walk():
            if node.op == "name":
                done[node] = boxes[str(node.value)]
            elif node.op in ("number", "truth"):
                value = np.asarray(node.value, np.float64)
                done[node] = (value, value)
            else:
                done[node] = _RULES[node.op](node.op, *(done[argument] for argument in node.args))
    return done


def _rising(op: str, *args: Interval) -> Interval:
    """Grows with every operand."""
    f = OPERATIONS[op]
    return f(*(low for low, _ in args)), f(*(high for _, high in args))


def _minus(op: str, a: Interval, b: Interval) -> Interval:
    return a[0] - b[1], a[1] - b[0]


def _neg(op: str, a: Interval) -> Interval:
    return -a[1], -a[0]


def _abs(op: str, a: Interval) -> Interval:
    low, high = a
    nearest = np.maximum(np.maximum(low, -high), 0.0)
    return nearest, np.maximum(np.abs(low), np.abs(high))


def _corners(op: str, a: Interval, b: Interval) -> Interval:
    f = OPERATIONS[op]
    corners = [f(x, y) for x in a for y in b]
    # 0·inf is nan: nothing is known there.
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
    # The quotient of two floats can round up to the next whole number: trust only what is ordered.
    ordered = low <= high
    return (
        np.where(ordered, low, np.minimum(b[0], 0.0)),
        np.where(ordered, high, np.maximum(b[1], 0.0)),
    )


def _power(op: str, a: Interval, b: Interval) -> Interval:
    low, high = _corners(op, a, b)
    point = (a[0] == a[1]) & (b[0] == b[1])
    known = point | (a[0] >= 0)
    # pow is not promised to be monotone to the last bit.
    low = np.where(point, low, np.nextafter(low, -np.inf))
    high = np.where(point, high, np.nextafter(high, np.inf))
    crosses = (a[0] <= 0) & (b[0] < 0) & ~point
    unknown = ~known | crosses
    return np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high)


def _log2(op: str, a: Interval) -> Interval:
    low, high = _rising(op, a)
    point = a[0] == a[1]
    # Like pow, but it surely lies between the powers of two around it.
    low = np.where(point, low, np.maximum(np.nextafter(low, -np.inf), np.frexp(a[0])[1] - 1.0))
    high = np.where(point, high, np.minimum(np.nextafter(high, np.inf), np.frexp(a[1])[1]))
    positive = a[0] > 0
    return np.where(positive, low, -np.inf), np.where(positive, _known(high, np.inf), np.inf)


def _sqrt(op: str, a: Interval) -> Interval:
    low, high = _rising(op, a)
    return _known(low, -np.inf), _known(high, np.inf)


def _bit_length(op: str, a: Interval) -> Interval:
    return _rising(op, _abs("abs", a))


def _less(op: str, a: Interval, b: Interval) -> Interval:
    f = OPERATIONS[op]
    return _truth(f(a[1], b[0]), f(a[0], b[1]))


def _greater(op: str, a: Interval, b: Interval) -> Interval:
    f = OPERATIONS[op]
    return _truth(f(a[0], b[1]), f(a[1], b[0]))


def _equal(op: str, a: Interval, b: Interval) -> Interval:
    certain = (a[0] == a[1]) & (b[0] == b[1]) & (a[0] == b[0])
    possible = (a[0] <= b[1]) & (b[0] <= a[1])
    return _truth(certain, possible) if op == "==" else _truth(~possible, ~certain)


def _not(op: str, a: Interval) -> Interval:
    return 1.0 - a[1], 1.0 - a[0]


def _both(op: str, a: Interval, b: Interval) -> Interval:
    f = np.minimum if op == "and" else np.maximum
    return f(a[0], b[0]), f(a[1], b[1])


def _where(op: str, c: Interval, a: Interval, b: Interval) -> Interval:
    low = np.where(c[0] == 1, a[0], np.where(c[1] == 0, b[0], np.minimum(a[0], b[0])))
    return low, np.where(c[0] == 1, a[1], np.where(c[1] == 0, b[1], np.maximum(a[1], b[1])))


def _truth(certain: Array, possible: Array) -> Interval:
    return certain.astype(np.float64), possible.astype(np.float64)


def _known(value: Array, otherwise: float) -> Array:
    return np.where(np.isnan(value), otherwise, value)


_RULES: dict[str, Callable[..., Interval]] = {
    "+": _rising,
    "-": _minus,
    "*": _corners,
    "/": _divide,
    "//": _divide,
    "%": _mod,
    "**": _power,
    "neg": _neg,
    "<": _less,
    "<=": _less,
    ">": _greater,
    ">=": _greater,
    "==": _equal,
    "!=": _equal,
    "and": _both,
    "or": _both,
    "not": _not,
    "abs": _abs,
    "min": _rising,
    "max": _rising,
    "floor": _rising,
    "ceil": _rising,
    "sqrt": _sqrt,
    "log2": _log2,
    "bit_length": _bit_length,
    "where": _where,
}
