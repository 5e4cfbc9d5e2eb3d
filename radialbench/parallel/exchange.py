"""Tensors between ranks: heads for tokens and back, and messages that need not be waited for."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from radialbench.parallel.plan import ParallelPlan

Group = dist.ProcessGroup
Message = tuple[Tensor, int]
"""A contiguous tensor, and the rank in the group that it goes to or comes from."""


def post(sends: Sequence[Message], receives: Sequence[Message], group: Group) -> list[dist.Work]:
    """Start to send and receive; tensors belong to the messages until all are waited for."""
    ops = [
        dist.P2POp(call, x, dist.get_global_rank(group, rank), group)
        for call, messages in ((dist.isend, sends), (dist.irecv, receives))
        for x, rank in messages
    ]
    return dist.batch_isend_irecv(ops) if ops else []


def wait(works: Sequence[dist.Work]) -> None:
    """Wait for messages."""
    for work in works:
        work.wait()


class Swap(torch.autograd.Function):
    """Heads for tokens within a group of Ulysses, or back; each is the other's gradient.

    There: [batch, all heads, own tokens, head_dim] to [batch, own heads, all tokens, head_dim].
    """

    @staticmethod
    def forward(
        ctx: Any, plan: ParallelPlan, group: Group, queries: Sequence[bool], back: bool, *xs: Tensor
    ) -> tuple[Tensor, ...]:
        """Exchange tensors of one batch and head_dim in one message to each rank."""
        ctx.given = plan, group, queries
        ctx.back = back
        return _swap(plan, group, queries, back, xs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Exchange gradients the other way."""
        return (None,) * 4 + tuple(Swap.apply(*ctx.given, not ctx.back, *grads))  # type: ignore[no-untyped-call]


def _swap(
    plan: ParallelPlan, group: Group, queries: Sequence[bool], back: bool, xs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    rank = dist.get_rank(group)
    place, first = rank % plan.ulysses, rank - rank % plan.ulysses
    members = range(first, first + plan.ulysses)
    start = plan.edges[first]
    by_place = [(plan.query_heads(p), plan.dealt[p]) for p in range(plan.ulysses)]
    batch, head_dim = xs[0].shape[0], xs[0].shape[3]

    def heads(place: int, x: int) -> list[int]:
        return list(by_place[place][0 if queries[x] else 1])

    def outgoing(x: int, member: int) -> Tensor:
        """Return what of a tensor goes to a rank."""
        if back:
            own = plan.tokens(member)
            return xs[x][:, :, own.start - start : own.stop - start]
        return xs[x][:, heads(member - first, x)]

    def shape(x: int, member: int) -> tuple[int, ...]:
        """Return the shape of what of a tensor comes from a rank."""
        own, tokens = (member - first, rank) if back else (place, member)
        return batch, len(heads(own, x)), plan.lengths[tokens], head_dim

    each = range(len(xs))
    boxes = {
        member: torch.cat([outgoing(x, member).reshape(-1) for x in each]) for member in members
    }
    arrived = {
        member: xs[0].new_empty(sum(torch.Size(shape(x, member)).numel() for x in each))
        for member in members
        if member != rank
    }
    wait(
        post(
            [(box, member) for member, box in boxes.items() if member != rank],
            [(box, member) for member, box in arrived.items()],
            group,
        )
    )
    arrived[rank] = boxes[rank]
    parts = {
        member: [
            flat.view(shape(x, member))
            for x, flat in enumerate(
                arrived[member].split([torch.Size(shape(x, member)).numel() for x in each])
            )
        ]
        for member in members
    }
    if not back:
        return tuple(torch.cat([parts[member][x] for member in members], dim=2) for x in each)
    results = []
    for x in each:
        all_heads = plan.heads if queries[x] else plan.kv_heads
        whole = xs[x].new_empty(batch, all_heads, plan.lengths[rank], head_dim)
        for member in members:
            whole[:, heads(member - first, x)] = parts[member][x]
        results.append(whole)
    return tuple(results)
