"""Denoising steps of a transformer on noise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from radialbench.errors import IntegrationError
from radialbench.integrations.inputs import call_inputs
from radialbench.integrations.models import kind_of
from radialbench.integrations.prepared import Shape
from radialbench.maskgen.grid import TokenGrid


def text_grid(transformer: Any, grid: TokenGrid) -> TokenGrid:
    """Return a grid with the model's usual text, where text is part of its sequence.

    Raises:
        IntegrationError: The grid has text, and the model takes none into its sequence.
    """
    kind = kind_of(transformer)
    first = kind.model(transformer).text_first
    strange = grid.segments or grid.query_frames or (grid.text_tokens > 0) > kind.joint
    if strange or (grid.text_tokens and grid.text_first != first):
        place = "in front of it" if first else "behind it"
        raise IntegrationError(
            f"a {type(transformer).__name__} takes frames×rows×columns of video"
            f"{f', and text {place}' * kind.joint}; got {grid.label}"
        )
    if kind.joint and not grid.text_tokens:
        tokens = kind.model(transformer).text_tokens
        return replace(grid, text_tokens=tokens, text_valid=None, text_first=first)
    return grid


def shape_of(transformer: Any, dtype: torch.dtype) -> Shape:
    """Return the shape of q, k and v in the attention of one sequence."""
    heads, head_dim = kind_of(transformer).heads(transformer.config)
    return Shape(1, heads, head_dim, dtype, torch.device("cpu"))


def video_of(out: Any) -> Tensor:
    """Return the video of what a call with `return_dict=False` returned."""
    video: Tensor = out[0] if isinstance(out, tuple) else out  # Kandinsky returns it alone.
    return video


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
        inputs["timestep"] = torch.full((1,), kind.timesteps * share, device=latents.device)
        with torch.no_grad():
            velocity = video_of(transformer(**inputs, return_dict=False))
        # The first channels are those of the video; others hold an image that it begins with.
        video = latents.narrow(kind.channels, 0, velocity.shape[kind.channels])
        video.add_(velocity, alpha=1 / steps if kind.rising else -1 / steps)
        on_share((step + 1) / total)
