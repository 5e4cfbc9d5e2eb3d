"""block_sparse_attention: our kernels as one PyTorch operator on plain tensors."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Literal, NoReturn, overload
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.chosen import choose_kernel, chosen
from radialbench.kernels.defaults import config_reasons, kernel_reasons
from radialbench.kernels.device_table import DeviceTable, upload
from radialbench.kernels.launch import LAUNCHES
from radialbench.maskgen.table import BlockTable
from radialbench.records.lookup import Found
from radialbench.records.problem import KernelConfig

_UPLOADED: "WeakKeyDictionary[BlockTable, dict[str, DeviceTable]]" = WeakKeyDictionary()


@overload
def block_sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: BlockTable | DeviceTable,
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
    table: BlockTable | DeviceTable,
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
    table: BlockTable | DeviceTable,
    *,
    sm_scale: float | None = None,
    config: KernelConfig | None = None,
    backend: str | None = None,
    key_len: Tensor | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attend from each query to the keys a block table keeps. Forward only.

    Args:
        q: [batch, heads, seq_len, head_dim] in the table's token order, of any strides but the
            last, so that a transposed [batch, seq_len, heads, head_dim] is taken as it is.
        k: As q.
        v: As q.
        table: What attends to what. A `BlockTable` is uploaded once a device and kept as long as it
            lives. Inside `torch.compile` hand over what `device_table` gives, and to choose tables
            by head what `upload` gives.
        sm_scale: Factor of q·k, above 0; 1/√head_dim if not given.
        config: Warps and stages; if not given those that were tuned for the problem, or near it, in
            the table's blocks, and defaults for the device where there are none: `config_for` says
            which. The blocks are the table's.
        backend: `hopper` or `triton`; the best one for the device if not given.
        key_len: [batch] int32 number of keys that exist in each sequence; all if not given. With
            it the kernel for Hopper needs finite values up to the end of the key block in which a
            sequence ends.
        return_lse: Whether to give the natural logarithm of the sum of exponentials too.

    Returns:
        out like q, and with `return_lse` (out, lse) with lse float32 [batch, heads, seq_len]. A
        query without keys gets zeros and -inf.

    Raises:
        BackendError: Shapes, types or devices do not go together, or the kernel cannot run them.
        RecordError: What was tuned cannot be read.
    """
    if isinstance(table, BlockTable):
        if torch.compiler.is_compiling():
            raise BackendError(
                "inside torch.compile a table is a DeviceTable: make it outside, with "
                "device_table(table, device)"
            )
        table = device_table(table, str(q.device))
    blocks = (table.block_m, table.block_n)
    name, default = choose_kernel(backend, q.dtype, q.shape[-1], blocks, str(q.device))
    tuned = ("", 0, 0) if config else (table.mask_fingerprint, table.frames, table.tokens_per_frame)
    config = replace(config or default, block_m=blocks[0], block_n=blocks[1])
    scale = q.shape[-1] ** -0.5 if sm_scale is None else sm_scale
    _check(q, k, v, table, name, key_len)
    _check_options(q, name, config, scale)
    out, lse = torch.ops.radialbench.block_sparse_attention(
        *(q, k, v, list(table.tensors()), key_len, scale, name, *blocks),
        *(config.num_warps, config.num_stages, *tuned),
    )
    return (out, lse) if return_lse else out


def config_for(q: Tensor, table: BlockTable | DeviceTable, *, backend: str | None = None) -> Found:
    """Say which configuration `block_sparse_attention` takes if none is given, and why.

    Args:
        q: As there.
        table: As there.
        backend: As there.

    Raises:
        BackendError: There is no such kernel.
        RecordError: What was tuned cannot be read.
    """
    if isinstance(table, BlockTable):
        table = device_table(table, str(q.device))
    blocks = (table.block_m, table.block_n)
    name, default = choose_kernel(backend, q.dtype, q.shape[-1], blocks, str(q.device))
    shape = (table.mask_fingerprint, table.frames, table.tokens_per_frame)
    return _chosen(q, name, default, *shape)


def device_table(table: BlockTable, device: str) -> DeviceTable:
    """Give a table on a device, uploaded the first time it is asked for."""
    kept = _UPLOADED.setdefault(table, {})
    if device not in kept:
        kept[device] = upload([table], device)
    return kept[device]


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
    num_warps: int | None,
    num_stages: int | None,
    mask_fingerprint: str = "",
    frames: int = 0,
    tokens_per_frame: int = 0,
) -> tuple[Tensor, Tensor]:
    out = torch.empty_like(q)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    config = KernelConfig(block_m, block_n, num_warps, num_stages)
    if mask_fingerprint:
        # Here, where sizes are numbers: outside they may be symbols of torch.compile.
        config = _chosen(q, backend, config, mask_fingerprint, frames, tokens_per_frame).config
    launch = LAUNCHES[backend]
    with torch.cuda.device_of(q):
        # A program that never imported it has nothing that could look into the launch.
        (_unseen(launch) if "torch._dynamo" in sys.modules else launch)(
            *(q, k, v, out, lse),
            table=DeviceTable(block_m, block_n, q.shape[2], *table),
            key_len=key_len,
            sm_scale=sm_scale,
            config=config,
        )
    return out, lse


_unseen = cache(torch.compiler.disable)


def _shapes(q: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)


def _no_gradient(*_: object) -> NoReturn:
    raise BackendError("block_sparse_attention is forward only: it has no gradient")


# Not by custom_op: what that makes imports torch._dynamo at the first call, which is slow.
_NAME = "radialbench::block_sparse_attention"
torch.library.define(
    _NAME,
    torch.library.infer_schema(_operator, mutates_args=()),
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.impl(_NAME, "CompositeExplicitAutograd")(_operator)
torch.library.register_fake(_NAME)(_shapes)
torch.library.register_autograd(_NAME, _no_gradient)


def _chosen(
    q: Tensor,
    backend: str,
    default: KernelConfig,
    mask_fingerprint: str,
    frames: int,
    tokens_per_frame: int,
) -> Found:
    return chosen(
        *(backend, default, q.device, q.dtype, q.shape),
        mask_fingerprint=mask_fingerprint,
        frames=frames,
        tokens_per_frame=tokens_per_frame,
    )


def _check(
    q: Tensor, k: Tensor, v: Tensor, table: DeviceTable, backend: str, key_len: Tensor | None
) -> None:
    if q.dim() != 4 or q.shape[2] != table.seq_len:
        raise BackendError(
            f"q must be [batch, heads, {table.seq_len}, head_dim], got {list(q.shape)}"
        )
    for name, tensor in (("k", k), ("v", v)):
        if tensor.shape != q.shape or tensor.dtype != q.dtype or tensor.device != q.device:
            raise BackendError(
                f"{name} must be like q, {q.dtype} {list(q.shape)} on {q.device}; got "
                f"{tensor.dtype} {list(tensor.shape)} on {tensor.device}"
            )
    heads = len(table.group_of_head)
    if heads not in (0, q.shape[1]):
        raise BackendError(f"the table is for {heads} heads, q has {q.shape[1]}")
    if key_len is not None and (key_len.shape != q.shape[:1] or key_len.dtype != torch.int32):
        raise BackendError(
            f"key_len must be int32 [{q.shape[0]}], got {key_len.dtype} {list(key_len.shape)}"
        )
    reasons = kernel_reasons(
        backend, q.dtype, q.shape[3], (table.block_m, table.block_n), str(q.device)
    )
    if reasons:
        raise BackendError(f"the {backend} kernel cannot run this: {'; '.join(reasons)}")
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.stride(3) != 1:
            raise BackendError(f"{name}'s last stride must be 1, got strides {tensor.stride()}")


def _check_options(q: Tensor, backend: str, config: KernelConfig, sm_scale: float) -> None:
    # Products are scaled in float32 and after their maximum is taken, which a scale that is not
    # above 0 would turn into a minimum.
    kind = torch.finfo(torch.float32)
    if not kind.tiny <= sm_scale <= kind.max / 2:
        raise BackendError(
            f"sm_scale must be a positive float32, {kind.tiny:.3g} to {kind.max / 2:.3g}, got "
            f"{sm_scale}; for a negative one negate q"
        )
    reasons = config_reasons(backend, config, q.shape[3])
    if reasons:
        raise BackendError(f"the {backend} kernel cannot run this: {'; '.join(reasons)}")
