"""Fa3: dense attention of FlashAttention 3."""

from importlib.util import find_spec

import torch
from torch import Tensor

from radialbench.kernels.backend import Run
from radialbench.kernels.checks import check_dense, check_inputs, check_plan, gpu_reasons
from radialbench.kernels.defaults import capability
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem

PACKAGE = "fa3_fwd_interface"


class Fa3:
    """`flash_attn_func` of the distribution fa3-fwd."""

    name = "fa3"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Say why this problem cannot run here."""
        reasons = gpu_reasons(problem, device, ("float16", "bfloat16"), most_head_dim=256)
        if find_spec(PACKAGE) is None:
            reasons.append("needs fa3-fwd: pip install fa3-fwd")
        if capability(device) != (9, 0):
            reasons.append("needs a GPU of compute capability 9.0")
        return reasons

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Fix the scale.

        Raises:
            BackendError: The table is not dense, or does not fit.
        """
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        check_dense(self.name, table, "hopper")
        from fa3_fwd_interface import flash_attn_func

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, q, k, v)
            swapped = [tensor.detach().transpose(1, 2) for tensor in (q, k, v)]
            out, lse, *_ = flash_attn_func(
                *swapped, softmax_scale=problem.scale, return_attn_probs=True
            )
            return out.transpose(1, 2), lse

        return run

    def needs(self) -> str:
        """Say what is needed."""
        here = "installed" if find_spec(PACKAGE) else "not installed"
        return f"torch {torch.__version__}, fa3-fwd ({here}) and a GPU of compute capability 9.0"
