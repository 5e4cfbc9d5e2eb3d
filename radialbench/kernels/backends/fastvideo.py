"""FastVideo: the block-sparse kernel of FastVideo, in ThunderKittens."""

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.arch import target_of
from radialbench.kernels.backends import Run
from radialbench.kernels.checks import (
    check_inputs,
    check_plan,
    check_whole_blocks,
    describe,
    gpu_reasons,
    grouped_reasons,
    hopper_needs,
    loading,
    package_reasons,
)
from radialbench.maskgen.export.flex import FlexTable
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem

PACKAGE = "fastvideo-kernel"
BLOCK = 64


class FastVideo:
    """`block_sparse_fwd` of fastvideo-kernel: whole blocks of 64×64, bfloat16."""

    name = "fastvideo"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        reasons = gpu_reasons(problem, device, ("bfloat16",), most_head_dim=128)
        if problem.head_dim not in (64, 128):
            reasons.append(f"head_dim is 64 or 128, got {problem.head_dim}")
        if problem.batch != 1:
            reasons.append(f"takes a batch of 1, got {problem.batch}")
        reasons += grouped_reasons(problem)
        if problem.scale != problem.head_dim**-0.5:
            reasons.append(f"has a sm_scale of 1/√head_dim built in, got {problem.scale:g}")
        return reasons + target_of(device).hopper_reasons + package_reasons(PACKAGE)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Upload the block lists of every head: the kernel has no list for all heads."""
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        for side, block in (("block_m", config.block_m), ("block_n", config.block_n)):
            if block != BLOCK:
                raise BackendError(f"backend 'fastvideo' takes a {side} of {BLOCK}, got {block}")
        check_whole_blocks(self.name, table)
        if table.q_len != table.k_len:
            raise BackendError(
                f"backend 'fastvideo' takes as many queries as keys, got {table.q_len:,} and "
                f"{table.k_len:,}"
            )
        with loading(PACKAGE):
            from fastvideo_kernel._C.fastvideo_kernel_ops import block_sparse_fwd

        lists = FlexTable.of(table)
        counts = torch.from_numpy(lists.full_counts).to("cuda")
        longest = int(lists.full_counts.max())
        indices = torch.from_numpy(lists.full_indices[..., :longest]).to("cuda")
        tokens = torch.full((table.columns,), BLOCK, dtype=torch.int32, device="cuda")
        blocks = (
            indices.expand(1, problem.heads, -1, -1).contiguous(),
            counts.expand(1, problem.heads, -1).contiguous(),
            tokens,
        )
        # The kernel returns lse for its backward pass: times -√head_dim.
        factor = -(problem.head_dim**-0.5)

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v)
            inputs = [tensor.detach().contiguous() for tensor in (q, k, v)]
            out, lse = block_sparse_fwd(*inputs, *blocks)
            return out, lse[..., 0] * factor

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        return hopper_needs(describe(PACKAGE))
