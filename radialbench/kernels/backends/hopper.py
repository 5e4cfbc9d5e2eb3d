"""Hopper: our kernel for GPUs of compute capability 9.0."""

import torch
from torch import Tensor

from radialbench.kernels.backend import Run
from radialbench.kernels.checks import DTYPES, check_inputs, check_plan
from radialbench.kernels.defaults import capability, config_reasons, kernel_reasons
from radialbench.kernels.device_table import upload
from radialbench.kernels.op import block_sparse_attention
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
        blocks = (config.block_m, config.block_n)
        reasons = self._reasons(problem, "cuda", blocks)
        dtype = DTYPES[problem.dtype]
        reasons += config_reasons(self.name, config, dtype, problem.head_dim, "cuda")
        check_plan(self.name, reasons, problem, table, config)
        uploaded = upload([table], "cuda")

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, q, k, v)
            return block_sparse_attention(
                *(q.detach(), k.detach(), v.detach(), uploaded),
                sm_scale=problem.scale,
                config=config,
                backend=self.name,
                return_lse=True,
            )

        return run

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
