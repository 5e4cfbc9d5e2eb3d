"""block_sparse_attention_backward: gradients of attention on a block table, as one operator."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NoReturn

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.arch import target_of
from radialbench.kernels.autograd import NO_SECOND
from radialbench.kernels.calls import (
    check_last_stride,
    check_like,
    check_scale,
    check_shapes,
    register,
    untraced,
)
from radialbench.kernels.device_table import Boxes, DeviceTable, TableKey, Transpose
from radialbench.kernels.select import kernel_reasons
from radialbench.kernels.triton.backward_hopper_launch import (
    hopper_backward_reasons,
    prepare_hopper_backward,
)
from radialbench.kernels.triton.backward_launch import Backward, Gradients, prepare_backward
from radialbench.kernels.triton.launch import Layout, layout_of


def block_sparse_attention_backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    table: DeviceTable,
    *,
    dlse: Tensor | None = None,
    sm_scale: float | None = None,
    key_len: Tensor | None = None,
) -> Gradients:
    """Compute the gradients of `block_sparse_attention`, which autograd calls by itself.

    Call it where attention was joined from parts, as over several GPUs: with the joined out and
    lse, the gradients of the parts sum up to those of the whole. On Hopper, blocks of 128×128 with
    a head_dim up to 128 in 16 bits have a kernel that adds up dq in no fixed order, and takes
    finite numbers only. All else runs in portable kernels, whose result does not depend on the
    order in which their programs run, as does everything under
    `torch.use_deterministic_algorithms(True)`.

    Args:
        dout: Gradient of out, [batch, heads, q_len, head_dim].
        q: As in the forward call, as are k and v.
        k: Keys.
        v: Values.
        out: Output.
        lse: [batch, heads, q_len] float32, the natural logarithm of the sum of exponentials.
        table: The blocks, as `device_table` returns them.
        dlse: Gradient of lse; none if not given.
        sm_scale: As in the forward call.
        key_len: As in the forward call.

    Returns:
        dq, dk and dv, like q, k and v. Exactly zero: dq of a query without keys, dk and dv of a key
        that no query attends to.

    Raises:
        BackendError: Shapes, types or devices do not match, the table has no transpose, or the
            kernels cannot run them.
    """
    check_transpose(table)
    scale = q.shape[-1] ** -0.5 if sm_scale is None else sm_scale
    sizes = (table.block_m, table.block_n, table.q_len, table.k_len)
    tensors = (dout, dlse, q, k, v, out, lse, list(table.all_tensors()), key_len)
    grads: Gradients = torch.ops.radialbench.block_sparse_attention_backward(
        *tensors, scale, *sizes
    )
    return grads


def check_transpose(table: DeviceTable) -> None:
    """Refuse a table that was made without a transpose.

    Raises:
        BackendError: It was.
    """
    if table.boxes is not None:
        raise BackendError(
            "a table of boxes has no gradients: take the table it was made of, and q, k and v in "
            "its token order"
        )
    if table.transpose is None:
        raise BackendError(
            "gradients need the table's blocks by key block, which this table was made without: "
            "make it by device_table, or by table_of_blocks(…, gradients=True)"
        )


def table_from(
    tensors: Sequence[Tensor], block_m: int, block_n: int, q_len: int, k_len: int, width: int = 0
) -> DeviceTable:
    """Return the table of `DeviceTable.all_tensors`; `width` is that of its boxes, 0 without."""
    more = tensors[8:]
    by_key = Transpose(*more) if more and not width else None
    boxes = Boxes(more[0], more[1], width) if width else None
    sizes = (block_m, block_n, q_len, k_len)
    return DeviceTable(*sizes, *tensors[:8], transpose=by_key, boxes=boxes)


def _operator(
    dout: Tensor,
    dlse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    table: Sequence[Tensor],
    key_len: Tensor | None,
    sm_scale: float,
    block_m: int,
    block_n: int,
    q_len: int,
    k_len: int,
) -> tuple[Tensor, Tensor, Tensor]:
    on_device = table_from(table, block_m, block_n, q_len, k_len)
    check_scale(sm_scale)
    return untraced(_gradients)(dout, dlse, q, k, v, out, lse, on_device, key_len, sm_scale)


def _gradients(
    dout: Tensor,
    dlse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    table: DeviceTable,
    key_len: Tensor | None,
    sm_scale: float,
) -> Gradients:
    # Autograd passes expanded sums, of any strides.
    dout = dout if dout.dim() and dout.stride(-1) == 1 else dout.contiguous()
    lse = lse.contiguous()
    dlse = None if dlse is None else dlse.contiguous()
    lengths = None if key_len is None else layout_of(key_len)
    lse_grad = None if dlse is None else layout_of(dlse)
    layouts = map(layout_of, (dout, q, k, v, out, lse))
    fixed = torch.are_deterministic_algorithms_enabled()
    backward = _prepared(*layouts, lse_grad, lengths, table.key, fixed)
    if not q.shape[0]:
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    tensors = (dout, dlse, q, k, v, out, lse, table.all_tensors(), key_len, sm_scale)
    if not q.is_cuda:
        return backward(*tensors)
    with torch.cuda.device(q.device):
        return backward(*tensors)


@lru_cache(maxsize=4096)
def _prepared(
    dout: Layout,
    q: Layout,
    k: Layout,
    v: Layout,
    out: Layout,
    lse: Layout,
    dlse: Layout | None,
    key_len: Layout | None,
    table: TableKey,
    fixed_order: bool,
) -> Backward:
    """Check the arguments and prepare the launches, of kernels that add in a fixed order if so."""
    check_shapes(q, k, v, key_len, table)
    check_like("dout", dout, q.shape, q)
    check_like("out", out, q.shape, q)
    sums = q._replace(dtype=torch.float32)
    check_like("lse", lse, q.shape[:3], sums)
    if dlse is not None:
        check_like("dlse", dlse, q.shape[:3], sums)
    target, blocks = target_of(q.device), (table.block_m, table.block_n)
    if reasons := kernel_reasons("triton", q.dtype, q.shape[3], blocks, target):
        raise BackendError(f"the backward kernels cannot run this: {'; '.join(reasons)}")
    for name, x in (("q", q), ("k", k), ("v", v), ("out", out)):
        check_last_stride(name, x)
    slow = fixed_order or hopper_backward_reasons(dout, q, k, v, table=table, target=target)
    return (prepare_backward if slow else prepare_hopper_backward)(
        *(dout, q, k, v, out),
        table=table,
        target=target,
        key_lens=key_len is not None,
        with_lse=dlse is not None,
    )


def _shapes(
    dout: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, *_: object, **__: object
) -> Gradients:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _no_second(*_: object) -> NoReturn:
    raise BackendError(NO_SECOND)


register("block_sparse_attention_backward", _operator, _shapes, _no_second)
