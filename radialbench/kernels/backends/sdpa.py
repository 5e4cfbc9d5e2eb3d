"""Dense attention as PyTorch ships it: Sdpa on the CPU, Flash and Cudnn on NVIDIA GPUs."""

from typing import Any, ClassVar

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


class Flash:
    """FlashAttention 2: the operator of `scaled_dot_product_attention`'s flash backend.

    Only the operator returns the lse. It runs dense tables only.
    """

    name = "flash"
    device: ClassVar[str] = "cuda"
    instead: ClassVar[str] = "triton"
    most_head_dim: ClassVar[int] = 256

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        types = ("float16", "bfloat16")
        return gpu_reasons(problem, device, types, most_head_dim=self.most_head_dim, gradients=True)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Fix the scale."""
        reasons = self.unsupported_reasons(problem, self.device)
        check_plan(self.name, reasons, problem, table, config)
        check_dense(self.name, table, self.instead)

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v, gradients=True)
            out, lse, *_ = self._attend(q, k, v, problem.scale)
            # The lse may have more tokens, or another dimension.
            return out, lse[:, :, : table.q_len].reshape(q.shape[:3])

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        return f"torch {torch.__version__} and an NVIDIA GPU"

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Any:
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, scale=scale)


class Cudnn(Flash):
    """NVIDIA's cuDNN: the operator of `scaled_dot_product_attention`'s cuDNN backend."""

    name = "cudnn"
    most_head_dim = 128

    def needs(self) -> str:
        """Describe what is needed."""
        version = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
        return f"{super().needs()}; cuDNN {version or 'is not here'}"

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Any:
        attend = torch.ops.aten._scaled_dot_product_cudnn_attention
        return attend(q, k, v, None, True, scale=scale)


class Sdpa(Flash):
    """The CPU's flash operator, which `scaled_dot_product_attention` calls there without a mask."""

    name = "sdpa"
    device = "cpu"
    instead = "cpu"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        return host_reasons(problem, device, gradients=True)

    def needs(self) -> str:
        """Describe what is needed."""
        return f"torch {torch.__version__}, any CPU"

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Any:
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, scale=scale)
