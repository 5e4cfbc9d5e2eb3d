"""Reorder: q, k and v from raster order into the token order of each head's table, and back."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

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
        there: [tokens] the raster token at each position; None in raster order.
        back: [tokens] its inverse.
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
        keys: The heads of k and v.
        copies: Whether k and v are copied for every head, as heads that share a key head have
            different orders.
    """

    queries: tuple[Part, ...]
    keys: tuple[Part, ...]
    copies: bool

    def inputs(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k and v of [batch, heads, tokens, head_dim] in the orders of their heads."""
        if self.copies:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
        k, v = (_differentiable(x, self.keys, back=False) for x in (k, v))
        return _differentiable(q, self.queries, back=False), k, v

    def queried(self, x: Tensor) -> Tensor:
        """Return what is like q in the orders of its heads; the inverse of `output`."""
        return _differentiable(x, self.queries, back=False)

    def output(self, out: Tensor) -> Tensor:
        """Return an output of [batch, heads, q_len, head_dim] in raster order."""
        return _differentiable(out, self.queries, back=True)


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
    shared = heads // kv_heads
    groups = [orders[start : start + shared] for start in range(0, heads, shared)]
    copies = any(len(set(group)) > 1 for group in groups)
    by_order = {one.order: one for one in tables}

    def parts(orders: list[TokenOrder], *, queries: bool) -> tuple[Part, ...]:
        indices: dict[TokenOrder, tuple[Tensor | None, Tensor | None]] = {}
        for order, one in by_order.items():
            raster = order == TokenOrder()
            moves = permutation(one, queries=queries, device=device)
            indices[order] = (None, None) if raster else moves
        edges = [place for place in range(len(orders)) if orders[place] != orders[place - 1]]
        edges = [*dict.fromkeys((0, *edges)), len(orders)]
        return tuple(Part(a, b, *indices[orders[a]]) for a, b in pairwise(edges))

    by_key = orders if copies else [group[0] for group in groups]
    return Reorder(parts(orders, queries=True), parts(by_key, queries=False), copies)


def _differentiable(x: Tensor, parts: tuple[Part, ...], *, back: bool) -> Tensor:
    if not (torch.is_grad_enabled() and x.requires_grad):
        return _moved(x, parts, back=back)
    moved: Tensor = _Moved.apply(x, parts, back)  # type: ignore[no-untyped-call]
    return moved


class _Moved(torch.autograd.Function):
    """Tokens in another order. Gradients go back by the inverse: a copy, as there, and no sums."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, parts: tuple[Part, ...], back: bool) -> Tensor:
        """Move there, or back."""
        ctx.parts, ctx.back = parts, back
        return _moved(x, parts, back=back)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Move the other way."""
        return _differentiable(grads[0], ctx.parts, back=not ctx.back), None, None


def _moved(x: Tensor, parts: tuple[Part, ...], *, back: bool) -> Tensor:
    moves = [(part, part.back if back else part.there) for part in parts]
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
