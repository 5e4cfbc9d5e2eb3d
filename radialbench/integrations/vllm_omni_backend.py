"""The backend that vLLM-Omni loads: masks on the latent grid that the host hands to its layers."""

import math
import re
from typing import Any

import torch
from torch import Tensor
from vllm_omni.diffusion.attention.backends.abstract import (
    AttentionBackend,
    AttentionImpl,
    AttentionMetadata,
)
from vllm_omni.diffusion.attention.backends.registry import DiffusionAttentionBackendEnum
from vllm_omni.diffusion.config import get_current_diffusion_config_or_none
from vllm_omni.diffusion.forward_context import get_forward_context, is_forward_context_available

from radialbench.errors import IntegrationError
from radialbench.integrations.host_masks import HostMasks
from radialbench.integrations.host_schedule import schedule_of_environment, with_dense
from radialbench.integrations.vllm_omni import NAME
from radialbench.kernels.calls import untraced
from radialbench.kernels.tuned import warn_once
from radialbench.maskgen.grid import TokenGrid


class RadialBackend(AttentionBackend):  # type: ignore[misc]
    """Attention under masks, on NVIDIA GPUs; dense where the host knows no latent grid."""

    accept_output_buffer = True
    supports_prefix_kv_slicing = True
    supported_platforms = ("cuda",)

    @staticmethod
    def get_name() -> str:
        """Return the name under which it is registered."""
        return NAME

    @staticmethod
    def get_impl_cls() -> Any:
        """Return what computes."""
        return RadialImpl

    @staticmethod
    def get_metadata_cls() -> Any:
        """Return the host's own."""
        return AttentionMetadata

    @staticmethod
    def get_builder_cls() -> None:
        """Return nothing: metadata come from the model."""

    @staticmethod
    def get_supported_head_sizes() -> list[int]:
        """Return the multiples of 8 up to 256."""
        return [*range(8, 257, 8)]


class RadialImpl(AttentionImpl):  # type: ignore[misc]
    """One layer's attention; q, k and v are [batch, tokens, heads, head_dim].

    The host's settings of block-sparse backends hold: `start_step` first steps, `end_step` last
    ones and `skip_layers` are dense. Its `sparsity` does not: the mask says what it keeps.

    Raises:
        IntegrationError: The layer is causal or has another scale, or its keys are split.
    """

    def __init__(
        self,
        num_heads: int,
        head_size: int,
        softmax_scale: float,
        causal: bool = False,
        num_kv_heads: int | None = None,
        prefix: str = "",
        backend_kwargs: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        if causal or not math.isclose(softmax_scale, head_size**-0.5, rel_tol=1e-6):
            what = "it is causal" if causal else f"its scale is {softmax_scale}, not 1/√{head_size}"
            raise IntegrationError(
                f"radialbench does not run the layer {prefix or '(no name)'}: {what}; choose "
                "another backend for its role"
            )
        check_parallel()
        host = backend_kwargs or {}
        self.last_steps = int(host.get("end_step") or 0)
        found = re.search(r"\.(\d+)\.", f".{prefix}.")
        self.layer = int(found[1]) if found else None
        schedule = with_dense(
            schedule_of_environment(),
            first_steps=int(host.get("start_step") or 0),
            layers=tuple(sorted(host.get("skip_layers") or ())),
        )
        self.masks = HostMasks(schedule, "vLLM-Omni")
        self.dense = dense_backend().get_impl_cls()(
            num_heads=num_heads,
            head_size=head_size,
            softmax_scale=softmax_scale,
            causal=causal,
            num_kv_heads=num_kv_heads,
            prefix=prefix,
            **given,
        )

    def forward_cuda(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_metadata: AttentionMetadata | None = None,
    ) -> Tensor:
        """Attend under the mask of the layer and step, or densely."""
        out: Tensor | None = untraced(self.masked)(query, key, value, attn_metadata)
        if out is not None:
            return out
        dense: Tensor = self.dense.forward_cuda(query, key, value, attn_metadata)
        return dense

    def masked(
        self, query: Tensor, key: Tensor, value: Tensor, metadata: AttentionMetadata | None
    ) -> Tensor | None:
        """Return attention under the mask; None where the layer is dense.

        Raises:
            IntegrationError: The host's grid has more tokens than the sequence.
        """
        grid = grid_of(metadata)
        if grid is None:
            warn_once("vLLM-Omni says no grid of some attention: there it stays dense")
            return None
        if not key.shape[1] == query.shape[1] >= grid.seq_len:
            raise IntegrationError(
                f"vLLM-Omni says that a sequence is {grid.label}, {grid.seq_len:,} tokens, and "
                f"hands {query.shape[1]:,} queries and {key.shape[1]:,} keys"
            )
        if in_last_steps(self.last_steps):
            return None
        # Behind the video there is padding only, which nothing reads.
        own = [x[:, : grid.seq_len].transpose(1, 2) for x in (query, key, value)]
        step, noise = step_of_host()
        out = self.masks.attend(
            own[0], own[1], own[2], grid, layer=self.layer, step=step, noise=noise
        )
        if out is None:
            return None
        behind = query.shape[1] - grid.seq_len
        return torch.nn.functional.pad(out.transpose(1, 2), (0, 0, 0, 0, 0, behind))


def dense_backend() -> Any:
    """Return the host's dense backend: its FlashAttention, or PyTorch's where that is not here."""
    kinds = DiffusionAttentionBackendEnum
    try:
        return kinds.FLASH_ATTN.get_class()
    except ImportError:
        return kinds.TORCH_SDPA.get_class()


def grid_of(metadata: AttentionMetadata | None) -> TokenGrid | None:
    """Return the grid of a sequence: what comes before the video is text in front of it.

    None if the host does not say it, or there is more than a video, its prefix and padding: tokens
    in use after the video would be cut.
    """
    if metadata is None:
        return None
    layout = metadata.video_layout
    if layout is None or layout.latent_grid is None or layout.video_spans:
        return None
    mask = metadata.attn_mask
    is_padding = mask is None or (layout.used_len is not None and mask.ndim == 2)
    if not is_padding or metadata.full_attn_spans is not None or metadata.joint_query is not None:
        return None
    prefix = int(layout.prefix_len or 0)
    frames, height, width = map(int, layout.latent_grid)
    grid = TokenGrid(frames, height, width, prefix, text_first=prefix > 0)
    return grid if layout.used_len in (None, grid.seq_len) else None


def step_of_host() -> tuple[int | None, float | None]:
    """Return the host's denoising step, from 0, and its share of noise; None if it is not known."""
    if not is_forward_context_available():
        return None, None
    context = get_forward_context()
    # The host has divided it by the scheduler's number of timesteps.
    noise = context.denoise_timestep
    return context.denoise_step_idx, None if noise is None else float(noise)


def in_last_steps(count: int) -> bool:
    """Return whether the host is in the last steps of a video, or has some and does not say."""
    if not count:
        return False
    step = total = None
    if is_forward_context_available():
        context = get_forward_context()
        step, total = context.denoise_step_idx, context.total_denoise_steps
    if step is None or total is None:
        warn_once(
            "vLLM-Omni does not say the step and how many there are, which end_step asks for: "
            "where that is so, attention is dense"
        )
        return True
    return bool(step >= total - count)


def check_parallel() -> None:
    """Refuse what splits keys between GPUs: in a ring the host does not call its backends at all.

    Raises:
        IntegrationError: Keys are split.
    """
    parallel = getattr(get_current_diffusion_config_or_none(), "parallel_config", None)
    for name in ("ring_degree", "allgather_degree"):
        if (degree := getattr(parallel, name, 1)) > 1:
            raise IntegrationError(
                f"{name} is {degree}, which splits the keys that a mask needs: use Ulysses' "
                "sequence parallelism, or another backend"
            )
