"""Coordinates of a rule: the values they take, and where each token's value stands among them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import lcm, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.compiler.blocks import distinct_values, ranked, unique_rows
from radialbench.maskgen.compiler.sides import Side
from radialbench.maskgen.language.evaluate import Interval, evaluate
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
        return _unit_steps(self.k)

    def modulo(self, period: int) -> "Coordinate":
        """Return the coordinate up to multiples of a period."""
        if period >= len(self.values):
            return self
        if self.q is not None and self.k is not None:
            values = self.values[0] - np.arange(2 * period - 1, dtype=np.float64)
            return Coordinate(self.axis, values, self.q % period, self.k % period)
        residue = (self.values % period).astype(np.int64)
        q, k = (None if place is None else residue[place] for place in (self.q, self.k))
        return Coordinate(self.axis, np.arange(period, dtype=np.float64), q, k)

    def between(self, first: Int64, last: Int64) -> tuple[Float, Float]:
        """Return the least and the greatest value from the place `first` to `last`."""
        if self.falls:
            return self.values[last], self.values[first]
        return self._extremes.between(first, last)

    @cached_property
    def _extremes(self) -> "Extremes":
        return Extremes(self.values)

    @cached_property
    def falls(self) -> bool:
        """Whether the values fall from place to place."""
        return bool(np.all(self.values[1:] < self.values[:-1]))


class Extremes:
    """Least and greatest of the values between two places; infinite where one is nan."""

    def __init__(self, values: Float) -> None:
        # Runs of equal values count as one.
        begins = values[1:] != values[:-1]
        self.run = np.concatenate([[0], np.cumsum(begins)])
        values = values[np.flatnonzero(np.concatenate([[True], begins]))]
        low = high = values
        if values.dtype.kind == "f":
            unknown = np.isnan(values)
            low, high = (np.where(unknown, end, values) for end in (-np.inf, np.inf))
        # Level by level: the extremes of the 2^level values from each place on.
        levels = [(low, high)]
        while (half := 1 << (len(levels) - 1)) < len(low):
            low = np.minimum(low[:-half], low[half:])
            high = np.maximum(high[:-half], high[half:])
            levels.append((low, high))
        self.low, self.high = (np.concatenate(part) for part in zip(*levels, strict=True))
        self.start = np.cumsum([0, *(len(low) for low, _ in levels)])

    def between(self, first: Int64, last: Int64) -> tuple[Float, Float]:
        """Return the least and the greatest value from `first` to `last`."""
        first, last = self.run[first], self.run[last]
        # Two stretches of 2^level values cover first … last.
        level = np.frexp(last - first + 1)[1] - 1
        a = self.start[level]
        b = a + last - (1 << level) + 1
        a += first
        return np.minimum(self.low[a], self.low[b]), np.maximum(self.high[a], self.high[b])


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
        rows, columns = (np.arange(count, dtype=np.float64) for count in self.blocks.shape)
        return {
            "q": Coordinate("q", rows, q.at.p // self.block, None),
            "k": Coordinate("k", columns, None, k.at.p // self.block),
        }

    def bounds(self, q: Int64, k: Int64, q_side: Side, k_side: Side) -> tuple[Bool, Bool]:
        """Bound the truth on pairs of pieces."""
        top, bottom = q_side.start // self.block, (q_side.stop - 1) // self.block + 1
        left, right = k_side.start // self.block, (k_side.stop - 1) // self.block + 1
        if (bottom == top + 1).all() and (right == left + 1).all():
            truth = self.blocks[top[q], left[k]]
            return truth, truth
        below = self._below
        some = below[bottom[q], right[k]] - below[top[q], right[k]]
        some -= below[bottom[q], left[k]] - below[top[q], left[k]]
        every = (bottom - top)[q] * (right - left)[k]
        return some == every, some > 0

    @cached_property
    def _below(self) -> Int64:
        """[query blocks + 1, key blocks + 1] attending blocks above and left of each."""
        below = np.zeros([count + 1 for count in self.blocks.shape], np.int64)
        np.cumsum(np.cumsum(self.blocks, axis=0), axis=1, out=below[1:, 1:])
        return below


@dataclass(frozen=True, eq=False)
class Spans:
    """Extents of pieces along a distance: the first and last part of its place in each.

    Attributes:
        axis: The distance.
        of_q: [pieces] extent of each piece of queries.
        of_k: [pieces] extent of each piece of keys.
        q: [extents] first and last part of queries.
        k: [extents] first and last part of keys.
    """

    axis: str
    of_q: Int64
    of_k: Int64
    q: tuple[Int64, Int64]
    k: tuple[Int64, Int64]

    @classmethod
    def find(cls, axis: str, q: tuple[Int64, Int64], k: tuple[Int64, Int64]) -> "Spans":
        """Find the extents of pieces from their first and last parts."""
        (some_q, of_q), (some_k, of_k) = unique_rows(q), unique_rows(k)
        return cls(axis, of_q, of_k, (q[0][some_q], q[1][some_q]), (k[0][some_k], k[1][some_k]))

    @property
    def combinations(self) -> int:
        """Combinations of an extent of queries and one of keys."""
        return len(self.q[0]) * len(self.k[0])

    def number(self, of_q: Int64, of_k: Int64) -> Int64:
        """Number the combinations of extents, which broadcast."""
        return of_q * len(self.k[0]) + of_k

    def places(self, of_q: Int64, of_k: Int64) -> tuple[Int64, Int64]:
        """Return the first and last place of a distance for extents, which broadcast."""
        return self.q[0][of_q] + self.k[0][of_k], self.q[1][of_q] + self.k[1][of_k]


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
        self._parts: dict[str, Expr] = {}
        self._joined: dict[tuple[str, ...], Digit] = {}
        self._all_spans: dict[tuple[str, Side, Side], Spans] = {}
        self._on_all: dict[tuple[str, Spans], tuple[Float, Float]] = {}
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

    def origins(self, part: Expr) -> set[str]:
        """Return the names of a part, those of `along_one` as the names that they stand for."""
        return {
            one
            for word in part.names()
            for one in (self._parts[word].names() if word in self._parts else [word])
        }

    def combinations(self, part: Expr) -> int:
        """Return how many values the coordinates of a part may have together, at most."""
        some = {word: self[word] for word in part.names()}
        distances = {at.axis: len(at.values) for word, at in some.items() if word[0] == "r"}
        count = prod(distances.values())
        for side in "qk":
            of_side = prod(len(at.values) for word, at in some.items() if word[0] == side)
            count *= min(of_side, self.sides[side].at.grid.seq_len)
        return count

    def bounds(
        self, names: Iterable[str], q: Int64, k: Int64, q_pieces: Side, k_pieces: Side
    ) -> dict[str, Interval]:
        """Bound names on pairs of pieces; index arrays may broadcast."""
        found: dict[str, Interval] = {}
        pairs = np.broadcast(q, k).size
        places: dict[str, Any] = {}
        for word in names:
            if word in self.matrices:
                found[word] = self.matrices[word].bounds(q, k, q_pieces, k_pieces)
            elif word[0] == "r":
                spans = self._spans(self[word].axis, q_pieces, k_pieces)
                # Many pairs have the same extents.
                once = spans.combinations <= pairs
                if spans.axis not in places:
                    extents = spans.of_q[q], spans.of_k[k]
                    places[spans.axis] = spans.number(*extents) if once else spans.places(*extents)
                if once:
                    low, high = self._on_spans(word, spans)
                    found[word] = (low[places[spans.axis]], high[places[spans.axis]])
                else:
                    found[word] = self[word].between(*places[spans.axis])
            else:
                side, index = (q_pieces, q) if word[0] == "q" else (k_pieces, k)
                low, high = self._extremes(word, word[0], side)
                found[word] = (low[index], high[index])
        return found

    def values(self, word: str, side: str) -> Float:
        """[positions] values of a coordinate of one side."""
        at = self[word]
        place = at.q if side == "q" else at.k
        assert place is not None
        return at.values[place]

    def _spans(self, axis: str, q: Side, k: Side) -> "Spans":
        key = (axis, q, k)
        if key not in self._all_spans:
            self._all_spans[key] = Spans.find(
                axis, self._extremes(axis, "q", q), self._extremes(axis, "k", k)
            )
        return self._all_spans[key]

    def _on_spans(self, word: str, spans: "Spans") -> tuple[Float, Float]:
        key = (word, spans)
        if key not in self._on_all:
            every = np.divmod(np.arange(spans.combinations), len(spans.k[0]))
            self._on_all[key] = self[word].between(*spans.places(*every))
        return self._on_all[key]

    def _extremes(self, word: str, side: str, pieces: Side) -> tuple[NDArray[Any], NDArray[Any]]:
        """[pieces] least and greatest value on a side; of a distance, the part of its place."""
        key = (word, side, pieces)
        if key not in self._ends:
            if word[0] == "r":
                place = self[word].q if side == "q" else self[word].k
                assert place is not None
                self._ends[key] = pieces.extremes(place)
            else:
                self._ends[key] = pieces.extremes(self.values(word, side))
        return self._ends[key]

    def _axis(self, side: str, axis: str) -> Int64:
        return self._axes[axis] if axis in self._axes else self.sides[side].at.axis(axis)

    def _coordinate(self, word: str) -> Coordinate:
        if word[0] == "r":
            q, k = self._axis("q", word[1:]), self._axis("k", word[1:])
            greatest, least = int(q.max()), int(k.min())
            span = greatest - int(q.min()) + int(k.max()) - least + 1
            values = greatest - least - np.arange(span, dtype=np.float64)
            return Coordinate(word, values, greatest - q, k - least)
        place = self._axis(word[0], word[1:]).astype(np.int64)
        values = np.arange(place.max() + 1, dtype=np.float64)
        if word[0] == "q":
            return Coordinate(word, values, place, None)
        return Coordinate(word, values, None, place)

    def _derived(self, part: Expr) -> Expr:
        """Return a name for a part of a rule with one coordinate."""
        names = tuple(sorted(part.names()))
        word = f"{names[0][0]}:{part}"
        if word not in self._known:
            self._parts[word] = part
            if names not in self._joined:
                self._joined[names] = Digit.joining({one: self[one] for one in names})
            digit = self._joined[names]
            values = np.broadcast_to(evaluate(part, digit.values), digit.size).copy()
            if names[0][0] == "r":
                self._known[word] = Coordinate(names[0], values, digit.q, digit.k)
            else:
                values, place = distinct_values(values)
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
        first = next(iter(parts.values()))
        values = {word: part.values for word, part in parts.items()}
        if len({part.axis for part in parts.values()}) == 1:
            return cls(len(first.values), values, first.q, first.k)
        # The one that rises by one from key to key most often comes last.
        parts = dict(sorted(parts.items(), key=lambda part: part[1].unit_steps))
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
        return cls(
            below, values, None if first.q is None else key, None if first.k is None else key
        )

    @classmethod
    def linked(cls, parts: Mapping[str, Coordinate], known: Coordinates) -> "Digit | None":
        """Join distances on several axes of which some decide others, as row and column the place.

        Returns:
            The digit; None if no axis is decided by others, or tokens of text have no such order.
        """
        at = known.sides["q"].at
        axes = {part.axis[1:] for part in parts.values()}
        deciding = set(axes)
        if "p" in axes and at.order.kind == "raster":
            deciding = deciding - {"p"} | {"i"}
        if "i" in deciding and len(axes) > 1:
            deciding = deciding - {"i"} | {"t", "s"}
        if "s" in deciding and deciding & {"y", "x"}:
            deciding = deciding - {"s"} | {"y", "x"}
        if deciding == axes or not deciding <= {*"tsyx"} or len(at.grid.layout) > 1:
            return None
        base = {axis: known[f"r{axis}"] for axis in "tsyx" if axis in deciding}
        shape = [len(one.values) for one in base.values()]
        value = dict(
            zip(base, np.meshgrid(*(o.values for o in base.values()), indexing="ij"), strict=True)
        )
        if "s" not in value and {"y", "x"} <= deciding:
            value["s"] = value["y"] * at.grid.width + value["x"]
        if {"t", "s"} <= value.keys():
            value["i"] = value["t"] * at.grid.frame_tokens + value["s"]
            if at.order.kind == "raster":
                value["p"] = value["i"]
        q = k = np.zeros(1, np.int64)
        for one in base.values():
            assert one.q is not None and one.k is not None
            q, k = q * len(one.values) + one.q, k * len(one.values) + one.k
        values = {}
        for word, part in parts.items():
            # Some combinations of distances do not occur.
            greatest = known[part.axis].values[0]
            place = np.clip(greatest - value[part.axis[1:]], 0, len(part.values) - 1)
            values[word] = part.values[place.astype(np.int64).ravel()]
        return cls(prod(shape), values, q, k)

    @cached_property
    def unit_steps(self) -> float:
        """Share of the keys whose digit is that of the key before plus one; 0 for queries."""
        return _unit_steps(self.k)


def _unit_steps(k: Int64 | None) -> float:
    return 0.0 if k is None else np.count_nonzero(k[1:] - k[:-1] == 1) / len(k)


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
        most[node] = np.inf
        if node.op == "name":
            most[node] = greatest[str(node.value)]
        elif isinstance(node.value, float) and node.value % 1 == 0:
            most[node] = abs(node.value)
        elif node.op in ("+", "-", "neg"):
            most[node] = sum(parts)
        elif node.op == "*":
            most[node] = prod(parts)
    found: dict[str, set[int]] = {}
    stack, seen = [(rule, 0)], set()
    while stack:
        node, period = stack.pop()
        if (node, period) in seen:
            continue
        seen.add((node, period))
        divisor = node.args[1].value if node.op == "%" else None
        whole = isinstance(divisor, float) and divisor >= 1 and divisor % 1 == 0
        if whole and most[node.args[0]] <= MAX_EXACT:
            stack.append((node.args[0], int(divisor or 1)))
            continue
        if node.op == "name":
            found.setdefault(str(node.value), set()).add(period)
        keeps = node.op in ("+", "-", "*", "neg")
        stack.extend((argument, period if keeps else 0) for argument in node.args)
    return {word: lcm(*some) for word, some in found.items() if 0 not in some}
