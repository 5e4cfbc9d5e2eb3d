"""What many masks keep of sampled rows is what each keeps by the definition."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from radialbench.errors import InputsError
from radialbench.fidelity import mass as module
from radialbench.fidelity import sampled
from radialbench.fidelity.files import InputsHeader
from radialbench.fidelity.generator import SPATIAL, TEMPORAL, Generated
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.measure import RowFidelity, measure
from radialbench.fidelity.sampled import HeadPlace, SampledRows
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask
from radialbench.records.fidelity import InputsIdentity

GRID = TokenGrid(4, 6, 7)
MASKS = ("radial", "sta", "svg_temporal", "neighborhood")
TABLES = [compile_mask(load_mask(name), GRID, 32, 32) for name in MASKS]


class Noise:
    """Inputs of two sequences, with key heads that query heads share."""

    def __init__(self, layer: int) -> None:
        self.layer = layer
        self.header = InputsHeader(GRID, "noise", "generated", (3, 0, 5, 9), layer, 2)
        self.identity = InputsIdentity("noise", "generated", str(layer))
        self.shape = (2, 4, GRID.seq_len, 16)

    def load(self, device: str = "cpu") -> AttentionInputs:
        generator = torch.Generator().manual_seed(self.layer)
        q = 2 * torch.randn(2, 4, GRID.seq_len, 16, generator=generator)
        k, v = torch.randn(2, 2, 2, GRID.seq_len, 16, generator=generator)
        return AttentionInputs(q, k, v, self.header)


def halves(rows: RowFidelity, order: np.ndarray) -> list[RowFidelity]:
    """Every other raster row, from the first and from the second."""
    raster = np.empty(len(order), np.int64)
    raster[order] = np.arange(len(order))
    names = RowFidelity.__dataclass_fields__
    return [
        RowFidelity(*(getattr(rows, name)[torch.from_numpy(raster[half::2])] for name in names))
        for half in range(2)
    ]


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("loss", ["mass", "error"])
def test_losses_are_those_of_the_definition(
    loss: str, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled, "HELD_SHARE", 0.5 if held else 0.0)
    monkeypatch.setattr(module, "CHUNK_BYTES", 25 * 8 * GRID.seq_len)
    sources = [Noise(1), Noise(4)]
    rows = SampledRows(sources, 10_000)
    assert rows.holds == held
    found = rows.losses(TABLES, loss)
    assert rows.places[:4] == tuple(HeadPlace(1, 2, 0, head) for head in (3, 0, 5, 9))
    assert rows.places[12:] == tuple(HeadPlace(4, 2, 1, head) for head in (3, 0, 5, 9))
    for number, source in enumerate(sources):
        measured = measure(source.load(), TABLES, rows=None)
        for mask, (table, of_heads) in enumerate(zip(TABLES, measured, strict=True)):
            for place, one in enumerate(of_heads):
                of_halves = halves(one["mask"], table.order.source_index(GRID))
                kept = [half.kept for half in of_halves]
                wanted = [1 - half.mass if loss == "mass" else half.error for half in kept]
                assert found[:, 8 * number + place, mask] == pytest.approx(wanted, abs=2e-5)


def test_rows_are_a_sample_and_the_same_for_all_masks() -> None:
    made = Generated(GRID, (SPATIAL, TEMPORAL), 64)
    together = SampledRows([made], 40, seed=3).losses(TABLES)
    alone = [SampledRows([made], 40, seed=3).losses([table]) for table in TABLES]
    assert np.concatenate(alone, axis=2) == pytest.approx(together, abs=1e-6)
    assert abs(SampledRows([made], 40, seed=4).losses(TABLES) - together).max() > 1e-3


def test_several_grids_and_a_single_row_are_refused() -> None:
    made = Generated(GRID, (SPATIAL,), 64)
    other = replace(made, grid=TokenGrid(3, 6, 7))
    with pytest.raises(InputsError, match="compared on one grid, the inputs have 4x6x7, 3x6x7"):
        SampledRows([made, other])
    with pytest.raises(InputsError, match="at least 2 rows, got 1"):
        SampledRows([made], 1).losses(TABLES)
