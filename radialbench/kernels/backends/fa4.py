"""Fa4: FlashAttention 4, dense and block-sparse, with gradients."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.arch import target_of
from radialbench.kernels.autograd import differentiable
from radialbench.kernels.backends import Run
from radialbench.kernels.checks import (
    check_inputs,
    check_plan,
    describe,
    gpu_reasons,
    hopper_needs,
    loading,
    package_reasons,
)
from radialbench.maskgen.export import padded_rows
from radialbench.maskgen.export.fa4 import Fa4Table
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem

PACKAGE = "flash-attn-4"


class Fa4:
    """The CuTe kernels of flash-attn-4, exact: a `mask_mod` reads the partial blocks' bits.

    A dense table goes to the dense kernels. They are compiled at the first call of a run, which
    takes 3 to 13 seconds. Sparse gradients take blocks of 128 keys and a head_dim of at most 128;
    they add up dq in no fixed order.
    """

    name = "fa4"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        types = ("float16", "bfloat16")
        reasons = gpu_reasons(problem, device, types, most_head_dim=256, gradients=True)
        return reasons + target_of(device).hopper_reasons + package_reasons(PACKAGE)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Upload the block lists; those by key block follow when gradients are first asked for."""
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        dense = table.pairs == table.q_len * table.k_len
        with loading(PACKAGE):
            from flash_attn.cute.interface import _flash_attn_bwd, _flash_attn_fwd
        if not dense:
            _check_blocks(table, problem.head_dim)
        if not dense and problem.direction != "forward":
            _check_gradients(table, problem.head_dim)
        masked = {} if dense else _mask_arguments(table)
        blocks = {} if dense else _blocks_by_query(table)

        @cache
        def blocks_by_key() -> dict[str, Any]:
            _check_gradients(table, problem.head_dim)
            return _blocks_by_key(table)

        def forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            swapped = [tensor.transpose(1, 2) for tensor in (q, k, v)]
            # Some versions do not pack the query heads of a key head where blocks are sparse.
            packing = {} if dense else {"pack_gqa": False}
            given = {"softmax_scale": problem.scale, "return_lse": True}
            out, lse, *_ = _flash_attn_fwd(*swapped, **given, **masked, **blocks, **packing)
            return out.transpose(1, 2), lse

        def backward(
            q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dout: Tensor, dlse: Tensor
        ) -> tuple[Tensor, Tensor, Tensor]:
            swapped = [tensor.transpose(1, 2) for tensor in (q, k, v, out, dout)]
            given = {"softmax_scale": problem.scale, "dlse": dlse}
            by_key = {} if dense else blocks_by_key()
            grads = _flash_attn_bwd(*swapped, lse, **given, **masked, **by_key)
            dq, dk, dv = (grad.transpose(1, 2) for grad in grads)
            return dq, dk, dv

        attend = differentiable(forward, backward)

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v, gradients=True)
            return attend(q, k, v)

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        return hopper_needs(describe(PACKAGE))


def _check_blocks(table: BlockTable, head_dim: int) -> None:
    """Refuse blocks that do not fit the kernel's tiles, which depend on head_dim."""
    most = 128 if head_dim <= 128 else 112 if head_dim <= 192 else 80
    if table.block_m % 128:
        raise BackendError(
            f"backend 'fa4' takes a block_m in multiples of 128, got {table.block_m}"
        )
    if table.block_n % 16 or table.block_n > most:
        raise BackendError(
            f"backend 'fa4' takes a block_n of 16 to {most} in multiples of 16 at head_dim "
            f"{head_dim}, got {table.block_n}"
        )


def _check_gradients(table: BlockTable, head_dim: int) -> None:
    """Refuse what the sparse backward kernel has no tiles for."""
    if table.block_n != 128 or head_dim > 128:
        raise BackendError(
            "backend 'fa4' has gradients for a block_n of 128 and a head_dim of at most 128 where "
            f"blocks are sparse, got {table.block_n} and {head_dim}"
        )


def _mask_arguments(table: BlockTable) -> dict[str, Any]:
    """Return the function that masks partial blocks, and what it reads; nothing without them."""
    if not table.partial.nnz:
        return {}
    lists = Fa4Table.of(table)
    bits = [torch.from_numpy(array).to("cuda") for array in (lists.bitmap_at, lists.bits)]
    for tensor in bits:
        # It looks for the one dimension of stride 1, and finds two where another has one entry.
        setattr(tensor, "__leading_dim__", tensor.dim() - 1)  # noqa: B010
    return {"mask_mod": _mask_mod(*lists.block_size), "aux_tensors": bits}


def _blocks_by_query(table: BlockTable) -> dict[str, Any]:
    sides = ((csr, table.columns) for csr in (table.partial, table.full))
    return _uploaded(table, *(padded_rows(*side) for side in sides))


def _blocks_by_key(table: BlockTable) -> dict[str, Any]:
    """Return the query blocks of each key block, as the backward kernel takes them."""
    sides = ((csr.transposed(table.columns)[0], table.rows) for csr in (table.partial, table.full))
    return _uploaded(table, *(padded_rows(*side) for side in sides))


def _uploaded(table: BlockTable, *lists: tuple[Any, Any]) -> dict[str, Any]:
    from flash_attn.cute.block_sparsity import BlockSparseTensorsTorch

    arrays = (torch.from_numpy(array).to("cuda") for pair in lists for array in pair)
    named = dict(zip(Fa4Table.names, arrays, strict=True))
    size = (table.block_m, table.block_n)
    return {"block_sparse_tensors": BlockSparseTensorsTorch(**named, block_size=size)}


def _mask_mod(block_m: int, block_n: int) -> Any:
    """Return the device function that reads the bit of a pair, as in `export.fa4`."""
    from cutlass import Boolean, cute
    from flash_attn.cute.utils import scalar_to_ssa

    def attends(batch: Any, head: Any, query: Any, key: Any, lengths: Any, bits: Any) -> Any:
        row, column = query[0], key[0]
        bitmap = bits[0][row // block_m, column // block_n]
        word = bits[1][bitmap, row % block_m, column % block_n // 32]
        return scalar_to_ssa((word >> (column % block_n % 32)) & 1 == 1, Boolean)

    return cute.jit(attends)
