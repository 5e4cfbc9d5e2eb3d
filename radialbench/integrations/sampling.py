"""Denoising steps of a transformer on noise: with weights of a folder, or small and random."""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from radialbench.errors import IntegrationError, unknown
from radialbench.integrations.models import MODELS, TransformerKind, kind_of
from radialbench.integrations.prepared import Shape
from radialbench.maskgen.grid import TokenGrid
from radialbench.reading import read_whole

CROSS_TOKENS = 512
"""Text tokens that Wan attends to by cross-attention."""

_HEADS = {"num_attention_heads": 4, "attention_head_dim": 32}
RANDOM: dict[str, tuple[str, dict[str, Any]]] = {
    "wan": ("WanTransformer3DModel", {**_HEADS, "num_layers": 4, "ffn_dim": 128}),
    "hunyuanvideo": (
        "HunyuanVideoTransformer3DModel",
        {
            **_HEADS,
            "num_layers": 2,
            "num_single_layers": 2,
            "num_refiner_layers": 1,
            "rope_axes_dim": (8, 12, 12),
            "text_embed_dim": 64,
            "pooled_projection_dim": 32,
        },
    ),
    "mochi": (
        "MochiTransformer3DModel",
        {
            **_HEADS,
            "num_layers": 4,
            "pooled_projection_dim": 64,
            "text_embed_dim": 64,
            "time_embed_dim": 32,
        },
    ),
}
"""Class and small configuration of each model that may have random weights."""


@dataclass(frozen=True)
class Blueprint:
    """A transformer that can be built.

    Attributes:
        title: Name of its class in diffusers.
        config: Its configuration, or what differs from that of the class.
        folder: Folder of its weights; random weights if None.
    """

    title: str
    config: dict[str, Any]
    folder: Path | None = None

    @classmethod
    def random(cls, name: str) -> "Blueprint":
        """Return a small transformer with random weights.

        Raises:
            IntegrationError: There is none of this name.
        """
        if name not in RANDOM:
            raise IntegrationError(unknown("model with random weights", name, RANDOM))
        return cls(*RANDOM[name])

    @classmethod
    def of_folder(cls, folder: Path) -> "Blueprint":
        """Return the transformer in a folder, or that of a pipeline in it.

        Raises:
            IntegrationError: There is none, or one that is not known.
        """
        if (folder / "transformer" / "config.json").exists():
            folder = folder / "transformer"
        try:
            config = json.loads(read_whole(folder / "config.json"))
            title = config["_class_name"]
        except (OSError, ValueError, KeyError, TypeError):
            raise IntegrationError(
                f"{folder} has no transformer of diffusers: a config.json with its _class_name, "
                "beside its weights or in a folder named transformer"
            ) from None
        if title not in MODELS:
            raise IntegrationError(f"{folder}: {unknown('transformer', title, MODELS)}")
        return cls(title, config, folder)

    def outline(self) -> Any:
        """Return the transformer without weights.

        Raises:
            IntegrationError: diffusers is not installed, or cannot make it of the configuration.
        """
        with torch.device("meta"):
            return self._made()

    def build(self, device: str, dtype: torch.dtype, seed: int = 0) -> Any:
        """Return the transformer on a device.

        Raises:
            IntegrationError: As `outline`, or its weights cannot be read.
        """
        if self.folder is not None:
            try:
                transformer = self._class().from_pretrained(
                    self.folder, local_files_only=True, torch_dtype=dtype
                )
            except (OSError, ValueError) as error:
                reason = str(error).strip().split("\n")[0]
                if find_spec("accelerate") is None:
                    reason += " (diffusers loads weights with accelerate: pip install accelerate)"
                raise IntegrationError(f"cannot load {self.folder}: {reason}") from None
            return transformer.to(device).eval()
        torch.manual_seed(seed)
        transformer = self._made()
        for name, weight in transformer.named_parameters():
            if name == "pos_frequencies":
                nn.init.normal_(weight)  # Mochi's rotary frequencies are zero without weights.
        # diffusers' own `to` warns of modules that real weights keep in float32.
        return nn.Module.to(transformer, device, dtype).eval()

    def _made(self) -> Any:
        try:
            return self._class().from_config(self.config)
        except (TypeError, ValueError, RuntimeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise IntegrationError(
                f"the configuration makes no {self.title} in {self.folder}: {reason}"
            ) from None

    def _class(self) -> Any:
        try:
            return getattr(import_module("diffusers"), self.title)
        except ImportError:
            raise IntegrationError(
                "transformers are built by diffusers: pip install 'radialbench[diffusers]'"
            ) from None


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
    inputs = _inputs(kind, transformer, grid, seed)
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


def _inputs(
    kind: TransformerKind, transformer: Any, grid: TokenGrid, seed: int
) -> dict[str, Tensor]:
    """Return what a call is given beside its timestep."""
    generator = torch.Generator().manual_seed(seed)
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
