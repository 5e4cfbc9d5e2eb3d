"""Ordered: a whole transformer in a mask's token order.

All of a video transformer but attention and rotary embeddings treats a token alike wherever it
stands. So the patches of the latents are put into the order before a call and those of the output
back after it, and rotary embeddings are those of the patches' places: layers move nothing.
"""

import inspect
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from radialbench.integrations.models import TransformerKind
from radialbench.integrations.module import RadialAttention


@dataclass(eq=False)
class RotaryHook:
    """A forward hook of the module that makes rotary embeddings.

    Attributes:
        attention: Has the order.
        dim: Dimension of the tokens in each embedding.
    """

    attention: RadialAttention
    dim: int

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], out: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Return the embeddings in the order."""
        return tuple(self.attention.to_order(x, self.dim) for x in out)


@dataclass(eq=False)
class OutputHook:
    """A forward hook of the transformer.

    Attributes:
        attention: Has the order.
        patch: Latents of a token along frames, rows and columns.
    """

    attention: RadialAttention
    patch: tuple[int, ...]

    def __call__(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        """Return the output with its patches in raster order."""
        if isinstance(out, tuple):
            return (moved_patches(out[0], self.attention, self.patch, back=True), *out[1:])
        out.sample = moved_patches(out.sample, self.attention, self.patch, back=True)
        return out


def ordered_arguments(
    transformer: nn.Module,
    attention: RadialAttention,
    kind: TransformerKind,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call with latents, and timesteps of tokens, in the order."""
    module: Any = transformer
    names = tuple(inspect.signature(type(transformer).forward).parameters)[1:]
    given = dict(zip(names, args, strict=False)) | kwargs
    patch = kind.patch(module.config)
    given["hidden_states"] = moved_patches(given["hidden_states"], attention, patch)
    if given["timestep"].dim() == 2:
        given["timestep"] = attention.to_order(given["timestep"])
    positional = tuple(given.pop(name) for name in names[: len(args)])
    return positional, given


def moved_patches(
    latents: Tensor, attention: RadialAttention, patch: tuple[int, ...], *, back: bool = False
) -> Tensor:
    """Return latents with their patches in the attention's order, or from it back in raster order.

    Args:
        latents: [batch, channels, frames, rows, columns].
        attention: Has the order.
        patch: Latents of a token along frames, rows and columns.
        back: Whether they go back.
    """
    batch, channels = latents.shape[:2]
    sides = [size // step for size, step in zip(latents.shape[2:], patch, strict=True)]
    split = [part for pair in zip(sides, patch, strict=True) for part in pair]
    tokens = latents.reshape(batch, channels, *split).permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(1, 3)
    tokens = attention.to_raster(tokens) if back else attention.to_order(tokens)
    by_side: Tensor = tokens.unflatten(1, sides)
    return by_side.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(latents.shape)
