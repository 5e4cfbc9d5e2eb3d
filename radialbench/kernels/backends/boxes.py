"""Our kernel for Hopper on tables of boxes, which read tokens where they stand."""

from dataclasses import dataclass

from torch import Tensor

from radialbench.kernels.backends import Run, load_backend
from radialbench.kernels.checks import check_inputs, check_plan
from radialbench.kernels.device_table import DeviceTable
from radialbench.kernels.op import block_sparse_attention, device_table
from radialbench.kernels.select import config_reasons
from radialbench.maskgen.boxes import box_reasons, boxed
from radialbench.maskgen.head_tables import AnyTable
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KERNEL_OF, KernelConfig, Problem


@dataclass(frozen=True, eq=False)
class _Call:
    problem: Problem
    table: AnyTable
    boxes: DeviceTable
    config: KernelConfig
    in_raster: bool = True

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        check_inputs(self.problem, self.table, q, k, v)
        return block_sparse_attention(
            *(q, k, v, self.boxes),
            sm_scale=self.problem.scale,
            config=self.config,
            backend="hopper",
            return_lse=True,
        )


class HopperBoxes:
    """`hopper` for masks in tiles, without an order of tokens: none are moved."""

    name = "hopper_boxes"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        reasons = load_backend(KERNEL_OF[self.name]).unsupported_reasons(problem, device)
        if problem.direction != "forward":
            reasons.append(f"computes the forward pass only, got {problem.direction!r}")
        return reasons

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Put the table into boxes, and upload it."""
        return self.plan_heads(problem, table, config)

    def plan_heads(self, problem: Problem, table: AnyTable, config: KernelConfig) -> Run:
        """Put the tables of the heads into boxes, and upload them."""
        reasons = [*self.unsupported_reasons(problem, "cuda"), *box_reasons(table)]
        reasons += config_reasons("hopper", config, problem.head_dim)
        check_plan(self.name, reasons, problem, table, config)
        return _Call(problem, table, device_table(boxed(table), "cuda"), config)

    def needs(self) -> str:
        """Describe what is needed."""
        return load_backend(KERNEL_OF[self.name]).needs()
