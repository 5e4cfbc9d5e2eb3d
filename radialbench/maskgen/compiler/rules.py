"""The contents of pairs of pieces under a rule: bounded first, then each kind evaluated once.

1. The rule is bounded on the coordinates of groups of pieces, then of pieces: it holds for all
   pairs of tokens, for none, or its value differs (`language/evaluate.py`).
2. Where it differs, the atoms that matter are those whose own value differs. Two pairs of pieces in
   which the same atoms matter, with equal contents, have equal contents themselves.
3. One pair of each kind is evaluated, 64 pairs of tokens in a word.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.compiler.atoms import Atom, packed
from radialbench.maskgen.compiler.blocks import distinct, spread, unique_rows
from radialbench.maskgen.compiler.coordinates import Coordinates
from radialbench.maskgen.compiler.sides import GROUP, Side
from radialbench.maskgen.language.evaluate import Interval, bound_nodes
from radialbench.maskgen.language.expressions import COMPARISONS, Expr
from radialbench.maskgen.table import ranges

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Words = NDArray[np.uint64]
Pairs = tuple[Int64, Int64]
"""Pieces of queries and of keys, pair by pair."""

JOINS = ("and", "or", "not")

MAX_PAIRS = 1 << 20
"""Pairs of pieces that are bounded at once."""

MAX_BITS = 1 << 23
"""Pairs of tokens that a thread evaluates at once."""

BATCH = 32
"""Of these, how many are evaluated before equal contents are found."""


@dataclass(frozen=True, eq=False)
class Contents:
    """Pairs of pieces with an attending pair of tokens, in no order.

    Attributes:
        q: [pairs] piece of queries.
        k: [pairs] piece of keys.
        content: [pairs] place in `bits`.
        bits: [contents, size of q, words] whether a key attends; bits behind the end of a piece
            are 0. Contents can be equal.
    """

    q: Int64
    k: Int64
    content: Int64
    bits: Words


def contents(rule: Expr, known: Coordinates) -> Contents:
    """Find the contents of all pairs of pieces under a rule that is bound to the grid."""
    return _Rule(rule, known).contents()


@dataclass(frozen=True, eq=False)
class _Kinds:
    """Pairs of pieces to evaluate, and the parts of the rule that matter in each.

    A part matters where its value differs and no part above it is decided without it. The other
    parts below one that matters are neutral: always true under `and`, never under `or`.
    """

    q: Int64
    k: Int64
    matters: dict[Expr, Bool]


class _Rule:
    def __init__(self, rule: Expr, known: Coordinates) -> None:
        self.rule = known.along_one(_without_choices(rule))
        self.known = known
        self.q, self.k = known.sides["q"], known.sides["k"]
        self.words = -(-self.k.size // 64)
        parts = {self.rule}
        for node in reversed(list(self.rule.walk())):
            if node in parts and node.op in JOINS:
                parts.update(node.args)
        self.parts = [node for node in self.rule.walk() if node in parts]
        self.joins = [node for node in self.parts if node.op in JOINS]
        self.atoms = {
            node: Atom(node, known) for node in self.parts if node.op not in (*JOINS, "truth")
        }

    def contents(self) -> Contents:
        found = [self.evaluated(q, k) for q, k in self.candidates()]
        first = np.cumsum([0, *(len(part.bits) for part in found)])
        return Contents(
            q=np.concatenate([part.q for part in found]),
            k=np.concatenate([part.k for part in found]),
            content=np.concatenate(
                [part.content + start for part, start in zip(found, first, strict=False)]
            ),
            bits=np.concatenate([part.bits for part in found]),
        )

    def candidates(self) -> Iterator[Pairs]:
        """Iterate over the pairs of pieces that the bounds of their groups do not exclude."""
        q, k = self.q.groups, self.k.groups
        step = max(1, MAX_PAIRS // GROUP**2)
        rows = max(1, MAX_PAIRS // len(k))
        for first in range(0, len(q), rows):
            part = np.arange(first, min(first + rows, len(q)))
            high = self.bounds(part[:, None], np.arange(len(k))[None, :], q, k)[self.rule][1]
            a, b = np.nonzero(np.broadcast_to(high, (len(part), len(k))) > 0)
            for start in range(0, max(1, len(a)), step):
                chosen = slice(start, start + step)
                yield _members(part[a[chosen]], b[chosen], len(self.q), len(self.k))

    def bounds(self, q: Int64, k: Int64, q_side: Side, k_side: Side) -> dict[Expr, Interval]:
        """Bound every part of the rule on pairs of pieces; index arrays may broadcast."""
        boxes = self.known.bounds(self.rule.names(), q, k, q_side, k_side)
        return bound_nodes(self.rule, boxes)

    def evaluated(self, q: Int64, k: Int64) -> Contents:
        """Find the contents of pairs of pieces."""
        bounds = self.bounds(q, k, self.q, self.k)
        possible = np.broadcast_to(bounds[self.rule][1] > 0, q.shape)
        q, k = q[possible], k[possible]
        differs = {
            node: np.broadcast_to((low <= 0) & (high > 0), possible.shape)[possible]
            for node, (low, high) in bounds.items()
            if node in self.parts
        }
        matters = {node: np.zeros(len(q), np.bool_) for node in self.parts}
        matters[self.rule] = differs[self.rule]
        for node in reversed(self.joins):
            for part in node.args:
                matters[part] = matters[part] | matters[node] & differs[part]
        sample, kind = np.zeros(0, np.int64), np.empty(len(q), np.int64)
        for part in (matters[self.rule], ~matters[self.rule]):
            pairs = np.flatnonzero(part)
            chosen = {node: value[pairs] for node, value in matters.items()}
            first, number = unique_rows(self.columns(q[pairs], k[pairs], chosen))
            kind[pairs] = len(sample) + number
            sample = np.concatenate([sample, pairs[first]])
        chosen = {node: value[sample] for node, value in matters.items()}
        content, bits = self.distinct_bits(_Kinds(q[sample], k[sample], chosen))
        content = content[kind]
        some = np.flatnonzero(content >= 0)
        return Contents(q[some], k[some], content[some], bits)

    def columns(self, q: Int64, k: Int64, matters: dict[Expr, Bool]) -> Iterator[Int64]:
        """Iterate over what decides the content of pairs of pieces."""
        yield self.q.lengths[q] * (self.k.size + 1) + self.k.lengths[k]
        for start in range(0, len(self.joins), 62):
            column = np.zeros(len(q), np.int64)
            for bit, node in enumerate(self.joins[start : start + 62]):
                column |= matters[node].astype(np.int64) << bit
            yield column
        for node, atom in self.atoms.items():
            chosen = np.flatnonzero(matters[node])
            if len(chosen):
                column = np.full(len(q), -1, np.int64)
                column[chosen] = atom.kinds(q[chosen], k[chosen])
                yield column

    def distinct_bits(self, kinds: _Kinds) -> tuple[Int64, Words]:
        """Evaluate kinds: the content of each, -1 for an empty one, and the contents' bits."""
        content = np.full(len(kinds.q), -1, np.int64)
        step = max(1, MAX_BITS // (self.q.size * self.k.size))
        stored = [np.zeros((0, self.q.size, self.words), np.uint64)]
        count = 0
        order = self.by_key_pattern(kinds)
        for first in range(0, len(order), BATCH * step):
            batch = order[first : first + BATCH * step]
            bits = np.empty((len(batch), self.q.size, self.words), np.uint64)

            def fill(start: int, batch: Int64 = batch, bits: Words = bits) -> None:
                chosen = batch[start : start + step]
                bits[start : start + step] = self.inside(kinds, chosen)
                here = np.flatnonzero(kinds.matters[self.rule][chosen])
                if len(here):
                    bits[start + here] &= self.bits(self.rule, kinds, chosen[here])

            spread(fill, range(0, len(batch), step))
            some = np.flatnonzero(bits.any(axis=(1, 2)))
            first_of, place = distinct(_as_rows(bits[some]))
            content[batch[some]] = count + place
            stored.append(bits[some[first_of]])
            count += len(first_of)
        return content, np.concatenate(stored)

    def by_key_pattern(self, kinds: _Kinds) -> Int64:
        """Order kinds so that those with one pattern of keys are neighbours."""
        used = [atom for node, atom in self.atoms.items() if kinds.matters[node].any()]
        patterns = [atom.patterns[1].of for atom in used if atom.is_indexed]
        if not patterns:
            return np.arange(len(kinds.q))
        return np.argsort(unique_rows(patterns)[1][kinds.k], kind="stable")

    def inside(self, kinds: _Kinds, chosen: Int64) -> Words:
        """[chosen, size of q, words] which pairs of tokens lie in the pieces."""
        bits = np.full((len(chosen), self.q.size, self.words), ~np.uint64(0))
        q, k = self.q.lengths[kinds.q[chosen]], self.k.lengths[kinds.k[chosen]]
        short = np.flatnonzero((q < self.q.size) | (k < self.words * 64))
        if len(short):
            rows = np.arange(self.q.size) < q[short, None]
            columns = packed(np.arange(self.k.size) < k[short, None])
            bits[short] = np.where(rows[:, :, None], columns[:, None, :], np.uint64(0))
        return bits

    def bits(self, node: Expr, kinds: _Kinds, chosen: Int64) -> Words:
        """[chosen, size of q, words] values of a part in kinds where it matters."""
        if node in self.atoms:
            return self.atoms[node].bits(kinds.q[chosen], kinds.k[chosen])
        if node.op == "not":
            return ~self.bits(node.args[0], kinds, chosen)
        join = np.bitwise_and if node.op == "and" else np.bitwise_or
        neutral = ~np.uint64(0) if node.op == "and" else np.uint64(0)
        out = np.full((len(chosen), self.q.size, self.words), neutral)
        for part in node.args:
            here = np.flatnonzero(kinds.matters[part][chosen])
            if len(here) == len(chosen):
                join(out, self.bits(part, kinds, chosen), out=out)
            elif len(here):
                out[here] = join(out[here], self.bits(part, kinds, chosen[here]))
        return out


def _members(q: Int64, k: Int64, q_pieces: int, k_pieces: int) -> Pairs:
    """Return the pairs of pieces of pairs of groups."""
    rows = np.minimum(GROUP, q_pieces - q * GROUP)
    columns = np.minimum(GROUP, k_pieces - k * GROUP)
    owner, row = ranges(q * GROUP, rows)
    first, column = ranges((k * GROUP)[owner], columns[owner])
    return row[first], column


def _as_rows(bits: Words) -> NDArray[np.uint32]:
    return bits.view(np.uint32).reshape(len(bits), 2 * bits.shape[1] * bits.shape[2])


def _without_choices(rule: Expr) -> Expr:
    """Replace `where` between truth values by `and`, `or` and `not`."""
    done: dict[Expr, Expr] = {}
    truths: set[Expr] = set()
    for node in rule.walk():
        args = tuple(done[argument] for argument in node.args)
        chooses = node.op == "where" and node.args[1] in truths
        if chooses or node.op in (*JOINS, *COMPARISONS, "truth"):
            truths.add(node)
        if chooses:
            done[node] = args[0] & args[1] | ~args[0] & args[2]
        else:
            done[node] = Expr(node.op, args, node.value)
    return done[rule]
