"""Decay of generated inputs is that of their laws."""

from dataclasses import replace

import numpy as np
import pytest

from radialbench.errors import InputsError
from radialbench.fidelity.decay import measure_decay
from radialbench.fidelity.files import InputsHeader
from radialbench.fidelity.generator import MIXED, SPATIAL, TEMPORAL, Generated, HeadLaw
from radialbench.fidelity.kinds import head_kinds
from radialbench.fidelity.law import Law
from radialbench.fidelity.mass import sample_rows
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.decay import DecayReport

GRID = TokenGrid(8, 10, 12, text_tokens=6)
LAWS = (
    HeadLaw(Law(rate=1.2), 0.1, sink=1.5, text=-1.0, noise=0.3),
    HeadLaw(Law("power", 0.8), 0.7, sink=-1.0, text=2.0, noise=0.3),
    HeadLaw(Law("stretched", 0.7, 0.6), 0.25, sink=0.5, noise=0.3),
    HeadLaw(Law(rate=0.0), 0.05, noise=0.3),
)
MADE = Generated(GRID, LAWS, 64)


def test_fitted_laws_are_those_of_the_generator() -> None:
    report = measure_decay([MADE], rows=128)
    assert report.inputs == MADE.identity
    for head, law in zip(report.heads, LAWS, strict=True):
        time = next(one for one in head.time.fits if one.form == law.time.form)
        assert time.rate.value == pytest.approx(law.time.rate, rel=0.05, abs=0.005)
        assert time.behind.value < 1e-3
        if time.exponent is not None:
            assert time.exponent.value == pytest.approx(law.time.exponent, rel=0.05)
        assert head.space.fits[0].rate.value == pytest.approx(law.space, rel=0.05)
        assert head.time.fits_well
        assert head.space.best.form == "exponential"
        total = sum(map(sum, report.mass))
    shares = [one.sink + one.text for one in report.heads]
    assert total + np.mean(shares) == pytest.approx(1)
    assert [one.time.best.form for one in report.heads[:3]] == [one.time.form for one in LAWS[:3]]
    assert from_dict(DecayReport, to_dict(report)) == report


def test_masks_have_the_reach_of_their_rule() -> None:
    grid = TokenGrid(6, 5, 6)
    made = Generated(grid, (SPATIAL, TEMPORAL), 64)
    masks = [load_mask("dense"), load_mask("neighborhood", kernel_t=3, kernel_h=5, kernel_w=5)]
    report = measure_decay([made], masks, rows=grid.video_tokens)
    dense, near = (np.array(one.kept) for one in report.masks)
    assert [one.mask.name for one in report.masks] == ["dense", "neighborhood"]
    assert set(dense[:5].ravel()) == {1.0}
    assert set(near[:2, :3].ravel()) == {1.0}
    assert near[3:].max() == 0
    assert 0 < near[0, 4] < 1


def test_kinds_have_their_own_mass() -> None:
    report = measure_decay([Generated(TokenGrid(16, 8, 12), MIXED, 64)], rows=64)
    assert [(one.kind, one.heads) for one in report.kinds] == [
        ("other", 1),
        ("spatial", 2),
        ("temporal", 1),
    ]
    mean = sum(one.heads * np.array(one.mass) for one in report.kinds) / 4
    assert mean == pytest.approx(np.array(report.mass))
    spatial, temporal = (np.array(one.mass) for one in report.kinds[1:])
    assert spatial[0].sum() > 0.5 > 2 * temporal[0].sum()


def test_heads_are_sorted_as_constructed() -> None:
    made = Generated(TokenGrid(16, 8, 12), MIXED, 64)
    report = measure_decay([made], rows=64)
    assert [one.kind for one in report.heads] == ["spatial", "temporal", "spatial", "other"]
    inputs = made.load()
    rows = sample_rows(inputs, 64)
    spatial, temporal, *_ = head_kinds(inputs, rows)
    assert 3 * spatial.spatial_error < spatial.temporal_error
    assert 3 * temporal.temporal_error < temporal.spatial_error
    assert spatial.spatial_mass > 0.9 > spatial.temporal_mass


def test_several_layers_are_one_report() -> None:
    class Layer(Generated):
        @property
        def header(self) -> InputsHeader:
            return replace(super().header, layer=self.seed, heads=(3, 5, 7, 9))

    layers = [Layer(GRID, LAWS, 64, seed=seed) for seed in (0, 1)]
    report = measure_decay(layers, rows=32)
    assert [(one.layer, one.head) for one in report.heads] == [
        (layer, head) for layer in (0, 1) for head in (3, 5, 7, 9)
    ]
    other = Generated(TokenGrid(4, 4, 4), LAWS, 64)
    with pytest.raises(InputsError, match=r"on one grid, and the inputs have 8x10x12\+6, 4x4x4"):
        measure_decay([MADE, other])
    with pytest.raises(InputsError, match="at least 2 frames beside 3 sink frames"):
        measure_decay([other], sink_frames=3)
