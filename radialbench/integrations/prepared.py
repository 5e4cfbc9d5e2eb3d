"""Prepared: a mask on a grid, compiled for tensors of one shape on one device."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from radialbench.errors import BackendError, SpecError
from radialbench.kernels.arch import target_of
from radialbench.kernels.device_table import DeviceTable
from radialbench.kernels.op import block_sparse_attention, device_table
from radialbench.kernels.reorder import Reorder, reorder
from radialbench.kernels.select import default_config, run_reasons, select_kernel
from radialbench.kernels.tuned import device_name, find_config
from radialbench.maskgen.compiler import compile_any
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable, HeadTables, tables_by_head
from radialbench.maskgen.language.heads import AnyMask, HeadPlan
from radialbench.maskgen.order import TokenOrder
from radialbench.records.lookup import ConfigChoice
from radialbench.records.problem import BLOCKS, GroupedHeads, KernelConfig, Problem

WITHOUT_KERNEL = "no kernel of ours runs here: PyTorch's own attention takes the whole mask"


@dataclass(frozen=True)
class Shape(GroupedHeads):
    """Shape, type and device of q, k and v; `kv_heads` of k and v, if they are fewer."""

    batch: int
    heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device
    kv_heads: int | None = None

    def __post_init__(self) -> None:
        self._check_heads()

    def problem(self, mask: AnyMask, grid: TokenGrid) -> Problem:
        """Return what is computed under a mask on a grid."""
        return Problem(
            mask_fingerprint=mask.fingerprint,
            grid=grid,
            batch=self.batch,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            dtype=str(self.dtype).removeprefix("torch."),
        )


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything a call needs.

    Attributes:
        backend: The kernel; `sdpa` where none of ours runs.
        choice: Its configuration, and the source of that.
        table: The blocks to visit; None for `sdpa`.
        mask: [1 or heads, seq_len, seq_len] the token mask, for `sdpa`.
        order: How tokens are reordered for each head; None if they come as the tables have them.
        seq_len: Tokens of the sequence.
    """

    backend: str
    choice: ConfigChoice
    table: DeviceTable | None
    mask: Tensor | None
    order: Reorder | None
    seq_len: int

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key_len: Tensor | None) -> Tensor:
        """Attend from [batch, heads, seq_len, head_dim] in the order that was given; out is like q.

        k and v may have fewer heads, which divide those of q.
        """
        if self.order is not None:
            q, k, v = self.order.inputs(q, k, v)
        if self.mask is not None:
            allowed = self.mask
            if key_len is not None:
                allowed = allowed & keys_below(key_len, self.seq_len)
            out = dense_attention(q, k, v, allowed)
        else:
            assert self.table is not None
            out = block_sparse_attention(
                *(q, k, v, self.table),
                config=self.choice.config,
                backend=self.backend,
                key_len=key_len,
            )
        return out if self.order is None else self.order.output(out)


def dense_attention(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    """Run PyTorch's attention; `enable_gqa` rules out some of its kernels."""
    shared = q.shape[1] != k.shape[1]
    return scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=shared)


def prepare(
    mask: AnyMask,
    grid: TokenGrid,
    shape: Shape,
    backend: str | None = None,
    *,
    given: TokenOrder | None = None,
) -> Prepared:
    """Choose a configuration, compile the mask in its blocks, and put both on the device.

    On a CPU, and with the backend `sdpa`, PyTorch's own attention runs. Tokens come in raster
    order, or in the order `given`.

    Raises:
        SpecError: A token would attend to nothing, or the mask has another order than that given.
        BackendError: The kernel cannot run this, or the plan is for another number of heads.
        RecordError: Tuned configurations cannot be read.
    """
    name, choice, table = choose(mask, grid, shape, backend)
    on_device, allowed, order = None, None, None
    if given is None:
        order = reorder(table, shape.heads, shape.key_heads, shape.device)
    elif set(orders := [one.order for one in tables_by_head(table, shape.heads)]) != {given}:
        raise SpecError(
            f"tokens come in the order {given}, and on a grid of {grid.label} the mask has "
            f"{orders[0]}: give q, k and v in raster order"
        )
    if name == "sdpa":
        tables = table.by_head if isinstance(table, HeadTables) else (table,)
        dense = np.stack([one.to_dense() for one in tables])
        allowed = torch.from_numpy(dense).to(shape.device)
    else:
        on_device = device_table(table, shape.device)
    return Prepared(name, choice, on_device, allowed, order, grid.seq_len)


def choose(
    mask: AnyMask, grid: TokenGrid, shape: Shape, backend: str | None = None
) -> tuple[str, ConfigChoice, AnyTable]:
    """Choose a kernel and its configuration, and compile the mask; arguments as `prepare`.

    Returns:
        The kernel, its configuration, and the table.

    Raises:
        SpecError: A token would attend to nothing, or an operation is undefined.
        BackendError: The kernel cannot run this, or the plan is for another number of heads.
        RecordError: Tuned configurations cannot be read.
    """
    if isinstance(mask, HeadPlan) and mask.heads != shape.heads:
        raise BackendError(
            f"the head plan {mask.name} has masks for {mask.heads} heads, the model has "
            f"{shape.heads}"
        )
    if backend == "sdpa" or (backend is None and shape.device.type != "cuda"):
        name, choice = "sdpa", ConfigChoice(KernelConfig(), "default", None, WITHOUT_KERNEL)
    else:
        name, choice = _configuration(mask, grid, shape, backend)
    return name, choice, _table(mask, grid, choice.config.block_m, choice.config.block_n)


def keys_below(key_len: Tensor, seq_len: int) -> Tensor:
    """Return which keys are valid in each sequence: [batch, 1, 1, seq_len]."""
    places = torch.arange(seq_len, device=key_len.device)
    return (places < key_len[:, None])[:, None, None, :]


def _configuration(
    mask: AnyMask, grid: TokenGrid, shape: Shape, backend: str | None
) -> tuple[str, ConfigChoice]:
    target, dtype, head_dim = target_of(shape.device), shape.dtype, shape.head_dim
    blocks = (128, 128 if head_dim <= 128 else 64)
    name = select_kernel(backend, dtype, head_dim, blocks, target)
    blocks = BLOCKS.get(name, blocks)
    default = default_config(name, dtype, head_dim, blocks, target)

    def reasons(config: KernelConfig) -> list[str]:
        return run_reasons(name, dtype, head_dim, config, target)

    if infeasible := reasons(default):
        raise BackendError(f"the {name} kernel cannot run this: {'; '.join(infeasible)}")
    device, problem = device_name(target.device), shape.problem(mask, grid)
    return name, find_config(problem, name, device, default=default, feasible=reasons)


@lru_cache(maxsize=16)
def _table(mask: AnyMask, grid: TokenGrid, block_m: int, block_n: int) -> AnyTable:
    return compile_any(mask, grid, block_m, block_n)
