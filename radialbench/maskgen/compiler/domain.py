"""Where the operations of a rule are undefined, such as a division by zero, and whether it matters.

An operation matters for a pair of tokens only if its value is needed there: `and`, `or` and `where`
evaluate from left to right, and only what decides. Boxes of coordinates that may hold such a pair
are halved until none is left, or one is a single pair.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.evaluate import (
    PARTIAL,
    Interval,
    Value,
    bound_nodes,
    evaluate,
    is_undefined,
    undefined_message,
)
from radialbench.maskgen.language.expressions import FLAGS, SEGMENTS, Expr, call, constant, short

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

MAX_WORK = 1 << 26
"""Most operations on boxes for a rule; about a second."""

CHUNK = 1 << 16
"""Boxes that are bounded at once."""

TRUE = constant(True)


def check_domain(
    tree: Expr, grid: TokenGrid, pair: tuple[int, int] | None, *, raster: bool = True
) -> None:
    """Refuse a rule with an operation that is undefined for a pair of tokens that needs it.

    Args:
        tree: The rule; its names are coordinates.
        grid: Token layout.
        pair: Numbers of the segments of the queries and of the keys that the rule is for; None for
            a rule of all tokens, in positions and segments only.
        raster: Whether positions in the mask's order are those of the raster order. Otherwise
            they are taken for independent of the other coordinates.

    Raises:
        SpecError: An operation is undefined, and the message names a case; or it takes too
            long to find out.
    """
    conditions = _conditions(tree)
    space = _Space.of(tree.names(), grid, raster, pair)
    bounds = bound_nodes(tree, space.boxes(*space.corners))
    work = 0
    for node in tree.walk():
        args = [bounds[argument] for argument in node.args]
        if not _surely_defined(node, args, bounds[node]).all():
            names = node.names() | conditions[node].names()
            space = _Space.of(names, grid, raster, pair)
            work += _search(node, conditions[node], space, MAX_WORK - work)


def _conditions(tree: Expr) -> dict[Expr, Expr]:
    """Return the condition on which each part's value is needed."""
    needed: dict[Expr, Expr] = {tree: TRUE}

    def add(part: Expr, condition: Expr) -> None:
        other = needed.get(part)
        if other is None:
            needed[part] = condition
        elif other is not TRUE and condition is not other:
            needed[part] = TRUE if condition is TRUE else other | condition

    for node in reversed(list(tree.walk())):
        outer = needed[node]
        for place, part in enumerate(node.args):
            guard = TRUE
            if place and node.op in ("and", "or", "where"):
                first = node.args[0]
                guard = ~first if node.op == "or" or place == 2 else first
            both = outer if guard is TRUE else guard if outer is TRUE else outer & guard
            add(part, both)
    return needed


@dataclass(frozen=True)
class _Space:
    """Boxes of coordinates of pairs: ranges of a few of them, which determine the others.

    Attributes:
        grid: Token layout.
        pair: Numbers of the segments of queries and keys; None for all tokens.
        names: Coordinates that are asked for.
        sides: `qk`, or `r` where distances alone are asked for: a difference determines them.
        ranges: Least and greatest value of each coordinate that determines others, such as `qt`.
    """

    grid: TokenGrid
    pair: tuple[int, int] | None
    names: frozenset[str]
    sides: str
    ranges: dict[str, tuple[int, int]]

    @classmethod
    def of(
        cls, names: Iterable[str], grid: TokenGrid, raster: bool, pair: tuple[int, int] | None
    ) -> "_Space":
        """Return the space in which these coordinates are determined."""
        names = frozenset(names)
        axes = {name[1:] for name in names}
        alike = pair is not None and pair[0] == pair[1]
        sides = "r" if alike and all(name[0] == "d" for name in names) else "qk"
        ranges = {}
        for side in sides:
            position, place = "i", "yx" if axes & {"y", "x"} else "s"
            extents = {"i": (0, grid.seq_len), "p": (0, grid.seq_len)}
            if pair is not None:
                number = pair[side == "k"]
                segment, start = grid.layout[number], grid.starts[number]
                # The place of a flat token is no row and column.
                place = place if segment.sides else "s"
                position = f"t{place}" if axes & {"t", "s", "y", "x"} else "i"
                extents = dict.fromkeys("ip", (start, segment.tokens))
                extents |= {"t": (0, segment.frames), "s": (0, segment.frame_tokens)}
                columns = segment.width if segment.sides else 1
                extents |= {"y": (0, segment.height), "x": (0, columns)}
            parts = {"s": place, "i": position, "p": position if raster else "p", "pad": position}
            parts |= dict.fromkeys(("text", "seg"), position if pair is None else "")
            used = {name[1:] for name in names if name[0] in (side, "d")}
            bases = sorted({part for axis in used for part in parts.get(axis, axis)})
            for rank, axis in enumerate(bases):
                first, size = extents[axis]
                # Distances stay the same if all differences change their sign.
                low = (1 - size if rank else 0) if side == "r" else first
                ranges[side + axis] = (low, size - 1 if side == "r" else first + size - 1)
        return cls(grid, pair, names, sides, ranges)

    @property
    def corners(self) -> tuple[Int64, Int64]:
        """[ranges, 1] least and greatest values: the box of all pairs."""
        whole = np.array(list(self.ranges.values()), np.int64).reshape(-1, 2, 1)
        return whole[:, 0], whole[:, 1]

    def boxes(self, low: Int64, high: Int64) -> dict[str, Interval]:
        """Return the bounds of the coordinates asked for in boxes: [ranges, boxes] each."""
        known: dict[str, Interval] = {
            word: (low[place].astype(np.float64), high[place].astype(np.float64))
            for place, word in enumerate(self.ranges)
        }
        return {word: self._coordinate(word, known) for word in self.names}

    def _coordinate(self, word: str, known: Mapping[str, Interval]) -> Interval:
        side, axis = word[0], word[1:]
        if word in known:
            return known[word]
        if side == "d":
            if self.sides == "r":
                low, high = self._coordinate(f"r{axis}", known)
            else:
                q, k = (self._coordinate(f"{side}{axis}", known) for side in "qk")
                low, high = q[0] - k[1], q[1] - k[0]
            zero = np.zeros(())
            return np.maximum(np.maximum(low, -high), zero), np.maximum(np.abs(low), np.abs(high))
        if axis == "p" or word in SEGMENTS:
            return self._of_position(side, axis, known)
        number = 0 if self.pair is None else self.pair[side == "k"]
        segment = self.grid.layout[number]
        if axis == "s":
            outer, inner, size, start = known[f"{side}y"], known[f"{side}x"], segment.width, 0
        else:
            outer, inner = known[f"{side}t"], self._coordinate(f"{side}s", known)
            size, start = segment.frame_tokens, 0 if side == "r" else self.grid.starts[number]
        return outer[0] * size + inner[0] + start, outer[1] * size + inner[1] + start

    def _of_position(self, side: str, axis: str, known: Mapping[str, Interval]) -> Interval:
        """Bound what the position in raster order determines, and the segment alone."""
        grid = self.grid
        if self.pair is not None and axis in ("seg", "text"):
            number = self.pair[side == "k"]
            value = number if axis == "seg" else number == grid.segment_number("text")
            return np.array(value, np.float64), np.array(value, np.float64)
        low, high = self._coordinate(f"{side}i", known)
        if axis == "p":
            return low, high
        if axis == "seg":
            ends = (np.searchsorted(grid.starts, end, side="right") - 1.0 for end in (low, high))
            return next(ends), next(ends)
        certain: Bool = np.zeros(low.shape, np.bool_)
        possible: Bool = certain
        for segment, start in zip(grid.layout, grid.starts, strict=True):
            first, stop = start + (segment.real if axis == "pad" else 0), start + segment.tokens
            if first < stop and (axis == "pad" or segment.name == "text"):
                certain = certain | (low >= first) & (high < stop)
                possible = possible | (high >= first) & (low < stop)
        return certain.astype(np.float64), possible.astype(np.float64)


def _surely_defined(node: Expr, args: list[Interval], result: Interval) -> Bool:
    """Return for each box whether an operation is defined in all of it."""
    if node.op not in PARTIAL:
        return np.ones((), np.bool_)
    finite = [np.isfinite(end) for interval in (*args, result) for end in interval]
    low, high = args[-1]
    defined: Bool = np.logical_and.reduce(np.broadcast_arrays(*finite))
    if node.op in ("/", "//", "%"):
        defined = defined & ((low > 0) | (high < 0))
    elif node.op in ("sqrt", "log2"):
        defined = defined & (low > 0 if node.op == "log2" else low >= 0)
    return defined


def _search(node: Expr, condition: Expr, space: _Space, most: int) -> int:
    """Halve boxes of pairs until none can hold an undefined case; return the operations it took."""
    both = call("where", condition, node, 0)
    nodes = len(list(both.walk()))
    stack = [np.stack(space.corners)]
    work = 0
    while stack:
        boxes = stack.pop()
        if boxes.shape[2] > CHUNK:
            stack.append(boxes[:, :, CHUNK:])
            boxes = boxes[:, :, :CHUNK]
        work += boxes.shape[2] * nodes
        if work > most:
            raise SpecError(
                f"cannot tell whether '{short(node)}' is defined for all tokens; guard it, "
                "e.g. with max(…, 1)"
            )
        bounds = bound_nodes(both, space.boxes(*boxes))
        args = [bounds[argument] for argument in node.args]
        safe = (bounds[condition][1] == 0) | _surely_defined(node, args, bounds[node])
        boxes = boxes[:, :, ~np.broadcast_to(safe, boxes.shape[2:])]
        low, high = boxes
        _refuse_undefined(node, condition, space, low)
        several = (low < high).any(axis=0)
        if several.any():
            stack.append(_halves(*boxes[:, :, several]))
    return work


def _halves(low: Int64, high: Int64) -> Int64:
    """[2, ranges, 2 · boxes] halve each box where it is widest."""
    widest, box = (high - low).argmax(axis=0), np.arange(low.shape[1])
    middle = (low + high)[widest, box] // 2
    upper, lower = low.copy(), high.copy()
    upper[widest, box], lower[widest, box] = middle + 1, middle
    return np.stack([np.hstack([low, upper]), np.hstack([lower, high])])


def _refuse_undefined(node: Expr, condition: Expr, space: _Space, pairs: Int64) -> None:
    """Refuse an operation that is undefined for one of some pairs: [ranges, pairs]."""

    def values(pairs: Int64) -> dict[str, Value]:
        return {
            word: np.asarray(low, np.bool_) if word in FLAGS else low
            for word, (low, _) in space.boxes(pairs, pairs).items()
        }

    known = values(pairs)
    bad = is_undefined(node, [evaluate(argument, known) for argument in node.args])
    needed = np.broadcast_to(bad & evaluate(condition, known), pairs.shape[1:])
    if needed.any():
        first = int(needed.argmax())
        known = values(pairs[:, first])
        case = ", ".join(f"{word} = {known[word]:g}" for word in sorted(node.names()))
        args = [evaluate(argument, known) for argument in node.args]
        raise SpecError(undefined_message(node, args, f" where {case}" if case else ""))
