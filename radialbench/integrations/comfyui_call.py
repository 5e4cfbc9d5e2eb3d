"""What ComfyUI says with a call of its model: the latent grid, the step, and the layer."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from radialbench.maskgen.grid import TokenGrid

TEXT_BEHIND = ("HunyuanVideo", "AsymmDiTJoint")
"""Classes of the host whose attention is that of the video and, behind it, its text."""

REFERENCES = ("ref_latent", "reference_latent")
"""Arguments with which these classes put tokens in front of the video."""


@dataclass(eq=False)
class ModelCall:
    """One call of a model.

    Attributes:
        shape: Shape of the latents.
        video: Frames, rows and columns of the tokens; None if they are not known.
        text: Tokens of the prompt where they stand behind the video; None for other models.
        double_blocks: Layers before the first one of kind `single`.
        step: Denoising step, from 0; None if the host does not say it.
        noise: Share of noise, from 0 to 1.
        lengths: Lengths of the self-attention that was seen.
        on_grid: Whether one of them was that of the video.
    """

    shape: tuple[int, ...]
    video: tuple[int, int, int] | None
    text: int | None
    double_blocks: int
    step: int | None
    noise: float
    lengths: set[int] = field(default_factory=set)
    on_grid: bool = False

    def grid_of(self, tokens: int) -> TokenGrid | None:
        """Return the grid of a sequence; None if it is not the video, with its text if that joins.

        The prompt alone attends to itself, too, and may be longer than the video.
        """
        self.lengths.add(tokens)
        if self.video is None:
            return None
        grid = TokenGrid(*self.video)
        behind = tokens - grid.seq_len
        is_video = behind == 0 if self.text is None else behind > 0 and tokens != self.text
        if not is_video:
            return None
        self.on_grid = True
        return TokenGrid(*self.video, behind) if behind else grid

    def layer_of(self, options: dict[str, Any]) -> int | None:
        """Return the number of the layer that attends; None if the host does not say it."""
        index = options.get("block_index")
        if index is None:
            return None
        return int(index) + (self.double_blocks if options.get("block_type") == "single" else 0)

    def why_dense(self) -> str:
        """Return why no attention was that of a video."""
        if self.video is None:
            return f"no grid of tokens is known for its latents of {list(self.shape)}"
        seen = ", ".join(f"{one:,}" for one in sorted(self.lengths)) or "none"
        return (
            f"its video is {TokenGrid(*self.video).label}, "
            f"{TokenGrid(*self.video).seq_len:,} tokens, and its self-attention without another "
            f"mask has lengths of {seen}"
        )


def call_of(
    base: Any, x: Tensor, sigma: Tensor, prompt: Any, options: dict[str, Any], given: dict[str, Any]
) -> ModelCall:
    """Return what is known of a call.

    Args:
        base: The host's `BaseModel`.
        x: Latents, [batch, channels, frames, rows, columns].
        sigma: [batch], the noise of this call.
        prompt: [batch, tokens, channels], or None.
        options: The host's `transformer_options`.
        given: Other arguments of the call.
    """
    model = base.diffusion_model
    joins = any(kind.__name__ in TEXT_BEHIND for kind in type(model).__mro__)
    text = int(prompt.shape[1]) if joins and isinstance(prompt, Tensor) else None
    video = video_of(model, tuple(x.shape))
    if joins and (text is None or any(given.get(name) is not None for name in REFERENCES)):
        video = None
    level = float(sigma.max())
    # Beyond 1 it is the ratio of noise and signal.
    noise = level if float(base.model_sampling.sigma_max) <= 1 else level / (1 + level)
    return ModelCall(
        shape=tuple(x.shape),
        video=video,
        text=text,
        double_blocks=len(getattr(model, "double_blocks", ())),
        step=step_of(level, options.get("sample_sigmas")),
        noise=noise,
    )


def video_of(model: Any, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return frames, rows and columns of a model's tokens; None if there is no such grid."""
    # LTX-Video has it in a part of its own.
    patch = getattr(getattr(model, "patchifier", model), "patch_size", None)
    if patch is None and hasattr(model, "patch_spatial"):
        patch = (model.patch_temporal, model.patch_spatial, model.patch_spatial)
    if isinstance(patch, int):
        patch = (1, patch, patch)
    if len(shape) != 5 or not isinstance(patch, tuple | list) or len(patch) != 3:
        return None
    frames, height, width = (-(-size // side) for size, side in zip(shape[2:], patch, strict=True))
    return frames, height, width


def step_of(sigma: float, sigmas: Tensor | None) -> int | None:
    """Return which of a sampler's steps has a noise level; one between two is of the first."""
    if sigmas is None:
        return None
    reached = sum(float(one) >= sigma * (1 - 1e-5) for one in sigmas)
    return max(reached - 1, 0)
