"""Operations that are undefined for some tokens, such as a division by zero."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.maskgen.bounds import Interval, bound_nodes
from radialbench.maskgen.evaluate import evaluate
from radialbench.maskgen.expr import AXES, COORDINATES, SEGMENTS, Expr
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.unparse import short

MAX_ENUMERATED = 1 << 24
"""Operations spent on looking at all cases of an expression; a fraction of a second."""

MAX_DIVIDED = 2**31
"""Numbers up to this have their divisors looked for; a sequence has fewer tokens."""

_PARTIAL = ("/", "//", "%", "**", "sqrt", "log2")
"""Operators that are not defined everywhere."""


def check_domain(tree: Expr, grid: TokenGrid) -> None:
    """Refuse an expression that is undefined for some tokens: bounds first, then all cases."""
    sizes = dict(
        zip(
            AXES,
            (grid.frames, grid.height, grid.width, grid.frame_tokens, grid.seq_len, grid.seq_len),
            strict=True,
        )
    )
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
    """Evaluate a node for every combination of the coordinates it mentions; returns the work."""
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
            f"the value is too large: '{short(node)}'{_case(~np.isfinite(result), words)}"
        )
    return work


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
        where = _case(bad, sorted(values))
        raise SpecError(f"{reason} in '{short(node)}'{where}; guard it, e.g. with max(…, 1)")


def _case(bad: NDArray[np.bool_], words: list[str]) -> str:
    if not words or bad.ndim != len(words):
        return ""
    first = np.argwhere(bad)[0]
    return " where " + ", ".join(f"{word} = {at}" for word, at in zip(words, first, strict=True))
