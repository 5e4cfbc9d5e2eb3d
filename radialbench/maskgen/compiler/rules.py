"""The contents of pairs of pieces under a rule: bounded first, then each kind evaluated once.

1. The rule is bounded on the coordinates of groups of pieces, then of pieces: it holds for all
   pairs of tokens, for none, or its value differs (`language/evaluate.py`).
2. Where it differs, the atoms that matter are those whose own value differs. Two pairs of pieces in
   which the same atoms matter, with equal contents, have equal contents themselves.
3. One pair of each kind is evaluated, in words of 64 keys.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.machine import free_memory
from radialbench.maskgen.compiler.atoms import MAX_ENTRIES, Atom, packed
from radialbench.maskgen.compiler.blocks import copied, distinct, pairs_of, spread, unique_rows
from radialbench.maskgen.compiler.coordinates import Coordinates
from radialbench.maskgen.compiler.sides import Side
from radialbench.maskgen.language.evaluate import Interval, bound_nodes, fold
from radialbench.maskgen.language.expressions import COMPARISONS, Expr, join
from radialbench.maskgen.table import ranges

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Words = NDArray[np.uint64]
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
        bits: [contents, size of q, words] whether a key attends, in words of 32 keys; bits behind
            the end of a piece are 0.
        pairs: [contents] pairs of tokens that attend.
        distinct: Whether no two contents that are not full are equal, and these are in the order of
            their hashes.
    """

    q: Int64
    k: Int64
    content: Int64
    bits: NDArray[np.uint32]
    pairs: Int64
    distinct: bool = False


def contents(
    rule: Expr, known: Coordinates, progress: Callable[[float], None] = lambda share: None
) -> Contents:
    """Find the contents of all pairs of pieces under a rule that is bound to the grid.

    Args:
        rule: The rule.
        known: Its coordinates, and the pieces.
        progress: Called now and then with the share that is done.

    Raises:
        SpecError: The contents do not fit into memory.
    """
    return Rule(rule, known, progress).contents()


@dataclass(frozen=True, eq=False)
class Alike:
    """Pairs of pieces in which the rule holds for some tokens, or may, by their contents.

    A part of the rule matters where its value differs and no part above it is decided without it.
    The other parts below one that matters are neutral: always true under `and`, never under `or`.

    Attributes:
        at: [pairs] place among the pairs that were asked for.
        q: [pairs] piece of queries.
        k: [pairs] piece of keys.
        kind: [pairs] number of the content; pairs of one kind have equal contents.
        sample: [kinds] a pair of each kind.
        matters: Where a part of the rule matters, [kinds] each.
    """

    at: Int64
    q: Int64
    k: Int64
    kind: Int64
    sample: Int64
    matters: dict[Expr, Bool]


class Rule:
    """A rule on the coordinates of two sides.

    Attributes:
        rule: The rule, whose names may stand for parts with one coordinate.
    """

    def __init__(
        self,
        rule: Expr,
        known: Coordinates,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        self.progress = progress
        self.rule = known.along_one(_regrouped(_joined(rule)))
        self.known = known
        self.q, self.k = known.sides["q"], known.sides["k"]
        self.words = -(-self.k.size // 64)
        self.bits = np.empty((0, self.q.size, self.words), np.uint64)

    @cached_property
    def parts(self) -> dict[Expr, Atom | None]:
        """The atoms, and what joins them, which is None; arguments come first."""
        found: dict[Expr, Atom | None] = {}
        parts = {self.rule}
        for node in reversed(list(self.rule.walk())):
            if node in parts and self.may_be_atom(node):
                found[node] = Atom(node, self.known)
            elif node in parts:
                found[node] = None
                parts.update(node.args)
        return dict(reversed(found.items()))

    @cached_property
    def atoms(self) -> dict[Expr, Atom]:
        """The atoms, arguments last."""
        return {node: atom for node, atom in reversed(self.parts.items()) if atom}

    @cached_property
    def joins(self) -> list[Expr]:
        """What joins atoms; arguments come first."""
        return [node for node, atom in self.parts.items() if node.args and not atom]

    def may_be_atom(self, node: Expr) -> bool:
        """Return whether a part is no join, or joins others to an atom of all its coordinates."""
        if node.op not in JOINS:
            return node.op != "truth"
        origins = self.known.origins
        return (
            node.names().isdisjoint(self.known.matrices)
            and self.known.combinations(node) <= MAX_ENTRIES
            and any(origins(a) == origins(node) and self.may_be_atom(a) for a in node.args)
        )

    def contents(self) -> Contents:
        """Find the contents of all pairs of pieces, of each kind of groups' pairs once."""
        q, k = self.q.groups, self.k.groups
        found = []
        step = max(1, MAX_PAIRS // len(k))
        for first in range(0, len(q), step):
            rows = np.arange(first, min(first + step, len(q)))
            groups = self.groups(rows)
            size = np.cumsum((q.count[groups.q] * k.count[groups.k])[groups.sample])
            parts = np.split(np.arange(len(size)), np.flatnonzero(np.diff(size // MAX_PAIRS)) + 1)
            for place, kinds in enumerate(parts):
                self.done = (first + place / len(parts) * len(rows)) / len(q)
                self.part = len(rows) / len(parts) / len(q)
                found.append(self.copied(groups, kinds))
        q_pieces, k_pieces, content = map(np.concatenate, zip(*found, strict=True))
        # Memory is little-endian where NumPy is not; words of 64 keys are two of 32 each.
        bits = self.bits.astype("<u8", copy=False).view("<u4").astype(np.uint32, copy=False)
        bits = np.ascontiguousarray(bits[:, :, : -(-self.k.size // 32)])
        return Contents(q_pieces, k_pieces, content, bits, pairs_of(bits))

    def groups(self, rows: Int64) -> Alike:
        """Find the pairs of some groups of queries and any of keys in which the rule may hold."""
        columns = np.arange(len(self.k.groups))
        every = np.repeat(rows, len(columns)), np.tile(columns, len(rows))
        return self.alike(*every, self.q.groups, self.k.groups)

    def copied(self, groups: Alike, kinds: Int64) -> tuple[Int64, Int64, Int64]:
        """Evaluate one pair of groups of each of some kinds, and copy it to the kind's others.

        Returns:
            The pairs of pieces and their contents, as those of `Contents`.
        """
        q, k = self.q.groups, self.k.groups
        sample = groups.sample[kinds]
        a, b = groups.q[sample], groups.k[sample]
        owner, row = ranges(q.pointer[a], q.count[a])
        one, column = ranges(k.pointer[b][owner], k.count[b][owner])
        row, owner = row[one], owner[one]
        some, content = self.evaluated(row, column)
        owner = owner[some]
        count = np.bincount(owner, minlength=len(kinds))
        below, right = row[some] - q.pointer[a][owner], column[some] - k.pointer[b][owner]
        place = np.full(len(groups.sample), -1)
        place[kinds] = np.arange(len(kinds))
        pairs = np.flatnonzero(place[groups.kind] >= 0)
        kind = place[groups.kind[pairs]]
        copy, entry = ranges((np.cumsum(count) - count)[kind], count[kind])
        return (
            q.pointer[groups.q[pairs]][copy] + below[entry],
            k.pointer[groups.k[pairs]][copy] + right[entry],
            content[entry],
        )

    def bounds(self, q: Int64, k: Int64, q_side: Side, k_side: Side) -> dict[Expr, Interval]:
        """Bound every part of the rule on pairs of pieces; index arrays may broadcast."""
        boxes = self.known.bounds(self.rule.names(), q, k, q_side, k_side)
        return bound_nodes(self.rule, boxes)

    def alike(self, q: Int64, k: Int64, q_side: Side, k_side: Side) -> Alike:
        """Find the pairs of pieces in which the rule may hold, and those with equal contents."""
        bounds = self.bounds(q, k, q_side, k_side)
        possible = np.broadcast_to(bounds[self.rule][1].astype(np.bool_, copy=False), q.shape)
        at = np.flatnonzero(possible)
        q, k = q[at], k[at]
        matters = {node: np.zeros(len(q), np.bool_) for node in self.parts}
        differs = {
            node: np.broadcast_to(low != high, possible.shape)[at]
            for node, (low, high) in bounds.items()
            if node in matters
        }
        matters[self.rule] = differs[self.rule]
        for node in reversed(self.joins):
            for part in node.args:
                if part in differs:
                    matters[part] = matters[part] | matters[node] & differs[part]
        sample, kind = np.zeros(0, np.int64), np.empty(len(q), np.int64)
        for here in (matters[self.rule], ~matters[self.rule]):
            pairs = np.flatnonzero(here)
            chosen = {node: value[pairs] for node, value in matters.items()}
            columns = self.columns(q[pairs], k[pairs], q_side, k_side, chosen)
            first, number = unique_rows(columns)
            kind[pairs] = len(sample) + number
            sample = np.concatenate([sample, pairs[first]])
        return Alike(
            at, q, k, kind, sample, {node: value[sample] for node, value in matters.items()}
        )

    def columns(
        self, q: Int64, k: Int64, q_side: Side, k_side: Side, matters: dict[Expr, Bool]
    ) -> Iterator[Int64]:
        """Iterate over what decides the content of pairs of pieces."""
        yield q_side.cut[q] * (int(k_side.cut.max()) + 1) + k_side.cut[k]
        for start in range(0, len(self.joins), 62):
            column = np.zeros(len(q), np.int64)
            for bit, node in enumerate(self.joins[start : start + 62]):
                column |= matters[node].astype(np.int64) << bit
            yield column
        for node, atom in self.atoms.items():
            chosen = np.flatnonzero(matters[node])
            if len(chosen):
                column = np.full(len(q), -1, np.int64)
                column[chosen] = atom.kinds(q[chosen], k[chosen], q_side, k_side)
                yield column

    def evaluated(self, q: Int64, k: Int64) -> tuple[Int64, Int64]:
        """Find the contents of pairs of pieces: the places of pairs that have one, and those."""
        alike = self.alike(q, k, self.q, self.k)
        content = self.contents_of_kinds(alike)[alike.kind]
        some = np.flatnonzero(content >= 0)
        return alike.at[some], content[some]

    def contents_of_kinds(self, alike: Alike) -> Int64:
        """Evaluate a pair of each kind: its content, -1 where empty; stores the contents' bits."""
        q, k = alike.q[alike.sample], alike.k[alike.sample]
        content = np.full(len(q), -1, np.int64)
        step = max(1, MAX_BITS // (self.q.size * self.k.size))
        before = len(self.bits)
        order = self.by_key_pattern(k, alike.matters)
        free = free_memory()
        size = max(1, min(len(order), BATCH * step))
        bits = np.empty((size, self.q.size, self.words), np.uint64)
        attends = np.empty(size, np.bool_)
        for first in range(0, len(order), size):
            self.progress(self.done + self.part * first / len(order))
            # As many contents are expected of the kinds that are left.
            expected = round(len(order) / max(1, first) * (len(self.bits) - before))
            if free is not None and expected * bits[0].nbytes > free:
                raise SpecError(
                    f"the mask has about {expected:,} different partial blocks on this grid, "
                    f"{expected * bits[0].nbytes / 2**30:.3g} GiB of bits, and "
                    f"{free / 2**30:.3g} GiB of memory are free; take a smaller grid or smaller "
                    "blocks, or round the rule to whole blocks (rounded:)"
                )
            batch = order[first : first + size]

            def fill(start: int, batch: Int64 = batch) -> None:
                chosen = batch[start : start + step]
                matters = {node: value[chosen] for node, value in alike.matters.items()}
                part = bits[start : start + len(chosen)]
                self.fill(part, q[chosen], k[chosen], matters)
                attends[start : start + len(chosen)] = part.any(axis=(1, 2))

            spread(fill, range(0, len(batch), step))
            rows = bits[: len(batch)].reshape(len(batch), -1).view(np.uint32)
            first_of, kind = distinct(rows)
            filled = attends[first_of]
            count = len(self.bits)
            number = np.where(filled, count + np.cumsum(filled) - 1, -1)
            content[batch] = number[kind]
            first_of = first_of[filled]
            # An array that is large grows in place, without a copy.
            self.bits.resize((count + len(first_of), *self.bits.shape[1:]), refcheck=False)
            copied(bits, first_of, self.bits[count:])
        return content

    def by_key_pattern(self, k: Int64, matters: dict[Expr, Bool]) -> Int64:
        """Order pairs so that those with one pattern of keys are neighbours."""
        used = [atom for node, atom in self.atoms.items() if matters[node].any()]
        patterns = [atom.patterns("k", self.k).of for atom in used if atom.is_indexed]
        if not patterns:
            return np.arange(len(k))
        return np.argsort(unique_rows(patterns)[1][k], kind="stable")

    def fill(self, bits: Words, q: Int64, k: Int64, matters: dict[Expr, Bool]) -> None:
        """Fill in the bits of pairs of pieces, [pairs, size of q, words]."""
        here = np.flatnonzero(matters[self.rule])
        if len(here) < len(q):
            bits[...] = ~np.uint64(0)
        if len(here):
            bits[here] = self.values(self.rule, q, k, matters, here)
        rows, columns = self.q.lengths[q], self.k.lengths[k]
        short = np.flatnonzero((rows < self.q.size) | (columns < self.words * 64))
        if len(short):
            in_rows = np.arange(self.q.size) < rows[short, None]
            in_columns = packed(np.arange(self.k.size) < columns[short, None])
            bits[short] &= np.where(in_rows[:, :, None], in_columns[:, None, :], np.uint64(0))

    def values(
        self, node: Expr, q: Int64, k: Int64, matters: dict[Expr, Bool], chosen: Int64
    ) -> Words:
        """[chosen, size of q, words] values of a part in chosen pairs, in which it matters."""
        if node in self.atoms:
            return self.atoms[node].bits(q[chosen], k[chosen])
        if node.op == "not":
            return ~self.values(node.args[0], q, k, matters, chosen)
        join = np.bitwise_and if node.op == "and" else np.bitwise_or
        neutral = ~np.uint64(0) if node.op == "and" else np.uint64(0)
        out = np.full((len(chosen), self.q.size, self.words), neutral)
        for part in node.args:
            here = np.flatnonzero(matters[part][chosen])
            if len(here) == len(chosen):
                join(out, self.values(part, q, k, matters, chosen), out=out)
            elif len(here):
                out[here] = join(out[here], self.values(part, q, k, matters, chosen[here]))
        return out


def _joined(rule: Expr) -> Expr:
    """Replace `where`, `==` and `!=` between truth values by `and`, `or` and `not`."""
    done: dict[Expr, Expr] = {}
    truths: set[Expr] = set()
    for node in rule.walk():
        args = tuple(done[argument] for argument in node.args)
        joins = node.op in ("where", "==", "!=") and node.args[1] in truths
        if joins or node.op in (*JOINS, *COMPARISONS, "truth"):
            truths.add(node)
        if not joins:
            done[node] = Expr(node.op, args, node.value)
        elif node.op == "where":
            done[node] = args[0] & args[1] | ~args[0] & args[2]
        else:
            other = ~args[1] if node.op == "==" else args[1]
            done[node] = args[0] & ~other | ~args[0] & other
    return fold(done[rule], {})


def _regrouped(rule: Expr) -> Expr:
    """Reorder what `and` and `or` join, so that parts of the same coordinates are joined first."""
    done: dict[Expr, Expr] = {}
    chains: dict[Expr, dict[Expr, None]] = {}

    def finished(node: Expr) -> Expr:
        if node not in done:
            done[node] = join(node.op, [join(node.op, group) for group in _groups(chains[node])])
        return done[node]

    for node in rule.walk():
        if node.op in ("and", "or"):
            chains[node] = {}
            for part in node.args:
                chains[node] |= chains[part] if part.op == node.op else {finished(part): None}
        else:
            done[node] = Expr(node.op, tuple(map(finished, node.args)), node.value)
    return finished(rule)


def _groups(parts: Iterable[Expr]) -> list[list[Expr]]:
    """Group parts whose names are all in the first of their group."""
    groups: list[tuple[set[str], list[Expr]]] = []
    for names, part in sorted(
        ((part.names(), part) for part in parts), key=lambda named: -len(named[0])
    ):
        for most, group in groups:
            if names <= most:
                group.append(part)
                break
        else:
            groups.append((names, [part]))
    return [group for _, group in groups]
