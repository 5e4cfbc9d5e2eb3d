"""Atoms: the parts of a rule that `and`, `or` and `not` join, as packed bits of pairs of pieces."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from radialbench.maskgen.compiler.blocks import distinct, ranked, spread, unique_rows
from radialbench.maskgen.compiler.coordinates import Coordinates, Digit, periods
from radialbench.maskgen.compiler.sides import Groups, Side
from radialbench.maskgen.language.evaluate import bound, evaluate
from radialbench.maskgen.language.expressions import Expr
from radialbench.maskgen.table import ranges

Int64 = NDArray[np.int64]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Words = NDArray[np.uint64]

MAX_ENTRIES = 1 << 26
"""Entries of the greatest table of an atom, a byte each."""

MAX_AT_ONCE = 1 << 18
"""Numbers of an array that is computed at once, so that a few of them fit the cache."""

MAX_INDEX = 1 << 44
"""Greatest index by which equal pieces are found."""

MIN_ALIKE = 2
"""Pairs of pieces a pair of patterns needs on average for entries to be compared."""

MAX_SUMS = 128
"""Sums of two patterns' runs up to which entries are compared."""

MAX_RUN = 57
"""Bits that a 64-bit word surely holds from any bit of its first byte on."""

MAX_BYTES = 1 << 28
"""Bytes of an atom's tables of eight keys' truths."""


class Atom:
    """A part of a rule without `and`, `or` and `not` on top.

    Attributes:
        rule: The part.
        entries: Entries of the table of its truth.
    """

    def __init__(self, rule: Expr, known: Coordinates) -> None:
        self.rule = rule
        self.known = known
        self.q, self.k = known.sides["q"], known.sides["k"]
        self._patterns: dict[tuple[str, Side], Patterns] = {}
        self._octets: dict[tuple[int, ...], NDArray[np.uint8]] = {}
        self._looked_up = 0
        self.matrix = known.matrices.get(str(rule.value)) if rule.op == "name" else None
        self.digits = sorted(self._digits(), key=lambda digit: digit.unit_steps)
        self.entries = prod(digit.size for digit in self.digits)

        below = np.cumprod([1, *(digit.size for digit in reversed(self.digits))], dtype=object)
        self.strides = [int(stride) for stride in below[-2::-1]]

    def _digits(self) -> Iterator[Digit]:
        if self.matrix is not None:
            at = self.matrix.coordinates(self.q, self.k)
        else:
            at = {word: self.known[word] for word in sorted(self.rule.names())}
            raster = self.q.at.order.kind == "raster"
            axes = {*"tsyxip"} if raster else {*"tsyxi"}
            distances = {
                word: part for word, part in at.items() if word[0] == "r" and part.axis[1:] in axes
            }
            linked = Digit.linked(distances, self.known)
            if linked is not None:
                yield linked
                at = {word: part for word, part in at.items() if word not in distances}
            most = {word: self.known[word].greatest for word in self.rule.names()}
            for word, period in periods(self.rule, most).items():
                if word not in at:
                    continue
                if word[0] != "r" or [part.axis for part in at.values()].count(word) == 1:
                    at[word] = at[word].modulo(period)
        axis = {word: part.axis if word[0] == "r" else word[0] for word, part in at.items()}
        for one in sorted(set(axis.values())):
            yield Digit.joining({word: at[word] for word in at if axis[word] == one})

    @property
    def is_indexed(self) -> bool:
        """Whether equal pieces can be found by the index of an entry."""
        return self.entries <= MAX_INDEX

    @cached_property
    def index(self) -> tuple[Int64, Int64]:
        """[positions] the parts of queries and of keys of an entry's index."""
        u = np.zeros(self.q.at.grid.seq_len, np.int64)
        v = np.zeros(self.k.at.grid.seq_len, np.int64)
        for digit, stride in zip(self.digits, self.strides, strict=True):
            for part, place in ((u, digit.q), (v, digit.k)):
                if place is not None:
                    part += place * stride
        return u, v

    def patterns(self, side: str, pieces: Side) -> "Patterns":
        """Return the patterns of pieces of queries (`q`) or of keys (`k`)."""
        if (side, pieces) not in self._patterns:
            if isinstance(pieces, Groups):
                inner = self.patterns(side, pieces.pieces)
                found = Patterns.of_groups(inner, pieces)
            else:
                found = Patterns.find(self.index[0 if side == "q" else 1], pieces)
            self._patterns[side, pieces] = found
        return self._patterns[side, pieces]

    def kinds(self, q: Int64, k: Int64, q_side: Side, k_side: Side) -> Int64:
        """Number pairs of pieces; pairs of one number have equal contents."""
        if not self.is_indexed:
            return q * len(k_side) + k
        of_q, of_k = self.patterns("q", q_side), self.patterns("k", k_side)
        pattern = of_q.of[q] * len(of_k.rise) + of_k.of[k]
        begin = of_q.first[q] + of_k.first[k]
        sample, number = unique_rows([pattern, begin])
        pattern, begin = pattern[sample], begin[sample]
        order = np.argsort(pattern, kind="stable")
        used = 1 + np.count_nonzero(np.diff(pattern[order]))
        if self.entries > MAX_ENTRIES or used * MIN_ALIKE > len(sample):
            return number
        kind = np.arange(len(sample))
        sums = (of_q.spans.count[:, None] * of_k.spans.count).ravel()[pattern[order]]
        near = np.flatnonzero(sums <= min(MAX_SUMS, q_side.size * k_side.size // MIN_ALIKE))
        order, sums = order[near], np.cumsum(sums[near])
        edges = np.flatnonzero(np.diff(sums // MAX_AT_ONCE)) + 1
        for some in np.split(order, edges) if len(order) else ():
            first, same = self._equal(pattern[some], begin[some], of_q, of_k)
            kind[some] = some[first[same]]
        return kind[number]

    def _equal(
        self, pattern: Int64, begin: Int64, q: "Patterns", k: "Patterns"
    ) -> tuple[Int64, Int64]:
        """Find pairs of pieces with equal entries at all indices that their two patterns reach."""
        used, place = ranked(pattern, len(q.rise) * len(k.rise))
        reach = Reach.find(q, k, *np.divmod(used, len(k.rise)))
        owner, run = ranges(reach.first[place], reach.runs[place])
        rows = np.zeros((len(place), 1 + int(reach.runs.max(initial=0))), np.uint64)
        rows[:, 0] = place
        column = 1 + run - reach.first[place][owner]
        rows[owner, column] = self._read(begin[owner] + reach.start[run], reach.length[run])
        return distinct(rows.view(np.uint32))

    def _read(self, index: Int64, length: Int64 | int) -> Words:
        """Read a run of the table from each index on, lowest bit first."""
        words = self.windows.take(index >> 3, mode="clip")
        words >>= (index & 7).view(np.uint64)
        words &= (np.uint64(1) << np.asarray(length).astype(np.uint64)) - np.uint64(1)
        return words

    @cached_property
    def table(self) -> Bool:
        """[entries] truth for all values of the coordinates."""
        if self.matrix is not None:
            return self.matrix.blocks.ravel()
        shape = [digit.size for digit in self.digits]
        values: dict[str, Float] = {}
        for axis, digit in enumerate(self.digits):
            along = [1] * len(shape)
            along[axis] = -1
            values |= {word: part.reshape(along) for word, part in digit.values.items()}
        outer = self.digits[0].values
        table = np.empty(shape, np.bool_)
        step = max(1, MAX_AT_ONCE * shape[0] // self.entries)

        def fill(start: int) -> None:
            part = slice(start, start + step)
            table[part] = evaluate(self.rule, values | {word: values[word][part] for word in outer})

        spread(fill, range(0, shape[0], step))
        return table.ravel()

    @cached_property
    def windows(self) -> Words:
        """[⌈entries / 8⌉] the 64 truths from every eighth entry on, lowest bit first."""
        packed = np.packbits(self.table, bitorder="little")
        packed = np.concatenate([packed, np.zeros(7, np.uint8)])
        return np.ascontiguousarray(sliding_window_view(packed, 8)).view("<u8").ravel()

    def bits(self, q: Int64, k: Int64) -> Words:
        """[pairs, size of q, words] truths of pairs of pieces."""
        if self.entries > MAX_ENTRIES and self.matrix is None:
            return self._pair_by_pair(q, k)
        of_q, of_k = self.patterns("q", self.q), self.patterns("k", self.k)
        rises, place = of_q.rows
        pattern = of_q.of[q]
        row = rises[pattern] + (of_q.first[q] + of_k.first[k])[:, None]
        out = np.zeros((*row.shape, -(-self.k.size // 64)), np.uint64)
        by_key = of_k.of[k]
        order = np.argsort(by_key, kind="stable")
        edges = np.flatnonzero(np.diff(by_key[order])) + 1
        for some in np.split(order, edges):
            self._fill(out, row, some, of_k, int(by_key[some[0]]))
        if place is None:
            return out
        rows = place[pattern] + np.arange(0, out.shape[0] * out.shape[1], out.shape[1])[:, None]
        return out.reshape(-1, out.shape[2]).take(rows, axis=0)

    def _fill(self, out: Words, row: Int64, some: Int64, keys: "Patterns", pattern: int) -> None:
        """Look up the pairs `some`, whose keys have one pattern; `row` are their rows' indices."""
        everything = len(some) == len(row)
        begin = row if everything else row[some]
        found = out if everything else np.empty((len(some), *out.shape[1:]), np.uint64)
        rise = keys.rise[pattern]
        pairs = begin.size * len(rise)
        octets = np.pad(rise, (0, -len(rise) % 8), "edge").reshape(-1, 8)
        shapes = list(map(tuple, (octets - octets[:, :1]).tolist()))
        new = set(shapes).difference(self._octets)
        if len(new) * self.entries <= pairs + self._looked_up:
            found_bytes = found.view(np.uint8)
            found_bytes[:, :, len(shapes) :] = 0
            begin = begin + rise.min()
            for place, first in enumerate((octets[:, 0] - rise.min()).tolist()):
                truths = self._truths(shapes[place])
                found_bytes[:, :, place] = truths[first:].take(begin, mode="clip")
        else:
            self._looked_up += pairs
            # Few at once, so that their indices fit the cache.
            step = max(1, MAX_AT_ONCE // (begin.shape[1] * len(rise)))
            for start in range(0, len(begin), step):
                index = begin[start : start + step, :, None] + rise
                found[start : start + step] = packed(self.table.take(index, mode="clip"))
        if not everything:
            out[some] = found

    def _truths(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """[entries] the truths of a few keys, lowest bit first, by the index of the first of them.

        Args:
            shape: Index of each key, less that of the first.
        """
        if len(shape) == 1:
            return self.table.view(np.uint8)
        if shape not in self._octets:
            if len(self._octets) * self.entries > MAX_BYTES:
                self._octets.clear()
            half, rise = len(shape) // 2, shape[len(shape) // 2]
            truths = self._truths(shape[:half]).copy()
            others = self._truths(tuple(one - rise for one in shape[half:]))
            # Elsewhere the index would be outside of the table.
            start, stop = max(0, -rise), min(self.entries, self.entries - rise)
            truths[start:stop] |= others[start + rise : stop + rise] << half
            self._octets[shape] = truths
        return self._octets[shape]

    def _pair_by_pair(self, q: Int64, k: Int64) -> Words:
        """Evaluate pairs of pieces in boxes of 8×8 tokens, where bounds leave them open."""
        of_q, of_k = self._strips
        high, wide = len(of_q) // len(self.q), len(of_k) // len(self.k)
        found = np.zeros((len(q), 8 * high, 8 * -(-self.k.size // 64)), np.uint8)
        step = max(1, MAX_AT_ONCE // (high * wide))
        for first in range(0, len(q), step):
            part = slice(first, first + step)
            rows = (q[part, None] * high + np.arange(high))[:, :, None]
            columns = (k[part, None] * wide + np.arange(wide))[:, None, :]
            names = self.known.bounds(self.rule.names(), rows, columns, of_q, of_k)
            shape = (len(rows), high, wide)
            always, possible = (
                np.broadcast_to(end, shape).astype(np.bool_) for end in bound(self.rule, names)
            )
            boxes = found[part].reshape(len(rows), high, 8, -1)[..., :wide].transpose(0, 1, 3, 2)
            boxes[always] = 255
            pair, row, column = np.nonzero(possible & ~always)
            for start in range(0, len(pair), MAX_AT_ONCE // 128):
                some = slice(start, start + MAX_AT_ONCE // 128)
                pairs = pair[some], row[some], column[some]
                truth = self._truth_of(rows[pairs[0], pairs[1], 0], columns[pairs[0], 0, pairs[2]])
                boxes[pairs] = np.packbits(truth, axis=-1, bitorder="little")[:, :, 0]
        return found[:, : self.q.size].view("<u8")

    @cached_property
    def _strips(self) -> tuple[Side, Side]:
        """The queries and the keys of the pieces, eight by eight."""
        return self.q.strips(8), self.k.strips(8)

    def _truth_of(self, rows: Int64, columns: Int64) -> Bool:
        """[boxes, 8, 8] the truth of all pairs of eight queries and eight keys."""
        of_q, of_k = self._strips
        q, k = of_q.positions[rows][:, :, None], of_k.positions[columns][:, None, :]
        places: dict[str, Int64] = {}
        values: dict[str, Float] = {}
        for word in self.rule.names():
            at = self.known[word]
            if at.axis not in places:
                parts = [place[p] for place, p in ((at.q, q), (at.k, k)) if place is not None]
                places[at.axis] = sum(parts[1:], parts[0])
            values[word] = at.values[places[at.axis]]
        truth: Bool = np.broadcast_to(evaluate(self.rule, values), (len(rows), 8, 8))
        return truth.astype(np.bool_, copy=False)


@dataclass(frozen=True, eq=False)
class Reach:
    """Runs of indices, less that of the first tokens, that pairs of patterns reach together.

    Attributes:
        runs: [pairs] runs of each pair.
        first: [pairs] place of its first run.
        start: [runs] first index.
        length: [runs] number of indices, at most `MAX_RUN`.
    """

    runs: Int64
    first: Int64
    start: Int64
    length: Int64

    @classmethod
    def find(cls, q: "Patterns", k: "Patterns", of_q: Int64, of_k: Int64) -> "Reach":
        """Find the runs of pairs of patterns."""
        count_k = k.spans.count[of_k]
        pair, at = ranges(np.zeros_like(of_q), q.spans.count[of_q] * count_k)
        a = q.spans.first[of_q[pair]] + at // count_k[pair]
        b = k.spans.first[of_k[pair]] + at % count_k[pair]
        # Sums of spans, one pair of patterns behind the other; sums may be negative.
        base = pair * 4 * MAX_ENTRIES + 2 * MAX_ENTRIES
        start = base + q.spans.low[a] + k.spans.low[b]
        order = np.argsort(start)
        stop = (start + q.spans.length[a] + k.spans.length[b] - 1)[order]
        start, stop = start[order], np.maximum.accumulate(stop)
        begins = np.append(True, start[1:] > stop[:-1])
        start, stop = start[begins], stop[np.append(begins[1:], True)]
        run, part = ranges(np.zeros_like(start), -(-(stop - start) // MAX_RUN))
        start = start[run] + part * MAX_RUN
        length = np.minimum(stop[run] - start, MAX_RUN)
        pair, start = np.divmod(start, 4 * MAX_ENTRIES)
        runs = np.bincount(pair, minlength=len(of_q))
        return cls(runs, np.cumsum(runs) - runs, start - 2 * MAX_ENTRIES, length)


def packed(truth: Bool) -> Words:
    """Pack the last axis into 64-bit words, lowest bit first."""
    as_bytes = np.packbits(truth, axis=-1, bitorder="little")
    if spare := -as_bytes.shape[-1] % 8:
        as_bytes = np.pad(as_bytes, [(0, 0)] * (as_bytes.ndim - 1) + [(0, spare)])
    return np.ascontiguousarray(as_bytes).view("<u8")


@dataclass(frozen=True, eq=False)
class Spans:
    """Runs of numbers, pattern by pattern.

    Attributes:
        count: [patterns] runs of each.
        first: [patterns] place of its first.
        low: [runs] first number.
        length: [runs] how many there are.
    """

    count: Int64
    first: Int64
    low: Int64
    length: Int64


@dataclass(frozen=True, eq=False)
class Patterns:
    """How the index of an atom rises inside the pieces of a side.

    Attributes:
        first: [pieces] index of the first token.
        of: [pieces] pattern of each piece.
        rise: [patterns, tokens] index of each token, less that of the first.
    """

    first: Int64
    of: Int64
    rise: Int64

    @classmethod
    def find(cls, index: Int64, side: Side) -> "Patterns":
        """Find the patterns of an index by position."""
        at = side.rows(index)
        first = at[:, 0]
        rise = at - first[:, None]
        rows = np.concatenate([rise, side.lengths[:, None]], axis=1)
        sample, of = distinct(rows.view(np.uint64))
        return cls(first, of, rise[sample])

    @classmethod
    def of_groups(cls, pieces: "Patterns", groups: Groups) -> "Patterns":
        """Find the patterns of groups from those of their pieces."""
        first = pieces.first[groups.pointer[:-1]]
        # A group with fewer pieces than another repeats its last one.
        place = np.minimum(np.arange(groups.count.max()), groups.count[:, None] - 1)
        of = pieces.of[groups.pointer[:-1, None] + place]
        begin = pieces.first[groups.pointer[:-1, None] + place] - first[:, None]
        rows = np.concatenate([of, begin, groups.count[:, None]], axis=1)
        sample, number = distinct(rows.view(np.uint64))
        rise = begin[sample, :, None] + pieces.rise[of[sample]]
        return cls(first, number, rise.reshape(len(sample), -1))

    @cached_property
    def spans(self) -> "Spans":
        """The runs of numbers that the patterns rise by."""
        rise = np.sort(self.rise, axis=1)
        begins = np.ones(rise.shape, np.bool_)
        np.greater(np.diff(rise, axis=1), 1, out=begins[:, 1:])
        pattern, place = np.nonzero(begins)
        low = rise[pattern, place]
        count = np.bincount(pattern, minlength=len(rise))
        first = np.cumsum(count) - count
        last = np.append(place[1:], 0) - 1
        return Spans(count, first, low, rise[pattern, last] - low + 1)

    @cached_property
    def rows(self) -> tuple[Int64, Int64 | None]:
        """[patterns, rows] the distinct rises of each pattern, and [patterns, size] their place.

        If some pattern has no equal ones, all are as the tokens are and there are no places.
        """
        found = [np.unique(rise, return_inverse=True) for rise in self.rise]
        most = max(len(values) for values, _ in found)
        if most == self.rise.shape[1]:
            return self.rise, None
        rises = np.stack([np.pad(values, (0, most - len(values)), "edge") for values, _ in found])
        return rises, np.stack([place.reshape(-1) for _, place in found])
