"""Tests for backends and kernels of others: a contract, times side by side, and goldens.

from radialbench.testing import BackendContract

class TestMyKernel(BackendContract):
backend = "my_package.kernel:MyKernel"
device, dtype = "cuda", "bfloat16"
"""

from radialbench.testing.contract import GRIDS, MASKS, BackendContract
from radialbench.testing.golden import Golden, compare_golden, save_golden
from radialbench.testing.times import Times, compare_times, save_times

__all__ = [
    "GRIDS",
    "MASKS",
    "BackendContract",
    "Golden",
    "Times",
    "compare_golden",
    "compare_times",
    "save_golden",
    "save_times",
]
