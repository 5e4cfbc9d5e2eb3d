"""Prepared: a mask on a grid, ready for tensors of one shape on one device."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from radialbench.errors import BackendError
from radialbench.kernels.arch import target_of
from radialbench.kernels.device_table import DeviceTable, upload
from radialbench.kernels.op import block_sparse_attention, device_table
from radialbench.kernels.select import default_config, run_reasons, select_kernel
from radialbench.kernels.tuned import find_config, processor
from radialbench.maskgen.compiler import compile_heads, compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.spec import HeadPlan, MaskSpec
from radialbench.maskgen.table import BlockTable
from radialbench.records.lookup import ConfigChoice
from radialbench.records.problem import BLOCKS, KernelConfig, Problem

WITHOUT_KERNEL = "no kernel of ours runs here: PyTorch's own attention takes the whole mask"


@dataclass(frozen=True)
class Shape:
    """What has to be known of q, k and v."""

    batch: int
    heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a call needs.

    Attributes:
        backend: The kernel; `sdpa` where none of ours runs.
        found: Its configuration, and where that comes from.
        table: The blocks it visits; None for `sdpa`.
        mask: [1 or heads, seq_len, seq_len] what attends, for `sdpa`.
        order: [seq_len] which token of the raster stands at each position; None if all stay.
        back: [seq_len] the way back.
        seq_len: Tokens of the sequence.
    """

    backend: str
    found: ConfigChoice
    table: DeviceTable | None
    mask: Tensor | None
    order: Tensor | None
    back: Tensor | None
    seq_len: int

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key_len: Tensor | None) -> Tensor:
        """Attend from [batch, heads, seq_len, head_dim] in raster order; gives out like q."""
        if self.order is not None:
            q, k, v = (_taken(x, self.order) for x in (q, k, v))
        if self.table is not None:
            out = block_sparse_attention(
                *(q, k, v, self.table),
                config=self.found.config,
                backend=self.backend,
                key_len=key_len,
            )
        else:
            assert self.mask is not None
            allowed = self.mask
            if key_len is not None:
                allowed = allowed & keys_below(key_len, self.seq_len)
            out = scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return out if self.back is None else _taken(out, self.back)


def prepare(
    mask: MaskSpec | HeadPlan, grid: TokenGrid, shape: Shape, backend: str | None = None
) -> Prepared:
    """Choose a configuration, compile the mask in its blocks, and put both on the device.

    Args:
        mask: Which pairs attend, in all heads or by groups of heads.
        grid: Token layout.
        shape: Of q.
        backend: A kernel; the best one for the device if not given, and `sdpa` on a CPU.

    Raises:
        SpecError: A token would attend nothing.
        BackendError: The kernel cannot run this, or the plan is for another number of heads.
        RecordError: What was tuned cannot be read.
    """
    if isinstance(mask, HeadPlan) and mask.heads != shape.heads:
        raise BackendError(
            f"the head plan {mask.name} has masks for {mask.heads} heads, the model has "
            f"{shape.heads}"
        )
    if backend == "sdpa" or (backend is None and shape.device.type != "cuda"):
        tables = _tables(mask, grid, 128, 128)
        found = ConfigChoice(KernelConfig(), "default", None, WITHOUT_KERNEL)
        return Prepared(
            *("sdpa", found, None, _dense(mask, tables).to(shape.device)),
            *_ways(tables[0], shape.device),
            seq_len=grid.seq_len,
        )
    name, found = _configuration(mask, grid, shape, backend)
    tables = _tables(mask, grid, found.config.block_m, found.config.block_n)
    device = str(shape.device)
    if isinstance(mask, MaskSpec):
        table = device_table(tables[0], device)
    else:
        table = upload(tables, device, _group_of_head(mask))
    return Prepared(name, found, table, None, *_ways(tables[0], shape.device), seq_len=grid.seq_len)


def keys_below(key_len: Tensor, seq_len: int) -> Tensor:
    """Tell which keys exist in each sequence: [batch, 1, 1, seq_len]."""
    places = torch.arange(seq_len, device=key_len.device)
    return (places < key_len[:, None])[:, None, None, :]


def _configuration(
    mask: MaskSpec | HeadPlan, grid: TokenGrid, shape: Shape, backend: str | None
) -> tuple[str, ConfigChoice]:
    target, dtype, head_dim = target_of(shape.device), shape.dtype, shape.head_dim
    blocks = (128, 128 if head_dim <= 128 else 64)
    name = select_kernel(backend, dtype, head_dim, blocks, target)
    blocks = BLOCKS.get(name, blocks)
    default = default_config(name, dtype, head_dim, blocks, target)

    def reasons(config: KernelConfig) -> list[str]:
        return run_reasons(name, dtype, head_dim, config, target)

    if why := reasons(default):
        raise BackendError(f"the {name} kernel cannot run this: {'; '.join(why)}")
    masks = [mask] if isinstance(mask, MaskSpec) else [group.mask for group in mask.groups]
    problem = Problem(
        mask_fingerprint="+".join(dict.fromkeys(spec.fingerprint for spec in masks)),
        grid=grid,
        batch=shape.batch,
        heads=shape.heads,
        head_dim=shape.head_dim,
        dtype=str(shape.dtype).removeprefix("torch."),
    )
    found = find_config(problem, name, processor(target.device), default=default, feasible=reasons)
    return name, found


@lru_cache(maxsize=16)
def _tables(
    mask: MaskSpec | HeadPlan, grid: TokenGrid, block_m: int, block_n: int
) -> tuple[BlockTable, ...]:
    if isinstance(mask, MaskSpec):
        return (compile_mask(mask, grid, block_m, block_n),)
    tables = compile_heads(mask, grid, block_m, block_n)
    orders = list(dict.fromkeys(str(table.order) for table in tables))
    if len(orders) > 1:
        raise BackendError(
            f"the masks of a head plan share one token order, {mask.name} has "
            f"{' and '.join(orders)}"
        )
    return tables


def _group_of_head(plan: HeadPlan) -> list[int]:
    owner = {head: number for number, group in enumerate(plan.groups) for head in group.heads}
    return [owner[head] for head in range(plan.heads)]


def _dense(mask: MaskSpec | HeadPlan, tables: tuple[BlockTable, ...]) -> Tensor:
    groups = [0] if isinstance(mask, MaskSpec) else _group_of_head(mask)
    return torch.from_numpy(np.stack([table.to_dense() for table in tables]))[groups]


def _ways(table: BlockTable, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """Give the permutation into the table's order and the one back; None if nothing moves."""
    if table.order.kind == "raster":
        return None, None
    index = table.order.source_index(table.grid)
    there, back = (torch.from_numpy(way).to(device) for way in (index.copy(), np.argsort(index)))
    return there, back


def _taken(x: Tensor, index: Tensor) -> Tensor:
    # Along [batch, seq_len, heads, head_dim], in which models keep them: whole tokens are copied.
    return x.transpose(1, 2).index_select(1, index).transpose(1, 2)
