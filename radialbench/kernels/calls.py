"""What attention and its gradients share: checks, staying out of traces, being an operator."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._C._dynamo.eval_frame import get_eval_frame_callback

from radialbench.errors import BackendError
from radialbench.kernels.device_table import TableKey
from radialbench.kernels.triton.launch import Layout

SCALES = (torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max / 2)
"""Least and greatest sm_scale."""

P = ParamSpec("P")
T = TypeVar("T")


def autocasted(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return q, k and v as PyTorch's own attention takes them: in the type of `torch.autocast`."""
    kind = q.device.type if isinstance(q, Tensor) else ""  # Arrays of NumPy have a device, too.
    if kind not in ("cpu", "cuda") or not torch.is_autocast_enabled(kind):
        return q, k, v
    dtype = torch.get_autocast_dtype(kind)
    q, k, v = (
        x.to(dtype) if isinstance(x, Tensor) and x.dtype in _CASTED else x for x in (q, k, v)
    )
    return q, k, v


_CASTED = (torch.float32, torch.float16, torch.bfloat16)


def check_scale(sm_scale: float) -> None:
    """Refuse a scale of 0 or less: kernels take the maximum of scores before they scale.

    Raises:
        BackendError: It is no positive float32.
    """
    if not SCALES[0] <= sm_scale <= SCALES[1]:
        raise BackendError(
            f"sm_scale must be a positive float32, {SCALES[0]:.3g} to {SCALES[1]:.3g}, got "
            f"{sm_scale}; for a negative one negate q"
        )


def check_shapes(q: Layout, k: Layout, v: Layout, key_len: Layout | None, table: TableKey) -> None:
    """Refuse tensors that do not fit each other and their table.

    Raises:
        BackendError: A shape, type, device or last stride is another.
    """
    if len(q.shape) != 4 or q.shape[2] != table.q_len:
        raise BackendError(
            f"q must be [batch, heads, {table.q_len}, head_dim], got {list(q.shape)}"
        )
    batch, heads, _, head_dim = q.shape
    kv_heads = k.shape[1] if len(k.shape) == 4 else 0
    if kv_heads == 0 or heads % kv_heads:
        raise BackendError(
            f"k must be [batch, kv_heads, {table.k_len}, head_dim] with kv_heads that divide the "
            f"{heads} heads of q, got {list(k.shape)}"
        )
    shape = (batch, kv_heads, table.k_len, head_dim)
    for name, x in (("k", k), ("v", v)):
        check_like(name, x, shape, q)
    if table.heads not in (0, q.shape[1]):
        raise BackendError(f"the table is for {table.heads} heads, q has {q.shape[1]}")
    if key_len is not None and (key_len.shape != q.shape[:1] or key_len.dtype != torch.int32):
        raise BackendError(
            f"key_len must be int32 [{q.shape[0]}], got {key_len.dtype} {list(key_len.shape)}"
        )


def check_like(name: str, x: Layout, shape: tuple[int, ...], q: Layout) -> None:
    """Refuse a tensor of another shape, or of another type or device than q.

    Raises:
        BackendError: It is.
    """
    if (x.shape, x.dtype, x.device) != (shape, q.dtype, q.device):
        raise BackendError(
            f"{name} must be {q.dtype} {list(shape)} on {q.device}; got "
            f"{x.dtype} {list(x.shape)} on {x.device}"
        )


def check_last_stride(name: str, x: Layout) -> None:
    """Refuse a tensor whose last stride is not 1.

    Raises:
        BackendError: It is not.
    """
    if x.strides[3] != 1:
        raise BackendError(f"{name}'s last stride must be 1, got strides {x.strides}")


_disabled = cache(torch.compiler.disable)


def untraced(call: Callable[P, T]) -> Callable[P, T]:
    """Return a call that `torch.compile` does not trace, in case it is tracing."""
    if "torch._dynamo" not in sys.modules:
        return call
    traces = torch.compiler.is_compiling() or get_eval_frame_callback() is not None
    return _disabled(call) if traces else call


def register(
    name: str,
    call: Callable[..., Any],
    shapes: Callable[..., Any],
    backward: Callable[..., Any],
    setup_context: Callable[..., None] | None = None,
) -> None:
    """Register a function as the operator `radialbench::name`, with shapes and gradients.

    `torch.library.custom_op` would import torch._dynamo at the first call, which is slow.
    """
    full = f"radialbench::{name}"
    schema = torch.library.infer_schema(call, mutates_args=())
    torch.library.define(full, schema, tags=torch.Tag.pt2_compliant_tag)
    torch.library.impl(full, "CompositeExplicitAutograd")(call)
    torch.library.register_fake(full)(shapes)
    torch.library.register_autograd(full, backward, setup_context=setup_context)
