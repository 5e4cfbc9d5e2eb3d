"""block_sparse_attention_backward: gradients of attention on a block table, as one operator."""

from collections.abc import Sequence
from dataclasses import astuple
from functools import lru_cache
from typing import Any, NoReturn

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
from radialbench.kernels.select import choose_gradients, config_reasons, kernel_reasons
from radialbench.kernels.triton.backward_launch import Backward, Gradients
from radialbench.kernels.triton.gradients import gradient_kernel, prepare_gradients
from radialbench.kernels.triton.launch import Layout, layout_of
from radialbench.records.problem import GradientSteps, KernelConfig, Steps


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
    config: KernelConfig | None = None,
    backend: str | None = None,
) -> Gradients:
    """Compute the gradients of `block_sparse_attention`, which autograd calls by itself.

    Call it where attention was joined from parts, as over several GPUs: with the joined out and
    lse, the gradients of the parts sum up to those of the whole. On Hopper, blocks of 128×128 with
    a head_dim up to 128 in 16 bits have a kernel that adds up dq in no fixed order, and takes
    finite numbers only. All else runs in portable kernels, whose result does not depend on the
    order in which their programs run, as does everything under
    `torch.use_deterministic_algorithms(True)`, and with the backend `triton`.

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
        config: Steps of the portable kernels. If it has none, those that were tuned for the problem
            or one near it in the table's blocks, else defaults for the device.
        backend: `triton` for the portable kernels; the best ones for the device if not given.

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
        *(*tensors, scale, backend or "", *sizes, flat_steps(config)),
        *(table.mask_fingerprint, table.frames, table.tokens_per_frame),
    )
    return grads


def flat_steps(config: KernelConfig | None) -> list[int]:
    """Return the steps of a configuration as numbers, as operators take them; zeros if open.

    PyTorch takes an empty list for one of tensors.
    """
    both = config.gradients if config else None
    return [0] * 8 if both is None else [*astuple(both.dq), *astuple(both.dkdv)]


def steps_of(flat: Sequence[int]) -> GradientSteps | None:
    """Return what `flat_steps` made numbers of."""
    return GradientSteps(Steps(*flat[:4]), Steps(*flat[4:])) if any(flat) else None


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
    tensors: Sequence[Tensor],
    block_m: int,
    block_n: int,
    q_len: int,
    k_len: int,
    *problem: Any,
    width: int = 0,
) -> DeviceTable:
    """Return the table of `DeviceTable.all_tensors`.

    `problem` are the mask's fingerprint, the frames, and the tokens of a frame; `width` is that of
    its boxes, 0 without.
    """
    more = tensors[8:]
    by_key = Transpose(*more) if more and not width else None
    boxes = Boxes(more[0], more[1], width) if width else None
    names = ("mask_fingerprint", "frames", "tokens_per_frame")
    known = dict(zip(names, problem, strict=True))
    sizes = (block_m, block_n, q_len, k_len)
    return DeviceTable(*sizes, *tensors[:8], transpose=by_key, boxes=boxes, **known)


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
    backend: str,
    block_m: int,
    block_n: int,
    q_len: int,
    k_len: int,
    steps: Sequence[int],
    mask_fingerprint: str,
    frames: int,
    tokens_per_frame: int,
) -> tuple[Tensor, Tensor, Tensor]:
    problem = (mask_fingerprint, frames, tokens_per_frame)
    on_device = table_from(table, block_m, block_n, q_len, k_len, *problem)
    check_scale(sm_scale)
    return untraced(_gradients)(
        *(dout, dlse, q, k, v, out, lse, on_device, key_len, sm_scale),
        *(backend or None, steps_of(steps)),
    )


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
    backend: str | None,
    steps: GradientSteps | None,
) -> Gradients:
    # Autograd passes expanded sums, of any strides.
    dout = dout if dout.dim() and dout.stride(-1) == 1 else dout.contiguous()
    lse = lse.contiguous()
    dlse = None if dlse is None else dlse.contiguous()
    lengths = None if key_len is None else layout_of(key_len)
    lse_grad = None if dlse is None else layout_of(dlse)
    layouts = map(layout_of, (dout, q, k, v, out, lse))
    fixed = torch.are_deterministic_algorithms_enabled()
    backward = _prepared(*layouts, lse_grad, lengths, table.key, fixed, backend, steps)
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
    backend: str | None,
    steps: GradientSteps | None,
) -> Backward:
    """Check the arguments, choose kernel and steps, and prepare the launches."""
    check_shapes(q, k, v, key_len, table)
    check_like("dout", dout, q.shape, q)
    check_like("out", out, q.shape, q)
    sums = q._replace(dtype=torch.float32)
    check_like("lse", lse, q.shape[:3], sums)
    if dlse is not None:
        check_like("dlse", dlse, q.shape[:3], sums)
    target, blocks = target_of(q.device), (table.block_m, table.block_n)
    reasons = kernel_reasons("triton", q.dtype, q.shape[3], blocks, target)
    reasons += config_reasons("triton", KernelConfig(*blocks, gradients=steps), q.shape[3])
    if reasons:
        raise BackendError(f"the backward kernels cannot run this: {'; '.join(reasons)}")
    for name, x in (("q", q), ("k", k), ("v", v), ("out", out)):
        check_last_stride(name, x)
    kernel = gradient_kernel(
        *(dout, q, k, v),
        backend=backend,
        fixed_order=fixed_order,
        table=table,
        target=target,
    )
    if steps is None:
        shape = (max(1, q.shape[0]), *q.shape[1:])  # A batch may have no sequences.
        chosen = choose_gradients(kernel, q.dtype, shape, k.shape[1], table, target)
        steps = chosen.config.gradients
    return prepare_gradients(
        *(kernel, dout, q, k, v, out),
        table=table,
        target=target,
        key_lens=key_len is not None,
        with_lse=dlse is not None,
        steps=steps,
    )


def _shapes(
    dout: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, *_: object, **__: object
) -> Gradients:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _no_second(*_: object) -> NoReturn:
    raise BackendError(NO_SECOND)


register("block_sparse_attention_backward", _operator, _shapes, _no_second)
