"""RadialAttention: a mask as a PyTorch module on q, k and v, or masks by layer and step."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from radialbench.errors import BackendError, GridError, SpecError, unknown
from radialbench.integrations.prepared import (
    Prepared,
    Shape,
    choose,
    dense_attention,
    keys_below,
    prepare,
)
from radialbench.kernels.calls import autocasted
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.heads import AnyMask, HeadPlan
from radialbench.maskgen.language.schedule import MaskSchedule, mask_in
from radialbench.maskgen.library import as_spec, is_head_plan, load_head_plan, load_schedule
from radialbench.maskgen.order import TokenOrder
from radialbench.plain import plain
from radialbench.records.lookup import ConfigChoice

BACKENDS = ("hopper", "triton", "sdpa")

MAX_PREPARED = 8
"""Most shapes and lengths of text for which an attention keeps what it prepared."""


TIMESTEPS = 1000.0
"""Timesteps from no noise to nothing but noise, as schedulers of diffusers count them."""


class Denoising:
    """The denoising step that a model is in, by the timesteps of its calls.

    Calls with the same timestep, as guidance and solvers of higher order make them, are one step. A
    timestep with more noise than the last starts another video.

    Attributes:
        rising: Whether timesteps rise as noise falls.
        timesteps: Timesteps from no noise to nothing but noise.
        step: Number of the step, from 0.
        video: Number of the video, from 0; -1 before the first timestep.
        noise: Share of noise, from 0 to 1; 1 before the first timestep.
    """

    def __init__(self, *, rising: bool = False, timesteps: float = TIMESTEPS) -> None:
        self.rising = rising
        self.timesteps = timesteps
        self.step = 0
        self.video = -1
        self.noise = 1.0

    def at(self, timestep: float | Tensor) -> None:
        """Set the timestep of the next call of the model; of a batch, the one with most noise."""
        if isinstance(timestep, Tensor):
            timestep = float(timestep.min() if self.rising else timestep.max())
        noise = (self.timesteps - timestep if self.rising else timestep) / self.timesteps
        if self.video < 0 or noise > self.noise:
            self.step = 0
            self.video += 1
        elif noise < self.noise:
            self.step += 1
        self.noise = noise


class RadialAttention(nn.Module):
    """Attention under a mask, compiled once for each shape; it has no weights.

    On an NVIDIA GPU our kernels run it, elsewhere PyTorch's own attention with the whole mask,
    which takes seq_len² bytes; both have gradients. Inside `torch.compile` it runs what `prepare`,
    or the last call outside, prepared.

    Args:
        grid: Token layout; `TokenGrid.for_model` returns that of a model and a size.
        mask: A name in the library, the path of a mask or head plan, or a mask or head plan.
        dense_layers: First layers that are dense; each call names its layer.
        dense_steps: First denoising steps that are dense; `at` sets the step.
        dense_from_step: Step, from 0, from which on steps are dense again.
        schedule: Masks by layer and step, in place of `mask` and of the dense ones: a MaskSchedule,
            or the path of a file.
        rising_timesteps: Whether timesteps rise as noise falls, as Mochi's do.
        timesteps: Timesteps from no noise to nothing but noise; 1 for Cosmos.
        in_order: Whether q, k and v come in the mask's token order, and the output stays in it. A
            call then moves nothing. The model moves its tokens once, before its first layer, by
            `to_order`, with all that belongs to their places, such as rotary embeddings, and moves
            what leaves its last layer by `to_raster`.
        backend: `hopper`, `triton` or `sdpa`; the best one for the device if not given.
        **params: Parameters of the mask.

    Raises:
        SpecError: There is no such mask, parameter or schedule, a number of dense layers or steps
            is none, or with `in_order` heads have different token orders.
        GridError: The grid has a length of the text, which is an argument of each call, or only
            some of its frames are queries.
        BackendError: There is no such backend.
    """

    def __init__(
        self,
        grid: TokenGrid,
        mask: str | Path | AnyMask = "radial",
        *,
        dense_layers: int = 0,
        dense_steps: int = 0,
        dense_from_step: int | None = None,
        schedule: str | Path | MaskSchedule | None = None,
        rising_timesteps: bool = False,
        timesteps: float = TIMESTEPS,
        in_order: bool = False,
        backend: str | None = None,
        **params: float | bool,
    ) -> None:
        super().__init__()
        if not isinstance(grid, TokenGrid):
            raise GridError(f"the grid must be a TokenGrid, got {type(grid).__name__}")
        if grid.real_text != grid.text_tokens:
            raise GridError(
                f"the text's length belongs to the call, as text_len, got a grid of {grid.label}"
            )
        if grid.query_frames is not None or grid.segments:
            raise GridError(
                "RadialAttention takes a video, with text if wanted, and all tokens as queries, "
                f"got a grid of {grid.label}; compile the mask and call block_sparse_attention"
            )
        if backend not in (None, *BACKENDS):
            raise BackendError(unknown("backend", backend, BACKENDS))
        self.grid = grid
        self.schedule = schedule_of(
            mask,
            schedule,
            params,
            dense_layers=dense_layers,
            dense_steps=dense_steps,
            dense_from_step=dense_from_step,
        )
        if self.schedule.by_name:
            raise SpecError(
                f"{self.schedule.name} names layers, which a RadialAttention does not know: number "
                "them, or call MaskSchedule.numbered with the names"
            )
        self.denoising = Denoising(rising=rising_timesteps, timesteps=timesteps)
        self.backend = backend
        self.in_order = in_order
        # Stored, so that `torch.compile` compiles again when it changes and not at every step.
        self._active = self.schedule.active(0, 1.0)
        self._prepared: dict[tuple[Shape, int, int], Prepared] = {}
        self._current: dict[int, Prepared] = {}
        self._moves: dict[torch.device, tuple[Tensor, Tensor]] = {}
        if in_order and self.order is None:
            listed = ", ".join(map(str, self._orders()))
            raise SpecError(
                f"in_order needs one token order for all heads, and those of {self.schedule.name} "
                f"have {listed}: give q, k and v in raster order"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a file holds: all but what was prepared on a device."""
        return self.__dict__ | {"_prepared": {}, "_current": {}, "_moves": {}}

    @property
    def order(self) -> TokenOrder | None:
        """The token order that all heads share under all masks; None if theirs differ."""
        orders = self._orders()
        return orders[0] if len(orders) == 1 else None

    def _orders(self) -> tuple[TokenOrder, ...]:
        masks = self.schedule.masks
        return tuple(dict.fromkeys(one for mask in masks for one in orders_of(mask, self.grid)))

    @property
    def dense(self) -> bool:
        """Whether all layers are dense in this step."""
        return all(number is None for _, number in self._active)

    def is_dense(self, layer: int | None = None) -> bool:
        """Return whether a layer is dense in this step; without a layer, what holds for all."""
        return mask_in(self._active, layer) is None

    def to_order(self, x: Tensor, dim: int = 1) -> Tensor:
        """Bring tokens from raster order into the mask's order.

        Args:
            x: The video's tokens along `dim`, and text after them if there is any (before them, if
                the grid says so), which stays where it is.
            dim: The dimension.

        Returns:
            Like x: a copy, or x itself where the order is raster.

        Raises:
            BackendError: There are fewer tokens than the video has.
            SpecError: Heads have different orders.
        """
        return self._moved(x, dim, 0)

    def to_raster(self, x: Tensor, dim: int = 1) -> Tensor:
        """Bring tokens from the mask's order into raster order; the inverse of `to_order`."""
        return self._moved(x, dim, 1)

    def _moved(self, x: Tensor, dim: int, way: int) -> Tensor:
        video, text = self.grid.video_tokens, x.shape[dim] - self.grid.video_tokens
        if text < 0:
            raise BackendError(
                f"dimension {dim} must have the {video:,} tokens of the video, and text if there "
                f"is any, got {list(x.shape)}"
            )
        if x.device not in self._moves:
            self._moves[x.device] = self._indices(x.device)
        index = self._moves[x.device][way]
        if not len(index):
            return x
        if text:
            first = self.grid.text_first
            fixed = torch.arange(text, device=x.device) + (0 if first else video)
            index = torch.cat([fixed, index + text] if first else [index, fixed])
        return x.index_select(dim, index)

    def _indices(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the raster token at each place of the video, and the inverse; empty in raster."""
        if self.order is None:
            raise SpecError(f"the heads of {self.schedule.name} have different token orders")
        if self.order == TokenOrder():
            none = torch.empty(0, dtype=torch.int64, device=device)
            return none, none
        video = replace(self.grid, text_tokens=0, text_valid=None, text_first=False)
        there = torch.tensor(self.order.source_index(video), device=device)
        return there, there.argsort()

    def at(self, timestep: float | Tensor) -> None:
        """Set the timestep as `Denoising.at` does, and with it the masks of the layers.

        Call it before every call of the model, outside compiled code.
        """
        self.denoising.at(timestep)
        self._active = self.schedule.active(self.denoising.step, self.denoising.noise)

    def in_step(self, step: int, noise: float) -> None:
        """Set the step, from 0, and its share of noise, where the host knows them, as `at` does."""
        self._active = self.schedule.active(step, noise)

    def prepare(self, shape: Shape, *, text_tokens: int | None = None) -> ConfigChoice:
        """Prepare calls with tensors of a shape; kept for later calls, for the last few shapes.

        Args:
            shape: Shape, type and device of q.
            text_tokens: Text slots of the sequence; the grid's if not given.

        Returns:
            The configuration that runs, of the first mask if there are more, and whether it is
            tuned, transferred or the default.

        Raises:
            SpecError: A token would attend to nothing.
            BackendError: The kernel cannot run this, or the head plan has other heads.
            RecordError: What was tuned cannot be read.
        """
        grid = self.grid_with(text_tokens)
        found = [self._prepare(number, shape, grid) for number in range(len(self.schedule.masks))]
        return found[0].choice

    def _prepare(self, number: int, shape: Shape, grid: TokenGrid) -> Prepared:
        key = (shape, grid.text_tokens, number)
        # The last one used is the last of the dictionary.
        made = self._prepared.pop(key, None) or prepare(
            self.schedule.masks[number],
            grid,
            shape,
            self.backend,
            given=self.order if self.in_order else None,
        )
        self._prepared[key] = self._current[number] = made
        if len(self._prepared) > MAX_PREPARED * len(self.schedule.masks):
            del self._prepared[next(iter(self._prepared))]
        return made

    def check(self, shape: Shape, *, text_tokens: int | None = None) -> ConfigChoice:
        """Compile the masks, and check that calls of a shape can run; nothing is put on a device.

        Arguments, result and errors are those of `prepare`.
        """
        grid = self.grid_with(text_tokens)
        found = [choose(mask, grid, shape, self.backend) for mask in self.schedule.masks]
        return found[0][1]

    def grid_with(self, text_tokens: int | None) -> TokenGrid:
        """Return the grid with some text slots; with its own if not given."""
        if text_tokens in (None, self.grid.text_tokens):
            return self.grid
        return replace(self.grid, text_tokens=text_tokens, text_valid=None)

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
            q: [batch, heads, seq_len, head_dim] in raster order, or with `in_order` in the mask's;
                [video | text] unless the grid says that text comes first.
            k: As q, or with fewer heads that divide those of q.
            v: As k; finite, as nan and infinities may reach rows that do not attend to their key.
            layer: Number of the layer, from 0, where layers differ.
            text_tokens: Text slots of the sequence; the grid's if not given.
            text_len: [batch] integers on the device of q, real text tokens of each sequence; all if
                not given, and no more than its slots. The rest is padding that nothing attends to.

        Returns:
            out like q.

        Raises:
            BackendError: Shapes, types or devices do not match, text in front is cut, a text is
                longer than its slots (seen on a CPU), or inside `torch.compile` nothing was
                prepared.
        """
        for name, x in (("q", q), ("k", k), ("v", v)):
            if not isinstance(x, Tensor) or not x.is_floating_point():
                kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
                raise BackendError(f"{name} must be a tensor of floating-point numbers, got {kind}")
        text = self.grid.text_tokens if text_tokens is None else plain(text_tokens)
        seq_len = self.grid.video_tokens + text
        if q.dim() != 4 or q.shape[2] != seq_len:
            raise BackendError(
                f"q must be [batch, heads, {seq_len}, head_dim] on a grid of {self.grid.label} "
                f"with {text} text tokens, got {list(q.shape)}"
            )
        q, k, v = autocasted(q, k, v)
        _check_alike(q, k, v)
        key_len = None
        if text_len is not None:
            if self.grid.text_first:
                raise BackendError("text_len cuts the end, and here text comes first")
            _check_lengths(text_len, q, text)
            key_len = (self.grid.video_tokens + text_len.clamp(0, text)).to(torch.int32)
        number = mask_in(self._active, plain(layer))
        if not q.shape[0] or number is None:
            allowed = None if key_len is None else keys_below(key_len, seq_len)
            return dense_attention(q, k, v, allowed)
        if not torch.compiler.is_compiling():
            batch, heads, _, head_dim = q.shape
            shape = Shape(batch, heads, head_dim, q.dtype, q.device, k.shape[1])
            self._prepare(number, shape, self.grid_with(text))
        current = self._current.get(number)
        if current is None or current.seq_len != seq_len:
            raise BackendError(
                f"inside torch.compile nothing is prepared for {seq_len:,} tokens: call prepare, "
                "or the module, outside first"
            )
        return current.attend(q, k, v, key_len)

    def extra_repr(self) -> str:
        """Return the masks and the grid, for PyTorch's `repr`."""
        return f"{self.schedule.name}, {self.grid.label}"


def _check_alike(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Refuse k and v that do not fit q.

    Raises:
        BackendError: A shape, type or device differs.
    """
    batch, heads, seq_len, head_dim = q.shape
    kv_heads = k.shape[1] if k.dim() == 4 else 0
    if kv_heads == 0 or heads % kv_heads:
        raise BackendError(
            f"k must be [batch, kv_heads, {seq_len}, head_dim] with kv_heads that divide the "
            f"{heads} heads of q, got {list(k.shape)}"
        )
    shape = (batch, kv_heads, seq_len, head_dim)
    for name, x in (("k", k), ("v", v)):
        if (tuple(x.shape), x.dtype, x.device) != (shape, q.dtype, q.device):
            raise BackendError(
                f"{name} must be {q.dtype} {list(shape)} on {q.device}, as q; got {x.dtype} "
                f"{list(x.shape)} on {x.device}"
            )


def _check_lengths(text_len: Tensor, q: Tensor, slots: int) -> None:
    """Refuse lengths of text that are not one integer for each sequence of q.

    Lengths on a GPU are not read, for which the host would wait: longer ones count as all slots.

    Raises:
        BackendError: The shape, the type or the device is another, or on a CPU a text is longer
            than its slots.
    """
    if not isinstance(text_len, Tensor):
        raise BackendError(f"text_len must be a tensor, got {type(text_len).__name__}")
    whole = text_len.dtype in (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)
    if not whole or tuple(text_len.shape) != (len(q),) or text_len.device != q.device:
        raise BackendError(
            f"text_len must be [{len(q)}] integers on {q.device}, one for each sequence; got "
            f"{text_len.dtype} {list(text_len.shape)} on {text_len.device}"
        )
    on_host = text_len.device.type == "cpu" and not torch.compiler.is_compiling()
    if on_host and len(text_len) and (longest := int(text_len.max())) > slots:
        raise BackendError(
            f"a text of {longest} tokens is longer than the {slots} slots that the sequence has "
            "for it: give text_tokens, or cut the text"
        )


def radial_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: TokenGrid,
    mask: str | Path | AnyMask = "radial",
    *,
    text_len: Tensor | None = None,
    backend: str | None = None,
    **params: float | bool,
) -> Tensor:
    """Attend under a mask; tables are kept for later calls with the same grid and mask.

    Arguments are those of `RadialAttention`, which is what to use inside `torch.compile`.

    Raises:
        SpecError: There is no such mask or parameter, or a token would attend to nothing.
        BackendError: Shapes do not match, the kernel cannot run them, or this is inside
            `torch.compile`.
    """
    if torch.compiler.is_compiling():
        raise BackendError("inside torch.compile use a RadialAttention that was prepared outside")
    out: Tensor = _attention(grid, mask_of(mask, **params), backend)(q, k, v, text_len=text_len)
    return out


def schedule_of(
    mask: str | Path | AnyMask,
    schedule: str | Path | MaskSchedule | None,
    params: dict[str, float | bool],
    **dense: Any,
) -> MaskSchedule:
    """Return what a schedule says, or a mask with what is dense.

    Raises:
        SpecError: There is no such mask, parameter or schedule, or both are given.
    """
    if schedule is None:
        return MaskSchedule.of(mask_of(mask, **params), **dense)
    given = [name for name, value in (dense | params).items() if value]
    given += [] if mask == "radial" else ["mask"]
    if given:
        raise SpecError(f"a schedule says itself what is dense and what is not; got {given[0]} too")
    if isinstance(schedule, MaskSchedule):
        return schedule
    return load_schedule(schedule)


def mask_of(mask: str | Path | AnyMask, **params: float | bool) -> AnyMask:
    """Load a mask or a head plan.

    Raises:
        SpecError: There is no such mask or parameter.
    """
    if isinstance(mask, (str, Path)) and is_head_plan(mask):
        mask = load_head_plan(mask)
    if not isinstance(mask, HeadPlan):
        return as_spec(mask).with_params(**params)
    if params:
        raise SpecError(f"a head plan states its parameters itself, got {', '.join(params)}")
    return mask


def orders_of(mask: AnyMask, grid: TokenGrid) -> tuple[TokenOrder, ...]:
    """Return the different token orders of the heads of a mask or head plan."""
    masks = [group.mask for group in mask.groups] if isinstance(mask, HeadPlan) else [mask]
    return tuple(dict.fromkeys(one.order_on(grid) for one in masks))


@lru_cache(maxsize=8)
def _attention(grid: TokenGrid, mask: AnyMask, backend: str | None) -> RadialAttention:
    return RadialAttention(grid, mask, backend=backend)
