"""Radial masks for the heads of a model: the least cost that keeps a wanted mass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import yaml

from radialbench.errors import InputsError
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.mass import Floats, Int64, chunks, raster_mask, row_weights, sample_rows
from radialbench.fidelity.settings import SAMPLED_ROWS, Source
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.heads import HeadGroup, HeadPlan
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.table import BlockTable
from radialbench.records.decay import HeadChoice
from radialbench.records.problem import KernelConfig

DECAYS = tuple(float(f"{2 ** (n / 2):.3g}") for n in range(-8, 9))
"""Values of `decay` that are tried: they scale the widths between frames."""

SINKS = (0, 1, 2)
"""Values of `sink_frames` that are tried."""


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

    def to_yaml(self) -> str:
        """Write the plan as a YAML document, with masks by name."""
        heads = {}
        for group in self.plan.groups:
            mask = group.mask.identity
            params = {name: mask.params[name] for name in mask.shown}
            heads[group.label] = {"name": mask.name} | ({"params": params} if params else {})
        document = {"name": self.plan.name, "about": self.plan.about, "heads": heads}
        return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=100)


def propose(
    sources: Sequence[Source],
    wanted: float,
    *,
    config: KernelConfig | None = None,
    rows: int = SAMPLED_ROWS,
    seed: int = 0,
    device: str = "cpu",
    on_rows: Callable[[int, int], None] = lambda done, total: None,
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
        on_rows: Called with the rows done and their number, within each of the inputs.

    Raises:
        InputsError: The inputs cannot be read, have several grids, or the share is none.
    """
    if not 0 < wanted <= 1:
        raise InputsError(f"a mask keeps a share above 0 and at most 1, got {wanted}")
    grids = {source.header.grid for source in sources}
    if len(grids) != 1:
        raise InputsError(f"masks are proposed for one grid, and the inputs have {len(grids)}")
    candidates = _candidates(next(iter(grids)), config or KernelConfig())
    kept: dict[int, list[Floats]] = {}
    for source in sources:
        inputs = source.load(device)
        chosen = sample_rows(inputs, rows, seed)
        mass = kept_mass(inputs, [table for _, table in candidates], chosen, on_rows=on_rows)
        halves = np.stack([mass[..., 0::2].mean(axis=-1), mass[..., 1::2].mean(axis=-1)], axis=-1)
        for number, head in enumerate(source.header.heads):
            kept.setdefault(head, []).extend(halves[:, number])
    heads, masks = [], {}
    for head, of_head in sorted(kept.items()):
        chosen_by, told = np.mean(of_head, axis=0).T
        enough = [*np.flatnonzero(chosen_by >= wanted), len(candidates) - 1]
        mask, table = candidates[enough[0]]
        heads.append(HeadChoice(head, mask.identity, float(told[enough[0]]), table.block_density))
        masks[head] = mask
    return Proposal(wanted, tuple(heads), _plan(masks, wanted))


def kept_mass(
    inputs: AttentionInputs,
    tables: Sequence[BlockTable],
    rows: Int64,
    *,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> Floats:
    """Return the share of the mass that masks keep of rows, [sequences, heads, masks, rows].

    Weights are computed once for all masks.

    Args:
        inputs: q, k and v of a layer.
        tables: The table of each mask.
        rows: Ascending raster queries in the video.
        on_rows: Called with the rows done, over heads and sequences, and their number.
    """
    sequences, heads = inputs.q.shape[:2]
    kept = np.empty((sequences, heads, len(tables), len(rows)))
    done = 0
    for part in chunks(inputs, rows):
        masks = torch.stack([raster_mask(table, rows[part]) for table in tables], dim=1)
        masks = masks.to(inputs.q.device)
        for sequence in range(sequences):
            weights = torch.stack(
                [row_weights(inputs, sequence, head, rows[part]).float() for head in range(heads)]
            )
            for row, mask in enumerate(masks):
                sums = weights[:, row] @ mask.float().T
                kept[sequence, :, :, part.start + row] = sums.double().cpu().numpy()
            done += heads * len(masks)
            on_rows(done, sequences * heads * len(rows))
    return kept


def _candidates(grid: TokenGrid, config: KernelConfig) -> list[tuple[MaskSpec, BlockTable]]:
    """Return masks with their tables, those that execute fewer blocks first; `dense` is last."""
    specs = [load_mask("radial", decay=d, sink_frames=s) for d in DECAYS for s in SINKS]
    made = [(one, compile_mask(one, grid, config.block_m, config.block_n)) for one in specs]
    made.sort(key=lambda one: one[1].block_density)
    dense = load_mask("dense")
    return [*made, (dense, compile_mask(dense, grid, config.block_m, config.block_n))]


def _plan(masks: Mapping[int, MaskSpec], wanted: float) -> HeadPlan:
    """Return a plan of masks by head, with one group for heads of equal masks."""
    groups: dict[MaskSpec, list[int]] = {}
    for head in range(max(masks) + 1):
        groups.setdefault(masks.get(head, load_mask("dense")), []).append(head)
    return HeadPlan(
        "proposed",
        tuple(HeadGroup(tuple(numbers), mask) for mask, numbers in groups.items()),
        about=f"Radial masks that keep at least {wanted:.1%} of each head's attention mass.",
    )
