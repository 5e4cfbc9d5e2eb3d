"""Launches of our own kernels: prepared once for a layout, then run on tensors."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.arch import Target
from radialbench.kernels.device_table import TableKey
from radialbench.kernels.select import (
    copy_reasons,
    hopper_columns,
    portable_columns,
    portable_options,
)
from radialbench.records.problem import KernelConfig

LOG2_E = math.log2(math.e)
HOPPER_OPTIONS = {"num_warps": 4, "maxnreg": 168}

Launch = Callable[
    [Tensor, Tensor, Tensor, Tensor, Tensor, Sequence[Tensor], Tensor | None, float], None
]
"""Runs a kernel on q, k, v, out, lse, a table's tensors, key_len and sm_scale.

q, k and v have the prepared layouts, and out that of `torch.empty_like(q)`; lse is contiguous
float32 [batch, heads, q_len]. out and lse are written. key_len is [batch] int32, the valid keys
per sequence, or None if all keys are valid.
"""


class Layout(NamedTuple):
    """Layout of a tensor in memory: strides in elements; `aligned` if it starts at 16·n bytes."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    aligned: bool


def layout_of(x: Tensor) -> Layout:
    """Return the layout of a tensor."""
    return Layout(x.shape, x.stride(), x.dtype, x.device, x.data_ptr() % 16 == 0)


def prepare_triton(
    q: Layout,
    k: Layout,
    v: Layout,
    *,
    table: TableKey,
    config: KernelConfig,
    target: Target,
    key_lens: bool,
) -> Launch:
    """Prepare launches of the portable kernel.

    Args:
        q: [batch, heads, q_len, head_dim] of any strides but the last, as are k and v.
        k: Keys, [batch, kv_heads, k_len, head_dim]; kv_heads divides heads.
        v: Values, as k.
        table: The blocks to visit.
        config: Warps and stages; the block sizes are the table's.
        target: Where it runs.
        key_lens: Whether launches pass key_len.
    """
    from triton.tools.tensor_descriptor import TensorDescriptor

    from radialbench.kernels.triton.forward import block_sparse_fwd

    batch, heads, _, head_dim = q.shape
    columns = portable_columns(head_dim)
    copies = not copy_reasons(q.dtype, head_dim, target) and not tma_reasons(k=k, v=v)
    if copies:
        block = [1, 1, table.block_n, columns]
        keys, values = (describer(TensorDescriptor(*operand(x), block)) for x in (k, v))
    strides = [stride for x in (q, k, v, like(q)) for stride in x.strides[:3]]
    sizes = sizes_of(heads, table)
    constants = {
        **_shared_constants(table, columns, heads // k.shape[1], key_lens=key_lens),
        "HEAD_DIM": head_dim,
        "COPIES": copies,
        "PRECISION": "ieee",
        **portable_options(config, q.dtype, head_dim, copies=copies, shared=target.shared_bytes),
    }
    launch = launcher(block_sparse_fwd, (table.rows, batch * heads), constants, table.aligned)

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
        inputs = (keys(k), values(v)) if copies else (k, v)
        lengths = lse if key_len is None else key_len
        launch(q, *inputs, out, lse, *strides, *table, lengths, *sizes, sm_scale * LOG2_E)

    return run


def prepare_hopper(
    q: Layout,
    k: Layout,
    v: Layout,
    *,
    table: TableKey,
    config: KernelConfig,
    target: Target,
    key_lens: bool,
) -> Launch:
    """Prepare launches of the kernel for Hopper; arguments as `prepare_triton`.

    Raises:
        BackendError: A tensor's start or strides are not multiples of 16 bytes, as TMA needs them.
    """
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    from radialbench.kernels.triton.forward_hopper import block_sparse_fwd_hopper

    if reasons := tma_reasons(q=q, k=k, v=v):
        raise BackendError(f"the hopper kernel cannot run this: {'; '.join(reasons)}")
    batch, heads, _, head_dim = q.shape
    columns = hopper_columns(head_dim)
    element = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[q.dtype]
    half = table.block_m // 2
    describe = []
    for x, rows in ((q, half), (k, table.block_n), (v, table.block_n), (like(q), half)):
        block = [1, 1, rows, columns]
        shared = gl.NVMMASharedLayout.get_default_for(block, element)
        describe.append(describer(TensorDescriptor(*operand(x), block, shared)))
    queries, keys, values, outputs = describe
    sizes = sizes_of(heads, table)
    constants = {
        **_shared_constants(table, columns, heads // k.shape[1], key_lens=key_lens),
        "BUFFERS": config.num_stages or 2,
        **HOPPER_OPTIONS,
    }
    grid = (table.rows, batch * heads)
    launch = launcher(block_sparse_fwd_hopper, grid, constants, table.aligned)

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
        # TMA reads zeros outside a head.
        tensors = (queries(q), keys(k), values(v), outputs(out))
        lengths = table[-2] if key_len is None else key_len
        launch(*tensors, lse, *table, lengths, *sizes, sm_scale * LOG2_E)

    return run


PREPARE: dict[str, Callable[..., Launch]] = {"hopper": prepare_hopper, "triton": prepare_triton}
"""Functions that prepare launches, by the name of the backend."""


def launcher(
    kernel: Any, grid: tuple[int, int], constants: Mapping[str, Any], aligned: bool
) -> Callable[..., None]:
    """Return a function that launches a kernel: first by Triton, later as Triton compiled it.

    Triton checks all arguments of every launch for what it specialized the kernel on: types, and
    which integers and addresses are multiples of 16. A plan has fixed all of these.

    Args:
        kernel: A kernel of Triton or Gluon.
        grid: Thread blocks.
        constants: Its constants and options.
        aligned: Whether the table's tensors start at multiples of 16 bytes. All other tensors that
            a plan does not check do.
    """
    last = tuple(constants[name] for name in kernel.arg_names if name in constants)
    compiled = None

    def launch(*arguments: Any) -> None:
        nonlocal compiled
        if compiled is not None:
            compiled(*arguments, *last)
            return
        result = kernel[grid](*arguments, **constants)
        # Triton's interpreter compiles nothing.
        if result is not None and aligned:
            compiled = result[(*grid, 1)]

    return launch


def describer(template: Any) -> Callable[[Tensor], Any]:
    """Return a function that makes TMA descriptors like the template, which checked the layout."""
    kind, fields = type(template), dict(template.__dict__)

    def describe(tensor: Tensor) -> Any:
        described = object.__new__(kind)
        described.__dict__.update(fields)
        described.base = tensor
        return described

    return describe


def tma_reasons(**operands: Layout) -> list[str]:
    """Return why TMA cannot read tensors; empty if it can."""
    reasons = []
    for name, x in operands.items():
        strides = [s for s, n in zip(x.strides[:3], x.shape, strict=False) if n > 1]
        if not x.aligned or any(stride * x.dtype.itemsize % 16 for stride in strides):
            reasons.append(
                f"{name} must start at a multiple of 16 bytes, and so must its rows, got strides "
                f"{x.strides}"
            )
        elif x.strides[2] < x.shape[3]:
            reasons.append(f"{name}'s tokens may not overlap, got strides {x.strides}")
    return reasons


def sizes_of(heads: int, table: TableKey) -> tuple[int, int, int | None, int]:
    """Return heads, q_len, k_len and rows as the kernels take them."""
    return heads, table.q_len, None if table.k_len == table.q_len else table.k_len, table.rows


def _shared_constants(
    table: TableKey, columns: int, heads_per_kv: int, *, key_lens: bool
) -> dict[str, Any]:
    return {
        "BLOCK_M": table.block_m,
        "BLOCK_N": table.block_n,
        "BLOCK_D": columns,
        "GROUPED": table.heads > 0,
        "KEY_LENS": key_lens,
        "RAGGED": key_lens or table.k_len % table.block_n != 0,
        "HEADS_PER_KV": heads_per_kv,
    }


def like(q: Layout) -> Layout:
    """Return the layout of `torch.empty_like(q)`."""
    made = torch.empty_strided(q.shape, q.strides, dtype=q.dtype, device="meta")
    return layout_of(torch.empty_like(made))


def operand(x: Layout) -> tuple[Tensor, list[int], list[int]]:
    """Return an empty tensor, the shape, and strides that Triton accepts.

    The stride of a dimension with one entry does not matter, but Triton requires an even one.
    """
    base = torch.empty(0, dtype=x.dtype, device="meta")
    strides = (stride if n > 1 else 64 for stride, n in zip(x.strides[:3], x.shape, strict=False))
    return base, list(x.shape), [*strides, 1]
