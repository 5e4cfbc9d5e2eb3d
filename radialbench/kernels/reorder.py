"""Reorder: q, k and v from raster order into the token order of each head's table, and back."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.device_table import permutation
from radialbench.maskgen.head_tables import AnyTable, tables_by_head
from radialbench.maskgen.order import TokenOrder


@dataclass(frozen=True, eq=False)
class Part:
    """Neighbouring heads of one token order.

    Attributes:
        first: The first head.
        stop: The head after the last.
        there: [seq_len] the raster token at each position; None in raster order.
        back: [seq_len] its inverse.
    """

    first: int
    stop: int
    there: Tensor | None
    back: Tensor | None


@dataclass(frozen=True, eq=False)
class Reorder:
    """Permutations of the tokens by head.

    Attributes:
        queries: The heads of q.
        keys: The heads of k and v; None if heads that share a key head have different orders, so
            that k and v are copied for every head.
    """

    queries: tuple[Part, ...]
    keys: tuple[Part, ...] | None

    def inputs(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k and v of [batch, heads, seq_len, head_dim] in the orders of their heads."""
        if self.keys is None:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
        keys = self.keys or self.queries
        q = _moved(q, [(part, part.there) for part in self.queries])
        k, v = (_moved(x, [(part, part.there) for part in keys]) for x in (k, v))
        return q, k, v

    def output(self, out: Tensor) -> Tensor:
        """Return an output of [batch, heads, seq_len, head_dim] in raster order."""
        return _moved(out, [(part, part.back) for part in self.queries])


def reorder(
    table: AnyTable, heads: int, kv_heads: int, device: str | torch.device
) -> Reorder | None:
    """Return how to reorder tokens for a table, or for the table of each head; None if not at all.

    Args:
        table: The blocks to visit.
        heads: Heads of q.
        kv_heads: Heads of k and v.
        device: Where they are.

    Raises:
        BackendError: The tables are for another number of heads.
    """
    tables = tables_by_head(table, heads)
    if len(tables) != heads:
        raise BackendError(f"the tables are for {len(tables)} heads, q has {heads}")
    orders = [one.order for one in tables]
    if set(orders) == {TokenOrder()}:
        return None
    indices: dict[TokenOrder, tuple[Tensor | None, Tensor | None]] = {TokenOrder(): (None, None)}
    for one in tables:
        if one.order not in indices:
            indices[one.order] = permutation(one, device=device)

    def parts(orders: list[TokenOrder]) -> tuple[Part, ...]:
        edges = [place for place in range(len(orders)) if orders[place] != orders[place - 1]]
        edges = [*dict.fromkeys((0, *edges)), len(orders)]
        return tuple(Part(a, b, *indices[orders[a]]) for a, b in pairwise(edges))

    shared = heads // kv_heads
    groups = [orders[start : start + shared] for start in range(0, heads, shared)]
    one_each = all(len(set(group)) == 1 for group in groups)
    return Reorder(parts(orders), parts([group[0] for group in groups]) if one_each else None)


def _moved(x: Tensor, moves: list[tuple[Part, Tensor | None]]) -> Tensor:
    # Models keep [batch, seq_len, heads, head_dim]: whole tokens are copied in that layout.
    models = x.stride(1) < x.stride(2)
    x = x.transpose(1, 2) if models else x
    tokens, heads = (1, 2) if models else (2, 1)
    if len(moves) == 1 and (index := moves[0][1]) is not None:
        moved = x.index_select(tokens, index)
    else:
        moved = torch.empty_like(x)
        for part, index in moves:
            own, out = (y.narrow(heads, part.first, part.stop - part.first) for y in (x, moved))
            out.copy_(own if index is None else own.index_select(tokens, index))
    return moved.transpose(1, 2) if models else moved
