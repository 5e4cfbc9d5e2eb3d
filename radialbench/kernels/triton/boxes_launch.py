"""Launches of the forward kernel for Hopper on tables of boxes: tokens in raster order."""

from collections.abc import Sequence

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.arch import Target
from radialbench.kernels.device_table import TableKey
from radialbench.kernels.select import hopper_columns
from radialbench.kernels.triton.launch import (
    HOPPER_OPTIONS,
    LOG2_E,
    Launch,
    Layout,
    describer,
    launcher,
    like,
    operand,
    tma_reasons,
)
from radialbench.maskgen.boxes import PIECE
from radialbench.records.problem import KernelConfig

CHANNELS = 64
"""Channels of a copy."""


def prepare_boxes(
    q: Layout,
    k: Layout,
    v: Layout,
    *,
    table: TableKey,
    config: KernelConfig,
    target: Target,
    key_lens: bool,
) -> Launch:
    """Prepare launches on a table of boxes; arguments as `prepare_triton`.

    Raises:
        BackendError: TMA cannot read a tensor, or sequences have lengths of their own.
    """
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    from radialbench.kernels.triton.forward_boxes import block_sparse_fwd_boxes

    reasons = tma_reasons(q=q, k=k, v=v)
    if key_lens:
        reasons.append("a table of boxes takes no key_len")
    if reasons:
        raise BackendError(f"the hopper kernel cannot run this: {'; '.join(reasons)}")
    batch, heads, _, head_dim = q.shape
    element = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[q.dtype]
    describe = []
    for x in (q, k, v):
        base, (_, own, tokens, _), (by_batch, by_head, by_token, _) = operand(x)
        lines = (batch, own, tokens // table.width, table.width, head_dim)
        strides = (by_batch, by_head, table.width * by_token, by_token, 1)
        as_boxes = (lines, strides, [1, 1, PIECE // table.run, table.run, CHANNELS])
        as_runs = (x.shape, (by_batch, by_head, by_token, 1), [1, 1, table.run, CHANNELS])
        for shape, steps, block in (as_boxes, as_runs):
            shared = gl.NVMMASharedLayout.get_default_for(block, element)
            template = TensorDescriptor(base, list(shape), list(steps), block, shared)
            describe.append(describer(template))
    q_box, q_run, k_box, k_run, v_box, v_run = describe
    constants = {
        "BLOCK_M": table.block_m,
        "BLOCK_N": table.block_n,
        "BLOCK_D": hopper_columns(head_dim),
        "HEAD_DIM": head_dim,
        "GROUPED": table.heads > 0,
        "HEADS_PER_KV": heads // k.shape[1],
        "BUFFERS": config.num_stages or 2,
        "RUN": table.run,
        **HOPPER_OPTIONS,
    }
    sizes = (*like(q).strides[:3], heads, table.q_len, table.width, table.rows)
    grid = (table.rows, batch * heads)
    launch = launcher(block_sparse_fwd_boxes, grid, constants, table.aligned)

    def run(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        lse: Tensor,
        table: Sequence[Tensor],
        key_len: Tensor | None,
        sm_scale: float,
    ) -> None:
        boxes, runs = (q_box(q), k_box(k), v_box(v)), (q_run(q), k_run(k), v_run(v))
        launch(*boxes, *runs, out, lse, *table, *sizes, sm_scale * LOG2_E)

    return run
