"""ParallelPlan: which heads, tokens and hops of a sequence each rank has, as its tables decide."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from math import gcd

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import BackendError
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.maskgen.table import BlockTable
from radialbench.parallel.cut import ShardWork, cut_table, shard_work


@dataclass(frozen=True, eq=False)
class Hop:
    """What a rank computes on the keys of one shard.

    Attributes:
        source: The shard of the ring whose keys they are.
        key_heads: The rank's key heads that have work there, by their place among its own.
        query_heads: The query heads that share them, by their place among its own.
        table: Their tables between the two shards.
    """

    source: int
    key_heads: tuple[int, ...]
    query_heads: tuple[int, ...]
    table: AnyTable


@dataclass(frozen=True, eq=False)
class ParallelPlan:
    """How attention on one sequence is dealt out to ranks; the same on each of them.

    `ulysses` neighbouring ranks exchange heads for tokens: each then has all tokens of the group,
    which are a shard of the ring, and some of the heads. The ranks with the same place in each
    group are a ring, in which keys and values go from shard to shard.

    Attributes:
        table: The table of all heads, or those of each.
        heads: Query heads.
        kv_heads: Key heads.
        lengths: Tokens of each rank, in the table's order.
        ulysses: Ranks of a group.
        dealt: The key heads of each place in a group.
    """

    table: AnyTable
    heads: int
    kv_heads: int
    lengths: tuple[int, ...]
    ulysses: int
    dealt: tuple[tuple[int, ...], ...]

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return len(self.lengths)

    @property
    def ring(self) -> int:
        """Number of shards of a ring."""
        return self.ranks // self.ulysses

    @property
    def shared(self) -> int:
        """Query heads of a key head."""
        return self.heads // self.kv_heads

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """The first position of each rank, and the sequence's length."""
        return tuple(accumulate(self.lengths, initial=0))

    def tokens(self, rank: int) -> range:
        """Return the positions of a rank's tokens."""
        return range(self.edges[rank], self.edges[rank + 1])

    def shard(self, number: int) -> range:
        """Return the positions of a shard of the ring."""
        return range(self.edges[number * self.ulysses], self.edges[(number + 1) * self.ulysses])

    @property
    def longest(self) -> int:
        """Tokens of the longest shard of the ring: keys and values are sent in this length."""
        return max(len(self.shard(number)) for number in range(self.ring))

    def query_heads(self, place: int) -> tuple[int, ...]:
        """Return the query heads of a place in a group."""
        return tuple(
            head * self.shared + own for head in self.dealt[place] for own in range(self.shared)
        )

    @cached_property
    def work(self) -> tuple[ShardWork, ...]:
        """The work of each group of heads between the shards of the ring."""
        lengths = [len(self.shard(number)) for number in range(self.ring)]
        tables = self.table.tables if isinstance(self.table, HeadTables) else (self.table,)
        return tuple(shard_work(table, lengths) for table in tables)

    @property
    def group_of_head(self) -> tuple[int, ...]:
        """The group of each query head: the number of its table."""
        return self.table.group_of_head if isinstance(self.table, HeadTables) else (0,) * self.heads

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        """[kv_heads, ring, ring] visited blocks of key heads, by shard of queries, then of keys."""
        by_head = np.stack([self.work[group].blocks for group in self.group_of_head])
        shape = (self.kv_heads, self.shared, self.ring, self.ring)
        return np.asarray(by_head.reshape(shape).sum(axis=1))

    def visited(self) -> NDArray[np.int64]:
        """[ranks] the blocks that each rank visits."""
        by_shard = self.blocks.sum(axis=2)
        by_place = np.stack([by_shard[list(heads)].sum(axis=0) for heads in self.dealt])
        return by_place.T.ravel()

    def needed(self, place: int, queries: int, keys: int) -> tuple[int, ...]:
        """Return which of a place's key heads have work between two shards, by their place."""
        if self.ring == 1:
            return tuple(range(len(self.dealt[place])))
        own = self.blocks[list(self.dealt[place]), queries, keys]
        return tuple(np.flatnonzero(own).tolist())

    def hop(self, place: int, queries: int, keys: int) -> Hop | None:
        """Return what a place computes between two shards; None if that is nothing."""
        key_heads = self.needed(place, queries, keys)
        if not key_heads:
            return None
        own = tuple(head * self.shared + one for head in key_heads for one in range(self.shared))
        heads = self.query_heads(place)
        table = _between(self, queries, keys)
        if isinstance(table, HeadTables):
            table = table.of_heads([heads[head] for head in own])
        return Hop(keys, key_heads, own, table)


def plan_parallel(
    table: AnyTable,
    ranks: int,
    heads: int,
    *,
    kv_heads: int | None = None,
    ulysses: int | None = None,
    lengths: Sequence[int] | None = None,
) -> ParallelPlan:
    """Deal attention out to ranks.

    Key heads are dealt out by the blocks that kernels visit for them, longest first, each to the
    rank that has least; so ranks may have different numbers of heads.

    Args:
        table: The table of all heads, or those of each head.
        ranks: Number of ranks.
        heads: Query heads.
        kv_heads: Key heads; as many as query heads if not given.
        ulysses: Ranks that exchange heads for tokens, a divisor of `ranks` and at most `kv_heads`;
            the ring has the rest. The greatest common divisor of `ranks` and `kv_heads` if not
            given, so that each has equally many.
        lengths: Tokens of each rank, in the table's order; equal up to one token if not given.

    Raises:
        BackendError: Heads, ranks or lengths do not fit; the message says what does.
    """
    if not isinstance(table, (BlockTable, HeadTables)):
        raise BackendError(
            "the table must be what compile_mask or compile_heads returns, got "
            f"{type(table).__name__}"
        )
    kv_heads = heads if kv_heads is None else kv_heads
    if ranks < 1 or heads < 1 or kv_heads < 1 or heads % kv_heads:
        raise BackendError(
            "there must be at least one rank, and key heads that divide the heads, got "
            f"{ranks} ranks, {heads} heads and {kv_heads} key heads"
        )
    if isinstance(table, HeadTables) and table.heads != heads:
        raise BackendError(f"the tables are for {table.heads} heads, q has {heads}")
    if table.q_len != table.k_len:
        raise BackendError(
            f"the table has {table.q_len:,} queries and {table.k_len:,} keys: a sequence is dealt "
            "out where all its tokens are queries; run cached keys on one device, or by heads"
        )
    ulysses = gcd(ranks, kv_heads) if ulysses is None else ulysses
    fits = [n for n in range(1, min(ranks, kv_heads) + 1) if ranks % n == 0]
    if ulysses not in fits:
        raise BackendError(
            f"ulysses={ulysses} does not fit {ranks} ranks and {kv_heads} key heads: it divides "
            f"the ranks and is at most the key heads, so take {', '.join(map(str, fits))}; a ring "
            "has the rest"
        )
    if lengths is None:
        lengths = [len(part) for part in np.array_split(np.arange(table.k_len), ranks)]
    if len(lengths) != ranks or sum(lengths) != table.k_len or min(lengths) < 1:
        shown = ", ".join(map(str, list(lengths)[:8])) + ", …" * (len(lengths) > 8)
        raise BackendError(
            f"each of {ranks} ranks has at least one token, and all have {table.k_len:,}; got "
            f"{shown}, together {sum(lengths):,}; take fewer ranks or other lengths"
        )
    return ParallelPlan(
        table=table,
        heads=heads,
        kv_heads=kv_heads,
        lengths=tuple(int(length) for length in lengths),
        ulysses=ulysses,
        dealt=deal_heads(_costs(table, heads, kv_heads), ulysses),
    )


def deal_heads(costs: Sequence[int], ranks: int) -> tuple[tuple[int, ...], ...]:
    """Deal heads out to ranks, longest first, each to the rank with the least work, then heads.

    The most work of a rank is at most 4/3 of the least possible (Graham 1969), and each rank has a
    head where there are enough.
    """
    dealt: list[list[int]] = [[] for _ in range(ranks)]
    work = [0] * ranks
    for head in sorted(range(len(costs)), key=lambda head: -costs[head]):
        rank = min(range(ranks), key=lambda rank: (work[rank], len(dealt[rank]), rank))
        dealt[rank].append(head)
        work[rank] += costs[head]
    return tuple(tuple(sorted(heads)) for heads in dealt)


def _costs(table: AnyTable, heads: int, kv_heads: int) -> list[int]:
    by_head = [one.nnz for one in table.by_head] if isinstance(table, HeadTables) else [table.nnz]
    by_head *= heads // len(by_head)
    shared = heads // kv_heads
    return [sum(by_head[first : first + shared]) for first in range(0, heads, shared)]


@lru_cache(maxsize=64)
def _between(plan: ParallelPlan, queries: int, keys: int) -> AnyTable:
    """Return the tables between two shards of the ring."""
    table = plan.table
    if plan.ring == 1:
        return table
    parts = plan.shard(queries), plan.shard(keys), plan.longest
    if isinstance(table, HeadTables):
        cut = tuple(cut_table(one, *parts) for one in table.tables)
        return HeadTables(cut, table.group_of_head)
    return cut_table(table, *parts)
