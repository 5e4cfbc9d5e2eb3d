"""Launches of the portable backward kernels: prepared once for a layout, then run on tensors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from radialbench.kernels.arch import Target
from radialbench.kernels.device_table import TableKey
from radialbench.kernels.select import copy_reasons, portable_columns
from radialbench.kernels.triton.launch import (
    LOG2_E,
    Layout,
    describer,
    launcher,
    like,
    operand,
    sizes_of,
    tma_reasons,
)
from radialbench.records.problem import GradientSteps, Steps

ROWS = 64
"""Rows of a program that sums dout·out."""

Gradients = tuple[Tensor, Tensor, Tensor]

Backward = Callable[
    [Tensor, Tensor | None, Tensor, Tensor, Tensor, Tensor, Tensor, Sequence[Tensor], Any, float],
    Gradients,
]
"""Computes dq, dk and dv from dout, dlse, q, k, v, out, lse, a table's tensors, key_len, sm_scale.

All have the prepared layouts; the table's tensors are those of `DeviceTable.all_tensors`.
"""


def prepare_backward(
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
    steps: GradientSteps,
) -> Backward:
    """Prepare launches of the backward kernels.

    Args:
        dout: The gradient of out, of any strides but the last.
        q: [batch, heads, q_len, head_dim] of any strides but the last, as are k, v and out.
        k: Keys, [batch, kv_heads, k_len, head_dim]; kv_heads divides heads.
        v: Values, as k.
        out: Output, as q.
        table: The blocks to visit.
        target: Where it runs.
        key_lens: Whether launches pass key_len.
        with_lse: Whether launches pass the gradient of lse.
        steps: How the kernels walk.
    """
    from radialbench.kernels.triton.backward import block_sparse_dkdv, block_sparse_dq

    batch, heads, q_len, head_dim = q.shape
    kv_heads = k.shape[1]
    columns = -(-table.k_len // table.block_n)
    block_d = portable_columns(head_dim)
    copies = not copy_reasons(q.dtype, head_dim, target)
    shared: dict[str, Any] = {
        "BLOCK_M": table.block_m,
        "BLOCK_N": table.block_n,
        "HEAD_DIM": head_dim,
        "BLOCK_D": block_d,
        "GROUPED": table.heads > 0,
        "KEY_LENS": key_lens,
        "HEADS_PER_KV": heads // kv_heads,
        "PRECISION": "ieee",
    }
    copies_kv = copies and not tma_reasons(k=k, v=v)
    copies_q = copies and not tma_reasons(q=q, dout=dout)
    by_column = (columns * (table.block_n // steps.dkdv.own), batch * kv_heads)
    of_keys = {
        **shared,
        **_options(steps.dkdv),
        "RAGGED": q_len % table.block_m != 0,
        "COPIES": copies_q,
    }
    of_queries = {
        **shared,
        **_options(steps.dq),
        "RAGGED": key_lens or table.k_len % table.block_n != 0,
        "COPIES": copies_kv,
    }
    before = prepare_rows(dout, q, out, table=table, kv_heads=kv_heads, with_lse=with_lse)
    dkdv, clean_dkdv = (
        launcher(block_sparse_dkdv, by_column, {**of_keys, "CLEAN": clean}, table.aligned)
        for clean in (False, True)
    )
    by_row = (table.rows * (table.block_m // steps.dq.own), batch * heads)
    dq = launcher(block_sparse_dq, by_row, of_queries, table.aligned)
    describe_k, describe_v = _describers((k, v), steps.dq.step, block_d, copies=copies_kv)
    describe_q, describe_g = _describers((q, dout), steps.dkdv.step, block_d, copies=copies_q)
    inputs = [stride for x in (q, k, v, dout) for stride in x.strides[:3]]
    of_dq, of_dk, of_dv = (list(like(x).strides[:3]) for x in (q, k, v))
    row_sizes = sizes_of(heads, table)
    column_sizes = (*row_sizes[:3], columns)

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
        grads = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        unclean = torch.zeros(batch * kv_heads, dtype=torch.int32, device=q.device)
        bitmaps, groups = table[5], table[7]
        lengths = lse if key_len is None else key_len
        scales = (sm_scale, sm_scale * LOG2_E)
        lse, delta = before(grad_out, grad_lse, q, out, lse, unclean)
        for launch in (dkdv, clean_dkdv):
            launch(
                *(describe_q(q), k, v, describe_g(grad_out), lse, delta, *grads[1:]),
                *(*inputs, *of_dk, *of_dv, *table[8:], bitmaps, groups, lengths, unclean),
                *(*column_sizes, *scales),
            )
        dq(
            *(q, describe_k(k), describe_v(v), grad_out, lse, delta, grads[0]),
            *(*inputs, *of_dq, *table[:8], lengths, *row_sizes, *scales),
        )
        return grads

    return run


def prepare_rows(
    dout: Layout,
    q: Layout,
    out: Layout,
    *,
    table: TableKey,
    kv_heads: int,
    with_lse: bool,
    mark: bool = True,
) -> Callable[[Tensor, Tensor | None, Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, ...]]:
    """Prepare what comes before the gradients.

    Args:
        dout: As for `prepare_backward`, as are q, out, table and with_lse.
        q: Queries.
        out: Output.
        table: The blocks to visit.
        kv_heads: Heads of k and v.
        with_lse: Whether launches pass the gradient of lse.
        mark: Whether to mark key heads where q or dout is not finite.

    Returns:
        A function of dout, dlse, q, out, lse and the marks, zeros of [batch · kv_heads] int32. It
        returns lse in units of log2, and delta: [batch · heads, queries up to a whole block].
    """
    from radialbench.kernels.triton.backward import block_sparse_rows

    batch, heads, q_len, head_dim = q.shape
    padded = table.rows * table.block_m
    launch = launcher(
        block_sparse_rows,
        (-(-padded // ROWS), batch * heads),
        {
            "ROWS": ROWS,
            "BLOCK_M": table.block_m,
            "HEAD_DIM": head_dim,
            "BLOCK_D": portable_columns(head_dim),
            "HEADS_PER_KV": heads // kv_heads,
            "WITH_LSE": with_lse,
            "MARK": mark,
            "num_warps": 4,
        },
        table.aligned,
    )
    strides = [stride for x in (q, out, dout) for stride in x.strides[:3]]

    def run(
        grad_out: Tensor,
        grad_lse: Tensor | None,
        q: Tensor,
        out: Tensor,
        lse: Tensor,
        unclean: Tensor | None,
    ) -> tuple[Tensor, ...]:
        lse_log2, delta = lse.new_empty(2, batch * heads, padded).unbind()
        dlse = lse if grad_lse is None else grad_lse
        marks = lse if unclean is None else unclean
        launch(q, out, grad_out, lse, dlse, lse_log2, delta, marks, *strides, heads, q_len)
        return lse_log2, delta

    return run


def _options(steps: Steps) -> dict[str, int]:
    return {
        "OWN": steps.own,
        "STEP": steps.step,
        "num_warps": steps.num_warps,
        "num_stages": steps.num_stages,
    }


def _describers(
    operands: tuple[Layout, Layout], tokens: int, block_d: int, *, copies: bool
) -> list[Callable[[Tensor], Any]]:
    """Return what makes of two tensors what their kernel takes: descriptors or pointers."""
    if not copies:
        return [_itself, _itself]
    from triton.tools.tensor_descriptor import TensorDescriptor

    block = [1, 1, tokens, block_d]
    return [describer(TensorDescriptor(*operand(x), block)) for x in operands]


def _itself(x: Tensor) -> Tensor:
    return x
