"""FlashInfer: block sparse rows on the templates of FlashAttention 2 and 3."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from radialbench.kernels.arch import target_of
from radialbench.kernels.backends import Run
from radialbench.kernels.checks import (
    DTYPES,
    check_inputs,
    check_plan,
    check_whole_blocks,
    describe,
    gpu_reasons,
    loading,
    package_reasons,
)
from radialbench.maskgen.export.bsr import Bsr
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem

PACKAGE = "flashinfer-python"
WORKSPACE_BYTES = 128 << 20
"""As recommended by the documentation."""


class FlashInferFa2:
    """`BlockSparseAttentionWrapper` on its template of FlashAttention 2, whole blocks only.

    The wrapper's mask of single pairs is not used: it takes a byte per pair. nvcc builds the kernel
    at the first plan, which takes minutes, and keeps it on the disk.
    """

    name = "flashinfer_fa2"
    template: ClassVar[str] = "fa2"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        reasons = gpu_reasons(problem, device, ("float16", "bfloat16"), most_head_dim=256)
        if problem.head_dim not in (64, 128, 256):
            reasons.append(f"head_dim is 64, 128 or 256, got {problem.head_dim}")
        if problem.batch != 1:
            reasons.append(f"takes a batch of 1, got {problem.batch}")
        return reasons + package_reasons(PACKAGE)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Upload the rows and let the wrapper divide the work."""
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        check_whole_blocks(self.name, table)
        with loading(PACKAGE):
            from flashinfer import BlockSparseAttentionWrapper

        workspace = torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device="cuda")
        wrapper = BlockSparseAttentionWrapper(workspace, backend=self.template)
        bsr, dtype = Bsr.of(table), DTYPES[problem.dtype]
        wrapper.plan(
            torch.from_numpy(bsr.indptr).to("cuda"),
            torch.from_numpy(bsr.indices).to("cuda"),
            *(table.q_len, table.k_len, *bsr.block_size),
            *(problem.heads, problem.key_heads, problem.head_dim),
            sm_scale=problem.scale,
            q_data_type=dtype,
            kv_data_type=dtype,
            o_data_type=dtype,
        )

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v)
            rows = [tensor.detach()[0].transpose(0, 1) for tensor in (q, k, v)]
            # By default it allocates an output with the strides of q, and ignores them.
            out = q.new_empty(rows[0].shape)
            _, lse = wrapper.run(*rows, out=out, return_lse=True)
            return out.transpose(0, 1)[None], lse.T[None] * math.log(2)

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        here = "one is here" if torch.cuda.is_available() else "none is here"
        return f"torch {torch.__version__}, {describe(PACKAGE)} and an NVIDIA GPU; {here}"


class FlashInferFa3(FlashInferFa2):
    """The same on its template of FlashAttention 3."""

    name = "flashinfer_fa3"
    template: ClassVar[str] = "fa3"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        return super().unsupported_reasons(problem, device) + target_of(device).hopper_reasons
