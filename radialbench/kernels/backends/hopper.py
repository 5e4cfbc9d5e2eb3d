"""Hopper: our kernel for GPUs of compute capability 9.0."""

import torch

from radialbench.kernels.backend import Run
from radialbench.kernels.checks import DTYPES
from radialbench.kernels.defaults import capability, kernel_reasons
from radialbench.kernels.ours import plan_ours
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem


class Hopper:
    """Copies with the tensor memory accelerator, multiplies with asynchronous wgmma."""

    name = "hopper"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Say why this problem cannot run here, whatever the blocks."""
        blocks = (128, 64 if problem.head_dim > 128 else 128)
        return self._reasons(problem, device, blocks)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Upload the table.

        Raises:
            BackendError: The problem is unsupported, or the table or its blocks do not fit.
        """
        reasons = self._reasons(problem, "cuda", (config.block_m, config.block_n))
        return plan_ours(self.name, reasons, problem, table, config, device="cuda")

    def needs(self) -> str:
        """Say what is needed."""
        here = "one is here" if capability("cuda") == (9, 0) else "none is here"
        return f"torch {torch.__version__}, triton and a GPU of compute capability 9.0; {here}"

    def _reasons(self, problem: Problem, device: str, blocks: tuple[int, int]) -> list[str]:
        dtype = DTYPES[problem.dtype]
        reasons = kernel_reasons(self.name, dtype, problem.head_dim, blocks, device)
        if problem.direction != "forward":
            reasons.append(f"computes the forward pass only, got {problem.direction!r}")
        return reasons
