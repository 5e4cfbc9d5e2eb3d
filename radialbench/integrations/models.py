"""The transformers of diffusers that the drop-in supports."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from radialbench.errors import IntegrationError
from radialbench.integrations import joint_processors, processors
from radialbench.integrations.module import TIMESTEPS
from radialbench.integrations.prepared import Shape
from radialbench.maskgen.grid import Model, load_model
from radialbench.maskgen.language.schedule import MaskSchedule

Given = Mapping[str, Any]
"""The arguments of a call by name."""


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
        stock: Names of the processors that ours replaces.
        processor: Our processor.
        joint: Whether text is part of the sequence.
        text_mask: Name of the argument that marks real text, if it may mark any; ours come first.
        rising: Whether timesteps rise as noise falls.
        rotary_dim: Dimension of the tokens in what its `rope` returns.
        by_token: Maps its configuration to whether all but attention and rotary embeddings treats
            a token alike wherever it stands, and the arguments are those of Wan's.
        latents: Maps the arguments of a call to frames, rows and columns of the latents.
        text: Maps them to the text slots of the joint sequence.
        heads: Maps its configuration to heads and head_dim.
        timesteps: Timesteps from no noise to nothing but noise.
        channels: Dimension of the channels in the latents.
        needed: Arguments that it cannot do without, beside the latents, the text and the timestep.
        own: Arguments by which a call brings attention of its own, which a mask cannot replace.
        refused: Maps its configuration to why a mask has no place in it; empty if it has.
    """

    preset: Callable[[Any], str]
    patch: Callable[[Any], tuple[int, ...]]
    blocks: tuple[str, ...]
    attention: str
    stock: tuple[str, ...]
    processor: type[processors.RadialProcessor]
    joint: bool
    text_mask: str | None = None
    rising: bool = False
    rotary_dim: int = 0
    by_token: Callable[[Any], bool] = lambda config: True
    latents: Callable[[Given], tuple[int, ...]] = lambda given: given["hidden_states"].shape[2:]
    text: Callable[[Given], int] = lambda given: given["encoder_hidden_states"].shape[1]
    heads: Callable[[Any], tuple[int, int]] = lambda config: (
        config.num_attention_heads,
        config.attention_head_dim,
    )
    timesteps: float = TIMESTEPS
    channels: int = 1
    needed: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    refused: Callable[[Any], str] = lambda config: ""

    def call(self, transformer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Return what a call's arguments say; None if one that the transformer needs is missing.

        Raises:
            IntegrationError: Real text comes after padding, tokens are no video, or the call brings
                attention of its own.
        """
        names = tuple(inspect.signature(type(transformer).forward).parameters)[1:]
        given = dict(zip(names, args, strict=False)) | kwargs
        needed = ("hidden_states", "encoder_hidden_states", "timestep", *self.needed)
        if self.text_mask is not None:
            needed = (*needed, self.text_mask)
        if any(given.get(name) is None for name in needed):
            return None
        for name in self.own:
            if given.get(name) is not None:
                raise IntegrationError(
                    f"the {type(transformer).__name__} is called with {name}, attention of its own "
                    "that a mask would replace: call it without, or remove_radial"
                )
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
        return Call(
            tuple(self.latents(given)),
            self.text(given) if self.joint else None,
            given["timestep"],
            Shape(len(latents), *self.heads(config), dtype, latents.device),
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
            if processor not in self.stock:
                raise IntegrationError(
                    f"{name} has the processor {processor}, where only {' or '.join(self.stock)} "
                    "can be replaced: set that one first, or use a version of diffusers that has it"
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
            IntegrationError: The transformer has other patches than the preset, or takes no mask.
        """
        config = transformer.config
        if reason := self.refused(config):
            raise IntegrationError(f"this {type(transformer).__name__} takes no mask: {reason}")
        model, patch = load_model(self.preset(config)), self.patch(config)
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
            f"known are {', '.join(others)} and {last}, got a {name}; "
            f"{REFUSED.get(name, 'a class is added by a processor and one row of MODELS')}; in the "
            "attention of another model call RadialAttention, which takes any token grid"
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


def _cube(config: Any) -> tuple[int, ...]:
    return (config.patch_size_t or 1, config.patch_size, config.patch_size)


def _packed(given: Given) -> tuple[int, ...]:
    """Return the sides of a video whose tokens come as one sequence."""
    sides = tuple(given[name] for name in ("num_frames", "height", "width"))
    tokens = given["hidden_states"].shape[1]
    if prod(sides) != tokens:
        raise IntegrationError(
            f"the sequence has {tokens:,} tokens, and a video of {'×'.join(map(str, sides))} has "
            f"{prod(sides):,}: tokens of conditions beside the video have no place in a mask"
        )
    return sides


def _text_and_image(given: Given) -> int:
    names = ("encoder_hidden_states", "encoder_hidden_states_2", "image_embeds")
    return sum(given[name].shape[1] for name in names)


WAN = TransformerKind(
    preset=_wan,
    patch=lambda config: tuple(config.patch_size),
    blocks=("blocks",),
    attention="attn1",
    stock=("WanAttnProcessor",),
    processor=processors.WanProcessor,
    joint=False,
    rotary_dim=1,
)
LTX = TransformerKind(
    preset=lambda config: "ltx-video",
    patch=_cube,
    blocks=("transformer_blocks",),
    attention="attn1",
    stock=("LTXVideoAttnProcessor",),
    processor=processors.LtxProcessor,
    joint=False,
    by_token=lambda config: False,
    latents=_packed,
    channels=2,
    needed=("num_frames", "height", "width"),
)
HUNYUAN = TransformerKind(
    preset=lambda config: "hunyuanvideo",
    patch=_cube,
    blocks=("transformer_blocks", "single_transformer_blocks"),
    attention="attn",
    stock=("HunyuanVideoAttnProcessor2_0",),
    processor=joint_processors.HunyuanVideoProcessor,
    joint=True,
    # Tokens of an image that replace the first frame have a modulation of their own.
    by_token=lambda config: config.image_condition_type != "token_replace",
)

MODELS = {
    "WanTransformer3DModel": WAN,
    # Its control latents and the branch of their blocks stay in raster order.
    "WanVACETransformer3DModel": replace(
        WAN, blocks=("vace_blocks", "blocks"), by_token=lambda config: False
    ),
    "ChronoEditTransformer3DModel": replace(WAN, by_token=lambda config: False),
    "SkyReelsV2Transformer3DModel": replace(
        WAN,
        stock=("SkyReelsV2AttnProcessor",),
        by_token=lambda config: False,  # Timesteps may be those of frames.
        refused=lambda config: (
            "it has a causal mask of its own (num_frame_per_block)"
            if config.num_frame_per_block > 1
            else ""
        ),
    ),
    "HunyuanVideoTransformer3DModel": HUNYUAN,
    "HunyuanVideo15Transformer3DModel": replace(
        HUNYUAN,
        preset=lambda config: "hunyuanvideo-1.5",
        blocks=("transformer_blocks",),
        stock=("HunyuanVideo15AttnProcessor2_0",),
        processor=joint_processors.HunyuanVideo15Processor,
        by_token=lambda config: True,
        text=_text_and_image,
        needed=("encoder_hidden_states_2", "image_embeds"),
    ),
    "MochiTransformer3DModel": TransformerKind(
        preset=lambda config: "mochi-1",
        patch=lambda config: (1, config.patch_size, config.patch_size),
        blocks=("transformer_blocks",),
        attention="attn1",
        stock=("MochiAttnProcessor2_0",),
        processor=joint_processors.MochiProcessor,
        joint=True,
        text_mask="encoder_attention_mask",
        rising=True,
    ),
    "CogVideoXTransformer3DModel": TransformerKind(
        preset=lambda config: "cogvideox-5b",
        patch=_cube,
        blocks=("transformer_blocks",),
        attention="attn1",
        stock=("CogVideoXAttnProcessor2_0",),
        processor=joint_processors.CogVideoXProcessor,
        joint=True,
        by_token=lambda config: False,
        latents=lambda given: tuple(given["hidden_states"].shape[at] for at in (1, 3, 4)),
        channels=2,
    ),
    "LTXVideoTransformer3DModel": LTX,
    "LTX2VideoTransformer3DModel": replace(
        LTX,
        preset=lambda config: "ltx-2",
        stock=("LTX2AudioVideoAttnProcessor", "LTX2PerturbedAttnProcessor"),
        processor=processors.Ltx2Processor,
        own=("video_self_attention_mask",),
    ),
    "CosmosTransformer3DModel": TransformerKind(
        preset=lambda config: "cosmos-predict2.5-2b",
        patch=lambda config: tuple(config.patch_size),
        blocks=("transformer_blocks",),
        attention="attn1",
        stock=("CosmosAttnProcessor2_0",),
        processor=processors.CosmosProcessor,
        joint=False,
        by_token=lambda config: False,
        timesteps=1.0,
    ),
    "Kandinsky5Transformer3DModel": TransformerKind(
        preset=lambda config: "kandinsky-5-lite",
        patch=lambda config: tuple(config.patch_size),
        blocks=("visual_transformer_blocks",),
        attention="self_attention",
        stock=("Kandinsky5AttnProcessor",),
        processor=processors.KandinskyProcessor,
        joint=False,
        by_token=lambda config: False,
        latents=lambda given: given["hidden_states"].shape[1:4],
        heads=lambda config: (config.model_dim // sum(config.axes_dims), sum(config.axes_dims)),
        channels=-1,
        own=("sparse_params",),
    ),
}
"""Supported transformers, by the name of their class."""

_IN_FRONT = "its prompt and sound stand in front of the video, as many tokens as each call has"
REFUSED = {
    "MiniMaxH3Transformer3DModel": _IN_FRONT,
    "Cosmos3OmniTransformer": _IN_FRONT,
    "HunyuanVideoFramepackTransformer3DModel": "frames of its history differ in size",
    "SanaVideoTransformer3DModel": "its self-attention is linear, without pairs to mask",
    "WanAnimateTransformer3DModel": "a face branch attends between its blocks, frame by frame",
}
"""Video transformers of diffusers that are not supported, and why."""
