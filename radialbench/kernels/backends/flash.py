"""Flash: dense attention of FlashAttention 2, as PyTorch ships it for GPUs."""

import torch
from torch import Tensor

from radialbench.kernels.backend import Run
from radialbench.kernels.checks import check_dense, check_inputs, check_plan, gpu_reasons
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem


class Flash:
    """The operator that `scaled_dot_product_attention` calls for its flash backend."""

    name = "flash"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Say why this problem cannot run here."""
        return gpu_reasons(problem, device, ("float16", "bfloat16"), most_head_dim=256)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Fix the scale.

        Raises:
            BackendError: The table is not dense, or does not fit.
        """
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        check_dense(self.name, table, "triton")

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, q, k, v)
            out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(
                q.detach(), k.detach(), v.detach(), scale=problem.scale
            )
            return out, lse[:, :, : problem.seq_len]

        return run

    def needs(self) -> str:
        """Say what is needed."""
        return f"torch {torch.__version__} and an NVIDIA GPU"
