"""Dense attention as PyTorch ships it: Sdpa on the CPU, Flash and Cudnn on NVIDIA GPUs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from radialbench.kernels.backends import Run
from radialbench.kernels.checks import (
    check_dense,
    check_inputs,
    check_plan,
    gpu_reasons,
    host_reasons,
)
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem


class Sdpa:
    """`torch.nn.functional.scaled_dot_product_attention` without a mask, on the CPU.

    Calls the flash operator that function itself dispatches to there, because only the operator
    returns the lse. Runs dense tables only: with a mask it would read every pair all the same.
    """

    name = "sdpa"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        return host_reasons(problem, device)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Fix the scale.

        Raises:
            BackendError: The table is not dense, or does not fit.
        """
        check_plan(self.name, self.unsupported_reasons(problem, "cpu"), problem, table, config)
        check_dense(self.name, table, "cpu")
        return _plan(problem, torch.ops.aten._scaled_dot_product_flash_attention_for_cpu)

    def needs(self) -> str:
        """Describe what is needed."""
        return f"torch {torch.__version__}, any CPU"


class Flash:
    """FlashAttention 2: the operator of `scaled_dot_product_attention`'s flash backend."""

    name = "flash"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        return gpu_reasons(problem, device, ("float16", "bfloat16"), most_head_dim=256)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Fix the scale.

        Raises:
            BackendError: The table is not dense, or does not fit.
        """
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        check_dense(self.name, table, "triton")
        return _plan(problem, torch.ops.aten._scaled_dot_product_flash_attention)

    def needs(self) -> str:
        """Describe what is needed."""
        return f"torch {torch.__version__} and an NVIDIA GPU"


class Cudnn:
    """NVIDIA's cuDNN: the operator of `scaled_dot_product_attention`'s cuDNN backend."""

    name = "cudnn"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        return gpu_reasons(problem, device, ("float16", "bfloat16"), most_head_dim=128)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Fix the scale.

        Raises:
            BackendError: The table is not dense, or does not fit.
        """
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        check_dense(self.name, table, "triton")
        cudnn = torch.ops.aten._scaled_dot_product_cudnn_attention
        return _plan(problem, lambda q, k, v, scale: cudnn(q, k, v, None, True, scale=scale))

    def needs(self) -> str:
        """Describe what is needed."""
        found = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
        return f"torch {torch.__version__} and an NVIDIA GPU; cuDNN {found or 'is not here'}"


def _plan(problem: Problem, attend: Callable[..., Any]) -> Run:
    """Return a run of an operator, whose lse may have tokens or a dimension more."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        check_inputs(problem, q, k, v)
        out, lse, *_ = attend(q.detach(), k.detach(), v.detach(), scale=problem.scale)
        return out, lse[:, :, : problem.seq_len].reshape(q.shape[:3])

    return run
