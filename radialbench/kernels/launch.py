"""Launches of our own kernels: shapes, grid and options, on tensors that are already there."""

import math
from collections.abc import Callable
from contextvars import copy_context
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.defaults import hopper_columns, specialize_reasons
from radialbench.kernels.device_table import DeviceTable
from radialbench.records.problem import KernelConfig

LOG2_E = math.log2(math.e)
SPECIALIZED_OPTIONS = {"num_warps": 4, "num_stages": 2}
SCRATCH_BYTES = 3 * 128
"""What a program of the specialized portable kernel keeps its descriptors in."""
SCRATCH_LIMIT = 16 << 20
"""Most bytes of scratch a launch may take, if that does for one head."""
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
    """Run the portable kernel, with specialized warps or without.

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

    Raises:
        BackendError: `config` asks for specialized warps, which cannot compute this.
    """
    from radialbench.kernels._block_sparse_fwd import block_sparse_fwd

    batch, heads, seq_len, head_dim = q.shape
    if config.warp_specialize is not False:
        reasons = specialize_reasons(config, q.dtype, head_dim, str(q.device))
        reasons += _operand_reasons(q, k, v)
        if key_len is not None:
            # It would visit blocks past a sequence's end, where the values may be nan.
            reasons.append("all sequences must be of full length, got key_len")
        if not reasons:
            _launch_specialized(q, k, v, out, lse, table=table, sm_scale=sm_scale)
            return
        if config.warp_specialize:
            raise BackendError(f"warps cannot be specialized here: {'; '.join(reasons)}")
    block_sparse_fwd[(table.rows, batch * heads)](
        *(q, k, v, out, lse),
        *_strides(q, k, v, out),
        *table.tensors(),
        lse if key_len is None else key_len,
        *(heads, seq_len, table.rows, sm_scale * LOG2_E),
        **_constants(q, table),
        KEY_LENS=key_len is not None,
        RAGGED=key_len is not None or seq_len % table.block_n != 0,
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

    Raises:
        BackendError: A tensor's start or strides are not multiples of 16 bytes, as the copy engine
            wants them.
    """
    from radialbench.kernels._block_sparse_fwd_hopper import block_sparse_fwd_hopper

    if reasons := _operand_reasons(q, k, v):
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


def portable_columns(head_dim: int) -> int:
    """Columns of a tile of the portable kernel."""
    return max(16, 1 << (head_dim - 1).bit_length())


def _launch_specialized(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    *,
    table: DeviceTable,
    sm_scale: float,
) -> None:
    """Launch a part of the heads after the other, so that their scratch stays small."""
    import triton

    from radialbench.kernels import _block_sparse_fwd_specialized as device

    batch, heads, seq_len, _ = q.shape
    part = max(1, SCRATCH_LIMIT // (SCRATCH_BYTES * table.rows))

    def scratch(size: int, alignment: int, stream: int | None) -> Tensor:
        return torch.empty(size, dtype=torch.int8, device=q.device)

    def launch() -> None:
        triton.set_allocator(scratch)
        for first in range(0, batch * heads, part):
            device.block_sparse_fwd_specialized[(table.rows, min(part, batch * heads - first))](
                *(q, k, v, out, lse),
                *_strides(q, k, v, out),
                *table.tensors(),
                *(first, heads, seq_len, table.rows, sm_scale * LOG2_E),
                **_constants(q, table),
                RAGGED=seq_len % table.block_n != 0,
                PARTIAL=len(table.partial_indices) > 0,
                **SPECIALIZED_OPTIONS,
            )

    # Triton keeps its allocator in a context variable: set in a copy of the context, it leaves the
    # caller's own kernels theirs. PyTorch's memory is the stream's, so that launches on two streams
    # never share scratch, and a graph that captures the launch keeps it.
    copy_context().run(launch)


def _operand_reasons(q: Tensor, k: Tensor, v: Tensor) -> list[str]:
    """Say why the copy engine cannot read tensors."""
    reasons = []
    for name, tensor in (("q", q), ("k", k), ("v", v)):
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


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for tensor in tensors for stride in tensor.stride()[:3]]


def _constants(q: Tensor, table: DeviceTable) -> dict[str, Any]:
    return {
        "BLOCK_M": table.block_m,
        "BLOCK_N": table.block_n,
        "HEAD_DIM": q.shape[3],
        "BLOCK_D": portable_columns(q.shape[3]),
        "GROUPED": len(table.group_of_head) > 0,
        "PRECISION": "ieee",
    }


def _descriptor(tensor: Tensor, rows: int, columns: int) -> Any:
    """Describe a tensor to the copy engine, which fills with zeros what lies outside a head."""
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    block = [1, 1, rows, columns]
    layout = _shared_layout(rows, columns, tensor.dtype)
    # Triton refuses odd strides, of dimensions with a single entry too.
    strides = [s if n > 1 else 64 for s, n in zip(tensor.stride()[:3], tensor.shape, strict=False)]
    return TensorDescriptor(tensor, list(tensor.shape), [*strides, 1], block, layout)


@lru_cache(maxsize=64)
def _shared_layout(rows: int, columns: int, dtype: torch.dtype) -> Any:
    from triton.experimental.gluon import language as gl

    element = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[dtype]
    return gl.NVMMASharedLayout.get_default_for([1, 1, rows, columns], element)
