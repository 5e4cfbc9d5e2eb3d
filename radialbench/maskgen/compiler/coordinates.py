"""Coordinates of a rule: the values they take, and where each token's value stands among them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import lcm, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.compiler.blocks import ranked
from radialbench.maskgen.compiler.sides import Side
from radialbench.maskgen.language.evaluate import evaluate
from radialbench.maskgen.language.expressions import Expr, name

Int64 = NDArray[np.int64]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Coordinate:
    """A name of a rule: of queries, of keys, or of their distance.

    Attributes:
        axis: What decides its value: coordinates of one axis are the same function's arguments.
        values: [n] the values it takes; those of a distance fall by one.
        q: [positions] place of each query's value in `values`, or the query's part of it; None for
            a coordinate of keys.
        k: [positions] place of each key's value, or the key's part of it; None for one of queries.
    """

    axis: str
    values: Float
    q: Int64 | None
    k: Int64 | None

    @cached_property
    def greatest(self) -> float:
        """Greatest absolute value; infinite if not all values are whole numbers."""
        whole = np.all(self.values == np.floor(self.values))
        return float(np.abs(self.values).max()) if whole else np.inf

    @cached_property
    def unit_steps(self) -> float:
        """Share of the keys whose place is that of the key before plus one; 0 for queries."""
        return 0.0 if self.k is None else float(np.sum(np.diff(self.k) == 1) / len(self.k))

    def modulo(self, period: int) -> "Coordinate":
        """Return the coordinate up to multiples of a period."""
        if period >= len(self.values):
            return self
        if self.q is not None and self.k is not None:
            values = self.values[0] - np.arange(2.0 * period - 1)
            return Coordinate(self.axis, values, self.q % period, self.k % period)
        residue = (self.values % period).astype(np.int64)
        q, k = (None if place is None else residue[place] for place in (self.q, self.k))
        return Coordinate(self.axis, np.arange(float(period)), q, k)

    @cached_property
    def extremes(self) -> "Extremes":
        """Least and greatest value between two places."""
        return Extremes(self.values)


class Extremes:
    """Least and greatest of the values between two places; infinite where one is nan."""

    def __init__(self, values: Float) -> None:
        unknown = np.isnan(values)
        self.low = [np.where(unknown, -np.inf, values)]
        self.high = [np.where(unknown, np.inf, values)]

    def between(self, first: Int64, last: Int64) -> tuple[Float, Float]:
        """Return the least and the greatest value from `first` to `last`, which broadcast."""
        # Two runs of 2^level values cover first … last.
        level = np.frexp(last - first + 1)[1] - 1
        low, high = (np.empty(level.shape) for _ in range(2))
        for step in np.flatnonzero(np.bincount(level.ravel())):
            while len(self.low) <= step:
                half = 1 << (len(self.low) - 1)
                self.low.append(np.minimum(self.low[-1][:-half], self.low[-1][half:]))
                self.high.append(np.maximum(self.high[-1][:-half], self.high[-1][half:]))
            here = level == step
            a, b = first[here], last[here] - (1 << int(step)) + 1
            low[here] = np.minimum(self.low[step][a], self.low[step][b])
            high[here] = np.maximum(self.high[step][a], self.high[step][b])
        return low, high


@dataclass(frozen=True, eq=False)
class Matrix:
    """Whole blocks of a size of their own, whose truth is given.

    Attributes:
        block: Tokens of a block's side; the blocks start at the sequence's first token.
        blocks: [query blocks, key blocks] which attend.
    """

    block: int
    blocks: Bool

    def coordinates(self, q: Side, k: Side) -> dict[str, Coordinate]:
        """Return the number of a query's block and that of a key's."""
        rows, columns = (np.arange(float(count)) for count in self.blocks.shape)
        return {
            "q": Coordinate("q", rows, q.at.p // self.block, None),
            "k": Coordinate("k", columns, None, k.at.p // self.block),
        }

    def bounds(self, q: Int64, k: Int64, q_side: Side, k_side: Side) -> tuple[Float, Float]:
        """Bound the truth on pairs of pieces."""
        top, bottom = q_side.start // self.block, (q_side.stop - 1) // self.block + 1
        left, right = k_side.start // self.block, (k_side.stop - 1) // self.block + 1
        below = self._below
        some = below[bottom[q], right[k]] - below[top[q], right[k]]
        some -= below[bottom[q], left[k]] - below[top[q], left[k]]
        every = (bottom - top)[q] * (right - left)[k]
        return (some == every).astype(np.float64), (some > 0).astype(np.float64)

    @cached_property
    def _below(self) -> Int64:
        """[query blocks + 1, key blocks + 1] attending blocks above and left of each."""
        below = np.zeros([count + 1 for count in self.blocks.shape], np.int64)
        np.cumsum(np.cumsum(self.blocks, axis=0), axis=1, out=below[1:, 1:])
        return below


class Coordinates:
    """The coordinates of a rule's names on two sides.

    Attributes:
        sides: The pieces of queries `q` and of keys `k`.
        matrices: Given truths of blocks, by the name that a rule calls them.
    """

    def __init__(
        self,
        q: Side,
        k: Side,
        matrices: Mapping[str, Matrix] | None = None,
        axes: Mapping[str, Int64] | None = None,
    ) -> None:
        """Take sides, matrices, and further axes by name: whole numbers by position."""
        self.sides = {"q": q, "k": k}
        self.matrices = dict(matrices or {})
        self._axes = dict(axes or {})
        self._known: dict[str, Coordinate] = {}
        self._ends: dict[tuple[str, str, Side], tuple[NDArray[Any], NDArray[Any]]] = {}

    def __getitem__(self, word: str) -> Coordinate:
        if word not in self._known:
            self._known[word] = self._coordinate(word)
        return self._known[word]

    def along_one(self, rule: Expr) -> Expr:
        """Replace the greatest parts of a rule with one coordinate by names of their own.

        Those are the parts that depend on queries alone, on keys alone, or on one distance.
        """
        axis: dict[Expr, str] = {}
        for node in rule.walk():
            axes = {axis[a] for a in node.args} - {""}
            if node.op == "name":
                word = str(node.value)
                axes = {word if word[0] == "r" else word[0]}
            axis[node] = "mixed" if len(axes) > 1 or "#" in axes else axes.pop() if axes else ""
        done: dict[Expr, Expr] = {}

        def rebuilt(node: Expr) -> Expr:
            if node not in done:
                if not node.args or axis[node] in ("", "mixed"):
                    done[node] = Expr(node.op, tuple(map(rebuilt, node.args)), node.value)
                else:
                    done[node] = self._derived(node)
            return done[node]

        return rebuilt(rule)

    def bounds(
        self, word: str, q: Int64, k: Int64, q_pieces: Side, k_pieces: Side
    ) -> tuple[Float, Float]:
        """Bound a name on pairs of pieces; index arrays may broadcast."""
        if word in self.matrices:
            return self.matrices[word].bounds(q, k, q_pieces, k_pieces)
        if word[0] == "q":
            low, high = self._extremes(word, "q", q_pieces)
            return low[q], high[q]
        if word[0] == "k":
            low, high = self._extremes(word, "k", k_pieces)
            return low[k], high[k]
        at = self[word]
        (low_q, high_q), (low_k, high_k) = (
            self._extremes(at.axis, side, pieces)
            for side, pieces in (("q", q_pieces), ("k", k_pieces))
        )
        first, last = np.broadcast_arrays(low_q[q] + low_k[k], high_q[q] + high_k[k])
        if word == at.axis:
            return at.values[last], at.values[first]
        return at.extremes.between(first, last)

    def _extremes(self, word: str, side: str, pieces: Side) -> tuple[NDArray[Any], NDArray[Any]]:
        """[pieces] least and greatest value on a side; of a distance, the part of its place."""
        key = (word, side, pieces)
        if key not in self._ends:
            at = self[word]
            place = at.q if side == "q" else at.k
            assert place is not None
            self._ends[key] = pieces.extremes(place if word[0] == "r" else at.values[place])
        return self._ends[key]

    def _axis(self, side: str, axis: str) -> Int64:
        return self._axes[axis] if axis in self._axes else self.sides[side].at.axis(axis)

    def _coordinate(self, word: str) -> Coordinate:
        if word[0] == "r":
            q, k = self._axis("q", word[1:]), self._axis("k", word[1:])
            greatest, least = int(q.max()), int(k.min())
            span = greatest - int(q.min()) + int(k.max()) - least + 1
            values = greatest - least - np.arange(float(span))
            return Coordinate(word, values, greatest - q, k - least)
        place = self._axis(word[0], word[1:]).astype(np.int64)
        values = np.arange(float(place.max() + 1))
        if word[0] == "q":
            return Coordinate(word, values, place, None)
        return Coordinate(word, values, None, place)

    def _derived(self, part: Expr) -> Expr:
        """Return a name for a part of a rule with one coordinate."""
        names = sorted(part.names())
        word = f"{names[0][0]}:{part}"
        if word not in self._known:
            digit = Digit.joining({one: self[one] for one in names})
            values = np.broadcast_to(evaluate(part, digit.values), digit.size).astype(np.float64)
            if names[0][0] == "r":
                self._known[word] = Coordinate(names[0], values, digit.q, digit.k)
            else:
                values, place = np.unique(values, return_inverse=True)
                q, k = (None if side is None else place[side] for side in (digit.q, digit.k))
                self._known[word] = Coordinate(word, values, q, k)
        return name(word)


@dataclass(frozen=True, eq=False)
class Digit:
    """Coordinates of one side, or of one distance, as one digit of an index.

    Attributes:
        size: Values of the digit.
        values: [size] value of each coordinate, by its name.
        q: [positions] each query's digit or its part of it; None if the coordinates are of keys.
        k: [positions] each key's digit or its part of it; None if they are of queries.
    """

    size: int
    values: dict[str, Float]
    q: Int64 | None
    k: Int64 | None

    @classmethod
    def joining(cls, parts: Mapping[str, Coordinate]) -> "Digit":
        """Join coordinates of queries, of keys, or of one axis of distances."""
        # The one that rises by one from key to key most often comes last.
        parts = dict(sorted(parts.items(), key=lambda part: part[1].unit_steps))
        first = next(iter(parts.values()))
        values = {word: part.values for word, part in parts.items()}
        if len({part.axis for part in parts.values()}) == 1:
            return cls(len(first.values), values, first.q, first.k)
        key: Int64 = np.zeros(1, np.int64)
        below = 1
        places = {}
        for word, part in parts.items():
            place = part.k if part.q is None else part.q
            assert place is not None
            places[word] = place
            distinct, key = ranked(key * len(part.values) + place, below * len(part.values))
            below = len(distinct)
        sample = np.empty(below, np.int64)
        sample[key] = np.arange(len(key))
        values = {word: part.values[places[word][sample]] for word, part in parts.items()}
        return cls(below, values, None if first.q is None else key, None if first.k is None else key)

    @cached_property
    def unit_steps(self) -> float:
        """Share of the keys whose digit is that of the key before plus one; 0 for queries."""
        return 0.0 if self.k is None else float(np.sum(np.diff(self.k) == 1) / len(self.k))


MAX_EXACT = 2.0**53


def periods(rule: Expr, greatest: Mapping[str, float]) -> dict[str, int]:
    """Return the periods of the names on which a rule depends up to multiples of a number only.

    Those are the names in sums and products of whole numbers, below `% number`.

    Args:
        rule: The rule.
        greatest: Greatest absolute value of each name; infinite if not all values are whole.
    """
    # Greatest absolute value of parts that are whole for all tokens.
    most: dict[Expr, float] = {}
    for node in rule.walk():
        parts = [most[argument] for argument in node.args]
        if node.op == "name":
            most[node] = greatest[str(node.value)]
        elif node.op == "number":
            value = float(node.value or 0)
            most[node] = abs(value) if value % 1 == 0 else np.inf
        else:
            known = {"+": sum, "-": sum, "*": prod, "neg": sum}.get(node.op)
            most[node] = known(parts) if known else np.inf
    found: dict[str, set[int]] = {}
    stack, seen = [(rule, 0)], set()
    while stack:
        node, period = stack.pop()
        if (node, period) in seen:
            continue
        seen.add((node, period))
        divisor = node.args[1].value if node.op == "%" and node.args[1].op == "number" else None
        if divisor and divisor >= 1 and divisor % 1 == 0 and most[node.args[0]] <= MAX_EXACT:
            stack.append((node.args[0], int(divisor)))
            continue
        if node.op == "name":
            found.setdefault(str(node.value), set()).add(period)
        keeps = node.op in ("+", "-", "*", "neg")
        stack.extend((argument, period if keeps else 0) for argument in node.args)
    return {word: lcm(*some) for word, some in found.items() if 0 not in some}
