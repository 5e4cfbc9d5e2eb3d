"""The transformers of diffusers that the drop-in knows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from radialbench.errors import IntegrationError, unknown
from radialbench.integrations.processors import (
    HunyuanVideoProcessor,
    MochiProcessor,
    RadialProcessor,
    WanProcessor,
)
from radialbench.maskgen.grid import Model, load_model


@dataclass(frozen=True, slots=True)
class Known:
    """A transformer class.

    Attributes:
        preset: From its configuration to the name of a model preset, for the pixels of a token.
        patch: From its configuration to latents of a token along [time, height, width].
        blocks: Names of its lists of blocks, in the order in which they run.
        attention: Name of the self-attention, or joint attention, of a block.
        stock: Names of the processors that ours stand in for.
        processor: Ours.
        joint: Whether text is part of the sequence.
        rising: Whether timesteps rise as noise falls.
    """

    preset: Callable[[Any], str]
    patch: Callable[[Any], tuple[int, ...]]
    blocks: tuple[str, ...]
    attention: str
    stock: str
    processor: type[RadialProcessor]
    joint: bool
    rising: bool = False

    def attentions(self, transformer: nn.Module) -> list[Any]:
        """Give the attention of each layer.

        Raises:
            IntegrationError: A layer has another processor than the one that ours stands in for.
        """
        found = []
        for name in self.blocks:
            for number, block in enumerate(getattr(transformer, name, ())):
                attention = getattr(block, self.attention)
                word = type(attention.processor).__name__
                if word != self.stock:
                    raise IntegrationError(
                        f"{name}.{number}.{self.attention} has the processor {word}, where only "
                        f"{self.stock} can be replaced: set that one first, or use a version of "
                        "diffusers that has it"
                    )
                found.append(attention)
        return found

    def model(self, transformer: Any) -> Model:
        """Give the preset that says how many pixels a token has.

        Raises:
            IntegrationError: The transformer has other patches than the preset.
        """
        model = load_model(self.preset(transformer.config))
        patch = self.patch(transformer.config)
        if patch != model.patch:
            raise IntegrationError(
                f"a {type(transformer).__name__} has patches of {model.patch}, got one of {patch}; "
                "RadialAttention takes any token grid"
            )
        return model


def known(transformer: nn.Module) -> Known:
    """Tell what is known of a transformer.

    Raises:
        IntegrationError: Nothing.
    """
    name = type(transformer).__name__
    if name not in MODELS:
        raise IntegrationError(unknown("transformer", name, MODELS))
    return MODELS[name]


def _wan(config: Any) -> str:
    # The autoencoder is known by its channels.
    presets = {16: "wan2.1-14b", 48: "wan2.2-ti2v-5b"}
    if config.out_channels not in presets:
        raise IntegrationError(
            f"a Wan transformer has 16 or 48 latent channels, got {config.out_channels}"
        )
    return presets[config.out_channels]


MODELS = {
    "WanTransformer3DModel": Known(
        preset=_wan,
        patch=lambda config: tuple(config.patch_size),
        blocks=("blocks",),
        attention="attn1",
        stock="WanAttnProcessor",
        processor=WanProcessor,
        joint=False,
    ),
    "HunyuanVideoTransformer3DModel": Known(
        preset=lambda config: "hunyuanvideo",
        patch=lambda config: (config.patch_size_t, config.patch_size, config.patch_size),
        blocks=("transformer_blocks", "single_transformer_blocks"),
        attention="attn",
        stock="HunyuanVideoAttnProcessor2_0",
        processor=HunyuanVideoProcessor,
        joint=True,
    ),
    "MochiTransformer3DModel": Known(
        preset=lambda config: "mochi-1",
        patch=lambda config: (1, config.patch_size, config.patch_size),
        blocks=("transformer_blocks",),
        attention="attn1",
        stock="MochiAttnProcessor2_0",
        processor=MochiProcessor,
        joint=True,
        rising=True,
    ),
}
"""By the name of their class."""
