"""apply_radial and remove_radial: sparse attention in a pipeline of diffusers."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from radialbench.errors import GridError, IntegrationError
from radialbench.integrations.models import TransformerKind, kind_of
from radialbench.integrations.module import RadialAttention, orders_of, schedule_of
from radialbench.integrations.ordered import OutputHook, RotaryHook, ordered_arguments
from radialbench.integrations.prepared import Shape
from radialbench.integrations.processors import RadialProcessor
from radialbench.maskgen.language.heads import AnyMask
from radialbench.maskgen.language.schedule import MaskSchedule
from radialbench.maskgen.order import TokenOrder

OLDEST = (0, 36)
"""The first version of diffusers that is supported."""


def apply_radial(
    pipe_or_transformer: Any,
    *,
    size: str,
    frames: int | None = None,
    mask: str | Path | AnyMask = "radial",
    dense_layers: int = 0,
    dense_steps: int = 0,
    dense_from_step: int | None = None,
    schedule: str | Path | MaskSchedule | None = None,
    backend: str | None = None,
    **params: float | bool,
) -> RadialAttention:
    """Make the self-attention of a video transformer sparse, by replacing its processors.

    Supports the classes of `MODELS`: Wan, HunyuanVideo, Mochi, CogVideoX, LTX, Cosmos, Kandinsky.
    Steps are counted across the two transformers of Wan 2.2. Text that is part of the sequence
    attends and is attended to fully, except for its padding; cross-attention does not change. The
    mask is compiled here, for the usual length of text, and nothing changes if it cannot run. What
    was applied before is removed. Transformers may be compiled before or after, as a whole or block
    by block; a copy has a schedule of its own.

    A mask with a token order has the whole transformer run in it, dense steps and layers too: the
    latents are put into the order once a call and the output back. Where heads have different
    orders, each layer moves their tokens.

    Args:
        pipe_or_transformer: A pipeline, or its transformer.
        size: Pixels as width×height, such as `1280x720`, or with the frames, `1280x720x81`.
        frames: Frames of the video, if `size` does not include them.
        mask: A name in the library, the path of a mask or head plan, or a mask or head plan.
        dense_layers: First layers that stay dense.
        dense_steps: First denoising steps that stay dense.
        dense_from_step: Step, from 0, from which on steps are dense again.
        schedule: Masks by layer, step and share of noise, in place of `mask` and of what is dense:
            the path of a schedule, or a MaskSchedule. Layers may be named as in the transformer,
            such as `single_transformer_blocks.*`.
        backend: `hopper`, `triton` or `sdpa`; the best one for the device if not given.
        **params: Parameters of the mask, such as `decay=0.2`.

    Returns:
        The attention of all sparse layers, with its schedule and its configuration.

    Raises:
        IntegrationError: The pipeline, the model or the version of diffusers is not supported, the
            model is split by context parallelism, or all layers would be dense.
        GridError: The model cannot make this size.
        SpecError: There is no such mask, parameter, schedule or layer, a token would attend to
            nothing at this size, or an operation is undefined.
        BackendError: The kernel cannot run this on the transformer's device and in its type, or a
            head plan has masks for another number of heads.
    """
    transformers = transformers_of(pipe_or_transformer)
    first = kind_of(transformers[0])
    if len(titles := {type(one).__name__: one for one in transformers}) > 1:
        raise IntegrationError(
            f"the pipeline has a {' and a '.join(titles)}, whose layers differ: apply a mask to "
            "each transformer by itself"
        )
    version = import_module("diffusers").__version__
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise IntegrationError(f"needs diffusers {oldest} or later, got {version}")
    grid = first.model(transformers[0]).grid(size if frames is None else f"{size}x{frames}")
    by_token = all(kind_of(one).by_token(one.config) for one in transformers)
    rules = schedule_of(
        mask,
        schedule,
        params,
        dense_layers=dense_layers,
        dense_steps=dense_steps,
        dense_from_step=dense_from_step,
    )
    rules = numbered_rules(first, transformers[0], rules)
    orders = {order for one in rules.masks for order in orders_of(one, grid)}
    attention = RadialAttention(
        grid,
        schedule=rules,
        rising_timesteps=first.rising,
        timesteps=first.timesteps,
        in_order=by_token and len(orders) == 1,
        backend=backend,
    )
    sparse = [kind_of(one).sparse_attentions(one, rules) for one in transformers]
    for transformer in transformers:
        refuse_parallel(transformer)
        attention.check(_shape(transformer))
    remove_radial(pipe_or_transformer)
    for transformer, layers in zip(transformers, sparse, strict=True):
        for layer, place in layers:
            _set(layer, first.processor(layer.processor, attention, place))
        transformer.register_forward_pre_hook(_Before(attention), with_kwargs=True)
        if moves_tokens(attention):
            kind, rope = kind_of(transformer), transformer.get_submodule("rope")
            rope.register_forward_hook(RotaryHook(attention, kind.rotary_dim))
            patch = kind.patch(transformer.config)
            transformer.register_forward_hook(OutputHook(attention, patch))
    return attention


def remove_radial(pipe_or_transformer: Any) -> None:
    """Restore the processors that `apply_radial` replaced; does nothing if it was not applied.

    Raises:
        IntegrationError: The pipeline is not supported.
    """
    for transformer in transformers_of(pipe_or_transformer):
        for module in transformer.modules():
            # A copy of the transformer has copies of the hooks, under the same numbers.
            for hooks in (module._forward_pre_hooks, module._forward_hooks):
                for number, hook in list(hooks.items()):
                    if isinstance(hook, (_Before, RotaryHook, OutputHook)):
                        del hooks[number]
                        module._forward_pre_hooks_with_kwargs.pop(number, None)
            processor = getattr(module, "processor", None)
            if isinstance(processor, RadialProcessor):
                _set(module, processor.stock)


def numbered_rules(
    kind: TransformerKind, transformer: nn.Module, rules: MaskSchedule
) -> MaskSchedule:
    """Return a schedule with the number of each layer of a transformer in place of names.

    Raises:
        SpecError: There is no such layer.
    """
    names = [name for name, _ in kind.attentions(transformer)]
    return rules.numbered([name.removesuffix(f".{kind.attention}") for name in names])


def applied_to(transformer: nn.Module) -> RadialAttention | None:
    """Return the attention that `apply_radial` gave a transformer; None if it gave none."""
    hooks = transformer._forward_pre_hooks.values()
    return next((hook.attention for hook in hooks if isinstance(hook, _Before)), None)


def moves_tokens(attention: RadialAttention) -> bool:
    """Return whether a transformer runs in another token order than raster."""
    return attention.in_order and attention.order != TokenOrder()


def transformers_of(pipe_or_transformer: Any) -> list[nn.Module]:
    """Return the transformers of a pipeline, or the transformer itself, as they are uncompiled.

    Raises:
        IntegrationError: There is none.
    """
    parts = [pipe_or_transformer]
    if not isinstance(pipe_or_transformer, nn.Module):
        names = ("transformer", "transformer_2")
        parts = [getattr(pipe_or_transformer, name, None) for name in names]
    # `torch.compile` keeps the module in `_orig_mod`, where hooks and processors belong.
    bare = [getattr(one, "_orig_mod", one) for one in parts]
    transformers = [one for one in bare if isinstance(one, nn.Module)]
    if not transformers:
        raise IntegrationError(
            f"expected a pipeline with a transformer, or a transformer, got a "
            f"{type(pipe_or_transformer).__name__}"
        )
    return transformers


def _set(attention: Any, processor: Any) -> None:
    if hasattr(attention, "set_processor"):
        attention.set_processor(processor)
    else:
        attention.processor = processor


def refuse_parallel(transformer: Any) -> None:
    """Refuse a transformer whose sequences are split over GPUs.

    Raises:
        IntegrationError: It is one.
    """
    config = getattr(transformer, "_parallel_config", None)
    if getattr(config, "context_parallel_config", None) is not None:
        raise IntegrationError(
            "context parallelism splits the sequence, and a mask needs all of it: use the "
            "transformer without enable_parallelism, or remove_radial first"
        )


def _shape(transformer: Any) -> Shape:
    """Return the likely shape of q, k and v, where offloaded weights wait on the CPU for a GPU."""
    config, device, dtype = transformer.config, transformer.device, transformer.dtype
    if device.type != "cuda" and torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
    elif device.type == "meta":
        device = torch.device("cpu")  # Weights that are brought in layer by layer.
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
    elif dtype.itemsize == 1:
        dtype = torch.bfloat16  # Weights may be stored in 8 bits, which nothing computes in.
    return Shape(1, *kind_of(transformer).heads(config), dtype, device)


class _Before:
    """A hook for each call of a transformer: it checks, counts, prepares and orders the latents.

    PyTorch runs the hooks of a compiled module outside the compiled code.
    """

    def __init__(self, attention: RadialAttention) -> None:
        self.attention = attention

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        transformer: Any = module
        refuse_parallel(transformer)
        kind, config = kind_of(transformer), transformer.config
        call = kind.call(transformer, args, kwargs)
        if call is None:
            return None  # The transformer says what is missing.
        grid = self.attention.grid
        sides = zip((grid.frames, grid.height, grid.width), kind.patch(config), strict=True)
        wanted = tuple(side * step for side, step in sides)
        if call.latents != wanted:
            raise GridError(
                f"the {type(transformer).__name__} got latents of "
                f"{'×'.join(map(str, call.latents))}, frames, rows and columns; the size "
                f"given to apply_radial has {'×'.join(map(str, wanted))}: apply it with the "
                "size of the video"
            )
        if self.attention.schedule.by_step:
            self.attention.at(call.timestep)
        for number, (name, layer) in enumerate(kind.attentions(transformer)):
            processor = layer.processor
            if isinstance(processor, RadialProcessor):
                processor.dense = self.attention.is_dense(processor.place)
            elif self.attention.schedule.may_be_sparse(number):
                raise IntegrationError(
                    f"{name} got the processor {type(processor).__name__} after apply_radial, and "
                    "would run without the mask: apply it again, or remove_radial"
                )
        # In dense steps too: what cannot run is known before the first of them.
        self.attention.prepare(call.shape, text_tokens=call.text_tokens)
        if not moves_tokens(self.attention):
            return None
        return ordered_arguments(transformer, self.attention, kind, args, kwargs)
