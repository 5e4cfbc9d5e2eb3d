"""block_sparse_attention on CPU tensors: the suites' backend `cpu`, planned once for a table."""

from importlib import import_module
from typing import Any
from weakref import finalize

import torch
from torch import Tensor

from radialbench.errors import BackendError, RecordError
from radialbench.kernels.checks import DTYPES
from radialbench.kernels.select import is_interpreted
from radialbench.maskgen.head_tables import HeadTables
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem

NAME = "cpu"

MAX_PLANS = 16
"""Most plans that a table keeps: each has the tiles of all its blocks."""

_PLANS: dict[int, dict[Problem, Any]] = {}
"""By the identity of a live table."""


def runs_on_host(q: Tensor) -> bool:
    """Return whether q is on a CPU whose tensors no kernel of Triton takes."""
    return (
        q.device.type == "cpu"
        and type(q) in (Tensor, torch.nn.Parameter)
        and not is_interpreted()
        and not torch.compiler.is_compiling()
    )


def attend_on_host(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: object,
    *,
    sm_scale: float | None,
    key_len: Tensor | None,
    backend: str | None,
) -> tuple[Tensor, Tensor]:
    """Attend as `block_sparse_attention` does, on a CPU; differentiable.

    Raises:
        BackendError: A GPU's kernel is asked for, or something that runs on a GPU only, or shapes,
            types or devices do not match.
    """
    if backend not in (None, NAME):
        raise BackendError(
            f"the {backend} kernel runs on a GPU only, and q is on the CPU; move q, k and v to the "
            "GPU, or leave backend out"
        )
    if not isinstance(table, (BlockTable, HeadTables)):
        raise BackendError(
            "on a CPU the table is what compile_mask or compile_heads returns, got "
            f"{type(table).__name__}"
        )
    if key_len is not None:
        raise BackendError(
            "key_len runs on a GPU only, and q is on the CPU; call each sequence alone, with the "
            "table of its own grid"
        )
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, Tensor) or x.ndim != 4:
            got = f"shape {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise BackendError(f"{name} must be [batch, heads, tokens, head_dim], got {got}")
    if q.dtype not in DTYPES.values():
        raise BackendError(f"q must be {', '.join(DTYPES)}, got {q.dtype}")
    if not q.shape[0]:
        return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)
    mask = table.mask.fingerprint if table.mask else "none"
    try:
        problem = Problem(
            mask_fingerprint=mask,
            grid=table.grid,
            batch=q.shape[0],
            heads=q.shape[1],
            kv_heads=None if k.shape[1] == q.shape[1] else k.shape[1],
            head_dim=q.shape[3],
            dtype=str(q.dtype).removeprefix("torch."),
            sm_scale=sm_scale,
        )
    except RecordError as error:
        raise BackendError(str(error)) from None
    if id(table) not in _PLANS:
        _PLANS[id(table)] = {}
        finalize(table, _PLANS.pop, id(table)).atexit = False
    plans = _PLANS[id(table)]
    if problem not in plans:
        if len(plans) >= MAX_PLANS:
            plans.clear()
        # Imported by name, as some backends call the operator.
        backends = import_module("radialbench.kernels.backends")
        config = KernelConfig(table.block_m, table.block_n)
        plans[problem] = backends.plan_table(backends.load_backend(NAME), problem, table, config)
    out, lse = plans[problem](q, k, v)
    return out, lse
