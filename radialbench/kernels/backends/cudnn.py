"""Cudnn: dense attention of NVIDIA's cuDNN, through PyTorch."""

import torch
from torch import Tensor

from radialbench.kernels.backend import Run
from radialbench.kernels.checks import check_dense, check_inputs, check_plan, gpu_reasons
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem


class Cudnn:
    """The operator that `scaled_dot_product_attention` calls for its cuDNN backend."""

    name = "cudnn"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Say why this problem cannot run here."""
        return gpu_reasons(problem, device, ("float16", "bfloat16"), most_head_dim=128)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Fix the scale.

        Raises:
            BackendError: The table is not dense, or does not fit.
        """
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        check_dense(self.name, table, "triton")

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, q, k, v)
            out, lse, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
                q.detach(), k.detach(), v.detach(), None, True, scale=problem.scale
            )
            return out, lse.reshape(q.shape[:3])

        return run

    def needs(self) -> str:
        """Say what is needed."""
        found = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
        return f"torch {torch.__version__} and an NVIDIA GPU; cuDNN {found or 'is not here'}"
