"""Keys and values from shard to shard, without the hops that a table leaves empty."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from radialbench.parallel.exchange import Group, post, wait
from radialbench.parallel.local import attend_part, gradients_of_part
from radialbench.parallel.plan import Hop, ParallelPlan


class Sent(NamedTuple):
    """A message under way.

    Attributes:
        coming: What comes, complete once it was waited for.
        going: What goes, kept until it is gone.
        works: To be waited for.
    """

    coming: Tensor
    going: Tensor
    works: list[dist.Work]


class Ring:
    """The hops of a rank: in step s the rank of shard i reads the keys of shard i + s.

    They come straight from the rank that has them, and only those heads that have work there. All
    ranks post the messages of a step after those of the step before, so none waits for another in
    a circle.

    Attributes:
        plan: What all ranks do.
        group: Their processes.
        hops: What this rank computes in each step; None for nothing.
        asked: The places of its key heads that another rank reads in each step.
    """

    def __init__(self, plan: ParallelPlan, group: Group) -> None:
        self.plan, self.group = plan, group
        self.shard, self.place = divmod(dist.get_rank(group), plan.ulysses)
        steps = range(plan.ring)
        self.hops: list[Hop | None] = [
            plan.hop(self.place, self.shard, self.ahead(step)) for step in steps
        ]
        self.asked = [plan.needed(self.place, self.ahead(-step), self.shard) for step in steps]

    def ahead(self, steps: int) -> int:
        """Return the shard so many steps ahead."""
        return (self.shard + steps) % self.plan.ring

    def parts(self, keys: Tensor) -> Iterator[tuple[int, Hop | None, Tensor]]:
        """Yield each step, its hop, and its keys and values; the next ones come meanwhile.

        `keys` are this rank's keys and values, [2, batch, key heads, longest shard, head_dim].
        """
        sent, hop = self._fetch(1, keys), self.hops[0]
        own = () if hop is None else hop.key_heads
        yield 0, hop, keys if self.plan.ring == 1 else of_heads(keys, own, 2)
        for step in range(1, self.plan.ring):
            wait(sent.works)
            arrived, sent = sent.coming, self._fetch(step + 1, keys)
            yield step, self.hops[step], arrived

    def _fetch(self, step: int, keys: Tensor) -> Sent:
        if step >= self.plan.ring:
            return Sent(keys, keys, [])
        hop = self.hops[step]
        going = of_heads(keys, self.asked[step], 2)
        return self._send(going, self.ahead(-step), keys, hop.key_heads if hop else (), step)

    def give_back(self, step: int, grads: Tensor, keys: Tensor) -> Sent:
        """Start to send the gradients of a step to whose keys they are, and to receive one's own.

        `keys` are this rank's, as in `parts`; grads has no heads if the hop is empty.
        """
        return self._send(grads, self.ahead(step), keys, self.asked[step], -step)

    def _send(
        self, going: Tensor, to: int, like: Tensor, heads: tuple[int, ...], step: int
    ) -> Sent:
        coming = like.new_empty(*like.shape[:2], len(heads), *like.shape[3:])
        source = self.ahead(step)
        ranks = [shard * self.plan.ulysses + self.place for shard in (to, source)]
        sends = [(going.contiguous(), ranks[0])] if going.shape[2] else []
        receives = [(coming, ranks[1])] if heads else []
        return Sent(coming, sends[0][0] if sends else going, post(sends, receives, self.group))

    def key_len(self, key_len: Tensor | None, hop: Hop) -> Tensor | None:
        """Return the valid keys of each sequence in the shard of a hop."""
        if key_len is None or self.plan.ring == 1:
            return key_len
        own = self.plan.shard(hop.source)
        return (key_len - own.start).clamp(0, len(own)).to(torch.int32)


def of_heads(x: Tensor, heads: tuple[int, ...], dim: int) -> Tensor:
    """Return some heads, by their places; all of them are not copied."""
    if len(heads) == x.shape[dim]:
        return x
    return x.index_select(dim, torch.tensor(heads, dtype=torch.int64, device=x.device))


def join(out: Tensor, lse: Tensor, part: Tensor, part_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Return attention on the keys of two parts, in float32; a query without keys has lse -inf."""
    joined = torch.logaddexp(lse, part_lse)
    top = joined.masked_fill(joined == -torch.inf, 0)
    ours, theirs = ((one - top).exp()[..., None] for one in (lse, part_lse))
    return out * ours + part.float() * theirs, joined


class RingAttention(torch.autograd.Function):
    """Attention of a shard's queries to all keys."""

    @staticmethod
    def forward(
        ctx: Any,
        ring: Ring,
        sm_scale: float,
        key_len: Tensor | None,
        q: Tensor,
        k: Tensor,
        v: Tensor,
    ) -> Tensor:
        """Join the parts of all hops by their lse."""
        keys = _packed(k, v, ring.plan)
        out: Tensor | None = None
        lse = q.new_full(q.shape[:3], -torch.inf, dtype=torch.float32)
        for _, hop, (own_k, own_v) in ring.parts(keys):
            if hop is None:
                continue
            heads = list(hop.query_heads)
            whole = len(heads) == q.shape[1]
            part, part_lse = attend_part(
                *(q if whole else q[:, heads], own_k, own_v, hop.table, sm_scale),
                ring.key_len(key_len, hop),
            )
            if out is None and whole:
                out, lse = part, part_lse
                continue
            out = torch.zeros_like(q, dtype=torch.float32) if out is None else out.float()
            if whole:
                out, lse = join(out, lse, part, part_lse)
            else:
                out[:, heads], lse[:, heads] = join(out[:, heads], lse[:, heads], part, part_lse)
        result = torch.zeros_like(q) if out is None else out.to(q.dtype)
        ctx.given = ring, sm_scale, key_len
        ctx.save_for_backward(q, k, v, result, lse)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the parts of all hops again; gradients of keys go back to whose they are."""
        ring, sm_scale, key_len = ctx.given
        q, k, v, out, lse = ctx.saved_tensors
        keys = _packed(k, v, ring.plan)
        dq = torch.zeros_like(q, dtype=torch.float32)
        dkeys = torch.zeros_like(keys, dtype=torch.float32)
        under_way: tuple[int, Sent] | None = None
        for step, hop, (own_k, own_v) in ring.parts(keys):
            grads = keys[:, :, :0]
            if hop is not None:
                heads = list(hop.query_heads)
                whole = len(heads) == q.shape[1]
                given = [x if whole else x[:, heads] for x in (dout, q, out, lse)]
                part, *of_keys = gradients_of_part(
                    *(given[0], given[1], own_k, own_v, given[2], given[3]),
                    *(hop.table, sm_scale, ring.key_len(key_len, hop)),
                )
                grads = torch.stack(of_keys)
                _add(dq[None], hop.query_heads, part[None])
            if step:
                _take(dkeys, ring, under_way)
                under_way = step, ring.give_back(step, grads, keys)
            elif hop is not None:
                _add(dkeys, hop.key_heads, grads)
        _take(dkeys, ring, under_way)
        dk, dv = dkeys[:, :, :, : k.shape[2]].to(k.dtype)
        return None, None, None, dq.to(q.dtype), dk, dv


def _packed(k: Tensor, v: Tensor, plan: ParallelPlan) -> Tensor:
    """[2, batch, key heads, longest shard, head_dim] keys and values, with zeros as padding."""
    padding = plan.longest - k.shape[2]
    return torch.nn.functional.pad(torch.stack([k, v]), (0, 0, 0, padding))


def _take(dkeys: Tensor, ring: Ring, under_way: tuple[int, Sent] | None) -> None:
    """Wait for the gradients that come in a step, and add them to one's own."""
    if under_way is not None:
        step, sent = under_way
        wait(sent.works)
        _add(dkeys, ring.asked[step], sent.coming)


def _add(total: Tensor, heads: tuple[int, ...], part: Tensor) -> None:
    """Add what belongs to some heads of [parts, batch, heads, tokens, head_dim]."""
    if part.shape[2] == total.shape[2]:
        total += part
    elif heads:
        total[:, :, list(heads)] += part
