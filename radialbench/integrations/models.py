"""The transformers of diffusers that the drop-in supports."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from radialbench.errors import IntegrationError
from radialbench.integrations import processors
from radialbench.integrations.prepared import Shape
from radialbench.maskgen.grid import Model, load_model
from radialbench.maskgen.language.schedule import MaskSchedule


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call of a transformer.

    Attributes:
        latents: Frames, rows and columns of the latents.
        text_tokens: Text slots of the joint sequence; None if text is no part of it.
        timestep: [batch], or of each token.
        shape: Of q, k and v in its attention.
    """

    latents: tuple[int, ...]
    text_tokens: int | None
    timestep: Tensor
    shape: Shape


@dataclass(frozen=True, slots=True)
class TransformerKind:
    """What the drop-in has to know of a transformer class.

    Attributes:
        preset: Maps its configuration to the name of a model preset, for the pixels of a token.
        patch: Maps its configuration to the latents of a token along [time, height, width].
        blocks: Names of its lists of blocks, in the order in which they run.
        attention: Name of the self-attention, or joint attention, of a block.
        stock: Name of the processor that ours replaces.
        processor: Our processor.
        joint: Whether text is part of the sequence.
        text_mask: Name of the argument that marks real text, if it may mark any; ours come first.
        rising: Whether timesteps rise as noise falls.
        rotary_dim: Dimension of the tokens in what its `rope` returns.
        by_token: Maps its configuration to whether all but attention and rotary embeddings treats
            a token alike wherever it stands.
    """

    preset: Callable[[Any], str]
    patch: Callable[[Any], tuple[int, ...]]
    blocks: tuple[str, ...]
    attention: str
    stock: str
    processor: type[processors.RadialProcessor]
    joint: bool
    text_mask: str | None = None
    rising: bool = False
    rotary_dim: int = 0
    by_token: Callable[[Any], bool] = lambda config: True

    def call(self, transformer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Return what a call's arguments say; None if one that the transformer needs is missing.

        Raises:
            IntegrationError: Real text comes after padding.
        """
        names = tuple(inspect.signature(type(transformer).forward).parameters)[1:]
        given = dict(zip(names, args, strict=False)) | kwargs
        needed = ("hidden_states", "encoder_hidden_states", "timestep", self.text_mask)
        if any(name is not None and given.get(name) is None for name in needed):
            return None
        if self.text_mask is not None:
            real = given[self.text_mask].bool()
            if bool((real[:, 1:] & ~real[:, :-1]).any()):
                raise IntegrationError(
                    f"{self.text_mask} marks real text after padding: pad text on the right"
                )
        latents, config = given["hidden_states"], transformer.config
        dtype = latents.dtype
        if torch.is_autocast_enabled(latents.device.type):
            dtype = torch.get_autocast_dtype(latents.device.type)
        heads, head_dim = config.num_attention_heads, config.attention_head_dim
        return Call(
            tuple(latents.shape[2:]),
            given["encoder_hidden_states"].shape[1] if self.joint else None,
            given["timestep"],
            Shape(len(latents), heads, head_dim, dtype, latents.device),
        )

    def sparse_attentions(
        self, transformer: nn.Module, schedule: MaskSchedule
    ) -> list[tuple[Any, int]]:
        """Return the attention of each layer that has a mask in some step, and its place.

        The place is the first layer whose masks are the same in every step.

        Raises:
            IntegrationError: All layers would be dense, or one has another processor than `stock`.
        """
        layers = self.known_attentions(transformer)
        found, places = [], dict[tuple[bool, ...], int]()
        for number, attention in enumerate(layers):
            if schedule.may_be_sparse(number):
                rules = tuple(
                    rule.layers is None or number in rule.layers for rule in schedule.rules
                )
                found.append((attention, places.setdefault(rules, number)))
        if not found:
            raise IntegrationError(
                f"all {len(layers)} layers of the {type(transformer).__name__} would be dense"
            )
        return found

    def known_attentions(self, transformer: nn.Module) -> list[Any]:
        """Return the attention of each layer, whose q, k and v `processor` knows how to make.

        Raises:
            IntegrationError: One has another processor than `stock`.
        """
        layers = list(self.attentions(transformer))
        for name, attention in layers:
            replaced = attention.processor
            stock = replaced.stock if isinstance(replaced, self.processor) else replaced
            processor = type(stock).__name__
            if processor != self.stock:
                raise IntegrationError(
                    f"{name} has the processor {processor}, where only {self.stock} can be "
                    "replaced: set that one first, or use a version of diffusers that has it"
                )
        return [attention for _, attention in layers]

    def attentions(self, transformer: nn.Module) -> Iterator[tuple[str, Any]]:
        """Yield the attention of each layer with its name, in the order in which they run."""
        for blocks in self.blocks:
            for number, block in enumerate(getattr(transformer, blocks, ())):
                yield f"{blocks}.{number}.{self.attention}", getattr(block, self.attention)

    def model(self, transformer: Any) -> Model:
        """Return the preset that says how many pixels a token has.

        Raises:
            IntegrationError: The transformer has other patches than the preset.
        """
        model, patch = load_model(self.preset(transformer.config)), self.patch(transformer.config)
        if patch != model.patch:
            raise IntegrationError(
                f"a {type(transformer).__name__} has patches of {model.patch}, got one of {patch}; "
                "RadialAttention takes any token grid"
            )
        return model


def kind_of(transformer: nn.Module) -> TransformerKind:
    """Return the kind of a transformer.

    Raises:
        IntegrationError: The transformer is not supported.
    """
    made = type(transformer)
    if isinstance(transformer, FSDPModule):
        made = made.__bases__[-1]  # Sharding makes a class FSDP… of the transformer's own.
    name = made.__name__
    if name not in MODELS:
        *others, last = MODELS
        raise IntegrationError(
            f"known are {', '.join(others)} and {last}, got a {name}; in the attention of another "
            "model call RadialAttention, which takes any token grid"
        )
    return MODELS[name]


def _wan(config: Any) -> str:
    # The number of channels identifies the autoencoder.
    presets = {16: "wan2.1-14b", 48: "wan2.2-ti2v-5b"}
    if config.out_channels not in presets:
        raise IntegrationError(
            f"a Wan transformer has 16 or 48 latent channels, got {config.out_channels}"
        )
    return presets[config.out_channels]


MODELS = {
    "WanTransformer3DModel": TransformerKind(
        preset=_wan,
        patch=lambda config: tuple(config.patch_size),
        blocks=("blocks",),
        attention="attn1",
        stock="WanAttnProcessor",
        processor=processors.WanProcessor,
        joint=False,
        rotary_dim=1,
    ),
    "HunyuanVideoTransformer3DModel": TransformerKind(
        preset=lambda config: "hunyuanvideo",
        patch=lambda config: (config.patch_size_t, config.patch_size, config.patch_size),
        blocks=("transformer_blocks", "single_transformer_blocks"),
        attention="attn",
        stock="HunyuanVideoAttnProcessor2_0",
        processor=processors.HunyuanVideoProcessor,
        joint=True,
        # Tokens of an image that replace the first frame have a modulation of their own.
        by_token=lambda config: config.image_condition_type != "token_replace",
    ),
    "MochiTransformer3DModel": TransformerKind(
        preset=lambda config: "mochi-1",
        patch=lambda config: (1, config.patch_size, config.patch_size),
        blocks=("transformer_blocks",),
        attention="attn1",
        stock="MochiAttnProcessor2_0",
        processor=processors.MochiProcessor,
        joint=True,
        text_mask="encoder_attention_mask",
        rising=True,
    ),
}
"""Supported transformers, by the name of their class."""
