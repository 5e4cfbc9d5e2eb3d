"""Flex: PyTorch's FlexAttention, compiled."""

from types import FunctionType
from typing import Any, ClassVar

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.arch import target_of
from radialbench.kernels.backends import Run
from radialbench.kernels.checks import check_inputs, check_plan, gpu_reasons
from radialbench.maskgen.export.flex import FlexTable
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem


class Flex:
    """`flex_attention` under `torch.compile`, exact: a `mask_mod` reads the partial blocks' bits.

    The kernel is compiled at the first call of a run, which takes seconds.
    """

    name = "flex"
    kernel_options: ClassVar[dict[str, Any]] = {}
    has_gradients: ClassVar[bool] = True

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        types = ("float16", "bfloat16")
        reasons = gpu_reasons(
            *(problem, device, types), most_head_dim=256, gradients=self.has_gradients
        )
        if problem.head_dim < 16:
            reasons.append(f"head_dim is at least 16, got {problem.head_dim}")
        return reasons

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Make the block mask."""
        check_plan(self.name, self.unsupported_reasons(problem, "cuda"), problem, table, config)
        for side, block in (("block_m", config.block_m), ("block_n", config.block_n)):
            if block % 128:
                raise BackendError(
                    f"backend {self.name!r} takes a {side} in multiples of 128, got {block}"
                )
        block_mask, compiled, options = _block_mask(table), _compiled(), self.kernel_options
        if problem.kv_heads is not None:
            # Its other kernel, for fewer than 128 queries, has no tiles for query heads that share.
            options = options | {"FORCE_USE_FLEX_ATTENTION": True}

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v, gradients=self.has_gradients)
            out, lse = compiled(q, k, v, block_mask, problem.scale, options)
            return out, lse

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        here = "one is here" if torch.cuda.is_available() else "none is here"
        return f"torch {torch.__version__} with FlexAttention and a GPU; {here}"


class FlexTma(Flex):
    """The same with loads by TMA."""

    name = "flex_tma"
    kernel_options: ClassVar[dict[str, Any]] = {"USE_TMA": True}
    has_gradients: ClassVar[bool] = False

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        reasons = super().unsupported_reasons(problem, device)
        # Without TMA FlexAttention would ignore the option silently.
        if target_of(device).tma_reasons:
            reasons.append("needs a GPU of compute capability 9.0 or newer")
        return reasons


def _block_mask(table: BlockTable) -> Any:
    from torch.nn.attention.flex_attention import BlockMask

    def there(array: Any) -> Tensor:
        return torch.from_numpy(array).to("cuda")

    flex = FlexTable.of(table)
    blocks: dict[str, Any] = {name: there(array) for name, array in flex.block_arrays().items()}
    return BlockMask.from_kv_blocks(
        **blocks,
        BLOCK_SIZE=flex.block_size,
        mask_mod=flex.mask_mod(there),
        seq_lengths=(table.q_len, table.k_len),
    )


def _compiled() -> Any:
    # PyTorch stops compiling a code object after eight times; each plan has its own.
    own = FunctionType(_attend.__code__.replace(), _attend.__globals__, _attend.__name__)
    return torch.compile(own, fullgraph=True, dynamic=False)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, block_mask: Any, scale: float, kernel_options: Any
) -> tuple[Tensor, Tensor]:
    from torch.nn.attention.flex_attention import AuxRequest, flex_attention

    out, extra = flex_attention(
        q,
        k,
        v,
        block_mask=block_mask,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
        return_aux=AuxRequest(lse=True),
        kernel_options=kernel_options,
    )
    lse: Any = extra.lse
    return out, lse
