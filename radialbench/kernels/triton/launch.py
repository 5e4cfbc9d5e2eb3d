"""Launches of our own kernels: what decides one is prepared once, and then run on tensors."""

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

q, k and v lie as it was prepared for, and out as `torch.empty_like(q)` does; lse is contiguous
float32 [batch, heads, seq_len]. out and lse are filled. key_len is [batch] int32, the valid keys
of each sequence, or None if all are.
"""


class Layout(NamedTuple):
    """How a tensor lies in memory.

    Attributes:
        shape: Its sizes.
        strides: In elements.
        dtype: Of its elements.
        device: Where it is.
        aligned: Whether it starts at a multiple of 16 bytes.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    aligned: bool


def layout_of(x: Tensor) -> Layout:
    """Return how a tensor lies in memory."""
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
        q: [batch, heads, seq_len, head_dim] of any strides but the last, as are k and v.
        k: Keys.
        v: Values.
        table: The blocks to visit.
        config: Warps and stages; the block sizes are the table's.
        target: Where it runs.
        key_lens: Whether sequences have lengths of their own.
    """
    from triton.tools.tensor_descriptor import TensorDescriptor

    from radialbench.kernels.triton.forward import block_sparse_fwd

    batch, heads, seq_len, head_dim = q.shape
    columns = portable_columns(head_dim)
    copies = not copy_reasons(q.dtype, head_dim, target) and not tma_reasons(k=k, v=v)
    if copies:
        block = [1, 1, table.block_n, columns]
        keys, values = (describer(TensorDescriptor(*_operand(x), block)) for x in (k, v))
    strides = [stride for x in (q, k, v, _like(q)) for stride in x.strides[:3]]
    sizes = (heads, seq_len, table.rows)
    constants: dict[str, Any] = {
        "BLOCK_M": table.block_m,
        "BLOCK_N": table.block_n,
        "HEAD_DIM": head_dim,
        "BLOCK_D": columns,
        "GROUPED": table.heads > 0,
        "KEY_LENS": key_lens,
        "RAGGED": key_lens or seq_len % table.block_n != 0,
        "COPIES": copies,
        "PRECISION": "ieee",
    }
    shared = target.shared_bytes
    constants |= portable_options(config, q.dtype, head_dim, copies=copies, shared=shared)
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
    batch, heads, seq_len, head_dim = q.shape
    columns = hopper_columns(head_dim)
    element = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[q.dtype]
    half = table.block_m // 2
    describe = []
    for x, rows in ((q, half), (k, table.block_n), (v, table.block_n), (_like(q), half)):
        block = [1, 1, rows, columns]
        shared = gl.NVMMASharedLayout.get_default_for(block, element)
        describe.append(describer(TensorDescriptor(*_operand(x), block, shared)))
    queries, keys, values, outputs = describe
    sizes = (heads, seq_len, table.rows)
    constants = {
        "BLOCK_M": table.block_m,
        "BLOCK_N": table.block_n,
        "BLOCK_D": columns,
        "GROUPED": table.heads > 0,
        "KEY_LENS": key_lens,
        "RAGGED": key_lens or seq_len % table.block_n != 0,
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
        # TMA fills with zeros what lies outside a head.
        tensors = (queries(q), keys(k), values(v), outputs(out))
        lengths = table[-2] if key_len is None else key_len
        launch(*tensors, lse, *table, lengths, *sizes, sm_scale * LOG2_E)

    return run


PREPARE: dict[str, Callable[..., Launch]] = {"hopper": prepare_hopper, "triton": prepare_triton}
"""What prepares launches of our kernels, by the name of their backend."""


def launcher(
    kernel: Any, grid: tuple[int, int], constants: Mapping[str, Any], aligned: bool
) -> Callable[..., None]:
    """Return what launches a kernel: with Triton the first time, then as it was compiled.

    Triton looks at every argument of every launch for what it compiled the kernel for: types, and
    which integers and addresses are multiples of 16. A plan has fixed all of them.

    Args:
        kernel: Of Triton or Gluon.
        grid: Thread blocks.
        constants: Its constants and options.
        aligned: Whether the table's tensors start at multiples of 16 bytes, as all others that a
            plan does not look at do.
    """
    last = tuple(constants[name] for name in kernel.arg_names if name in constants)
    compiled = None

    def launch(*arguments: Any) -> None:
        nonlocal compiled
        if compiled is not None:
            compiled(*arguments, *last)
            return
        found = kernel[grid](*arguments, **constants)
        # Triton's interpreter compiles nothing.
        if found is not None and aligned:
            compiled = found[(*grid, 1)]

    return launch


def describer(template: Any) -> Callable[[Tensor], Any]:
    """Return what describes tensors to TMA as the template, which checked how they lie."""
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
                f"{name} must start at a multiple of 16 bytes, with strides of such, got strides "
                f"{x.strides}"
            )
        elif x.strides[2] < x.shape[3]:
            reasons.append(f"{name}'s tokens may not overlap, got strides {x.strides}")
    return reasons


def _like(q: Layout) -> Layout:
    """Return how `torch.empty_like` lays out what is like q."""
    made = torch.empty_strided(q.shape, q.strides, dtype=q.dtype, device="meta")
    return layout_of(torch.empty_like(made))


def _operand(x: Layout) -> tuple[Tensor, list[int], list[int]]:
    """Return a tensor that stands for one, its shape, and strides that Triton takes.

    Where there is a single entry any stride will do, and Triton asks for an even one.
    """
    base = torch.empty(0, dtype=x.dtype, device="meta")
    strides = (stride if n > 1 else 64 for stride, n in zip(x.strides[:3], x.shape, strict=False))
    return base, list(x.shape), [*strides, 1]
