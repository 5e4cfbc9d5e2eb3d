"""Our kernel for Hopper in 8 bits."""

from torch import Tensor

from radialbench.kernels.arch import target_of
from radialbench.kernels.backends import Run
from radialbench.kernels.checks import check_inputs, check_plan, gpu_reasons, hopper_needs
from radialbench.kernels.fp8 import attend_fp8
from radialbench.kernels.op import device_table
from radialbench.kernels.select import gluon_reasons
from radialbench.kernels.triton.fp8_launch import BLOCK
from radialbench.maskgen.head_tables import AnyTable
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem

TYPES = ("float16", "bfloat16")


class HopperFp8:
    """Attention in e4m3 on any table, with the rounding of q, k and v in every call."""

    name = "hopper_fp8"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here, whatever the blocks."""
        return self._reasons(problem, device, (BLOCK, BLOCK))

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Upload the table."""
        return self.plan_heads(problem, table, config)

    def plan_heads(self, problem: Problem, table: AnyTable, config: KernelConfig) -> Run:
        """Upload a table, or those of the heads, which run in one launch."""
        reasons = self._reasons(problem, "cuda", (config.block_m, config.block_n))
        check_plan(self.name, reasons, problem, table, config)
        uploaded = device_table(table, "cuda")

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v)
            return attend_fp8(q, k, v, uploaded, sm_scale=problem.scale)

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        return hopper_needs("triton")

    def _reasons(self, problem: Problem, device: str, blocks: tuple[int, int]) -> list[str]:
        reasons = gpu_reasons(problem, device, TYPES, most_head_dim=128)
        if blocks != (BLOCK, BLOCK):
            reasons.append(f"takes blocks of {BLOCK}×{BLOCK}, got {blocks[0]}×{blocks[1]}")
        return reasons + (target_of(device).hopper_reasons or gluon_reasons())
