"""q, k and v of attention layers, captured from a model or generated."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from radialbench.errors import InputsError
from radialbench.kernels.checks import DTYPES
from radialbench.maskgen.grid import TokenGrid

if TYPE_CHECKING:
    from radialbench.fidelity.files import InputsHeader


@dataclass(frozen=True, eq=False)
class AttentionInputs:
    """q, k and v of one attention layer at one step.

    Attributes:
        q: [batch, heads, rows, head_dim].
        k: [batch, kv_heads, seq_len, head_dim]; query head h attends to key head
            h // (heads / kv_heads).
        v: As k.
        header: What is known of them.
        rows: [rows] int64, which queries q has, ascending; None for all of them.

    Raises:
        InputsError: They do not fit together, or the grid.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    header: "InputsHeader"
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        if problem := _misfit(self):
            raise InputsError(problem)

    @property
    def grid(self) -> TokenGrid:
        """Layout of the tokens."""
        return self.header.grid

    @property
    def scale(self) -> float:
        """Factor of q·k before the softmax."""
        return self.header.sm_scale or self.q.shape[-1] ** -0.5

    def grid_of(self, sequence: int) -> TokenGrid:
        """Return the layout of one sequence of the batch, with its own text length."""
        if self.header.text_lengths is None:
            return self.grid
        return replace(self.grid, text_valid=self.header.text_lengths[sequence])

    def to(self, device: str) -> "AttentionInputs":
        """Return the inputs on a device."""
        q, k, v = (x.to(device) for x in (self.q, self.k, self.v))
        return replace(self, q=q, k=k, v=v)

    def check_finite(self) -> None:
        """Raise InputsError if a number is nan or infinite; the first tensor, head and row."""
        for name, tensor in (("q", self.q), ("k", self.k), ("v", self.v)):
            wrong = ~tensor.isfinite().all(dim=-1)
            if wrong.any():
                sequence, head, row = wrong.nonzero()[0].tolist()
                value = tensor[sequence, head, row]
                kind = "nan" if value.isnan().any() else "inf"
                count = int(wrong.sum())
                raise InputsError(
                    f"{name} has {kind} in row {row} of head {head}, sequence {sequence}"
                    + (f", and in {count - 1} more row{'s' * (count > 2)}" if count > 1 else "")
                )


def _takes() -> str:
    return f"inputs are {', '.join(DTYPES)}"


def _misfit(inputs: AttentionInputs) -> str | None:
    q, k, v, grid, rows = inputs.q, inputs.k, inputs.v, inputs.grid, inputs.rows
    shapes = f"q is {[*q.shape]}, k {[*k.shape]}, v {[*v.shape]}"
    if {q.ndim, k.ndim, v.ndim} != {4}:
        return f"q, k and v are [batch, heads, tokens, head_dim]; {shapes}"
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.dtype not in DTYPES.values():
            return f"{name} is {str(tensor.dtype).removeprefix('torch.')}; {_takes()}"
    if not q.dtype == k.dtype == v.dtype:
        return f"q, k and v have one dtype, got {q.dtype}, {k.dtype} and {v.dtype}"
    if k.shape != v.shape or (q.shape[0], q.shape[3]) != (k.shape[0], k.shape[3]) or not q.numel():
        return f"batch and head_dim of q, k and v are equal, and k is as v; {shapes}"
    if q.shape[1] % k.shape[1]:
        return f"the heads of k divide those of q; {shapes}"
    if k.shape[2] != grid.seq_len:
        return f"the grid {grid.label} has {grid.seq_len:,} tokens, and k {k.shape[2]:,}"
    if rows is None and q.shape[2] != grid.q_len:
        return f"the grid {grid.label} has {grid.q_len:,} queries, and q {q.shape[2]:,}"
    if rows is not None:
        if rows.dtype != torch.int64 or rows.shape != q.shape[2:3]:
            return f"rows is [rows of q] int64, got {[*rows.shape]} {rows.dtype}; {shapes}"
        if (rows.diff() <= 0).any() or not 0 <= int(rows[0]) <= int(rows[-1]) < grid.q_len:
            return f"rows are ascending queries below {grid.q_len:,}"
    if len(inputs.header.heads) != q.shape[1]:
        return f"q has {q.shape[1]} heads, and the header names {len(inputs.header.heads)}"
    lengths = inputs.header.text_lengths
    if lengths is not None and len(lengths) != len(q):
        return f"q has {len(q)} sequences, and the header {len(lengths)} text lengths"
    return None
