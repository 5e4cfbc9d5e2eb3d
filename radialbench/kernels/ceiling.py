"""The ceiling to hold a kernel against: a large matrix product on the same GPU, beside it."""

from collections.abc import Callable

import torch

from radialbench.records.result import CEILING_SIZE


def matrix_product(dtype: torch.dtype, device: str) -> Callable[[], object]:
    """Give a call that multiplies two square matrices of normal numbers, `CEILING_SIZE` wide."""
    shape = (CEILING_SIZE, CEILING_SIZE)
    left, right = (torch.randn(shape, device=device).to(dtype) for _ in range(2))
    return lambda: left @ right
