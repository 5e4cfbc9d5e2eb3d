"""Attention of a stock transformer by other functions: timed, by dense kernels, or masked."""

import copy
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from radialbench.errors import BackendError
from radialbench.integrations.models import kind_of
from radialbench.integrations.prepared import Shape
from radialbench.kernels.backends import Run, load_backend
from radialbench.kernels.backends.reference import masked_chunks
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable, tables_by_head
from radialbench.maskgen.library import load_mask
from radialbench.records.problem import KernelConfig

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Maps q, k, v, [batch, heads, seq_len, head_dim], and the model's own mask to the output."""

ARGUMENTS = ("query", "key", "value", "attn_mask")
"""Of PyTorch's function, those that are tensors."""

SCORES_BYTES = 2**28
"""Most bytes of the scores that masked attention computes at once."""


class HostEvent:
    """The host's clock, with the methods of a CUDA event."""

    def record(self) -> None:
        """Take the time."""
        self.at_ns = time.perf_counter_ns()

    def elapsed_time(self, other: "HostEvent") -> float:
        """Return the milliseconds from this event to another."""
        return (other.at_ns - self.at_ns) / 1e6


def event_of(device: str) -> Callable[[], Any]:
    """Return what makes timed events on a device."""
    return (lambda: torch.cuda.Event(enable_timing=True)) if device == "cuda" else HostEvent


class Watch:
    """Times attention within calls of a model; `calls_ms` has one value per call."""

    def __init__(self, event: Callable[[], Any] = HostEvent) -> None:
        self.calls_ms: list[float] = []
        self._event = event
        self._marks: list[tuple[Any, Any]] = []

    def begin(self) -> None:
        """Record the start of attention."""
        self._marks.append((self._event(), self._event()))
        self._marks[-1][0].record()

    def done(self) -> None:
        """Record the end of attention."""
        self._marks[-1][1].record()

    def end(self) -> None:
        """Add up a call of the model, once the device has finished it."""
        self.calls_ms.append(sum(start.elapsed_time(stop) for start, stop in self._marks))
        self._marks.clear()

    def follow(self, attention: nn.Module) -> None:
        """Time every call of a module."""
        attention.register_forward_pre_hook(lambda *_: self.begin())
        attention.register_forward_hook(lambda *_: self.done())


@dataclass(eq=False)
class Attends:
    """Computes the self-attention of a stock transformer with a function, and times it.

    It takes the place of PyTorch's `scaled_dot_product_attention` in the layers that a mask could
    have, in whatever processor calls it; all other attention stays as it is.

    Attributes:
        by_layer: Maps the number of a layer to its function; PyTorch's own if None.
        watch: Times it.
        seen: Calls of the function.
    """

    by_layer: Callable[[int], Attend | None] = lambda layer: None
    watch: Watch = field(default_factory=Watch)
    seen: int = 0
    _layer: int | None = None

    @classmethod
    def all_by(cls, attend: Attend | None, watch: Watch) -> "Attends":
        """Return one that has the same function for all layers."""
        return cls(lambda layer: attend, watch)

    @contextmanager
    def within(self, transformer: nn.Module, layers: Collection[int]) -> Iterator[None]:
        """Have some layers of a transformer call it, while the context is open."""
        hooks = []
        try:
            for number, (_, layer) in enumerate(kind_of(transformer).attentions(transformer)):
                if number in layers:
                    enter = partial(self._at, number)
                    hooks.append(layer.register_forward_pre_hook(enter))
                    leave = partial(self._at, None)
                    hooks.append(layer.register_forward_hook(leave, always_call=True))
            with _Calls(self):
                yield
        finally:
            self._layer = None
            for hook in hooks:
                hook.remove()

    def _at(self, layer: int | None, *_: Any) -> None:
        self._layer = layer

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Attend with the arguments of PyTorch's function."""
        if self._layer is None:
            return scaled_dot_product_attention(*args, **kwargs)
        self.seen += 1
        attend = self.by_layer(self._layer)
        self.watch.begin()
        if attend is None:
            out = scaled_dot_product_attention(*args, **kwargs)
        else:
            named = dict(zip(ARGUMENTS, args, strict=False)) | kwargs
            q, k, v = (named[name] for name in ARGUMENTS[:3])
            out = attend(q, k, v, named.get(ARGUMENTS[3]))
        self.watch.done()
        return out


class _Calls(TorchFunctionMode):
    """Directs calls of PyTorch's attention to an `Attends`."""

    def __init__(self, to: Attends) -> None:
        super().__init__()
        self._to = to

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention:
            return self._to.call(args, kwargs or {})
        return func(*args, **(kwargs or {}))


def kernel_attend(run: Run) -> Attend:
    """Return a dense kernel as a function of a model's attention.

    The model's mask is dropped: it marks the padding of the text, and inputs here have none.
    """
    return lambda q, k, v, given: run(q, k, v)[0]


def dense_kernel(name: str, grid: TokenGrid, shape: Shape) -> Run:
    """Plan a dense kernel for a model's attention.

    Raises:
        BackendError: It is not there, or cannot run this.
    """
    spec = load_mask("dense")
    problem, backend = shape.problem(spec, grid), load_backend(name)
    if reasons := backend.unsupported_reasons(problem, shape.device.type):
        raise BackendError(f"{name} cannot run this: {'; '.join(reasons)}")
    return backend.plan(problem, compile_mask(spec, grid), KernelConfig())


class MaskedAttention:
    """PyTorch's attention under token masks, as the definition that a result is compared with.

    Args:
        table: Blocks of the mask, or of each head's; None for dense attention.
        heads: Heads of q.
        device: Where it runs; it takes seq_len² bytes there for each different mask.
    """

    def __init__(self, table: AnyTable | None, heads: int, device: torch.device) -> None:
        self._groups: list[tuple[list[int], Tensor | None]] = [(list(range(heads)), None)]
        if table is not None:
            by_table: dict[int, list[int]] = {}
            tables = tables_by_head(table, heads)
            for head, one in enumerate(tables):
                by_table.setdefault(id(one), []).append(head)
            self._groups = [
                (group, raster_mask(tables[group[0]], device)) for group in by_table.values()
            ]

    def rounded(self, *, exact: bool) -> Attend:
        """Return the attention in q's type, or `exact`: 16 bits in float32, that in float64."""
        return partial(self._attend, exact)

    def _attend(self, exact: bool, q: Tensor, k: Tensor, v: Tensor, given: Tensor | None) -> Tensor:
        dtype = q.dtype
        if exact:
            wide = torch.float64 if dtype == torch.float32 else torch.float32
            q, k, v = (x.to(wide) for x in (q, k, v))
        if k.shape[1] != q.shape[1]:
            k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
        out = torch.empty_like(q)
        for heads, mask in self._groups:
            own = [x if len(heads) == q.shape[1] else x[:, heads] for x in (q, k, v)]
            out[:, heads] = _by_rows(own[0], own[1], own[2], mask, given)
        return out.to(dtype)


def _by_rows(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, given: Tensor | None) -> Tensor:
    """Attend by chunks of query rows, under a mask and what the model masks."""
    batch, heads, rows, _ = q.shape
    step = max(1, SCORES_BYTES // (batch * heads * k.shape[2] * q.itemsize))
    if given is not None and given.dtype != torch.bool:
        given = given >= 0  # Added to the scores: 0, or -inf for padding.
    outs = []
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        # A model may leave the padding behind its text out.
        allowed = None if mask is None else mask[start:stop, : k.shape[2]]
        if given is not None:
            own = given[..., start:stop, :] if given.shape[-2] > 1 else given
            allowed = own if allowed is None else allowed & own
        outs.append(scaled_dot_product_attention(q[:, :, start:stop], k, v, attn_mask=allowed))
    return torch.cat(outs, dim=2)


def raster_mask(table: Any, device: torch.device) -> Tensor:
    """Return [seq_len, seq_len] the token mask of a table, with tokens in raster order."""
    place = torch.tensor(table.order.source_index(table.grid)).argsort()
    mask = torch.empty(len(place), len(place), dtype=torch.bool, device=device)
    start, columns = 0, place.to(device)
    for rows, masked in masked_chunks(table, np.asarray(place), device=device):
        mask[start : start + len(rows)] = ~masked[:, columns]
        start += len(rows)
    return mask


def twin(transformer: Any) -> Any:
    """Copy a transformer's modules, and share its weights."""
    shared: dict[int, Any] = {id(one): one for one in transformer.parameters()}
    shared |= {id(one): one for one in transformer.buffers()}
    return copy.deepcopy(transformer, shared)
