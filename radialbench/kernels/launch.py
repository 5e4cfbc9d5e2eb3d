"""Launches of our own kernels: shapes, grid and options, on tensors that are already there."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from radialbench.kernels.device_table import DeviceTable
from radialbench.records.problem import KernelConfig

LOG2_E = math.log2(math.e)
HOPPER_OPTIONS = {"num_warps": 4, "maxnreg": 168}

Launch = Callable[..., None]


def launch_triton(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    *,
    table: DeviceTable,
    key_len: Tensor | None,
    sm_scale: float,
    config: KernelConfig,
) -> None:
    """Run the portable kernel.

    Args:
        q: [batch, heads, seq_len, head_dim] of any strides but the last, as are k, v and out.
        k: Keys.
        v: Values.
        out: Filled with the output.
        lse: [batch, heads, seq_len] float32, contiguous; filled.
        table: The blocks to visit.
        key_len: [batch] int32, keys that exist in each sequence; all if None.
        sm_scale: Factor of q·k.
        config: Warps and stages; the block sizes are the table's.
    """
    import triton

    from radialbench.kernels._block_sparse_fwd import block_sparse_fwd

    batch, heads, seq_len, head_dim = q.shape
    block_sparse_fwd[(table.rows, batch * heads)](
        *(q, k, v, out, lse),
        *(stride for tensor in (q, k, v, out) for stride in tensor.stride()[:3]),
        *table.tensors(),
        lse if key_len is None else key_len,
        *(heads, seq_len, table.rows, sm_scale * LOG2_E),
        BLOCK_M=table.block_m,
        BLOCK_N=table.block_n,
        HEAD_DIM=head_dim,
        BLOCK_D=max(16, triton.next_power_of_2(head_dim)),
        GROUPED=len(table.group_of_head) > 0,
        KEY_LENS=key_len is not None,
        RAGGED=key_len is not None or seq_len % table.block_n != 0,
        PRECISION="ieee",
        num_warps=config.num_warps or (4 if head_dim <= 64 else 8),
        num_stages=config.num_stages or 2,
    )


def launch_hopper(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    *,
    table: DeviceTable,
    key_len: Tensor | None,
    sm_scale: float,
    config: KernelConfig,
) -> None:
    """Run the kernel for Hopper; arguments as `launch_triton`.

    The tensors' first elements and strides must be multiples of 16 bytes, as the copy engine wants
    them.
    """
    from radialbench.kernels._block_sparse_fwd_hopper import block_sparse_fwd_hopper

    batch, heads, seq_len, head_dim = q.shape
    columns = hopper_columns(head_dim)
    half = table.block_m // 2
    block_sparse_fwd_hopper[(table.rows, batch * heads)](
        _descriptor(q, half, columns),
        _descriptor(k, table.block_n, columns),
        _descriptor(v, table.block_n, columns),
        _descriptor(out, half, columns),
        lse,
        *table.tensors(),
        table.row_order if key_len is None else key_len,
        *(heads, seq_len, table.rows, sm_scale * LOG2_E),
        BLOCK_M=table.block_m,
        BLOCK_N=table.block_n,
        BLOCK_D=columns,
        GROUPED=len(table.group_of_head) > 0,
        KEY_LENS=key_len is not None,
        RAGGED=key_len is not None or seq_len % table.block_n != 0,
        BUFFERS=config.num_stages or 2,
        **HOPPER_OPTIONS,
    )


LAUNCHES: dict[str, Launch] = {"hopper": launch_hopper, "triton": launch_triton}
"""Our kernels by the name of their backend."""


def hopper_columns(head_dim: int) -> int:
    """Columns of a tile in shared memory: head_dim, or the next size there is; zeros fill it up."""
    return 64 if head_dim <= 64 else 128 if head_dim <= 128 else 256


def _descriptor(tensor: Tensor, rows: int, columns: int) -> Any:
    """Describe a tensor to the copy engine, which fills with zeros what lies outside a head."""
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    block = [1, 1, rows, columns]
    layout = _shared_layout(rows, columns, tensor.dtype)
    return TensorDescriptor(tensor, list(tensor.shape), list(tensor.stride()), block, layout)


@lru_cache(maxsize=64)
def _shared_layout(rows: int, columns: int, dtype: torch.dtype) -> Any:
    from triton.experimental.gluon import language as gl

    element = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[dtype]
    return gl.NVMMASharedLayout.get_default_for([1, 1, rows, columns], element)
