"""Video transformers of diffusers, small and with random weights, and inputs to go with them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    HunyuanVideoTransformer3DModel,
    MochiTransformer3DModel,
    WanTransformer3DModel,
)
from torch import Tensor, nn

from radialbench import TokenGrid
from radialbench.integrations.processors import RadialProcessor

TEXT = 10
LENGTHS = (7, 3)
"""Real text tokens of the two videos of a batch, as guidance makes them."""


@dataclass(frozen=True)
class Small:
    """A model to test with.

    Attributes:
        build: Makes the transformer, with other figures if they are given.
        size: A size for it.
        grid: The tokens of that size.
        inputs: Makes the arguments of a call at a timestep, in order of their names.
    """

    build: Callable[..., Any]
    size: str
    grid: TokenGrid
    inputs: Callable[[float], dict[str, Tensor]]


def wan(*, image: bool = False, **config: Any) -> Any:
    extra = {"image_dim": 8, "added_kv_proj_dim": 32} if image else {}
    return _seeded(
        WanTransformer3DModel,
        num_attention_heads=2,
        in_channels=4,
        out_channels=16,
        text_dim=16,
        freq_dim=32,
        ffn_dim=48,
        **{"num_layers": 3, "attention_head_dim": 16} | extra | config,
    )


def hunyuan(**config: Any) -> Any:
    return _seeded(
        HunyuanVideoTransformer3DModel,
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_refiner_layers=1,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(4, 6, 6),
        **{"num_layers": 2, "num_single_layers": 2} | config,
    )


def mochi(**config: Any) -> Any:
    return _seeded(
        MochiTransformer3DModel,
        num_attention_heads=2,
        attention_head_dim=16,
        pooled_projection_dim=24,
        in_channels=4,
        text_embed_dim=16,
        time_embed_dim=8,
        **{"num_layers": 3} | config,
    )


def wan_inputs(timestep: float) -> dict[str, Tensor]:
    return {
        "hidden_states": _random(2, 4, 5, 6, 8),
        "timestep": torch.full((2,), timestep),
        "encoder_hidden_states": _random(2, TEXT, 16),
    }


def hunyuan_inputs(timestep: float) -> dict[str, Tensor]:
    return {
        "hidden_states": _random(2, 4, 5, 6, 8),
        "timestep": torch.full((2,), timestep),
        "encoder_hidden_states": _random(2, TEXT, 16),
        "encoder_attention_mask": _text_mask(),
        "pooled_projections": _random(2, 8),
        "guidance": torch.full((2,), 6000.0),
    }


def mochi_inputs(timestep: float) -> dict[str, Tensor]:
    return {
        "hidden_states": _random(2, 4, 5, 6, 8),
        "encoder_hidden_states": _random(2, TEXT, 16),
        "timestep": torch.full((2,), timestep),
        "encoder_attention_mask": _text_mask(),
    }


# 48 × 64 pixels and 17, 17 and 25 frames: 5 latent frames of 3 × 4 tokens.
SMALL = {
    "wan": Small(wan, "64x48x17", TokenGrid(5, 3, 4), wan_inputs),
    "hunyuan": Small(hunyuan, "64x48x17", TokenGrid(5, 3, 4, text_tokens=TEXT), hunyuan_inputs),
    "mochi": Small(mochi, "64x48x25", TokenGrid(5, 3, 4, text_tokens=TEXT), mochi_inputs),
}


def called(transformer: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Call a transformer as pipelines do, without gradients."""
    with torch.no_grad():
        out: Tensor = transformer(**inputs, return_dict=False)[0]
    return out


def close(got: Tensor, wanted: Tensor) -> None:
    """Compare what transformers gave, which is not all zeros."""
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(got, wanted, rtol=0, atol=2e-5)


def replaced(transformer: Any) -> int:
    """Count the attentions that are ours."""
    processors = (getattr(module, "processor", None) for module in transformer.modules())
    return sum(isinstance(processor, RadialProcessor) for processor in processors)


def _seeded(kind: type[Any], **config: Any) -> Any:
    torch.manual_seed(0)
    transformer = kind(**config).eval()
    for name, weight in transformer.named_parameters():
        # Mochi's rotary frequencies are zero until they are loaded.
        if name == "pos_frequencies":
            nn.init.normal_(weight)
    return transformer


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def _text_mask() -> Tensor:
    return (torch.arange(TEXT) < torch.tensor(LENGTHS)[:, None]).to(torch.int64)
