"""RadialAttention: a mask as a PyTorch module that takes q, k and v."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from radialbench.errors import BackendError, GridError, SpecError
from radialbench.integrations.prepared import Prepared, Shape, keys_below, prepare
from radialbench.integrations.schedule import DenseSchedule
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.spec import HeadPlan, MaskSpec
from radialbench.maskgen.library import is_head_plan, load_head_plan, load_mask
from radialbench.records.lookup import ConfigChoice


class RadialAttention(nn.Module):
    """Attention under a mask, compiled once for each shape that comes; it has no weights.

    On an NVIDIA GPU our kernels run it, elsewhere PyTorch's own attention with the whole mask,
    which takes seq_len² bytes. Forward only. Inside `torch.compile` it runs what `prepare`, or the
    last call outside, made ready.

    Args:
        grid: Token layout; `TokenGrid.for_model` gives that of a model and a size.
        mask: A name of the library, the path of a mask or of a head plan, or either itself.
        dense_layers: First layers that attend densely; the call says which layer it is.
        dense_steps: First denoising steps that attend densely; `at` says where a video stands.
        rising_timesteps: Whether timesteps rise as noise falls, as Mochi's do.
        backend: `hopper`, `triton` or `sdpa`; the best one for the device if not given.
        **params: Parameters of the mask.

    Raises:
        SpecError: There is no such mask or parameter.
        GridError: The grid states a length of the text, which is for each call to say.
    """

    def __init__(
        self,
        grid: TokenGrid,
        mask: str | Path | MaskSpec | HeadPlan = "radial",
        *,
        dense_layers: int = 0,
        dense_steps: int = 0,
        rising_timesteps: bool = False,
        backend: str | None = None,
        **params: float | bool,
    ) -> None:
        super().__init__()
        if grid.real_text != grid.text_tokens:
            raise GridError(
                f"the text's length belongs to the call, as text_len, got a grid of {grid.label}"
            )
        self.grid = grid
        self.mask = mask_of(mask, **params)
        self.schedule = DenseSchedule(dense_layers, dense_steps, rising=rising_timesteps)
        self.backend = backend
        self._known: dict[tuple[Shape, int], Prepared] = {}
        self._ready: Prepared | None = None

    def at(self, timestep: float | Tensor) -> None:
        """Say at which timestep the model is called next, so that the first steps are dense.

        Call it outside what `torch.compile` makes, as often as the model is called.

        Args:
            timestep: The timestep, or those of a batch, of which the one with most noise counts.
        """
        if isinstance(timestep, Tensor):
            timestep = float(timestep.min() if self.schedule.rising else timestep.max())
        self.schedule.at(timestep)

    def prepare(self, shape: Shape, *, text_tokens: int | None = None) -> ConfigChoice:
        """Make ready for tensors of a shape; what was made is kept.

        Args:
            shape: Of q, with its type and device.
            text_tokens: Text slots of the sequence; the grid's if not given.

        Returns:
            The configuration that runs, and whether it was tuned for this shape, transferred from
            one that is near, or is the default.

        Raises:
            SpecError: A token would attend nothing.
            BackendError: The kernel cannot run this, or heads do not go together.
            RecordError: What was tuned cannot be read.
        """
        grid = self.grid
        if text_tokens not in (None, grid.text_tokens):
            grid = replace(grid, text_tokens=text_tokens, text_valid=None)
        key = (shape, grid.text_tokens)
        if key not in self._known:
            self._known[key] = prepare(self.mask, grid, shape, self.backend)
        self._ready = self._known[key]
        return self._ready.found

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        layer: int | None = None,
        text_tokens: int | None = None,
        text_len: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            q: [batch, heads, seq_len, head_dim] in raster order, [video | text] unless the grid
                says that text comes first.
            k: As q.
            v: As q.
            layer: Number of the layer, from 0, which decides whether it is dense.
            text_tokens: Text slots of the sequence; the grid's if not given.
            text_len: [batch] real text tokens of each sequence, the rest is padding that nobody
                attends; all are real if not given.

        Returns:
            out like q.

        Raises:
            BackendError: Shapes do not go together, text in front is cut, or inside `torch.compile`
                nothing was made ready.
        """
        text = self.grid.text_tokens if text_tokens is None else text_tokens
        seq_len = self.grid.video_tokens + text
        if q.shape[2] != seq_len:
            raise BackendError(
                f"q must be [batch, heads, {seq_len}, head_dim] on a grid of {self.grid.label} "
                f"with {text} text tokens, got {list(q.shape)}"
            )
        key_len = None
        if text_len is not None:
            if self.grid.text_first:
                raise BackendError("text_len cuts what comes last, and here text comes first")
            key_len = (self.grid.video_tokens + text_len.clamp(0, text)).to(torch.int32)
        if self.schedule.is_dense(layer):
            allowed = None if key_len is None else keys_below(key_len, seq_len)
            return scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        if not torch.compiler.is_compiling():
            batch, heads, _, head_dim = q.shape
            self.prepare(Shape(batch, heads, head_dim, q.dtype, q.device), text_tokens=text)
        ready = self._ready
        if ready is None or ready.seq_len != seq_len:
            raise BackendError(
                f"inside torch.compile nothing is ready for {seq_len:,} tokens: call prepare, or "
                "the module, outside first"
            )
        return ready.attend(q, k, v, key_len)

    def extra_repr(self) -> str:
        """Say what is attended, for PyTorch's `repr`."""
        name = self.mask.label if isinstance(self.mask, MaskSpec) else self.mask.name
        return f"{name}, {self.grid.label}"


def radial_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: TokenGrid,
    mask: str | Path | MaskSpec | HeadPlan = "radial",
    *,
    text_len: Tensor | None = None,
    backend: str | None = None,
    **params: float | bool,
) -> Tensor:
    """Attend under a mask, once; tables are kept for the next call with the same grid and mask.

    Arguments are those of `RadialAttention`, which is what to use inside `torch.compile`.

    Raises:
        SpecError: There is no such mask or parameter, or a token would attend nothing.
        BackendError: Shapes do not go together, or the kernel cannot run them, or this is inside
            `torch.compile`.
    """
    if torch.compiler.is_compiling():
        raise BackendError("inside torch.compile use a RadialAttention that was prepared outside")
    attention = _attention(grid, mask_of(mask, **params), backend)
    out: Tensor = attention(q, k, v, text_len=text_len)
    return out


def mask_of(mask: str | Path | MaskSpec | HeadPlan, **params: float | bool) -> MaskSpec | HeadPlan:
    """Read a mask or a head plan, whichever is given.

    Raises:
        SpecError: There is no such mask or parameter.
    """
    if isinstance(mask, MaskSpec):
        return mask.with_params(**params)
    if isinstance(mask, HeadPlan) or is_head_plan(mask):
        if params:
            raise SpecError(f"a head plan states its parameters itself, got {', '.join(params)}")
        return mask if isinstance(mask, HeadPlan) else load_head_plan(mask)
    return load_mask(mask).with_params(**params)


@lru_cache(maxsize=8)
def _attention(grid: TokenGrid, mask: MaskSpec | HeadPlan, backend: str | None) -> RadialAttention:
    return RadialAttention(grid, mask, backend=backend)
