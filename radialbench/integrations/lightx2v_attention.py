"""The attention in LightX2V's registry: masks on the grid that the host hands to its layers."""

from importlib.util import find_spec
from typing import Any

import torch
from lightx2v.common.ops.attn.template import AttnWeightTemplate
from lightx2v.utils.registry_factory import ATTN_WEIGHT_REGISTER
from torch import Tensor

from radialbench.integrations.host_masks import HostMasks
from radialbench.integrations.host_schedule import schedule_of_environment
from radialbench.kernels.calls import untraced
from radialbench.kernels.tuned import warn_once
from radialbench.maskgen.grid import TokenGrid

HOST = "LightX2V"

DENSE = {"flash_attn3": "flash_attn_interface", "flash_attn2": "flash_attn"}
"""The host's dense attention and the package that each needs, the fastest first."""

ODD = ("attn_mask", "causal", "drop_rate", "scale", "softmax_scale")
"""Arguments that ask for other attention: the host's computes it."""


class RadialWeight(AttnWeightTemplate):  # type: ignore[misc]
    """One layer's attention; dense, by the host's own, where the host says no grid.

    Raises:
        IntegrationError: No mask is named, or it cannot be read.
    """

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.masks = HostMasks(schedule_of_environment(), HOST)
        names = [name for name, package in DENSE.items() if find_spec(package) is not None]
        self.dense = ATTN_WEIGHT_REGISTER[(*names, "torch_sdpa")[0]]()

    def apply(self, q: Tensor, k: Tensor, v: Tensor, **said: Any) -> Tensor:
        """Attend under the mask of the layer and step, or densely.

        Args:
            q: [tokens, heads, head_dim], or [batch, tokens, heads, head_dim].
            k: As q.
            v: As k.
            **said: What the host says: `grid_sizes`, `block_idx` and `scheduler` are used.

        Returns:
            [batch × tokens, heads × head_dim].
        """
        out: Tensor | None = untraced(self.masked)(q, k, v, said)
        return self.dense.apply(q=q, k=k, v=v, **said) if out is None else out

    def masked(self, q: Tensor, k: Tensor, v: Tensor, said: dict[str, Any]) -> Tensor | None:
        """Return attention under the mask; None where the call is dense."""
        size = said.get("grid_sizes")
        if any(said.get(name) not in (None, 0) for name in ODD):
            return None
        if size is None:
            if q.shape == k.shape:
                warn_once(f"{HOST} says no grid of some self-attention: there it stays dense")
            return None
        own = [x.unsqueeze(0) if x.ndim == 3 else x for x in (q, k, v)]
        frames, height, width = map(int, size)
        grid = TokenGrid(frames, height, width)
        # Sequence parallelism rounds the tokens up to its processes, with padding that is cut off.
        behind = own[0].shape[1] - grid.seq_len
        if own[0].shape[1] != own[1].shape[1] or not 0 <= behind < processes():
            warn_once(
                f"{HOST} says that a sequence is {grid.label}, {grid.seq_len:,} tokens, and hands "
                f"{own[0].shape[1]:,} queries and {own[1].shape[1]:,} keys: such calls stay dense"
            )
            return None
        step, noise = step_of(said.get("scheduler"))
        layer = said.get("block_idx")
        own = [x[:, : grid.seq_len].transpose(1, 2) for x in own]
        out = self.masks.attend(own[0], own[1], own[2], grid, layer=layer, step=step, noise=noise)
        if out is None:
            return None
        out = torch.nn.functional.pad(out.transpose(1, 2).flatten(2), (0, 0, 0, behind))
        return out.flatten(0, 1)


def processes() -> int:
    """Return how many processes compute together."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1


def step_of(scheduler: Any) -> tuple[int | None, float | None]:
    """Return a scheduler's step, from 0, and its share of noise; None if it does not say it."""
    step, sigmas = getattr(scheduler, "step_index", None), getattr(scheduler, "sigmas", None)
    if step is None or sigmas is None or not 0 <= step < len(sigmas):
        return step, None
    noise = float(sigmas[step])
    # Beyond 1 it is no share.
    return step, noise if 0 <= noise <= 1 else None
