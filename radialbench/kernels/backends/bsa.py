"""Bsa: cuDNN's block-sparse attention, with gradients. BsaFp8: the same in 8 bits, forward."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.arch import target_of
from radialbench.kernels.autograd import differentiable
from radialbench.kernels.backends import Run
from radialbench.kernels.checks import (
    check_inputs,
    check_no_partial,
    check_plan,
    describe,
    gpu_reasons,
    grouped_reasons,
    hopper_needs,
    loading,
    package_reasons,
)
from radialbench.maskgen.export import padded_rows
from radialbench.maskgen.head_tables import AnyTable, tables_by_head
from radialbench.records.problem import KernelConfig, Problem

PACKAGE = "nvidia-cudnn-frontend"
BLOCKS = (64, 128)
HEAD_DIMS = (64, 96, 128)


class Bsa:
    """`block_sparse_attention_forward` of nvidia-cudnn-frontend: whole blocks of 64×64 or 128×128.

    The last key block may be short, and of 128 queries the last block too. Heads with different
    tables run in one launch. Where all rows of all heads have equally many blocks, it is told this
    one number in place of one for each row. The kernels are compiled at the first call of a run,
    which takes seconds.
    """

    name = "bsa"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        types = ("float16", "bfloat16") if problem.direction == "forward" else ("bfloat16",)
        reasons = gpu_reasons(problem, device, types, most_head_dim=128, gradients=True)
        if problem.head_dim not in HEAD_DIMS:
            reasons.append(f"head_dim is 64, 96 or 128, got {problem.head_dim}")
        if problem.direction != "forward":
            reasons += _gradient_reasons(problem)
        return reasons + target_of(device).hopper_reasons + package_reasons(PACKAGE)

    def plan(self, problem: Problem, table: AnyTable, config: KernelConfig) -> Run:
        """Upload the block lists of every head: the kernels have no list for all heads."""
        return self.plan_heads(problem, table, config)

    def plan_heads(self, problem: Problem, table: AnyTable, config: KernelConfig) -> Run:
        """Upload the block lists of every head, whose tables may differ."""
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        check_square(self.name, table)
        with loading(PACKAGE):
            from cudnn.block_sparse_attention import (
                _interface,  # noqa: F401  Imported by the functions when they are called.
                block_sparse_attention_backward,
                block_sparse_attention_forward,
            )
        lists = BsaLists.of(self.name, problem, table)
        shared: dict[str, Any] = {
            "softmax_scale": problem.scale,
            "sparse_block_size": config.block_m,
        }

        def forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            found = block_sparse_attention_forward(
                *(q, k, v, *lists.arguments()), allow_empty_block_nums=lists.has_empty, **shared
            )
            return found["o_tensor"], found["lse_tensor"]

        def backward(
            q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dout: Tensor, dlse: Tensor
        ) -> tuple[Tensor, Tensor, Tensor]:
            if reasons := _gradient_reasons(problem):
                raise BackendError(f"backend 'bsa' has no gradients here: {'; '.join(reasons)}")
            found = block_sparse_attention_backward(
                *(dout, q, k, v, out, lse, *lists.arguments()), **shared
            )
            return found["dq_tensor"], found["dk_tensor"], found["dv_tensor"]

        attend = differentiable(forward, backward, through_lse=False)

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v, gradients=True)
            return attend(q, k, v)

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        return hopper_needs(describe(PACKAGE))


class BsaFp8:
    """The same in e4m3, with the quantization of SageAttention in every call, forward only.

    On Hopper it takes sequences of whole blocks and rows of equally many blocks. The library does
    not return the lse: its kernel has that of k less its mean, and q times the mean is added.
    """

    name = "bsa_fp8"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        reasons = gpu_reasons(problem, device, ("bfloat16",), most_head_dim=128)
        if problem.head_dim != 128:
            reasons.append(f"head_dim is 128, got {problem.head_dim}")
        reasons += grouped_reasons(problem)
        return reasons + target_of(device).hopper_reasons + package_reasons(PACKAGE)

    def plan(self, problem: Problem, table: AnyTable, config: KernelConfig) -> Run:
        """Upload the block lists of every head."""
        return self.plan_heads(problem, table, config)

    def plan_heads(self, problem: Problem, table: AnyTable, config: KernelConfig) -> Run:
        """Upload the block lists of every head, whose tables may differ."""
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        check_square(self.name, table)
        with loading(PACKAGE):
            from cudnn.block_sparse_attention import _interface
            from cudnn.block_sparse_attention._fp8_quant import _quantize_sage_bhsd
        lists = BsaLists.of(self.name, problem, table)
        if lists.count is None or lists.sizes is not None or table.q_len % config.block_m:
            raise BackendError(
                "backend 'bsa_fp8' takes sequences of whole blocks, and equally many blocks in "
                f"every row; {table.label} on {table.grid.label} has others"
            )
        attend = getattr(_interface, f"_bsa_attn_fwd_sm90_fp8_blk{config.block_m}")

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v)
            q, k, v = (x.detach().contiguous() for x in (q, k, v))
            rounded = _quantize_sage_bhsd(q, k, v, v_layout="bhds")
            out, lse = attend(*rounded, lists.index, lists.count, problem.scale)
            return out, lse + problem.scale * _times_mean(q, k)

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        return hopper_needs(describe(PACKAGE))


def _times_mean(q: Tensor, k: Tensor) -> Tensor:
    """Return q times the mean of k over tokens, [batch, heads, q_len] float32."""
    mean = k.mean(2, dtype=torch.float32)
    high = mean.to(q.dtype)
    # Two numbers of 16 bits hold the mean, so that q is read as it is.
    both = torch.stack([high, (mean - high).to(q.dtype)], dim=-1)  # [batch, heads, head_dim, 2]
    sums = torch.bmm(q.flatten(0, 1), both.flatten(0, 1), out_dtype=torch.float32)
    return sums.sum(-1).view(q.shape[:3])


def _gradient_reasons(problem: Problem) -> list[str]:
    """Return why gradients cannot be computed."""
    reasons = []
    if problem.dtype != "bfloat16":
        reasons.append(f"computes gradients in bfloat16, got {problem.dtype}")
    if problem.head_dim != 128:
        reasons.append(f"head_dim is 128 for gradients, got {problem.head_dim}")
    if problem.kv_heads is not None:
        heads = f"{problem.kv_heads} and {problem.heads}"
        reasons.append(f"takes as many key heads as heads for gradients, got {heads}")
    return reasons


def check_square(name: str, table: AnyTable) -> None:
    """Refuse blocks that the kernels do not have.

    Raises:
        BackendError: They are neither 64×64 nor 128×128, or 64 with a short last query block.
    """
    block = table.block_m
    if block != table.block_n or block not in BLOCKS:
        raise BackendError(
            f"backend {name!r} takes blocks of 64×64 or 128×128, got {block}×{table.block_n}"
        )
    if block == 64 and table.q_len % 64:
        raise BackendError(
            f"backend {name!r} takes whole query blocks of 64, and {table.q_len:,} queries are not "
            "a multiple of 64; use blocks of 128×128"
        )


@dataclass(frozen=True, eq=False)
class BsaLists:
    """The key blocks of each query block of each head, on the GPU.

    Attributes:
        index: [batch, heads, rows, most] int32, the key blocks first, then zeros.
        count: The number of key blocks of every row, if it is one number.
        counts: [batch, heads, rows] int32 otherwise.
        sizes: [columns] int32, keys of each block, if the last one is short.
        has_empty: Whether a row has no block.
    """

    index: Tensor
    count: int | None
    counts: Tensor | None
    sizes: Tensor | None
    has_empty: bool

    @classmethod
    def of(cls, name: str, problem: Problem, table: AnyTable) -> "BsaLists":
        """Upload the lists of a table, or of the tables of heads.

        Raises:
            BackendError: A block is partial.
        """
        tables = tables_by_head(table, problem.heads)

        @cache
        def padded(number: int) -> tuple[Any, Any]:
            check_no_partial(name, tables[number])
            counts, index = padded_rows(tables[number].full, table.columns)
            return counts[0, 0], index[0, 0]

        first = [tables.index(one) for one in tables]
        counts = np.stack([padded(number)[0] for number in first])
        most = max(1, int(counts.max()))
        index = np.stack([padded(number)[1][:, :most] for number in first])

        def upload(array: Any) -> Tensor:
            whole = torch.from_numpy(array).to("cuda")
            return whole.expand(problem.batch, *array.shape).contiguous()

        same = int(counts.min()) == most
        ragged = table.k_len % table.block_n
        sizes = np.full(table.columns, table.block_n, np.int32)
        sizes[-1] = ragged or table.block_n
        return cls(
            index=upload(index),
            count=most if same else None,
            counts=None if same else upload(counts),
            sizes=torch.from_numpy(sizes).to("cuda") if ragged else None,
            has_empty=bool((counts == 0).any()),
        )

    def arguments(self) -> tuple[Tensor, int | None, Tensor | None, Tensor | None]:
        """Return them in the order of the library's functions."""
        return self.index, self.count, self.sizes, self.counts
