"""Our own kernels: Triton, which runs wherever Triton does, and Hopper, in Gluon."""

from dataclasses import replace

import torch
from torch import Tensor

from radialbench.kernels.arch import target_of
from radialbench.kernels.backends import Run
from radialbench.kernels.checks import (
    DTYPES,
    check_inputs,
    check_plan,
    describe,
    hopper_needs,
    package_reasons,
)
from radialbench.kernels.op import block_sparse_attention, device_table
from radialbench.kernels.select import (
    config_reasons,
    default_gradients,
    is_interpreted,
    kernel_reasons,
)
from radialbench.maskgen.head_tables import AnyTable
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import GradientSteps, KernelConfig, Problem


class Hopper:
    """Copies by TMA and asynchronous wgmma."""

    name = "hopper"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here, whatever the blocks."""
        return self._reasons(problem, device, (128, 64 if problem.head_dim > 128 else 128))

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Upload the table."""
        return self.plan_heads(problem, table, config)

    def plan_heads(self, problem: Problem, table: AnyTable, config: KernelConfig) -> Run:
        """Upload a table, or those of the heads, which run in one launch."""
        device = self._device()
        reasons = self._reasons(problem, device, (config.block_m, config.block_n))
        reasons += config_reasons(self.name, config, problem.head_dim)
        check_plan(self.name, reasons, problem, table, config)
        if problem.direction != "forward" and config.gradients is None:
            # Else they are looked up.
            config = replace(config, gradients=self._default_steps(problem, device, config))
        uploaded = device_table(table, device)

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v, gradients=True)
            return block_sparse_attention(
                *(q, k, v, uploaded),
                sm_scale=problem.scale,
                config=config,
                backend=self.name,
                return_lse=True,
            )

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        return hopper_needs("triton")

    def _device(self) -> str:
        return "cuda"

    def _default_steps(
        self, problem: Problem, device: str, config: KernelConfig
    ) -> GradientSteps | None:
        dtype, blocks = DTYPES[problem.dtype], (config.block_m, config.block_n)
        target = target_of(device)
        return default_gradients(dtype, problem.head_dim, blocks, target).gradients

    def _reasons(self, problem: Problem, device: str, blocks: tuple[int, int]) -> list[str]:
        dtype, target = DTYPES[problem.dtype], target_of(device)
        return kernel_reasons(self.name, dtype, problem.head_dim, blocks, target)


class Triton(Hopper):
    """Visits the full blocks without a mask, then the partial ones with their bitmaps.

    On Hopper and later, TMA copies keys and values of 16 bits. On a CPU the kernel runs in Triton's
    interpreter, for tests: set TRITON_INTERPRET=1 before starting.
    """

    name = "triton"

    def needs(self) -> str:
        """Describe what is needed."""
        here = "one is here" if torch.cuda.is_available() else "none is here"
        if is_interpreted():
            here = "not needed: runs in the interpreter"
        return f"torch {torch.__version__}, {describe('triton')} and a GPU; {here}"

    def _device(self) -> str:
        return "cpu" if is_interpreted() else "cuda"

    def _reasons(self, problem: Problem, device: str, blocks: tuple[int, int]) -> list[str]:
        reasons = super()._reasons(problem, device, blocks) + package_reasons("triton")
        if device == "cuda" and is_interpreted():
            reasons.append("TRITON_INTERPRET is set, which runs on the CPU only, got 'cuda'")
        elif device == "cuda" and not torch.cuda.is_available():
            reasons.append("PyTorch finds no GPU on this machine")
        return reasons
