"""Launches of the backward kernel for Hopper: prepared once for a layout, then run on tensors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from radialbench.kernels.arch import Target
from radialbench.kernels.device_table import TableKey
from radialbench.kernels.select import hopper_columns, kernel_reasons
from radialbench.kernels.triton.backward_launch import Backward, Gradients, prepare_rows
from radialbench.kernels.triton.launch import (
    HOPPER_OPTIONS,
    LOG2_E,
    Layout,
    describer,
    launcher,
    layout_of,
    like,
    operand,
    tma_reasons,
)

BLOCK = 128
"""Queries and keys of a block."""

STEP = 64
"""Queries of a step."""

BUFFERS = 3
"""Steps whose queries are in shared memory."""


def hopper_backward_reasons(
    dout: Layout, q: Layout, k: Layout, v: Layout, *, table: TableKey, target: Target
) -> list[str]:
    """Return why the kernel for Hopper cannot compute gradients; empty if it can."""
    head_dim, blocks = q.shape[3], (table.block_m, table.block_n)
    reasons = kernel_reasons("hopper", q.dtype, head_dim, blocks, target)
    if blocks != (BLOCK, BLOCK):
        reasons.append(f"gradients take blocks of {BLOCK}×{BLOCK}")
    if head_dim > BLOCK:
        reasons.append(f"gradients take a head_dim up to {BLOCK}, got {head_dim}")
    return reasons + tma_reasons(dout=dout, q=q, k=k, v=v)


def prepare_hopper_backward(
    dout: Layout,
    q: Layout,
    k: Layout,
    v: Layout,
    out: Layout,
    *,
    table: TableKey,
    target: Target,
    key_lens: bool,
    with_lse: bool,
) -> Backward:
    """Prepare launches; arguments as `prepare_backward`, without `hopper_backward_reasons`."""
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    from radialbench.kernels.triton.backward_hopper import block_sparse_bwd_hopper

    batch, heads, q_len, head_dim = q.shape
    kv_heads, block_d = k.shape[1], hopper_columns(head_dim)
    columns, padded = -(-table.k_len // BLOCK), -(-q_len // BLOCK) * BLOCK
    element = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[q.dtype]

    def described(x: Layout, rows: int, width: int, kind: Any, *, halves: int = 1) -> Any:
        layout = gl.NVMMASharedLayout.get_default_for([1, 1, rows, width // halves], kind)
        return describer(TensorDescriptor(*operand(x), [1, 1, rows, width], layout))

    sums = layout_of(torch.empty(q.shape, dtype=torch.float32, device="meta"))
    queries, grads_out = (described(x, STEP, block_d, element) for x in (q, dout))
    # Each warpgroup takes half of the channels of k for dq, which the swizzle must keep whole.
    keys = described(k, BLOCK, block_d, element, halves=2)
    values = described(v, BLOCK, block_d, element)
    sums_of_dq = described(sums, STEP, block_d // 2, gl.float32)
    flat = gl.NVMMASharedLayout(swizzle_byte_width=0, element_bitwidth=32, rank=2)
    line = torch.empty(0, dtype=torch.float32, device="meta")
    rows = describer(TensorDescriptor(line, [batch * heads, padded], [padded, 1], [1, STEP], flat))
    before = prepare_rows(
        dout, q, out, table=table, kv_heads=kv_heads, with_lse=with_lse, mark=False
    )
    launch = launcher(
        block_sparse_bwd_hopper,
        (columns, batch * kv_heads),
        {
            "BLOCK": BLOCK,
            "HEAD_DIM": head_dim,
            "BLOCK_D": block_d,
            "GROUPED": table.heads > 0,
            "KEY_LENS": key_lens,
            "HEADS_PER_KV": heads // kv_heads,
            "BUFFERS": BUFFERS,
            **HOPPER_OPTIONS,
        },
        table.aligned,
    )
    strides = [stride for x in (k, v) for stride in like(x).strides[:3]]

    def run(
        grad_out: Tensor,
        grad_lse: Tensor | None,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        lse: Tensor,
        table: Sequence[Tensor],
        key_len: Tensor | None,
        sm_scale: float,
    ) -> Gradients:
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        summed = torch.zeros(q.shape, dtype=torch.float32, device=q.device)
        lse_log2, delta = before(grad_out, grad_lse, q, out, lse, None)
        bitmaps, groups = table[5], table[7]
        launch(
            *(queries(q), keys(k), values(v), grads_out(grad_out)),
            *(rows(lse_log2), rows(delta), sums_of_dq(summed), dk, dv, *strides),
            *(*table[8:], bitmaps, groups, groups if key_len is None else key_len),
            *(heads, k.shape[2], columns, sm_scale, sm_scale * LOG2_E),
        )
        torch.mul(summed, sm_scale, out=dq)
        return dq, dk, dv

    return run
