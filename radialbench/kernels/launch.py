"""Launches of our own kernels: shapes, grid and options, on tensors that are already there."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.defaults import (
    copy_reasons,
    hopper_columns,
    portable_columns,
    portable_options,
    shared_limit,
)
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
    from radialbench.kernels._block_sparse_fwd import block_sparse_fwd

    batch, heads, seq_len, head_dim = q.shape
    device, columns = str(q.device), portable_columns(head_dim)
    copies = not copy_reasons(q.dtype, head_dim, device) and not _operand_reasons(k=k, v=v)
    inputs = [_block_of(x, table.block_n, columns) for x in (k, v)] if copies else [k, v]
    block_sparse_fwd[(table.rows, batch * heads)](
        *(q, *inputs, out, lse),
        *(stride for x in (q, k, v, out) for stride in x.stride()[:3]),
        *table.tensors(),
        lse if key_len is None else key_len,
        *(heads, seq_len, table.rows, sm_scale * LOG2_E),
        BLOCK_M=table.block_m,
        BLOCK_N=table.block_n,
        HEAD_DIM=head_dim,
        BLOCK_D=columns,
        GROUPED=len(table.group_of_head) > 0,
        KEY_LENS=key_len is not None,
        RAGGED=key_len is not None or seq_len % table.block_n != 0,
        COPIES=copies,
        PRECISION="ieee",
        **portable_options(config, q.dtype, head_dim, copies=copies, shared=shared_limit(device)),
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

    Raises:
        BackendError: A tensor's start or strides are not multiples of 16 bytes, as the copy engine
            wants them.
    """
    from radialbench.kernels._block_sparse_fwd_hopper import block_sparse_fwd_hopper

    if reasons := _operand_reasons(q=q, k=k, v=v):
        raise BackendError(f"the hopper kernel cannot run this: {'; '.join(reasons)}")
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


def _operand_reasons(**tensors: Tensor) -> list[str]:
    """Say why the copy engine cannot read tensors."""
    reasons = []
    for name, tensor in tensors.items():
        size = tensor.element_size()
        strides = [s for s, n in zip(tensor.stride()[:3], tensor.shape, strict=False) if n > 1]
        if tensor.data_ptr() % 16 or any(stride * size % 16 for stride in strides):
            reasons.append(
                f"{name} must start at a multiple of 16 bytes, with strides of such, got strides "
                f"{tensor.stride()}"
            )
        elif tensor.stride(2) < tensor.shape[3]:
            reasons.append(f"{name}'s tokens may not overlap, got strides {tensor.stride()}")
    return reasons


def _block_of(tensor: Tensor, rows: int, columns: int) -> Any:
    """Describe a tensor to the copy engine, for blocks of one head."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    return TensorDescriptor(tensor, list(tensor.shape), _full(tensor), [1, 1, rows, columns])


def _descriptor(tensor: Tensor, rows: int, columns: int) -> Any:
    """Describe a tensor to the copy engine, which fills with zeros what lies outside a head."""
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    block = [1, 1, rows, columns]
    layout = _shared_layout(rows, columns, tensor.dtype)
    return TensorDescriptor(tensor, list(tensor.shape), _full(tensor), block, layout)


def _full(tensor: Tensor) -> list[int]:
    """Give a tensor's strides, with even ones where there is a single entry: Triton asks it."""
    strides = zip(tensor.stride()[:3], tensor.shape, strict=False)
    return [*(stride if size > 1 else 64 for stride, size in strides), 1]


@lru_cache(maxsize=64)
def _shared_layout(rows: int, columns: int, dtype: torch.dtype) -> Any:
    from triton.experimental.gluon import language as gl

    element = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[dtype]
    return gl.NVMMASharedLayout.get_default_for([1, 1, rows, columns], element)
