"""What masks keep of all rows, by a backend: two calls give it, sparse and dense."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from radialbench.errors import BackendError, InputsError
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.measure import RowFidelity
from radialbench.kernels.backends import InRaster, load_backend, plan_table
from radialbench.kernels.checks import DTYPES
from radialbench.kernels.reorder import reorder
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.order import Coordinates, TokenOrder
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem


def kernel_rows(
    inputs: AttentionInputs, tables: Sequence[AnyTable], backend: str
) -> Iterator[tuple[list[RowFidelity], Tensor]]:
    """Compute attention with and without each mask, and compare all rows.

    The mass that a row keeps is exp(lse - dense lse), so both calls give it with the outputs.

    Args:
        inputs: q, k and v of a layer, with all queries.
        tables: The table of each mask, or those of its heads.
        backend: Name of a backend.

    Yields:
        For each mask the rows of each head, sequence by sequence, without padding; and the output,
        [batch, heads, q_len, head_dim] in raster order.

    Raises:
        InputsError: The inputs have some queries only, or texts of several lengths.
        BackendError: The backend cannot run them here.
    """
    lengths = {inputs.grid_of(sequence).real_text for sequence in range(len(inputs.q))}
    if inputs.rows is not None or lengths != {inputs.grid.real_text}:
        what = "texts of several lengths" if inputs.rows is None else "some queries only"
        raise InputsError(f"the inputs have {what}: measure them by the definition, not a backend")
    grid = inputs.grid
    pad = Coordinates(grid, TokenOrder()).pad[grid.query_start :][: grid.q_len]
    real = torch.from_numpy(np.flatnonzero(~pad)).to(inputs.q.device)
    dense: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for table in tables:
        blocks = table.block_m, table.block_n
        if blocks not in dense:
            dense = {blocks: plan_attention(inputs, dense_table(grid, *blocks), backend)()}
        dense_out, dense_lse = dense[blocks]
        out, lse = plan_attention(inputs, table, backend)()
        mass = (lse - dense_lse).exp_()
        rows = []
        for head in np.ndindex(*lse.shape[:2]):
            parts = (x[head] if len(pad) == len(real) else x[head][real] for x in (out, dense_out))
            rows.append(RowFidelity.of(mass[head][real], *(part.float() for part in parts)))
        yield rows, out


@lru_cache(maxsize=8)
def dense_table(grid: TokenGrid, block_m: int, block_n: int) -> BlockTable:
    """Return the dense mask's table; a model's layers share it."""
    return compile_mask(load_mask("dense"), grid, block_m, block_n)


def plan_attention(
    inputs: AttentionInputs, table: AnyTable, backend: str
) -> Callable[[], tuple[Tensor, Tensor]]:
    """Return a call that gives out and lse of inputs in raster order.

    They are [batch, heads, q_len, head_dim] and [batch, heads, q_len].

    Raises:
        BackendError: The backend cannot run them here.
    """
    q, k, v = inputs.q, inputs.k, inputs.v
    problem = Problem(
        mask_fingerprint=table.mask.fingerprint if table.mask else "unnamed",
        grid=inputs.grid,
        batch=q.shape[0],
        heads=q.shape[1],
        head_dim=q.shape[3],
        dtype=next(name for name, dtype in DTYPES.items() if dtype == q.dtype),
        sm_scale=inputs.header.sm_scale,
        kv_heads=k.shape[1],
    )
    loaded = load_backend(backend)
    if reasons := loaded.unsupported_reasons(problem, q.device.type):
        raise BackendError(f"backend {backend!r}: {'; '.join(reasons)}")
    run = plan_table(loaded, problem, table, KernelConfig(table.block_m, table.block_n))
    moves = reorder(table, q.shape[1], k.shape[1], q.device)
    if moves is None or isinstance(run, InRaster):
        return lambda: run(q, k, v)
    if moves.copies:
        raise BackendError("heads that share a key head have different token orders")

    def reordered() -> tuple[Tensor, Tensor]:
        out, lse = run(*moves.inputs(q, k, v))
        return moves.output(out), moves.output(lse[..., None])[..., 0]

    return reordered
