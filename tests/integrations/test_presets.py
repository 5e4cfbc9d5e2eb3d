"""Model presets have the sizes of the models' own classes in diffusers, built without weights."""

import re
from typing import Any

import diffusers
import pytest
import torch

from radialbench.integrations.blueprint import RELEASED
from radialbench.maskgen.grid import load_model, model_names

KANDINSKY = "Kandinsky5Transformer3DModel", r"visual_transformer_blocks\.\d+\.self_attention"
WAN = "WanTransformer3DModel", r"blocks\.\d+\.attn1"
COSMOS = "CosmosTransformer3DModel", r"transformer_blocks\.\d+\.attn1"
LTX_BLOCKS = r"transformer_blocks\.\d+\.attn1"

MODELS: dict[str, tuple[str, str]] = {
    "wan2.1-1.3b": WAN,
    "wan2.1-14b": WAN,
    "wan2.2-a14b": WAN,
    "wan2.2-ti2v-5b": WAN,
    "hunyuanvideo": ("HunyuanVideoTransformer3DModel", r"(single_)?transformer_blocks\.\d+\.attn"),
    "hunyuanvideo-1.5": ("HunyuanVideo15Transformer3DModel", r"transformer_blocks\.\d+\.attn"),
    "mochi-1": ("MochiTransformer3DModel", r"transformer_blocks\.\d+\.attn1"),
    "cogvideox-5b": ("CogVideoXTransformer3DModel", r"transformer_blocks\.\d+\.attn1"),
    "ltx-video": ("LTXVideoTransformer3DModel", LTX_BLOCKS),
    "ltx-2": ("LTX2VideoTransformer3DModel", LTX_BLOCKS),
    "cosmos-predict2.5-2b": COSMOS,
    "cosmos-predict2.5-14b": COSMOS,
    "cosmos3-nano": ("Cosmos3OmniTransformer", r"layers\.\d+\.self_attn"),
    "kandinsky-5-lite": KANDINSKY,
    "kandinsky-5-pro": KANDINSKY,
    "minimax-h3": ("MiniMaxH3Transformer3DModel", r"transformer_blocks\.\d+\.attn"),
}
"""Class, and names of its self-attention."""


def patch_of(config: Any) -> tuple[int, ...]:
    """Latents of a token along time, height and width."""
    if "latent_patch_size" in config:
        return 1, config.latent_patch_size, config.latent_patch_size
    size = config.patch_size
    return (
        tuple(size)
        if isinstance(size, list | tuple)
        else (config.get("patch_size_t") or 1, size, size)
    )


@pytest.mark.parametrize("name", model_names())
def test_heads_layers_and_patches_are_those_of_the_class(name: str) -> None:
    title, blocks = MODELS[name]
    known, released = RELEASED.get(name, (title, {}))
    assert known == title
    model = load_model(name)
    with torch.device("meta"):
        built = getattr(diffusers, title)(**released)
    attentions = [part for word, part in built.named_modules() if re.fullmatch(blocks, word)]
    assert len(attentions) == model.layers
    for part in attentions:
        q = getattr(part, "to_q", None) or part.to_query
        k = getattr(part, "to_k", None) or part.to_key
        assert q.out_features == model.heads * model.head_dim
        assert k.out_features == (model.kv_heads or model.heads) * model.head_dim
    config = built.config
    head_dim = config.get("attention_head_dim") or config.get("head_dim")
    assert model.head_dim == (head_dim or sum(config.axes_dims))
    assert patch_of(config) == model.patch
    assert tuple(config.get("vae_scale_factors", model.vae)) == model.vae


AUTOENCODERS = {
    "hunyuanvideo-1.5": "AutoencoderKLHunyuanVideo15",
    "ltx-video": "AutoencoderKLLTXVideo",
    "minimax-h3": "AutoencoderKLMiniMaxH3",
    "hunyuanvideo": "AutoencoderKLHunyuanVideo",
    "kandinsky-5-lite": "AutoencoderKLHunyuanVideo",
    "kandinsky-5-pro": "AutoencoderKLHunyuanVideo",
}
"""Autoencoders that say how many pixels a latent is; Wan's and Cosmos' do not."""


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_latents_are_those_of_the_autoencoder(name: str) -> None:
    model = load_model(name)
    with torch.device("meta"):
        built: Any = getattr(diffusers, AUTOENCODERS[name])()
    config = built.config

    def ratio(word: str) -> int:
        return int(getattr(built, word, None) or config[word])

    assert model.vae[1:] == (ratio("spatial_compression_ratio"),) * 2
    assert model.vae[0] == ratio("temporal_compression_ratio")
