"""Radial masks for the heads of a model: the least cost that keeps a wanted mass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from radialbench.errors import InputsError
from radialbench.fidelity.sampled import SampledRows
from radialbench.fidelity.settings import SAMPLED_ROWS, Source
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.heads import HeadPlan
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import load_mask, plan_of_heads
from radialbench.maskgen.table import BlockTable
from radialbench.records.decay import HeadChoice
from radialbench.records.problem import KernelConfig

DECAYS = tuple(float(f"{2 ** (n / 2):.3g}") for n in range(-8, 9))
"""Values of `decay` that are tried: they scale the widths between frames."""

SINKS = (0, 1, 2)
"""Values of `sink_frames` that are tried."""

BATCH = 8
"""Masks of a pass over the rows."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A mask for each head.

    Attributes:
        wanted: Share of the attention mass that is to be kept.
        heads: The choice for each head of the inputs.
        plan: All of them as a head plan; heads that the inputs lack are dense.
    """

    wanted: float
    heads: tuple[HeadChoice, ...]
    plan: HeadPlan


def propose(
    sources: Sequence[Source],
    wanted: float,
    *,
    config: KernelConfig | None = None,
    rows: int = SAMPLED_ROWS,
    seed: int = 0,
    device: str = "cpu",
    on_share: Callable[[float], None] = lambda share: None,
) -> Proposal:
    """Choose `decay` and `sink_frames` of the mask `radial` for each head.

    Candidates are compared by the blocks they execute. A candidate keeps enough if the mean over
    inputs, sequences and half of the rows does; the other half tells what it keeps.

    Args:
        sources: Inputs of layers and steps, on one grid.
        wanted: Share of the attention mass to keep.
        config: Blocks of the tables.
        rows: Query rows of each head to look at.
        seed: Seed of the sample of rows.
        device: Where to compute.
        on_share: Called with the share of the work that is done.

    Raises:
        InputsError: The inputs cannot be read, have several grids, or the share is none.
    """
    if not 0 < wanted <= 1:
        raise InputsError(f"a mask keeps a share above 0 and at most 1, got {wanted}")
    sampled = SampledRows(sources, rows, seed=seed, device=device)
    candidates = _candidates(sampled.grid, config or KernelConfig())
    losses = []
    for start in range(0, len(candidates), BATCH):
        batch = candidates[start : start + BATCH]
        losses.append(sampled.losses([table for _, table in batch]))
        on_share(min(1.0, (start + BATCH) / len(candidates)))
    kept = 1 - np.concatenate(losses, axis=2)
    numbers = np.array([place.head for place in sampled.places])
    heads, masks = [], {}
    for head in sorted(set(numbers.tolist())):
        chosen_by, told = kept[:, numbers == head].mean(axis=1)
        enough = [*np.flatnonzero(chosen_by >= wanted), len(candidates) - 1]
        mask, table = candidates[enough[0]]
        heads.append(HeadChoice(head, mask.identity, float(told[enough[0]]), table.block_density))
        masks[head] = mask
    about = f"Radial masks that keep at least {wanted:.1%} of each head's attention mass."
    return Proposal(wanted, tuple(heads), plan_of_heads("proposed", masks, about))


def _candidates(grid: TokenGrid, config: KernelConfig) -> list[tuple[MaskSpec, BlockTable]]:
    """Return masks with their tables, those that execute fewer blocks first; `dense` is last."""
    specs = [load_mask("radial", decay=d, sink_frames=s) for d in DECAYS for s in SINKS]
    made = [(one, compile_mask(one, grid, config.block_m, config.block_n)) for one in specs]
    made.sort(key=lambda one: one[1].block_density)
    dense = load_mask("dense")
    return [*made, (dense, compile_mask(dense, grid, config.block_m, config.block_n))]
