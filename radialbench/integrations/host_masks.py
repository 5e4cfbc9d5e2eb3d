"""HostMasks: masks for a host that says grid, layer and step with each call of attention."""

from torch import Tensor

from radialbench.integrations.module import RadialAttention
from radialbench.kernels.tuned import warn_once
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.schedule import MaskSchedule

MAX_GRIDS = 8
"""Most sizes of video for which a host's masks are kept prepared."""


class HostMasks:
    """Attention under the masks of a schedule, compiled once for each grid.

    What a rule asks for and the host does not say (layer, step or share of noise) leaves a call
    dense, and a warning says so once.

    Args:
        schedule: Masks by layer, numbered from 0, and step.
        host: Name of the host, for the warning.
    """

    def __init__(self, schedule: MaskSchedule, host: str) -> None:
        self.schedule = schedule
        self.host = host
        self._grids: dict[TokenGrid, RadialAttention] = {}

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        grid: TokenGrid,
        *,
        layer: int | None,
        step: int | None,
        noise: float | None,
    ) -> Tensor | None:
        """Attend under the mask of a layer and step.

        Args:
            q: [batch, heads, seq_len, head_dim] in raster order.
            k: As q, or with fewer heads.
            v: As k.
            grid: Its tokens.
            layer: Number of the layer, from 0; None if the host does not say it.
            step: Denoising step, from 0; None likewise.
            noise: Share of noise, from 0 to 1; None likewise.

        Returns:
            out like q; None where the call is dense.

        Raises:
            RadialBenchError: As `RadialAttention`.
        """
        said = {"layer": layer, "step": step, "noise": noise}
        if unsaid := [name for name in self.schedule.needs if said[name] is None]:
            warn_once(
                f"{self.host} does not say the {' and the '.join(unsaid)} of attention, which "
                f"{self.schedule.name} asks for: where that is so, attention is dense"
            )
            return None
        attention = self._attention(grid)
        attention.in_step(step or 0, 1.0 if noise is None else min(max(noise, 0.0), 1.0))
        if attention.is_dense(layer):
            return None
        out: Tensor = attention(q, k, v, layer=layer)
        return out

    def _attention(self, grid: TokenGrid) -> RadialAttention:
        if grid not in self._grids:
            if len(self._grids) >= MAX_GRIDS:
                self._grids.clear()
            self._grids[grid] = RadialAttention(grid, schedule=self.schedule)
        return self._grids[grid]
