"""Sdpa: dense attention as PyTorch ships it, the baseline of the sparse kernels."""

import torch
from torch import Tensor

from radialbench.kernels.backend import Run
from radialbench.kernels.checks import check_dense, check_inputs, check_plan, host_reasons
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem


class Sdpa:
    """`torch.nn.functional.scaled_dot_product_attention` without a mask, on the CPU.

    Calls the flash operator that function itself dispatches to there, because only the operator
    returns the lse. Runs dense tables only: with a mask it would read every pair all the same.
    """

    name = "sdpa"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Say why this problem cannot run here."""
        return host_reasons(problem, device)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Fix the scale.

        Raises:
            BackendError: The table is not dense, or does not fit.
        """
        check_plan(self.name, self.unsupported_reasons(problem, "cpu"), problem, table, config)
        check_dense(self.name, table, "cpu")

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, q, k, v)
            with torch.no_grad():
                flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
                out, lse = flash(q, k, v, scale=problem.scale)
            return out, lse

        return run

    def needs(self) -> str:
        """Say what is needed."""
        return f"torch {torch.__version__}, any CPU"
