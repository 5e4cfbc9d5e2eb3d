"""apply_radial and remove_radial: sparse attention in a pipeline of diffusers, and out again."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from radialbench.errors import GridError, IntegrationError
from radialbench.integrations.models import Known, known
from radialbench.integrations.module import RadialAttention
from radialbench.integrations.prepared import Shape
from radialbench.integrations.processors import RadialProcessor
from radialbench.maskgen.language.spec import HeadPlan, MaskSpec

OLDEST = (0, 36)
"""The first version of diffusers whose models ours fit."""

_HOOKS: "WeakKeyDictionary[nn.Module, RemovableHandle]" = WeakKeyDictionary()


def apply_radial(
    pipe_or_transformer: Any,
    *,
    size: str,
    frames: int | None = None,
    mask: str | Path | MaskSpec | HeadPlan = "radial",
    dense_layers: int = 0,
    dense_steps: int = 0,
    backend: str | None = None,
    **params: float | bool,
) -> RadialAttention:
    """Have the self-attention of a video transformer attend sparsely, through its processors.

    Known are Wan 2.1 and 2.2 (over whose two transformers steps are counted through), HunyuanVideo
    and Mochi 1. Text that is part of the sequence attends and is attended fully, its padding by
    nobody; cross-attention stays as it is. What was applied before is removed first. Transformers
    may be compiled, whole or block by block, before or after.

    Args:
        pipe_or_transformer: A pipeline, or its transformer.
        size: Pixels as width×height, such as `1280x720`, or with the frames, `1280x720x81`.
        frames: Frames of the video, where `size` does not say them.
        mask: A name of the library, the path of a mask or of a head plan, or either itself.
        dense_layers: First layers that stay dense.
        dense_steps: First denoising steps that stay dense.
        backend: `hopper`, `triton` or `sdpa`; the best one for the device if not given.
        **params: Parameters of the mask, such as `decay=0.2`.

    Returns:
        What attends now in all sparse layers, which knows its schedule and its configuration.

    Raises:
        IntegrationError: The pipeline, the model or the version of diffusers is not known, or all
            layers would be dense.
        GridError: The model cannot make this size.
        SpecError: There is no such mask or parameter.
    """
    transformers = _transformers(pipe_or_transformer)
    first = known(transformers[0])
    _check_version()
    remove_radial(pipe_or_transformer)
    grid = first.model(transformers[0]).grid(size if frames is None else f"{size}x{frames}")
    attention = RadialAttention(
        grid,
        mask,
        dense_layers=dense_layers,
        dense_steps=dense_steps,
        rising_timesteps=first.rising,
        backend=backend,
        **params,
    )
    sparse = [_sparse_layers(transformer, dense_layers) for transformer in transformers]
    for transformer, layers in zip(transformers, sparse, strict=True):
        for layer in layers:
            _set(layer, first.processor(layer.processor, attention))
        hook = _hook(transformer, attention)
        _HOOKS[transformer] = transformer.register_forward_pre_hook(hook, with_kwargs=True)
    return attention


def remove_radial(pipe_or_transformer: Any) -> None:
    """Give a pipeline the processors back that `apply_radial` found; does nothing if it was not.

    Raises:
        IntegrationError: The pipeline is not known.
    """
    for transformer in _transformers(pipe_or_transformer):
        if transformer in _HOOKS:
            _HOOKS.pop(transformer).remove()
        for module in transformer.modules():
            processor = getattr(module, "processor", None)
            if isinstance(processor, RadialProcessor):
                _set(module, processor.stock)


def _transformers(pipe_or_transformer: Any) -> list[nn.Module]:
    found = [pipe_or_transformer]
    if not isinstance(pipe_or_transformer, nn.Module):
        names = ("transformer", "transformer_2")
        found = [getattr(pipe_or_transformer, name, None) for name in names]
    # What `torch.compile` wraps is in `_orig_mod`; hooks and processors belong to the inner one.
    bare = [getattr(one, "_orig_mod", one) for one in found]
    transformers = [one for one in bare if isinstance(one, nn.Module)]
    if not transformers:
        raise IntegrationError(
            f"wanted is a pipeline with a transformer, or a transformer, got a "
            f"{type(pipe_or_transformer).__name__}"
        )
    return transformers


def _check_version() -> None:
    import diffusers

    version = tuple(map(int, re.findall(r"\d+", diffusers.__version__)[:2]))
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise IntegrationError(f"needs diffusers {oldest} or later, got {diffusers.__version__}")


def _sparse_layers(transformer: nn.Module, dense_layers: int) -> list[Any]:
    layers = known(transformer).attentions(transformer)
    if dense_layers >= len(layers):
        raise IntegrationError(
            f"dense_layers must be below the {len(layers)} layers of the "
            f"{type(transformer).__name__}, got {dense_layers}"
        )
    return layers[dense_layers:]


def _set(attention: Any, processor: Any) -> None:
    if hasattr(attention, "set_processor"):
        attention.set_processor(processor)
    else:
        attention.processor = processor


def _hook(transformer: Any, attention: RadialAttention) -> Callable[..., None]:
    """Make what runs before each call of a transformer: it checks, counts and makes ready.

    PyTorch calls the hooks of a module that it compiled outside of what it made of it.
    """
    model, config = known(transformer), transformer.config
    names = list(inspect.signature(type(transformer).forward).parameters)[1:]
    wanted = _latents(model, transformer, attention)

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = dict(zip(names, args, strict=False)) | kwargs
        latents = given["hidden_states"]
        if tuple(latents.shape[2:]) != wanted:
            raise GridError(
                f"the {type(transformer).__name__} got latents of "
                f"{'×'.join(map(str, latents.shape[2:]))}, frames, rows and columns; the size that "
                f"apply_radial was told has {'×'.join(map(str, wanted))}: apply it with the size "
                "of the video"
            )
        if attention.schedule.steps:
            attention.at(given["timestep"])
        text = given["encoder_hidden_states"].shape[1] if model.joint else None
        heads, head_dim = config.num_attention_heads, config.attention_head_dim
        shape = Shape(len(latents), heads, head_dim, latents.dtype, latents.device)
        if not attention.schedule.dense:
            attention.prepare(shape, text_tokens=text)

    eager: Callable[..., None] = torch.compiler.disable(before)
    return eager


def _latents(model: Known, transformer: Any, attention: RadialAttention) -> tuple[int, ...]:
    grid = attention.grid
    sides = (grid.frames, grid.height, grid.width)
    return tuple(
        side * step for side, step in zip(sides, model.patch(transformer.config), strict=True)
    )
