"""Fa3: dense attention of FlashAttention 3. Fa3Fp8: the same in 8 bits."""

from typing import Any

import torch
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
FP8 = torch.float8_e4m3fn
TINY = 1e-30
"""The largest number of zeros, so that their scale is finite."""


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
            tensors, descales = self._prepared(problem, q.detach(), k.detach(), v.detach())
            swapped = [tensor.transpose(1, 2) for tensor in tensors]
            given = {"softmax_scale": problem.scale, "return_attn_probs": True}
            out, lse, *_ = flash_attn_func(*swapped, **given, **descales)
            return out.transpose(1, 2), lse

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        return hopper_needs(describe(PACKAGE))

    def _prepared(
        self, problem: Problem, *qkv: Tensor
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Return q, k and v as the kernel takes them, and what it multiplies them by."""
        return qkv, {}


class Fa3Fp8(Fa3):
    """The same in e4m3: q, k and v of a key head are scaled by their largest number in every call.

    The output is in bfloat16, as the inputs.
    """

    name = "fa3_fp8"

    def _prepared(
        self, problem: Problem, *qkv: Tensor
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        found: list[Tensor] = []
        descales: dict[str, Any] = {}
        for name, x in zip("qkv", qkv, strict=True):
            # The query heads of a key head share its scale.
            tops = torch.linalg.vector_norm(x, torch.inf, dim=(2, 3))  # [batch, heads]
            tops = tops.view(problem.batch, problem.key_heads, -1).amax(2)
            factors = (torch.finfo(FP8).max / tops.float().clamp(min=TINY)).to(x.dtype)
            by_head = factors.repeat_interleave(x.shape[1] // problem.key_heads, dim=1)
            found.append((x * by_head[..., None, None]).to(FP8))
            descales[f"{name}_descale"] = 1 / factors.float()
        return tuple(found), descales
