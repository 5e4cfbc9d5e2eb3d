"""What each operator of the mask language computes, in float64 on arrays."""

from collections.abc import Callable, Mapping
from math import isqrt
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.expr import Expr

Float = NDArray[np.float64]
Value = NDArray[Any]
"""float64 for numbers, bool for truth values; any shape, operands broadcast."""


def evaluate(tree: Expr, values: Mapping[str, Value]) -> Value:
    """Compute an expression.

    Numbers are float64 throughout, so whole numbers are exact up to 2^53. Domain errors are not
    looked for here (`bind` has done that): they give nan or infinity.

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
