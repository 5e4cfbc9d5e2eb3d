"""SequenceParallel: attention of one sequence over the ranks of a process group."""

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b

import torch
import torch.distributed as dist
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.calls import autocasted, check_scale, untraced
from radialbench.kernels.reorder import reorder
from radialbench.maskgen.head_tables import AnyTable, HeadTables, tables_by_head
from radialbench.maskgen.order import TokenOrder
from radialbench.parallel.exchange import Group, Swap
from radialbench.parallel.plan import ParallelPlan, plan_parallel
from radialbench.parallel.ring import Ring, RingAttention


class SequenceParallel:
    """`block_sparse_attention` on one sequence that is dealt out to the ranks of a group.

    Ulysses exchanges heads for tokens, a ring passes keys and values on, and with both the ranks of
    a group of Ulysses are neighbours, as the GPUs of one host. The table decides in advance who
    computes what: heads are dealt out by the blocks that kernels visit for them, and hops of the
    ring without blocks are neither sent nor computed, head by head. The parts are joined by their
    lse in float32. On CPU tensors it computes pair by pair, for tests.

    Attributes:
        plan: What each rank has and does; `plan.tokens(rank)` are the positions of its tokens.
    """

    plan: ParallelPlan

    def __init__(
        self,
        table: AnyTable,
        heads: int,
        *,
        kv_heads: int | None = None,
        ulysses: int | None = None,
        lengths: Sequence[int] | None = None,
        in_order: bool = True,
        group: Group | None = None,
    ) -> None:
        """Deal attention out to the ranks of a group; each gives the same.

        Args:
            table: The table of all heads, or those of each head.
            heads: Query heads of the model.
            kv_heads: Key heads; as many if not given.
            ulysses: Ranks that exchange heads for tokens; see `plan_parallel`. The rest is a ring.
            lengths: Tokens of each rank; equal up to one token if not given, as of
                `torch.tensor_split`.
            in_order: Whether tokens stand in the order of their head's table. If not, they stand in
                raster order, and each rank moves those of its heads; not in a ring, unless raster
                is their order anyway.
            group: The processes; all if not given.

        Raises:
            BackendError: Ranks, heads, lengths or orders do not fit; the message says what does.
        """
        if not dist.is_available() or not dist.is_initialized():
            raise BackendError(
                "sequence parallelism needs processes: call torch.distributed.init_process_group"
            )
        group = dist.group.WORLD if group is None else group
        if group is None or dist.get_rank(group) < 0:
            raise BackendError("this process is not in the group: give one that it belongs to")
        self._group: Group = group
        self.plan = plan_parallel(
            table,
            dist.get_world_size(self._group),
            heads,
            kv_heads=kv_heads,
            ulysses=ulysses,
            lengths=lengths,
        )
        orders = {one.order for one in tables_by_head(table, heads)}
        self._moves = not in_order and orders != {TokenOrder()}
        if self._moves and self.plan.ring > 1:
            raise BackendError(
                f"a ring of {self.plan.ring} shards needs tokens in the order of the table, "
                f"{' and '.join(sorted(map(str, orders)))}, and not in raster order: bring the "
                "sequence into it before it is dealt out, or use as many ranks as ulysses takes"
            )
        self._agreed = False

    @cached_property
    def _ring(self) -> Ring:
        return Ring(self.plan, self._group)

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        sm_scale: float | None = None,
        key_len: Tensor | None = None,
    ) -> Tensor:
        """Attend; differentiable in q, k and v, once. All ranks call it, and backward, together.

        Args:
            q: [batch, heads, tokens of this rank, head_dim].
            k: [batch, kv_heads, tokens of this rank, head_dim].
            v: As k.
            sm_scale: Factor of q·k, above 0; 1/√head_dim if not given.
            key_len: [batch] int32 valid keys of each whole sequence, in the table's order; all if
                not given.

        Returns:
            out, like q.

        Raises:
            BackendError: Shapes or types do not fit, or, at the first call, ranks differ in their
                tables, settings or tensors.
        """
        q, k, v = autocasted(q, k, v)
        try:
            self._check(q, k, v, key_len)
            scale = max(q.shape[-1], 1) ** -0.5 if sm_scale is None else float(sm_scale)
            check_scale(scale)
        except BackendError:
            if not self._agreed and isinstance(q, Tensor):
                self._compare(q, None)
            raise
        if not self._agreed:
            self._compare(
                q, f"{tuple(q.shape[:2])} {q.shape[3]} {q.dtype} {scale} {key_len is None}"
            )
            self._agreed = True
        attended: Tensor = untraced(self._attend)(q, k, v, scale, key_len)
        return attended

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, sm_scale: float, key_len: Tensor | None
    ) -> Tensor:
        plan, ring = self.plan, self._ring
        if plan.ulysses > 1:
            q, k, v = Swap.apply(plan, self._group, (True, False, False), False, q, k, v)  # type: ignore[no-untyped-call]
        moves = None
        if self._moves:
            table, heads = plan.table, plan.query_heads(ring.place)
            table = table.of_heads(heads) if isinstance(table, HeadTables) else table
            moves = reorder(table, q.shape[1], k.shape[1], q.device)
        if moves is not None:
            q, k, v = moves.inputs(q, k, v)
        out: Tensor = RingAttention.apply(ring, sm_scale, key_len, q, k, v)  # type: ignore[no-untyped-call]
        if moves is not None:
            out = moves.output(out)
        if plan.ulysses > 1:
            (out,) = Swap.apply(plan, self._group, (True,), True, out)  # type: ignore[no-untyped-call]
        return out

    def _check(self, q: Tensor, k: Tensor, v: Tensor, key_len: Tensor | None) -> None:
        plan, rank = self.plan, dist.get_rank(self._group)
        if not isinstance(q, Tensor) or q.dim() != 4:
            raise BackendError("q must be a tensor [batch, heads, tokens, head_dim]")
        for name, x, heads in (
            ("q", q, plan.heads),
            ("k", k, plan.kv_heads),
            ("v", v, plan.kv_heads),
        ):
            shape = [q.shape[0], heads, plan.lengths[rank], q.shape[3]]
            if not isinstance(x, Tensor) or (list(x.shape), x.dtype, x.device) != (
                *(shape, q.dtype, q.device),
            ):
                got = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
                own = plan.tokens(rank)
                raise BackendError(
                    f"{name} of rank {rank} must be {q.dtype} {shape} on {q.device}, for tokens "
                    f"{own.start} to {own.stop - 1}; got {got}"
                )
        if key_len is not None and (key_len.shape != q.shape[:1] or key_len.dtype != torch.int32):
            raise BackendError(
                f"key_len must be int32 [{q.shape[0]}], got {key_len.dtype} {list(key_len.shape)}"
            )

    def _compare(self, q: Tensor, tensors: str | None) -> None:
        """Compare what ranks have, once; None for tensors that this rank cannot take.

        Raises:
            BackendError: They differ, or another rank cannot take part.
        """
        plan = self.plan
        tables = plan.table.tables if isinstance(plan.table, HeadTables) else (plan.table,)
        facts = {
            "tables": " ".join(table.fingerprint for table in tables),
            "head plans": str(plan.group_of_head),
            "settings (heads, ulysses, lengths, order)": (
                f"{plan.heads} {plan.kv_heads} {plan.ulysses} {plan.lengths} {self._moves}"
            ),
            "tensors (batch, head_dim, type, scale, key_len)": tensors or "",
        }
        digests = [_digest(fact) for fact in facts.values()]
        own = torch.tensor([*digests, tensors is not None], dtype=torch.int64, device=q.device)
        gathered = [torch.empty_like(own) for _ in plan.lengths]
        dist.all_gather(gathered, own, group=self._group)
        by_rank = torch.stack(gathered).tolist()
        refusing = [rank for rank, row in enumerate(by_rank) if not row[-1]]
        if refusing:
            if tensors is None:
                return
            raise BackendError(f"rank {refusing[0]} refuses its tensors: its own message says why")
        for place, what in enumerate(facts):
            others = [rank for rank, row in enumerate(by_rank) if row[place] != by_rank[0][place]]
            if others:
                rank = others[0]
                raise BackendError(
                    f"ranks have different {what}: rank 0 has {by_rank[0][place]:016x}, rank "
                    f"{rank} has {by_rank[rank][place]:016x}; give all ranks the same"
                )


def _digest(text: str) -> int:
    """Return 63 bits of a hash."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1
