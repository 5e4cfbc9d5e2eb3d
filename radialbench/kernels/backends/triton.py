"""Triton: our portable kernel, wherever Triton goes."""

import os
from importlib.metadata import PackageNotFoundError, version

import torch

from radialbench.kernels.backend import Run
from radialbench.kernels.checks import DTYPES
from radialbench.kernels.defaults import kernel_reasons
from radialbench.kernels.ours import plan_ours
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem


class Triton:
    """Visits the full blocks without a mask, then the partial ones with their bitmaps.

    On GPUs with a copy engine, Hopper and later, that brings keys and values of 16 bits.

    On a CPU it runs in Triton's interpreter, for tests: set TRITON_INTERPRET=1 before starting.
    """

    name = "triton"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Say why this problem cannot run here, whatever the blocks."""
        return self._reasons(problem, device, (128, 128))

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Upload the table.

        Raises:
            BackendError: The problem is unsupported, or the table or its blocks do not fit.
        """
        device = "cpu" if _interpreted() else "cuda"
        reasons = self._reasons(problem, device, (config.block_m, config.block_n))
        return plan_ours(self.name, reasons, problem, table, config, device=device)

    def needs(self) -> str:
        """Say what is needed."""
        here = "one is here" if torch.cuda.is_available() else "none is here"
        if _interpreted():
            here = "not needed: runs in the interpreter"
        return f"torch {torch.__version__}, triton {_triton()} and a GPU; {here}"

    def _reasons(self, problem: Problem, device: str, blocks: tuple[int, int]) -> list[str]:
        reasons = kernel_reasons(self.name, DTYPES[problem.dtype], problem.head_dim, blocks, device)
        if _triton() == "(not installed)":
            reasons.append("needs triton: pip install triton")
        if device == "cpu" and not _interpreted():
            reasons.append("runs on a GPU only, got device 'cpu'")
        if device == "cuda" and _interpreted():
            reasons.append("TRITON_INTERPRET is set, which runs on the CPU only, got 'cuda'")
        elif device == "cuda" and not torch.cuda.is_available():
            reasons.append("PyTorch finds no GPU on this machine")
        if _interpreted() and problem.dtype == "bfloat16":
            reasons.append("bfloat16 products are wrong in Triton's interpreter; use float16")
        if problem.direction != "forward":
            reasons.append(f"computes the forward pass only, got {problem.direction!r}")
        return reasons


def _triton() -> str:
    try:
        return version("triton")
    except PackageNotFoundError:
        return "(not installed)"


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") == "1"
