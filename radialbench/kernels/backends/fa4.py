"""Fa4: FlashAttention 4, dense and block-sparse."""

from typing import Any

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.arch import target_of
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
from radialbench.maskgen.export.fa4 import Fa4Table
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem

PACKAGE = "flash-attn-4"


class Fa4:
    """The CuTe kernels of flash-attn-4, exact: a `mask_mod` reads the partial blocks' bits.

    A dense table goes to the dense kernel. The kernels are compiled at the first call of a run,
    which takes 3 to 13 seconds.
    """

    name = "fa4"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        reasons = gpu_reasons(problem, device, ("float16", "bfloat16"), most_head_dim=256)
        return reasons + target_of(device).hopper_reasons + package_reasons(PACKAGE)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Upload the block lists."""
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        sparse: dict[str, Any] = {}
        with loading(PACKAGE):
            from flash_attn.cute.interface import _flash_attn_fwd
        if table.pairs != table.q_len * table.k_len:
            _check_blocks(table, problem.head_dim)
            sparse = _sparse_arguments(table)

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v)
            swapped = [tensor.detach().transpose(1, 2) for tensor in (q, k, v)]
            out, lse, *_ = _flash_attn_fwd(
                *swapped, softmax_scale=problem.scale, return_lse=True, **sparse
            )
            return out.transpose(1, 2), lse

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


def _sparse_arguments(table: BlockTable) -> dict[str, Any]:
    from flash_attn.cute.block_sparsity import BlockSparseTensorsTorch

    lists = Fa4Table.of(table)
    arrays = {name: torch.from_numpy(array).to("cuda") for name, array in lists.arrays().items()}
    bits = [arrays.pop("bitmap_at"), arrays.pop("bits")]
    for tensor in bits:
        # It looks for the one dimension of stride 1, and finds two where another has one entry.
        setattr(tensor, "__leading_dim__", tensor.dim() - 1)  # noqa: B010
    blocks = BlockSparseTensorsTorch(**arrays, block_size=lists.block_size)
    # Some versions do not pack the query heads of a key head where blocks are sparse.
    sparse = {"block_sparse_tensors": blocks, "pack_gqa": False}
    if not table.partial.nnz:
        return sparse
    attends = _mask_mod(*lists.block_size)
    return sparse | {"mask_mod": attends, "aux_tensors": bits}


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
