"""Fa3: dense attention of FlashAttention 3."""

from torch import Tensor

from radialbench.kernels.arch import target_of
from radialbench.kernels.backends import Run
from radialbench.kernels.checks import (
    check_dense,
    check_inputs,
    check_plan,
    describe,
    gpu_reasons,
    hopper_needs,
    loading,
    package_reasons,
)
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem

PACKAGE = "fa3-fwd"


class Fa3:
    """`flash_attn_func` of the distribution fa3-fwd, built for bfloat16, on dense tables only."""

    name = "fa3"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        reasons = gpu_reasons(problem, device, ("bfloat16",), most_head_dim=256)
        return reasons + target_of(device).hopper_reasons + package_reasons(PACKAGE)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Load the kernel."""
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        check_dense(self.name, table, "hopper")
        with loading(PACKAGE):
            from fa3_fwd_interface import flash_attn_func

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v)
            swapped = [tensor.detach().transpose(1, 2) for tensor in (q, k, v)]
            out, lse, *_ = flash_attn_func(
                *swapped, softmax_scale=problem.scale, return_attn_probs=True
            )
            return out.transpose(1, 2), lse

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        return hopper_needs(describe(PACKAGE))
