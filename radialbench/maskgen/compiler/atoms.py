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
from radialbench.maskgen.language.evaluate import evaluate
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

MIN_ALIKE = 8
"""Pairs of pieces a pair of patterns needs on average for entries to be compared."""

MAX_SUMS = 400
"""Sums of two patterns' runs up to which entries are compared."""

MAX_RUNS = 40
"""Runs of a pattern up to which they are faster than its single tokens."""


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
        used, place = ranked(pattern, len(of_q.rise) * len(of_k.rise))
        if self.entries > MAX_ENTRIES or len(used) * MIN_ALIKE > len(sample):
            return number
        # Equal entries at all indices that the two patterns reach make equal contents.
        reach = Reach.find(of_q, of_k, *np.divmod(used, len(of_k.rise)))
        words = reach.words[place]
        close = np.flatnonzero(words <= q_side.size // 4)
        rows = np.zeros((len(close), 1 + int(words[close].max(initial=0))), np.uint64)
        rows[:, 0] = place[close]
        for word in range(rows.shape[1] - 1):
            some = np.flatnonzero(words[close] > word)
            run = reach.first[place[close[some]]] + word
            rows[some, 1 + word] = self._read(
                begin[close[some]] + reach.start[run], reach.length[run]
            )
        first, same = distinct(rows.view(np.uint32))
        kind = np.arange(len(sample))
        kind[close] = close[first[same]]
        return kind[number]

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
        if self.entries > MAX_ENTRIES:
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
        runs = keys.runs[pattern]
        begin = row if len(some) == len(row) else row[some]
        found = np.zeros((*begin.shape, out.shape[2]), np.uint64)
        if len(runs) > MAX_RUNS:
            rise = keys.rise[pattern]
            # Few at once, so that their indices fit the cache.
            step = max(1, MAX_AT_ONCE // (begin.shape[1] * len(rise)))
            for first in range(0, len(begin), step):
                index = begin[first : first + step, :, None] + rise
                found[first : first + step] = packed(self.table.take(index, mode="clip"))
        else:
            for run in runs:
                bits = self._read(begin + run.rise, 1 if run.same else run.length)
                if run.same:
                    bits *= np.uint64((1 << run.length) - 1)
                if run.shift:
                    bits <<= np.uint64(run.shift)
                found[:, :, run.word] |= bits
        if len(some) == len(row):
            out[...] = found
        else:
            out[some] = found

    def _pair_by_pair(self, q: Int64, k: Int64) -> Words:
        """Evaluate pairs of pieces, few at once, so that their numbers fit the cache."""
        found = np.empty((len(q), self.q.size, -(-self.k.size // 64)), np.uint64)
        step = max(1, MAX_AT_ONCE // 2 // (self.q.size * self.k.size))
        for first in range(0, len(q), step):
            part = slice(first, first + step)
            at_q = self.q.positions[q[part]][:, :, None]
            at_k = self.k.positions[k[part]][:, None, :]
            values: dict[str, Float] = {}
            for digit in self.digits:
                place = np.zeros((), np.int64)
                for index, at in ((digit.q, at_q), (digit.k, at_k)):
                    place = place if index is None else place + index[at]
                values |= {word: known[place] for word, known in digit.values.items()}
            shape = (len(at_q), self.q.size, self.k.size)
            truth = np.broadcast_to(evaluate(self.rule, values), shape)
            found[part] = packed(truth.astype(np.bool_))
        return found


@dataclass(frozen=True, eq=False)
class Reach:
    """Runs of indices, less that of the first tokens, that pairs of patterns reach together.

    Attributes:
        words: [pairs] runs of each pair; `MAX_INDEX` if they are many and not listed.
        first: [pairs] place of its first run.
        start: [runs] first index.
        length: [runs] number of indices, at most `MAX_RUN`.
    """

    words: Int64
    first: Int64
    start: Int64
    length: Int64

    @classmethod
    def find(cls, q: "Patterns", k: "Patterns", of_q: Int64, of_k: Int64) -> "Reach":
        """Find the runs of pairs of patterns."""
        count_q, count_k = q.spans.count[of_q], k.spans.count[of_k]
        sums = np.where(count_q * count_k <= MAX_SUMS, count_q * count_k, 0)
        pair, at = ranges(np.zeros_like(sums), sums)
        a = q.spans.first[of_q[pair]] + at // count_k[pair]
        b = k.spans.first[of_k[pair]] + at % count_k[pair]
        # Sums of spans, one pair of patterns behind the other; the least index is negative.
        base = pair * 4 * MAX_ENTRIES + 2 * MAX_ENTRIES
        start = base + q.spans.low[a] + k.spans.low[b]
        order = np.argsort(start)
        stop = (start + q.spans.length[a] + k.spans.length[b] - 1)[order]
        start, stop = start[order], np.maximum.accumulate(stop)
        begins = np.ones(len(start), np.bool_)
        np.greater(start[1:], stop[:-1], out=begins[1:])
        start, stop = start[begins], stop[np.append(begins[1:], True)[: len(stop)]]
        run, part = ranges(np.zeros_like(start), -(-(stop - start) // MAX_RUN))
        start = start[run] + part * MAX_RUN
        length = np.minimum(stop[run] - start, MAX_RUN)
        pair, start = np.divmod(start, 4 * MAX_ENTRIES)
        words = np.bincount(pair, minlength=len(of_q))
        words_of = np.where(sums > 0, words, MAX_INDEX)
        return cls(words_of, np.cumsum(words) - words, start - 2 * MAX_ENTRIES, length)


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

    @cached_property
    def runs(self) -> list[list["Run"]]:
        """The runs of each pattern."""
        return [list(_runs(rise)) for rise in self.rise]


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring tokens in one 64-bit word whose index rises by one, or does not rise.

    Attributes:
        word: Word of the tokens' bits.
        shift: Bit of the first.
        length: Number of tokens, at most `MAX_RUN` if the index rises.
        rise: Index of the first token, less that of the piece's first.
        same: Whether the index does not rise.
    """

    word: int
    shift: int
    length: int
    rise: int
    same: bool


MAX_RUN = 57
"""Bits that a 64-bit word surely holds from any bit of its first byte on."""


def _runs(rise: Int64) -> Iterator[Run]:
    steps = np.diff(rise)
    start, size = 0, len(rise)
    while start < size:
        word, shift = divmod(start, 64)
        stop = start + 1
        same = stop < size and steps[start] == 0
        most = min(size, 64 * (word + 1)) if same else min(size, 64 * (word + 1), start + MAX_RUN)
        if stop < size and steps[start] in (0, 1):
            while stop < most and steps[stop - 1] == steps[start]:
                stop += 1
        yield Run(word, shift, stop - start, int(rise[start]), bool(same))
        start = stop
