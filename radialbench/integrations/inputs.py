"""Inputs of a call of a known transformer: noise, and text without padding."""

import inspect
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from radialbench.errors import IntegrationError
from radialbench.integrations.models import kind_of
from radialbench.maskgen.grid import TokenGrid

CROSS_TOKENS = 512
"""Text tokens that models attend to by cross-attention."""

BYT5_TOKENS, IMAGE_TOKENS = 256, 729
"""Tokens of the second text and of the image in HunyuanVideo 1.5."""

AUDIO_TOKENS = 126
"""Tokens of sound of LTX-2: five seconds."""

Noise = Callable[..., Tensor]


def call_inputs(
    transformer: Any, grid: TokenGrid, seed: int = 0, *, batch: int = 1, noise_share: float = 0.5
) -> dict[str, Any]:
    """Return the arguments of a call, all but `return_dict`.

    Args:
        transformer: A known transformer.
        grid: Its tokens, with text if that is part of the sequence.
        seed: Seed of the noise.
        batch: Sequences.
        noise_share: Share of noise, for the timestep.

    Raises:
        IntegrationError: The class needs a library that is not installed.
    """
    kind, config = kind_of(transformer), transformer.config
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        made = torch.randn((batch, *shape), generator=generator)
        return made.to(transformer.device, transformer.dtype)

    patches = zip((grid.frames, grid.height, grid.width), kind.patch(config), strict=True)
    sides = tuple(side * patch for side, patch in patches)
    text = grid.text_tokens if kind.joint else CROSS_TOKENS
    make = SPECIAL.get(type(transformer).__name__, _usual)
    share = 1 - noise_share if kind.rising else noise_share
    timestep = torch.full((batch,), kind.timesteps * share, device=transformer.device)
    return make(transformer, sides, text, noise) | {"timestep": timestep}


def _usual(transformer: Any, sides: tuple[int, ...], text: int, noise: Noise) -> dict[str, Any]:
    """Return arguments of models that take [batch, channels, frames, rows, columns]."""
    config = transformer.config
    names = inspect.signature(type(transformer).forward).parameters
    width = config.get("text_dim") or config.get("text_embed_dim")
    inputs: dict[str, Any] = {
        "hidden_states": noise(config.in_channels, *sides),
        "encoder_hidden_states": noise(text, width),
    }
    if "encoder_attention_mask" in names:
        inputs["encoder_attention_mask"] = _real(inputs["encoder_hidden_states"])
    if "pooled_projections" in names:
        inputs["pooled_projections"] = noise(config.pooled_projection_dim)
    if config.get("guidance_embeds"):
        batch = len(inputs["hidden_states"])
        inputs["guidance"] = torch.full((batch,), 6000.0, device=transformer.device)
    if config.get("image_dim"):
        inputs["encoder_hidden_states_image"] = noise(257, config.image_dim)
    if "control_hidden_states" in names:
        inputs["control_hidden_states"] = noise(config.vace_in_channels, *sides)
    return inputs


def _real(text: Tensor) -> Tensor:
    """Return a mask of text without padding."""
    return torch.ones(text.shape[:2], dtype=torch.int64, device=text.device)


def _hunyuan15(transformer: Any, sides: tuple[int, ...], text: int, noise: Noise) -> dict[str, Any]:
    config = transformer.config
    # Where a grid has few text slots, the second text and the image have a share of them.
    second, image = min(BYT5_TOKENS, text // 4), min(IMAGE_TOKENS, text // 2)
    first = noise(text - second - image, config.text_embed_dim)
    other = noise(second, config.text_embed_2_dim)
    return {
        "hidden_states": noise(config.in_channels, *sides),
        "encoder_hidden_states": first,
        "encoder_attention_mask": _real(first),
        "encoder_hidden_states_2": other,
        "encoder_attention_mask_2": _real(other),
        "image_embeds": noise(image, config.image_embed_dim),
    }


def _cogvideox(transformer: Any, sides: tuple[int, ...], text: int, noise: Noise) -> dict[str, Any]:
    config, (frames, rows, columns) = transformer.config, sides
    inputs: dict[str, Any] = {
        "hidden_states": noise(frames, config.in_channels, rows, columns),
        "encoder_hidden_states": noise(text, config.text_embed_dim),
    }
    if config.use_rotary_positional_embeddings:
        from diffusers.models.embeddings import get_3d_rotary_pos_embed

        grid = rows // config.patch_size, columns // config.patch_size
        inputs["image_rotary_emb"] = get_3d_rotary_pos_embed(
            config.attention_head_dim, ((0, 0), grid), grid, frames, device=transformer.device
        )
    return inputs


def _ltx(transformer: Any, sides: tuple[int, ...], text: int, noise: Noise) -> dict[str, Any]:
    config, (frames, rows, columns) = transformer.config, sides
    encoded = noise(text, config.caption_channels)
    return {
        "hidden_states": noise(frames * rows * columns, config.in_channels),
        "encoder_hidden_states": encoded,
        "encoder_attention_mask": _real(encoded),
        **dict(zip(("num_frames", "height", "width"), sides, strict=True)),
    }


def _ltx2(transformer: Any, sides: tuple[int, ...], text: int, noise: Noise) -> dict[str, Any]:
    config, inputs = transformer.config, _ltx(transformer, sides, text, noise)
    return inputs | {
        "audio_hidden_states": noise(AUDIO_TOKENS, config.audio_in_channels),
        "audio_encoder_hidden_states": noise(text, config.caption_channels),
        "audio_num_frames": AUDIO_TOKENS,
    }


def _cosmos(transformer: Any, sides: tuple[int, ...], text: int, noise: Noise) -> dict[str, Any]:
    config = transformer.config
    width = config.text_embed_dim
    if config.use_crossattn_projection:
        width = config.crossattn_proj_in_channels
    encoded: Any = noise(text, width)
    if config.img_context_dim_in:
        encoded = encoded, noise(config.img_context_num_tokens, config.img_context_dim_in)
    inputs = {
        "hidden_states": noise(config.in_channels, *sides),
        "encoder_hidden_states": encoded,
        "fps": 16,
    }
    if config.concat_padding_mask:
        if find_spec("torchvision") is None:
            raise IntegrationError(
                "a CosmosTransformer3DModel with concat_padding_mask resizes with torchvision: pip "
                "install torchvision"
            )
        inputs["padding_mask"] = torch.zeros(1, 1, *sides[1:], device=transformer.device)
    return inputs


def _kandinsky(transformer: Any, sides: tuple[int, ...], text: int, noise: Noise) -> dict[str, Any]:
    config = transformer.config
    channels = config.in_visual_dim * (2 if config.visual_cond else 1) + bool(config.visual_cond)
    places = [
        torch.arange(side // patch, device=transformer.device)
        for side, patch in zip(sides, config.patch_size, strict=True)
    ]
    return {
        "hidden_states": noise(*sides, channels),
        "encoder_hidden_states": noise(text, config.in_text_dim),
        "pooled_projections": noise(config.in_text_dim2),
        "visual_rope_pos": places,
        "text_rope_pos": torch.arange(text, device=transformer.device),
    }


SPECIAL: dict[str, Callable[[Any, tuple[int, ...], int, Noise], dict[str, Any]]] = {
    "HunyuanVideo15Transformer3DModel": _hunyuan15,
    "CogVideoXTransformer3DModel": _cogvideox,
    "LTXVideoTransformer3DModel": _ltx,
    "LTX2VideoTransformer3DModel": _ltx2,
    "CosmosTransformer3DModel": _cosmos,
    "Kandinsky5Transformer3DModel": _kandinsky,
}
"""What makes the arguments of classes that differ from the usual."""
