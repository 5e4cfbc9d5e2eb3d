"""Decay of generated inputs is that of their laws; masks that are proposed keep what is wanted."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from radialbench.errors import InputsError
from radialbench.fidelity.decay import measure_decay
from radialbench.fidelity.files import InputsHeader
from radialbench.fidelity.generator import MIXED, Generated, HeadLaw
from radialbench.fidelity.kinds import head_kinds
from radialbench.fidelity.law import Law
from radialbench.fidelity.mass import sample_rows
from radialbench.fidelity.measure import measure
from radialbench.fidelity.propose import DECAYS, SINKS, propose
from radialbench.fidelity.sampled import SampledRows
from radialbench.maskgen.compiler import compile_heads, compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import brief_yaml, load_mask, parse_head_plan
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.decay import DecayReport
from radialbench.records.problem import KernelConfig

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


def test_proposed_masks_are_the_cheapest_that_keep_enough() -> None:
    config = KernelConfig(16, 16)
    wanted = 0.8
    proposal = propose([MADE], wanted, config=config, rows=128)
    specs = [load_mask("radial", decay=d, sink_frames=s) for d in DECAYS for s in SINKS]
    tables = [compile_mask(one, GRID, 16, 16) for one in specs]
    mass = 1 - SampledRows([MADE], 128).losses(tables)[0]
    for choice, kept in zip(proposal.heads, mass, strict=True):
        enough = [
            table.block_density for table, one in zip(tables, kept, strict=True) if one >= wanted
        ]
        assert choice.cost == min(enough, default=1.0)
        assert choice.mass > wanted - 0.03
    assert len({choice.mask.label for choice in proposal.heads}) > 1


def test_a_proposal_is_a_head_plan_that_runs() -> None:
    made = replace(MADE, heads=LAWS[:2])
    proposal = propose([made], 0.9, rows=64)
    plan = parse_head_plan(yaml.safe_load(brief_yaml(proposal.plan)))
    assert plan == proposal.plan
    assert plan.heads == 2
    (of_mask,) = measure(made.load(), [compile_heads(plan, GRID)])
    for found, choice in zip(of_mask, proposal.heads, strict=True):
        assert found["mask"].kept.mass == pytest.approx(choice.mass, abs=0.05)
    every = propose([made], 1.0, rows=16)
    assert [choice.mass for choice in every.heads] == pytest.approx([1, 1])


@pytest.mark.parametrize("wanted", [0.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(wanted: float) -> None:
    with pytest.raises(InputsError, match="a share above 0 and at most 1"):
        propose([MADE], wanted)
