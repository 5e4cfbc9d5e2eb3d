"""How attention decays with distance in given inputs, head by head."""

from collections.abc import Callable, Sequence
from itertools import compress

import numpy as np

from radialbench.errors import InputsError
from radialbench.fidelity.files import InputsHeader
from radialbench.fidelity.fit import averaged_fit, fit_axis
from radialbench.fidelity.kinds import HeadKind, head_kinds
from radialbench.fidelity.mass import (
    STEPS,
    Floats,
    HeadMass,
    mass_by_distance,
    pairs_kept,
    sample_rows,
)
from radialbench.fidelity.run import combined_identity
from radialbench.fidelity.settings import SAMPLED_ROWS, Source
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.records.decay import (
    AveragedFit,
    DecayReport,
    Grid,
    HeadDecay,
    KindMass,
    MaskReach,
)

KIND_ROWS = 64
"""Rows that tell a head's kind, as many as the authors of the rule take for Wan."""


def measure_decay(
    sources: Sequence[Source],
    masks: Sequence[MaskSpec] = (),
    *,
    rows: int = SAMPLED_ROWS,
    space: str = STEPS,
    sink_frames: int = 1,
    seed: int = 0,
    device: str = "cpu",
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> DecayReport:
    """Measure the decay of attention in time and space, and fit laws to it.

    Args:
        sources: Inputs of layers and steps, on one grid.
        masks: Masks whose reach is told beside the mass.
        rows: Query rows of each head to look at, spread over the video.
        space: Distance in space, `steps` or `places`; see `fidelity.mass`.
        sink_frames: First frames that the laws leave out.
        seed: Seed of the sample of rows.
        device: Where to compute.
        on_rows: Called with the rows done and their number, within each of the inputs.

    Raises:
        InputsError: The inputs cannot be read, have several grids, or do not fit what is asked.
        SpecError: A mask does not fit the grid.
    """
    grids = {source.header.grid: None for source in sources}
    if len(grids) != 1:
        labels = ", ".join(grid.label for grid in grids)
        raise InputsError(f"decay is measured on one grid, and the inputs have {labels or 'none'}")
    (grid,) = grids
    if grid.frames < 2 + sink_frames:
        raise InputsError(
            f"decay in time takes at least 2 frames beside {sink_frames} sink frames, and the grid "
            f"{grid.label} has {grid.frames}"
        )
    tables = [compile_mask(mask, grid) for mask in masks]
    heads: list[HeadDecay] = []
    masses: list[HeadMass] = []
    for source in sources:
        inputs = source.load(device)
        chosen = sample_rows(inputs, rows, seed)
        found = mass_by_distance(
            inputs, chosen, space=space, sink_frames=sink_frames, on_rows=on_rows
        )
        kinds = head_kinds(inputs, sample_rows(inputs, min(rows, KIND_ROWS), seed + 1))
        masses += found
        heads += [
            _head_decay(inputs.header, one, kind) for one, kind in zip(found, kinds, strict=True)
        ]
    names = sorted({one.kind for one in heads if one.kind})
    of_kinds = {name: [one.kind == name for one in heads] for name in names}
    return DecayReport(
        inputs=combined_identity(sources),
        grid=grid,
        rows=min(len(one.mass.time) for one in masses),
        distance=space,
        sink_frames=sink_frames,
        heads=tuple(heads),
        time=averaged_decay(masses, "time"),
        space=averaged_decay(masses, "space"),
        mass=_mean_mass(masses),
        kinds=tuple(
            KindMass(name, sum(own), _mean_mass([*compress(masses, own)]))
            for name, own in of_kinds.items()
        ),
        masks=tuple(
            MaskReach(mask.identity, _grid(pairs_kept(table, chosen, space, sink_frames)))
            for mask, table in zip(masks, tables, strict=True)
        ),
    )


def _mean_mass(masses: Sequence[HeadMass]) -> Grid:
    return _grid(np.mean([one.mass.joint / len(one.mass.time) for one in masses], axis=0))


def _grid(numbers: Floats) -> Grid:
    return tuple(tuple(row) for row in numbers.tolist())


def averaged_decay(masses: Sequence[HeadMass], axis: str) -> AveragedFit:
    """Fit an exponential to the average over heads and to each head, in `time` or in `space`."""
    mass, pairs = (
        np.stack([getattr(getattr(one, what), axis).sum(axis=0) for one in masses])
        for what in ("mass", "pairs")
    )
    return averaged_fit(mass, pairs)


def _head_decay(header: InputsHeader, found: HeadMass, kind: HeadKind) -> HeadDecay:
    return HeadDecay(
        head=header.heads[found.head],
        layer=header.layer,
        step=header.step,
        sequence=found.sequence,
        time=fit_axis(found.mass.time, found.pairs.time, found.noise.time),
        space=fit_axis(found.mass.space, found.pairs.space, found.noise.space),
        sink=min(1.0, found.sink),
        text=min(1.0, max(0.0, found.text)),
        kind=kind.kind,
        spatial_error=kind.spatial_error,
        temporal_error=kind.temporal_error,
        noise=found.deviation,
    )
