"""Denoising steps of a transformer on noise."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from radialbench.errors import IntegrationError
from radialbench.integrations.models import kind_of
from radialbench.integrations.prepared import Shape
from radialbench.maskgen.grid import TokenGrid

CROSS_TOKENS = 512
"""Text tokens that Wan attends to by cross-attention."""


def text_grid(transformer: Any, grid: TokenGrid) -> TokenGrid:
    """Return a grid with the model's usual text, where text is part of its sequence.

    Raises:
        IntegrationError: The grid has text, and the model takes none into its sequence.
    """
    kind = kind_of(transformer)
    if grid.segments or grid.query_frames or grid.text_first or (grid.text_tokens > 0) > kind.joint:
        raise IntegrationError(
            f"a {type(transformer).__name__} takes frames×rows×columns of video"
            f"{', and text behind it' * kind.joint}; got {grid.label}"
        )
    if kind.joint and not grid.text_tokens:
        tokens = kind.model(transformer).text_tokens
        return replace(grid, text_tokens=tokens, text_valid=None)
    return grid


def shape_of(transformer: Any, dtype: torch.dtype) -> Shape:
    """Return the shape of q, k and v in the attention of one sequence."""
    config = transformer.config
    heads, head_dim = config.num_attention_heads, config.attention_head_dim
    return Shape(1, heads, head_dim, dtype, torch.device("cpu"))


def sample(
    transformer: Any,
    grid: TokenGrid,
    *,
    steps: int,
    stop: int | None = None,
    seed: int = 0,
    on_share: Callable[[float], None] = lambda share: None,
) -> None:
    """Denoise random latents under a random prompt, by Euler's method in equal steps.

    Args:
        transformer: A known transformer.
        grid: The tokens, with text if it is part of the sequence.
        steps: Steps from noise to a video.
        stop: Steps to run, if not all.
        seed: Seed of latents and prompt.
        on_share: Called with the share of the steps that is done.
    """
    kind = kind_of(transformer)
    inputs = call_inputs(transformer, grid, seed)
    latents, total = inputs["hidden_states"], min(stop or steps, steps)
    for step in range(total):
        share = step / steps if kind.rising else 1 - step / steps
        timestep = torch.full((1,), 1000.0 * share, device=latents.device)
        with torch.no_grad():
            velocity = transformer(**inputs, timestep=timestep, return_dict=False)[0]
        # The first channels are those of the video; others hold an image that it begins with.
        video = latents[:, : velocity.shape[1]]
        video.add_(velocity, alpha=1 / steps if kind.rising else -1 / steps)
        on_share((step + 1) / total)


def call_inputs(transformer: Any, grid: TokenGrid, seed: int = 0) -> dict[str, Tensor]:
    """Return what a call is given beside its timestep: noise, and text without padding."""
    generator, kind = torch.Generator().manual_seed(seed), kind_of(transformer)
    config, names = transformer.config, inspect.signature(type(transformer).forward).parameters

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(transformer.device, transformer.dtype)

    sides = zip((grid.frames, grid.height, grid.width), kind.patch(config), strict=True)
    text = grid.text_tokens if kind.joint else CROSS_TOKENS
    inputs = {
        "hidden_states": noise(1, config.in_channels, *(side * patch for side, patch in sides)),
        "encoder_hidden_states": noise(
            1, text, config.get("text_dim") or config.get("text_embed_dim")
        ),
    }
    if "encoder_attention_mask" in names:
        real = torch.ones(1, text, dtype=torch.int64, device=transformer.device)
        inputs["encoder_attention_mask"] = real
    if "pooled_projections" in names:
        inputs["pooled_projections"] = noise(1, config.pooled_projection_dim)
    if config.get("guidance_embeds"):
        inputs["guidance"] = torch.full((1,), 6000.0, device=transformer.device)
    if config.get("image_dim"):
        inputs["encoder_hidden_states_image"] = noise(1, 257, config.image_dim)
    return inputs
