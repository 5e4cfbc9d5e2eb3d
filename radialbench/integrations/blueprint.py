"""Blueprints: transformers of diffusers that can be built, of a folder or with random weights."""

import json
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from radialbench.errors import IntegrationError, unknown
from radialbench.integrations.models import MODELS, REFUSED
from radialbench.maskgen.grid import Model
from radialbench.reading import read_whole

_HEADS = {"num_attention_heads": 4, "attention_head_dim": 32}
TINY: dict[str, dict[str, Any]] = {
    "WanTransformer3DModel": {**_HEADS, "num_layers": 4, "ffn_dim": 128},
    "WanVACETransformer3DModel": {
        **_HEADS,
        "num_layers": 4,
        "ffn_dim": 128,
        "vace_layers": [0, 2],
        "vace_in_channels": 16,
    },
    "ChronoEditTransformer3DModel": {**_HEADS, "num_layers": 4, "ffn_dim": 128},
    "SkyReelsV2Transformer3DModel": {**_HEADS, "num_layers": 4, "ffn_dim": 128},
    "HunyuanVideoTransformer3DModel": {
        **_HEADS,
        "num_layers": 2,
        "num_single_layers": 2,
        "num_refiner_layers": 1,
        "rope_axes_dim": (8, 12, 12),
        "text_embed_dim": 64,
        "pooled_projection_dim": 32,
    },
    "MochiTransformer3DModel": {
        **_HEADS,
        "num_layers": 4,
        "pooled_projection_dim": 64,
        "text_embed_dim": 64,
        "time_embed_dim": 32,
    },
    "HunyuanVideo15Transformer3DModel": {
        **_HEADS,
        "num_layers": 4,
        "num_refiner_layers": 1,
        "rope_axes_dim": (8, 12, 12),
        "text_embed_dim": 64,
        "text_embed_2_dim": 32,
        "image_embed_dim": 32,
    },
    "CogVideoXTransformer3DModel": {
        **_HEADS,
        "num_layers": 4,
        "time_embed_dim": 64,
        "text_embed_dim": 64,
        "use_rotary_positional_embeddings": True,
    },
    "LTXVideoTransformer3DModel": {
        **_HEADS,
        "num_layers": 4,
        "cross_attention_dim": 128,
        "caption_channels": 64,
    },
    "LTX2VideoTransformer3DModel": {
        **_HEADS,
        "num_layers": 4,
        "cross_attention_dim": 128,
        "caption_channels": 64,
        "audio_num_attention_heads": 4,
        "audio_attention_head_dim": 16,
        "audio_cross_attention_dim": 64,
    },
    "CosmosTransformer3DModel": {
        **_HEADS,
        "num_layers": 4,
        "text_embed_dim": 64,
        "adaln_lora_dim": 32,
        "concat_padding_mask": False,
        "extra_pos_embed_type": None,
    },
    "Kandinsky5Transformer3DModel": {
        "in_text_dim": 64,
        "in_text_dim2": 32,
        "time_dim": 64,
        "model_dim": 128,
        "ff_dim": 128,
        "num_text_blocks": 1,
        "num_visual_blocks": 4,
        "axes_dims": (8, 12, 12),
    },
}
"""A small configuration of each class that may have random weights."""

RANDOM = {
    "wan": "WanTransformer3DModel",
    "hunyuanvideo": "HunyuanVideoTransformer3DModel",
    "mochi": "MochiTransformer3DModel",
}
"""Class of each small model by its short name."""

_WAN = "WanTransformer3DModel"
_COSMOS, _KANDINSKY = "CosmosTransformer3DModel", "Kandinsky5Transformer3DModel"
_VISUAL: dict[str, Any] = {"in_visual_dim": 16, "out_visual_dim": 16, "visual_cond": True}
_WIDE: dict[str, Any] = {"in_channels": 48, "out_channels": 48}
RELEASED: dict[str, tuple[str, dict[str, Any]]] = {
    "wan2.1-1.3b": (_WAN, {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}),
    "wan2.1-14b": (_WAN, {}),
    "wan2.2-a14b": (_WAN, {}),
    "wan2.2-ti2v-5b": (
        _WAN,
        {"num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30, **_WIDE},
    ),
    "hunyuanvideo": ("HunyuanVideoTransformer3DModel", {}),
    "mochi-1": ("MochiTransformer3DModel", {}),
    "hunyuanvideo-1.5": ("HunyuanVideo15Transformer3DModel", {}),
    "cogvideox-5b": (
        "CogVideoXTransformer3DModel",
        {
            "num_attention_heads": 48,
            "num_layers": 42,
            "use_rotary_positional_embeddings": True,
        },
    ),
    "ltx-video": ("LTXVideoTransformer3DModel", {}),
    "ltx-2": ("LTX2VideoTransformer3DModel", {}),
    "cosmos-predict2.5-2b": (_COSMOS, {"num_attention_heads": 16, "extra_pos_embed_type": None}),
    "cosmos-predict2.5-14b": (
        _COSMOS,
        {"num_attention_heads": 40, "num_layers": 36, "extra_pos_embed_type": None},
    ),
    "kandinsky-5-lite": (
        _KANDINSKY,
        {
            "model_dim": 1792,
            "num_visual_blocks": 32,
            "axes_dims": (16, 24, 24),
            "ff_dim": 7168,
            **_VISUAL,
        },
    ),
    "kandinsky-5-pro": (
        _KANDINSKY,
        {
            "model_dim": 4096,
            "num_visual_blocks": 60,
            "axes_dims": (32, 48, 48),
            "ff_dim": 16384,
            **_VISUAL,
        },
    ),
}
"""Class of each preset, and the released configuration where it is not that of the class."""

TINY_GRID = (4, 6, 8)
SHARPNESS = 4.0
"""Standard deviation of the scores of sharpened attention."""

_CHANNELS = ("in_channels", "out_channels")


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
        return cls(RANDOM[name], TINY[RANDOM[name]])

    @classmethod
    def of_preset(cls, preset: str, *, tiny: bool = False) -> "Blueprint":
        """Return the transformer of a model preset with random weights, whole or small.

        Raises:
            IntegrationError: No class is known for it.
        """
        if preset not in RELEASED:
            raise IntegrationError(unknown("model with random weights", preset, RELEASED))
        title, config = RELEASED[preset]
        if not tiny:
            return cls(title, config)
        return cls(
            title, TINY[title] | {name: config[name] for name in _CHANNELS if name in config}
        )

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
        if title in REFUSED:
            raise IntegrationError(f"{folder}: a {title} takes no mask: {REFUSED[title]}")
        if title not in MODELS:
            raise IntegrationError(f"{folder}: {unknown('transformer', title, MODELS)}")
        return cls(title, config, folder)

    def outline(self, dtype: torch.dtype = torch.float32) -> Any:
        """Return the transformer without weights, on the device `meta`.

        Raises:
            IntegrationError: diffusers is not installed, or cannot make it of the configuration.
        """
        with torch.device("meta"):
            made = self._made()
        return nn.Module.to(made, dtype).eval()

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
        before = torch.get_default_dtype()
        try:
            # On the device and in its type from the start: large models fit only once.
            torch.set_default_dtype(dtype)
            torch.manual_seed(seed)
            with torch.device(device):
                transformer = self._made()
        finally:
            torch.set_default_dtype(before)
        for name, weight in transformer.named_parameters():
            if name == "pos_frequencies":
                nn.init.normal_(weight)  # Mochi's rotary frequencies are zero without weights.
            elif "modulation.out_layer" in name:
                nn.init.normal_(weight, std=0.02)  # Kandinsky's blocks begin as identities.
        return transformer.eval()

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


def tiny_size(model: Model) -> str:
    """Return a size in pixels of which a model makes 4×6×8 tokens."""
    frames, rows, columns = (
        side * patch for side, patch in zip(TINY_GRID, model.patch, strict=True)
    )
    time, height, width = model.vae
    return f"{columns * width}x{rows * height}x{(frames - 1) * time + 1}"


def sharpen(transformer: nn.Module) -> None:
    """Have attention weigh few keys much, as that of trained weights does.

    With random weights all keys weigh about alike: the output would not show which pairs attend.
    """
    for name, weight in transformer.named_parameters():
        if name.endswith(("norm_q.weight", "query_norm.weight")):
            weight.data.mul_(SHARPNESS)
