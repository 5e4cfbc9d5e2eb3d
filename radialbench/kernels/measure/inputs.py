"""What is computed with: seeded q, k and v, their token order, and the matmul of the ceiling."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from radialbench.kernels.checks import DTYPES
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import Problem
from radialbench.records.result import CEILING_SIZE

Inputs: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""q, k and v, each [batch, heads, seq_len, head_dim]."""


def make_inputs(problem: Problem, *, seed: int = 0, device: str = "cpu") -> Inputs:
    """Draw q, k and v from a standard normal distribution.

    The same seed gives the same numbers in every dtype, up to rounding, on one kind of device.
    """
    generator = torch.Generator(device).manual_seed(seed)
    shape = (problem.batch, problem.heads, problem.seq_len, problem.head_dim)
    dtype = DTYPES[problem.dtype]
    q, k, v = (torch.randn(shape, generator=generator, device=device).to(dtype) for _ in range(3))
    return q, k, v


def permutation(table: BlockTable, *, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Return a table's token order as two indices: from raster order to the table's, and back."""
    there = table.order.source_index(table.grid)
    back = np.empty_like(there)
    back[there] = np.arange(len(there))
    return torch.tensor(there, device=device), torch.tensor(back, device=device)


def permute(tensor: Tensor, index: Tensor) -> Tensor:
    """Bring the tokens of a tensor [batch, heads, seq_len, …] into another order."""
    return tensor.index_select(2, index)


def ceiling_matmul(dtype: torch.dtype, device: str) -> Callable[[], object]:
    """Return a call that multiplies two square matrices of normal numbers, `CEILING_SIZE` wide.

    A kernel timed beside it is held against its throughput.
    """
    shape = (CEILING_SIZE, CEILING_SIZE)
    left, right = (torch.randn(shape, device=device).to(dtype) for _ in range(2))
    return lambda: left @ right
