"""Top-k: attention to the blocks that q and k choose in every call, as many as a mask keeps.

A mask says how many blocks each query block keeps; which, each head chooses by mean-pooled queries
and keys (`top_blocks`). The choice is part of the call and of its time.
"""

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.backends import Run, load_backend, plan_table
from radialbench.kernels.checks import check_inputs, check_plan
from radialbench.kernels.device_table import table_of_blocks
from radialbench.kernels.op import block_sparse_attention
from radialbench.kernels.select import config_reasons
from radialbench.kernels.top_blocks import selected_tables, top_blocks
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KERNEL_OF, KernelConfig, Problem


@dataclass(frozen=True, eq=False)
class _Call:
    """A call that chooses blocks, and runs a kernel on them.

    Attributes:
        kernel: Name of the backend that runs.
        problem: What is computed.
        table: How many blocks each row keeps.
        config: How.
        kept: [rows] the blocks of each row, on the device.
        most: The greatest of them.
    """

    kernel: str
    problem: Problem
    table: BlockTable
    config: KernelConfig
    kept: Tensor
    most: int

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        check_inputs(self.problem, self.table, q, k, v, gradients=True)
        if self.kernel == "cpu":
            tables = self.selected(q, k)
            return plan_table(load_backend("cpu"), self.problem, tables, self.config)(q, k, v)
        table, nnz = self.table, self.table.nnz * self.problem.heads
        lengths = table.q_len, table.k_len
        blocks = self._blocks(q, k)
        gradients = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
        sizes = (table.block_m, table.block_n, *lengths)
        chosen = table_of_blocks(blocks, *sizes, nnz=nnz, gradients=gradients)
        return block_sparse_attention(
            *(q, k, v, chosen),
            sm_scale=self.problem.scale,
            config=self.config,
            backend=self.kernel,
            return_lse=True,
        )

    def selected(self, q: Tensor, k: Tensor) -> HeadTables:
        """Return the tables of a call."""
        return selected_tables(self._blocks(q, k), self.table)

    def _blocks(self, q: Tensor, k: Tensor) -> Tensor:
        sides = self.table.block_m, self.table.block_n
        # The choice has no gradient.
        return top_blocks(q.detach()[0], k.detach()[0], self.kept, self.most, *sides)


class TopkTriton:
    """Runs the kernel `triton` on the blocks that a call chooses."""

    name = "topk_triton"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        reasons = load_backend(KERNEL_OF[self.name]).unsupported_reasons(problem, device)
        if problem.batch != 1:
            reasons.append(f"chooses the blocks of one sequence, got a batch of {problem.batch}")
        return reasons

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Count the blocks of each row, and check the kernel's configuration."""
        device = "cuda" if self.unsupported_reasons(problem, "cpu") else "cpu"
        reasons = self.unsupported_reasons(problem, device)
        if (kernel := KERNEL_OF[self.name]) != "cpu":
            reasons += config_reasons(kernel, config, problem.head_dim)
        check_plan(self.name, reasons, problem, table, config)
        kept = np.diff(table.full.indptr) + np.diff(table.partial.indptr)
        on_device = torch.from_numpy(kept).to(device)
        return _Call(kernel, problem, table, config, on_device, int(kept.max()))

    def plan_heads(self, problem: Problem, table: AnyTable, config: KernelConfig) -> NoReturn:
        """Refuse head plans: each head chooses its blocks.

        Raises:
            BackendError: Always.
        """
        raise BackendError(f"backend {self.name!r} takes one mask for all heads: each chooses")

    def needs(self) -> str:
        """Describe what is needed."""
        return load_backend(KERNEL_OF[self.name]).needs()


class TopkHopper(TopkTriton):
    """Runs the kernel `hopper` on the blocks that a call chooses."""

    name = "topk_hopper"


class TopkCpu(TopkTriton):
    """Runs the backend `cpu` on the blocks that a call chooses."""

    name = "topk_cpu"
