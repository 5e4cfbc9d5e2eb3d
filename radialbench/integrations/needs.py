"""Needs: the memory and work of timing a pipeline, from a call without weights or numbers."""

import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from radialbench.errors import IntegrationError
from radialbench.integrations.attending import Attends
from radialbench.integrations.capture_size import amount
from radialbench.integrations.pipeline_plan import Plan, State, timed_inputs
from radialbench.machine import free_memory
from radialbench.maskgen.head_tables import HeadTables

RATED_SIZES = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices whose product shows how fast a device is."""

QK = ((0, "query"), (1, "key"))

CALLS_BESIDE_SAMPLES = 3
"""Calls of each kind before its samples: compared, for memory, and a warm-up."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What it takes to time a pipeline.

    Attributes:
        weights_bytes: The weights.
        call_bytes: Most bytes of a call beside them; None if its class asks for numbers, so that it
            cannot run without them. Operations are then those of weights that see every token.
        mask_bytes: The token masks that results are compared with.
        flops: Operations of a call, by what its layers have, dense first.
        steps: Steps of a video for each of them.
        calls: Calls of a step.
    """

    weights_bytes: int
    call_bytes: int | None
    mask_bytes: int
    flops: dict[State, float]
    steps: dict[State, int]
    calls: int

    @property
    def nbytes(self) -> int:
        """All of it at once."""
        return self.weights_bytes + (self.call_bytes or 0) + self.mask_bytes

    def video_flops(self, *, masked: bool) -> float:
        """Return the operations of all calls of a video."""
        if masked:
            return self.calls * sum(
                self.flops[state] * count for state, count in self.steps.items()
            )
        dense = next(flops for state, flops in self.flops.items() if set(state) == {None})
        return dense * self.calls * sum(self.steps.values())

    def measuring_flops(self, samples: int) -> float:
        """Return the operations of comparing and sampling every kind of call once a kernel."""
        compared = 2 * sum(self.flops.values())
        return compared + (CALLS_BESIDE_SAMPLES + samples) * sum(self.flops.values())

    def check_memory(self, device: str) -> None:
        """Refuse what does not fit into the free memory.

        Raises:
            IntegrationError: It does not.
        """
        free = free_bytes(device)
        if free is not None and self.nbytes > free:
            raise IntegrationError(
                f"this takes {amount(self.nbytes)} on the {device} device ({self.label}), and "
                f"{amount(free)} are free: take a smaller --size, or --tiny for a small model"
            )

    @property
    def label(self) -> str:
        """The parts of the memory."""
        call = "not known" if self.call_bytes is None else amount(self.call_bytes)
        return (
            f"weights {amount(self.weights_bytes)}, a call {call} beside them, "
            f"token masks to compare with {amount(self.mask_bytes)}"
        )


def needs_of(plan: Plan) -> Needs:
    """Count what a plan takes; its transformer has no weights (device `meta`).

    Memory is that of the tensors that live at once in a call, run without numbers; operations are
    PyTorch's own count, and those of the pairs that attend.
    """
    live = _Live(plan.stock)
    counter = FlopCounterMode(display=False)
    nothing = Attends(lambda layer: lambda q, k, v, given: torch.empty_like(q))
    peak: int | None = None
    work = 2 * plan.grid.seq_len * sum(one.numel() for one in plan.stock.parameters())
    others = _Fused()
    with suppress(NotImplementedError, RuntimeError):
        with (
            torch.no_grad(),
            others,
            nothing.within(plan.stock, range(plan.layers)),
            counter,
            live,
        ):
            plan.stock(**timed_inputs(plan, 0), return_dict=False)
        peak, work = live.peak, counter.get_total_flops() + others.flops
    config, tokens = plan.shape, plan.grid.seq_len
    dense = 4 * plan.layers * config.heads * config.head_dim * tokens**2
    flops = {
        state: work + plan.density(state) * dense
        for state in sorted(plan.states, key=lambda state: set(state) != {None})
    }
    masks = sum(len(one.tables) if isinstance(one, HeadTables) else 1 for one in plan.tables)
    return Needs(live.weights, peak, masks * tokens**2, flops, plan.states, plan.calls)


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Return the operations per second of a product of two matrices here: the best of three."""
    size = RATED_SIZES[device]
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


def free_bytes(device: str) -> int | None:
    """Return the free memory of a device; None if the system does not say."""
    return int(torch.cuda.mem_get_info()[0]) if device == "cuda" else free_memory()


class _Fused(TorchFunctionMode):
    """Has PyTorch's attention make an output and no scores, as its kernels do on a device.

    Attributes:
        flops: Operations of all calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, k = (args[place] if len(args) > place else kwargs[name] for place, name in QK)
        self.flops += 4 * q.numel() * k.shape[2]
        return torch.empty_like(q)


class _Live(TorchDispatchMode):
    """Follows the bytes of the storages that operators make, while they live.

    Attributes:
        weights: Bytes of the weights and buffers, which are there before.
        peak: Most bytes of others at once.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: dict[int, int] = {}
        for tensor in (*module.parameters(), *module.buffers()):
            storage = tensor.untyped_storage()
            self._known[storage._cdata] = storage.nbytes()
        self.weights = sum(self._known.values())
        self.peak = self._now = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known[key] = size
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self._now -= self._known.pop(key, 0)
