"""block_sparse_attention: our kernels as one PyTorch operator on plain tensors."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, overload
from weakref import finalize

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.arch import target_of
from radialbench.kernels.backward import check_transpose, flat_steps, steps_of, table_from
from radialbench.kernels.calls import (
    autocasted,
    check_last_stride,
    check_scale,
    check_shapes,
    register,
    untraced,
)
from radialbench.kernels.device_table import DeviceTable, TableKey, upload, upload_boxes
from radialbench.kernels.host import attend_on_host, runs_on_host
from radialbench.kernels.select import (
    choose_config,
    choose_gradients,
    config_reasons,
    kernel_reasons,
    select_kernel,
)
from radialbench.kernels.triton.boxes_launch import prepare_boxes
from radialbench.kernels.triton.gradients import gradient_kernel
from radialbench.kernels.triton.launch import PREPARE, Launch, Layout, layout_of, tma_reasons
from radialbench.maskgen.boxes import BoxTable
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.maskgen.table import BlockTable
from radialbench.records.lookup import ConfigChoice
from radialbench.records.problem import KernelConfig

_UPLOADED: dict[int, dict[torch.device, DeviceTable]] = {}
"""By the identity of a live table: its hash takes longer than the rest of a lookup."""

MAX_PLANS = 1024
"""Most plans that a table keeps: a service may have a shape for every prompt."""


class Plan(NamedTuple):
    """How calls with the same layouts are launched under a table.

    Attributes:
        launch: Runs the kernel.
        table: The table's tensors.
        lse: [batch, heads, q_len] float32 of one element, a template for `torch.empty_like`.
        gpu: Index of the GPU; None on a CPU.
    """

    launch: Launch
    table: tuple[Tensor, ...]
    lse: Tensor
    gpu: int | None


@overload
def block_sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: AnyTable | BoxTable | DeviceTable,
    *,
    sm_scale: float | None = None,
    config: KernelConfig | None = None,
    backend: str | None = None,
    key_len: Tensor | None = None,
    return_lse: Literal[False] = False,
) -> Tensor: ...
@overload
def block_sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: AnyTable | BoxTable | DeviceTable,
    *,
    sm_scale: float | None = None,
    config: KernelConfig | None = None,
    backend: str | None = None,
    key_len: Tensor | None = None,
    return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def block_sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: AnyTable | BoxTable | DeviceTable,
    *,
    sm_scale: float | None = None,
    config: KernelConfig | None = None,
    backend: str | None = None,
    key_len: Tensor | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attend from each query to the keys a block table keeps; differentiable in q, k and v, once.

    On a CPU, where there is no Triton, it is computed in PyTorch, block by block: `config` and
    `key_len` are for GPUs, and the table is that of `compile_mask` or `compile_heads`.

    Args:
        q: [batch, heads, q_len, head_dim] in the table's token order, with a last stride of 1, so
            that a transposed [batch, q_len, heads, head_dim] is not copied.
        k: [batch, kv_heads, k_len, head_dim], as q. kv_heads divides heads: query head h attends to
            the keys of head h // (heads / kv_heads).
        v: As k. A number that is nan or infinite reaches the rows that attend to its key, in its
            channel, and all rows of a query block that has its key in a partial block.
        table: The blocks to visit, for all heads, or those of each head as `compile_heads` returns
            them, each head's tokens in its own table's order; or what `boxed` makes of either, on
            tokens in raster order. They are uploaded once per device and kept as long as the table
            lives. Inside `torch.compile` pass the result of
            `device_table`.
        sm_scale: Factor of q·k, above 0; 1/√head_dim if not given.
        config: Warps and stages, with the table's blocks. If not given, those that were tuned for
            the problem or one near it, else defaults for the device: `config_for` returns them.
            Steps of gradients, where they are portable, are looked up unless it has them.
        backend: `hopper` or `triton`; the best one for the device if not given. `triton` has
            gradients of its own; others come, where it can, from a kernel for Hopper, which needs
            finite numbers.
        key_len: [batch] int32 valid keys per sequence; all if not given. The kernel for Hopper then
            needs finite values up to the end of the key block in which a sequence ends.
        return_lse: Whether to return the natural logarithm of the sum of exponentials too.

    Returns:
        out like q, or with `return_lse` (out, lse), lse float32 [batch, heads, q_len]. A query
        without keys gets zeros and -inf.

    Raises:
        BackendError: Shapes, types or devices do not match, or the kernel cannot run them.
        RecordError: Tuned configurations cannot be read.
    """
    if not isinstance(q, Tensor):
        _check_tensors(q=q)
    if runs_on_host(q):
        found = attend_on_host(
            *autocasted(q, k, v), table, sm_scale=sm_scale, key_len=key_len, backend=backend
        )
        return found if return_lse else found[0]
    if not isinstance(table, DeviceTable):
        if torch.compiler.is_compiling():
            raise BackendError(
                "inside torch.compile a table must be a DeviceTable: make it outside, with "
                "device_table(table, device)"
            )
        table = _find_uploaded(table, q.device) or device_table(table, q.device)
    q, k, v = autocasted(q, k, v)
    if config is not None and type(config) is not KernelConfig:
        raise BackendError(f"config must be a KernelConfig, got {type(config).__name__}")
    scale = max(q.shape[-1], 1) ** -0.5 if sm_scale is None else float(sm_scale)
    if _is_plain(q, k, v, key_len):
        out, lse = untraced(_attend)(q, k, v, table, key_len, scale, backend, config)
    else:
        _check_tensors(q=q, k=k, v=v, key_len=key_len)
        if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
            check_transpose(table)
        warps, stages = (config.num_warps, config.num_stages) if config else (None, None)
        out, lse = torch.ops.radialbench.block_sparse_attention(
            *(q, k, v, list(table.all_tensors()), key_len, scale, backend or ""),
            *(table.block_m, table.block_n, table.q_len, table.k_len, flat_steps(config)),
            *(table.mask_fingerprint, table.frames, table.tokens_per_frame),
            *(config is None, warps, stages),
            table.boxes.width if table.boxes else 0,
        )
    return (out, lse) if return_lse else out


def config_for(
    q: Tensor,
    table: AnyTable | BoxTable | DeviceTable,
    *,
    backend: str | None = None,
    kv_heads: int | None = None,
    direction: str = "forward",
) -> ConfigChoice:
    """Return the configuration that `block_sparse_attention` uses if none is given, and why.

    Arguments are those of `block_sparse_attention`; k and v are assumed to be laid out as q, with
    `kv_heads` heads, as many as q's if not given. In the direction `backward` it is that of
    gradients.

    Raises:
        BackendError: There is no such kernel or direction.
        RecordError: Tuned configurations cannot be read.
    """
    if not isinstance(table, DeviceTable):
        table = device_table(table, q.device)
    layout, key = layout_of(q), table.key
    blocks, target = (key.block_m, key.block_n), target_of(q.device)
    kv_heads = kv_heads or q.shape[1]
    if direction not in ("forward", "backward"):
        raise BackendError(f"the direction is forward or backward, got {direction!r}")
    if direction == "backward":
        fixed = torch.are_deterministic_algorithms_enabled()
        kernel = gradient_kernel(
            *(layout,) * 4, backend=backend, fixed_order=fixed, table=key, target=target
        )
        return choose_gradients(kernel, q.dtype, q.shape, kv_heads, key, target)
    kernel = select_kernel(backend, q.dtype, q.shape[-1], blocks, target)
    tma = not tma_reasons(q=layout)
    return choose_config(kernel, q.dtype, q.shape, kv_heads, key, target, tma=tma)


def device_table(table: AnyTable | BoxTable, device: str | torch.device) -> DeviceTable:
    """Return a table, the tables of heads or of boxes, on a device, uploaded at the first call."""
    if not isinstance(table, (BlockTable, HeadTables, BoxTable)):
        raise BackendError(
            "the table must be what compile_mask, compile_heads or boxed returns, got "
            f"{type(table).__name__}"
        )
    target = torch.device(device)
    if target.type == "cuda" and target.index is None:
        target = torch.device("cuda", torch.cuda.current_device())
    if uploaded := _find_uploaded(table, target):
        return uploaded
    if id(table) not in _UPLOADED:
        _UPLOADED[id(table)] = {}
        finalize(table, _UPLOADED.pop, id(table)).atexit = False
    if isinstance(table, BoxTable):
        return _UPLOADED[id(table)].setdefault(target, upload_boxes(table, str(target)))
    if isinstance(table, HeadTables):
        tables, heads = table.tables, table.group_of_head
    else:
        tables, heads = (table,), ()
    mask = table.mask.fingerprint if table.mask else None
    uploaded = upload(tables, str(target), heads, mask_fingerprint=mask)
    return _UPLOADED[id(table)].setdefault(target, uploaded)


def forget_plans() -> None:
    """Forget prepared launches, for use after a change of the tuned configurations."""
    _prepared.cache_clear()
    for on_devices in _UPLOADED.values():
        for table in on_devices.values():
            table.plans.clear()


def _find_uploaded(table: AnyTable | BoxTable, device: torch.device) -> DeviceTable | None:
    on_devices = _UPLOADED.get(id(table))
    return None if on_devices is None else on_devices.get(device)


def _check_tensors(**given: object) -> None:
    for name, x in given.items():
        if not isinstance(x, Tensor) and not (name == "key_len" and x is None):
            raise BackendError(f"{name} must be a tensor, got {type(x).__name__}")


def _is_plain(*tensors: Tensor | None) -> bool:
    """Return whether a call can bypass PyTorch's dispatcher.

    Gradients, transforms, modes, traces, profiles and subclasses of tensors need it.
    """
    if (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state()
        or torch._C._autograd._profiler_enabled()
    ):
        return False
    grad = torch.is_grad_enabled()
    for x in tensors:
        if x is not None and (type(x) is not Tensor or x.is_meta or (grad and x.requires_grad)):
            return False
    return True


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: DeviceTable,
    key_len: Tensor | None,
    sm_scale: float,
    backend: str | None,
    config: KernelConfig | None,
) -> tuple[Tensor, Tensor]:
    lengths = None if key_len is None else layout_of(key_len)
    # All that a plan depends on, in one flat tuple: this is most of a call's host time.
    call = (
        *(q.shape, q.stride(), q.dtype, q.device, q.data_ptr() & 15),
        *(k.shape, k.stride(), k.dtype, k.device, k.data_ptr() & 15),
        *(v.shape, v.stride(), v.dtype, v.device, v.data_ptr() & 15),
        *(lengths, backend, config),
    )
    plan = table.plans.get(call)
    if plan is None:
        launch = _prepared(*map(layout_of, (q, k, v)), lengths, table.key, backend, config)
        if len(table.plans) >= MAX_PLANS:
            table.plans.clear()
        like = q.new_empty((), dtype=torch.float32).expand(q.shape[:3])
        gpu = q.device.index if q.is_cuda else None
        plan = table.plans[call] = Plan(launch, table.tensors(), like, gpu)
    check_scale(sm_scale)
    out = torch.empty_like(q)
    lse = torch.empty_like(plan.lse, memory_format=torch.contiguous_format)
    if plan.gpu is None or plan.gpu == torch._C._cuda_getDevice():
        plan.launch(q, k, v, out, lse, plan.table, key_len, sm_scale)
    else:
        with torch.cuda.device(plan.gpu):
            plan.launch(q, k, v, out, lse, plan.table, key_len, sm_scale)
    return out, lse


@lru_cache(maxsize=4096)
def _prepared(
    q: Layout,
    k: Layout,
    v: Layout,
    key_len: Layout | None,
    table: TableKey,
    backend: str | None,
    config: KernelConfig | None,
) -> Launch:
    """Check the arguments, choose kernel and configuration, and prepare the launch."""
    check_shapes(q, k, v, key_len, table)
    head_dim, blocks, target = q.shape[3], (table.block_m, table.block_n), target_of(q.device)
    kernel = select_kernel(backend, q.dtype, head_dim, blocks, target)
    reasons = kernel_reasons(kernel, q.dtype, head_dim, blocks, target)
    if table.run and kernel != "hopper":
        reasons.append("takes no table of boxes, which is for the hopper kernel")
    if config is not None:
        config = replace(config, block_m=table.block_m, block_n=table.block_n)
        reasons += config_reasons(kernel, config, head_dim)
    if reasons:
        raise BackendError(f"the {kernel} kernel cannot run this: {'; '.join(reasons)}")
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_last_stride(name, x)
    if not q.shape[0]:
        return _launch_nothing
    if config is None:
        tma = not tma_reasons(k=k, v=v)
        shape, kv_heads = q.shape, k.shape[1]
        config = choose_config(kernel, q.dtype, shape, kv_heads, table, target, tma=tma).config
    prepare = prepare_boxes if table.run else PREPARE[kernel]
    return prepare(
        *(q, k, v), table=table, config=config, target=target, key_lens=key_len is not None
    )


def _launch_nothing(*args: object) -> None:
    """Launch nothing: a batch without sequences has an empty result."""


def _operator(
    q: Tensor,
    k: Tensor,
    v: Tensor,
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
    looked_up: bool,
    num_warps: int | None,
    num_stages: int | None,
    width: int,
) -> tuple[Tensor, Tensor]:
    problem = (mask_fingerprint, frames, tokens_per_frame)
    on_device = table_from(table, block_m, block_n, q_len, k_len, *problem, width=width)
    # Tuned configurations are looked up here, where sizes are numbers and not symbols.
    config = None
    if not looked_up:
        config = KernelConfig(block_m, block_n, num_warps, num_stages, steps_of(steps))
    return untraced(_attend)(q, k, v, on_device, key_len, sm_scale, backend or None, config)


def _shapes(q: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep what the gradients need."""
    q, k, v, table, key_len, *scalars = inputs[:15]
    ctx.save_for_backward(q, k, v, *output, key_len, *table)
    ctx.scalars = scalars
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, dout: Tensor | None, dlse: Tensor | None) -> tuple[Any, ...]:
    q, k, v, out, lse, key_len, *table = ctx.saved_tensors
    if dout is None and dlse is None:
        return (None,) * 19
    dout = torch.zeros_like(out) if dout is None else dout
    grads = torch.ops.radialbench.block_sparse_attention_backward(
        *(dout, dlse, q, k, v, out, lse, table, key_len), *ctx.scalars
    )
    return (*grads, [None] * len(table), *(None,) * 15)


register("block_sparse_attention", _operator, _shapes, _gradients, _keep)
