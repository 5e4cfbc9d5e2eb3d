"""Mass by distance is what brute force gives, in any chunks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from radialbench.errors import InputsError
from radialbench.fidelity import mass as module
from radialbench.fidelity.files import InputsHeader
from radialbench.fidelity.generator import Generated, HeadLaw
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.law import Law
from radialbench.fidelity.mass import mass_by_distance, raster_mask, row_weights, sample_rows
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask

GRIDS = (
    TokenGrid(5, 4, 6),
    TokenGrid(4, 3, 5, text_tokens=7, text_valid=5),
    TokenGrid(4, 3, 5, text_tokens=4, text_first=True),
    TokenGrid(6, 3, 4, text_tokens=3, query_frames=(3, 5)),
)


def made(grid: TokenGrid, heads: int = 4, kv_heads: int = 2) -> AttentionInputs:
    generator = torch.Generator().manual_seed(1)
    q = 2 * torch.randn(2, heads, grid.q_len, 8, generator=generator)
    k, v = torch.randn(2, 2, kv_heads, grid.seq_len, 8, generator=generator)
    return AttentionInputs(q, k, v, InputsHeader(grid, "noise", "generated", tuple(range(heads))))


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.label)
@pytest.mark.parametrize("space", ["steps", "places"])
@pytest.mark.parametrize("sink_frames", [0, 2])
def test_mass_is_that_of_brute_force(
    grid: TokenGrid, space: str, sink_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 5 * 8 * grid.seq_len)
    inputs = made(grid)
    rows = sample_rows(inputs, 13)
    found = mass_by_distance(inputs, rows, space=space, sink_frames=sink_frames)
    assert [(one.sequence, one.head) for one in found] == [*np.ndindex(2, 4)]
    for one in found:
        q = inputs.q[one.sequence, one.head].double()
        k = inputs.k[one.sequence, one.head // 2].double()
        real = torch.ones(grid.seq_len, dtype=torch.bool)
        real[grid.text_start + grid.real_text : grid.text_start + grid.text_tokens] = False
        scores = (q @ k.T * inputs.scale).masked_fill(~real, -torch.inf)
        p = scores.softmax(dim=1).numpy()
        mass, pairs = np.zeros((2, *one.mass.joint.shape))
        time, sink, text = np.zeros_like(one.mass.time), 0.0, 0.0
        for number, row in enumerate(rows):
            query = np.unravel_index(
                row + grid.query_start - grid.video_start, (grid.frames, grid.height, grid.width)
            )
            for key in range(grid.seq_len):
                if not 0 <= key - grid.video_start < grid.video_tokens:
                    text += p[row, key]
                    continue
                at = np.unravel_index(
                    key - grid.video_start, (grid.frames, grid.height, grid.width)
                )
                dt, dy, dx = (int(a) - int(b) for a, b in zip(query, at, strict=True))
                ds = abs(dy) + abs(dx) if space == "steps" else abs(dy * grid.width + dx)
                if at[0] < sink_frames:
                    sink += p[row, key]
                    continue
                mass[abs(dt), ds] += p[row, key]
                pairs[abs(dt), ds] += 1
                time[number, abs(dt)] += p[row, key]
        assert one.mass.joint == pytest.approx(mass, abs=1e-12)
        assert (one.pairs.joint == pairs).all()
        assert one.mass.time == pytest.approx(time, abs=1e-12)
        assert one.mass.space.sum(axis=0) == pytest.approx(mass.sum(axis=0), abs=1e-12)
        assert one.pairs.space.sum() == one.pairs.time.sum() == pairs.sum()
        assert (one.sink, one.text) == pytest.approx((sink / len(rows), text / len(rows)))


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_noise_is_the_variance_of_the_weights(noise: float) -> None:
    grid = TokenGrid(5, 6, 8)
    inputs = Generated(grid, (HeadLaw(Law(rate=0.4), 0.3, noise=noise),), 64).load()
    rows = sample_rows(inputs, 64)
    (found,) = mass_by_distance(inputs, rows, sink_frames=0)
    squares = row_weights(inputs, 0, 0, rows).square().sum(dim=1).numpy()
    share = -np.expm1(-(noise**2))
    assert found.deviation == pytest.approx(noise, abs=0.02)
    assert found.noise.time.sum(axis=1) == pytest.approx(share * squares, rel=0.03, abs=1e-9)
    assert found.noise.space.sum(axis=1) == pytest.approx(found.noise.time.sum(axis=1))


def test_sampled_rows_are_spread_over_the_video() -> None:
    inputs = made(GRIDS[1])
    rows = sample_rows(inputs, 12, seed=3)
    assert len(rows) == 12
    assert (np.diff(rows) > 0).all()
    assert (rows // 5 == np.arange(12)).all()
    assert (sample_rows(inputs, 10**6) == np.arange(60)).all()
    assert (sample_rows(inputs, 12, seed=4) != rows).any()
    first = made(GRIDS[2])
    assert sample_rows(first, 100).tolist() == [*range(4, 64)]


def test_inputs_with_some_rows_are_read_by_them() -> None:
    inputs = made(GRIDS[0])
    rows = torch.tensor([3, 4, 50, 51, 90])
    some = replace(inputs, q=inputs.q[:, :, rows], rows=rows)
    chosen = sample_rows(some, 99)
    assert chosen.tolist() == rows.tolist()
    of_some, of_all = (row_weights(one, 1, 2, chosen) for one in (some, inputs))
    assert torch.equal(of_some, of_all)


def test_masks_stand_in_raster_order() -> None:
    grid = TokenGrid(4, 6, 6, text_tokens=3)
    rows = np.arange(0, grid.seq_len, 5)
    for name in ("svg_temporal", "sta", "radial"):
        table = compile_mask(load_mask(name), grid, 16, 16)
        source = table.order.source_index(grid)
        raster = np.zeros((grid.seq_len, grid.seq_len), np.bool_)
        raster[np.ix_(source, source)] = table.to_dense()
        assert (raster_mask(table, rows).numpy() == raster[rows]).all()


def test_what_cannot_be_measured_is_named() -> None:
    inputs = made(GRIDS[0])
    rows = sample_rows(inputs, 5)
    with pytest.raises(InputsError, match="unknown distance in space 'meters'"):
        mass_by_distance(inputs, rows, space="meters")
    with pytest.raises(InputsError, match="sink frames are some of 5 frames, got 5"):
        mass_by_distance(inputs, rows, sink_frames=5)
    text = replace(inputs, header=replace(inputs.header, grid=TokenGrid(1, 1, 1, text_tokens=119)))
    only = torch.arange(5, 9)
    text = replace(text, q=inputs.q[:, :, only], rows=only)
    with pytest.raises(InputsError, match="no query in the video"):
        sample_rows(text, 5)
