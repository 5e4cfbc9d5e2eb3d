"""What ranks do in tests: their part of one attention, on tensors that a seed makes."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from radialbench.maskgen.head_tables import AnyTable
from radialbench.parallel.attention import SequenceParallel


@dataclass(frozen=True)
class Case:
    """One attention.

    Attributes:
        table: Its tables.
        heads: Query heads.
        options: Further arguments of `SequenceParallel`.
        key_len: Valid keys of each of two sequences.
        dtype: Type of all tensors.
    """

    table: AnyTable
    heads: int
    options: dict[str, Any]
    key_len: tuple[int, int] | None = None
    dtype: torch.dtype = torch.float32

    @property
    def kv_heads(self) -> int:
        return int(self.options.get("kv_heads") or self.heads)

    @property
    def lengths(self) -> Tensor | None:
        return None if self.key_len is None else torch.tensor(self.key_len, dtype=torch.int32)

    def tensors(self) -> list[Tensor]:
        """q, k, v and dout of the whole sequence."""
        made = torch.Generator().manual_seed(0)
        heads = (self.heads, self.kv_heads, self.kv_heads, self.heads)
        shapes = [(2, count, self.table.k_len, 16) for count in heads]
        return [torch.randn(shape, generator=made).to(self.dtype) for shape in shapes]


def attend(group: dist.ProcessGroup, case: Case) -> tuple[Tensor, ...]:
    """Return out and the gradients of this rank's tokens."""
    attention = SequenceParallel(case.table, case.heads, group=group, **case.options)
    own = attention.plan.tokens(dist.get_rank(group))
    q, k, v, dout = (x[:, :, own.start : own.stop].clone() for x in case.tensors())
    for x in (q, k, v):
        x.requires_grad_()
    out = attention(q, k, v, key_len=case.lengths)
    grads = torch.autograd.grad(out, (q, k, v), dout)
    return out.detach(), *grads


def refuse(group: dist.ProcessGroup, cases: list[Case]) -> None:
    """Attend, each rank by a case of its own."""
    attend(group, cases[dist.get_rank(group)])
