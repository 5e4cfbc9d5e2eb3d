"""Head plans in suites: planned, estimated, measured, compared with the definition, reported."""

from pathlib import Path
from typing import Any

import pytest
import torch

from radialbench import TokenGrid
from radialbench.errors import SuiteError
from radialbench.kernels.backends import load_backend, plan_table
from radialbench.kernels.measure.accuracy import compare, expected, make_inputs
from radialbench.kernels.reorder import reorder
from radialbench.maskgen.compiler import compile_heads
from radialbench.maskgen.library import parse_head_plan
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.result import Record, Status
from radialbench.reports.summary import summarize
from radialbench.suites.attempt import attempt
from radialbench.suites.estimate import estimate_cases
from radialbench.suites.offline import mask_jobs
from radialbench.suites.plan import Case, plan
from radialbench.suites.read import load_suite
from tests.suites import small

HALVES = {"0,3": "svg_spatial", "1-2": "svg_temporal"}
GRID = {"frames": 5, "height": 6, "width": 7}


def suite(folder: Path, **fields: Any) -> tuple[Case, ...]:
    """Plan the small suite of four heads from a folder."""
    fields = {"heads": 4, "grids": [GRID], "backends": ["cpu"]} | fields
    text = small.text_of(lambda document: document["cases"][0].update(fields))
    return plan(load_suite(str(small.written(folder, text))))


def measured(case: Case) -> Record:
    record = attempt(case, small.bench())
    assert record.status is Status.OK, record.reason
    return record


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    (tmp_path / "near.yaml").write_text("name: near\nmask: dt <= 1\n")
    (tmp_path / "halves.yaml").write_text(
        "name: other\nheads: {'0,3': near.yaml, 1-2: svg_temporal}\n"
    )
    return tmp_path


def test_plans_are_measured_and_reported_beside_dense(plans: Path) -> None:
    masks = ["halves.yaml", {"name": "svg", "heads": HALVES}, "dense"]
    cases = suite(plans, masks=masks)
    assert [case.identity.label for case in cases] == ["halves", "svg", "dense"]
    records = [measured(case) for case in cases]
    for record in records:
        assert record.accuracy is not None and record.accuracy.passed
        assert record.table is not None
    assert records[0].permute_ms and records[2].permute_ms == 0
    rows = summarize(records).rows
    assert [row.mask for row in rows] == ["dense", "halves", "svg"]
    assert all(row.speedup is not None for row in rows[1:])


def test_what_a_table_of_heads_counts(plans: Path) -> None:
    record = measured(suite(plans, masks=[{"name": "svg", "heads": HALVES}])[0])
    spatial, temporal = (
        measured(suite(plans, masks=[mask])[0]).table for mask in ("svg_spatial", "svg_temporal")
    )
    assert record.table and spatial and temporal
    assert record.table.flops == (spatial.flops + temporal.flops) / 2
    assert record.table.executed_flops == (spatial.executed_flops + temporal.executed_flops) / 2
    assert record.table.density == pytest.approx((spatial.density + temporal.density) / 2)
    assert record.table.full == spatial.full + temporal.full


def test_other_groups_of_the_same_masks_are_another_plan(plans: Path) -> None:
    swapped = {"0,3": "svg_temporal", "1-2": "svg_spatial"}
    masks = [{"name": "a", "heads": HALVES}, {"name": "b", "heads": swapped}]
    a, b = suite(plans, masks=masks)
    assert a.problem.mask_fingerprint != b.problem.mask_fingerprint


def test_plans_are_estimated_and_compiled_offline(plans: Path) -> None:
    cases = suite(plans, masks=[{"name": "svg", "heads": HALVES}])
    estimate = estimate_cases(small.suite(), cases)
    assert estimate.estimates[0].seconds > 0
    names = [name for names in mask_jobs(cases).values() for name in names]
    assert names == ["svg:0,3/5x6x7/h2d8/16x16", "svg:1-2/5x6x7/h2d8/16x16"]
    (compiled,) = suite(
        plans, masks=[{"name": "svg", "heads": HALVES}], measure="compile", backends=None
    )
    assert measured(compiled).table is not None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": 3}, "the head plan svg has masks for 4 heads, and 3 are measured"),
        (
            {"masks": [{"name": "halves.yaml", "params": {"decay": 1}}]},
            "halves.yaml is a head plan: each of its masks states its parameters",
        ),
        ({"masks": [{"name": "svg", "heads": {"0-3": "radail"}}]}, "did you mean 'radial'"),
        ({"masks": [{"name": "svg", "heads": {"0-3": "../x.yaml"}}]}, "in its own folder"),
    ],
)
def test_plans_that_do_not_fit(plans: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        suite(plans, **({"masks": [{"name": "svg", "heads": HALVES}]} | fields))


def test_heads_that_share_a_key_head_share_an_order(plans: Path) -> None:
    masks = [{"name": "svg", "heads": HALVES}]
    record = attempt(suite(plans, masks=masks, kv_heads=2)[0], small.bench())
    assert (record.status, record.reason) == (
        Status.UNSUPPORTED,
        "heads that share a key head have different token orders",
    )


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("name", ["cpu", "reference", "triton"])
def test_backends_compute_each_head_by_its_own_table(name: str, kv_heads: int) -> None:
    heads = {"0-1": "svg_temporal", "2": "radial", "3": "dense"}
    head_plan = parse_head_plan({"name": "p", "heads": heads})
    if kv_heads == 2:
        head_plan = parse_head_plan({"name": "p", "heads": {"0,2-3": "radial", "1": "svg_spatial"}})
    grid = TokenGrid(5, 6, 7)
    tables = compile_heads(head_plan, grid, 16, 32)
    problem = Problem(head_plan.fingerprint, grid, 2, 4, 16, "float32", kv_heads=kv_heads)
    raster = make_inputs(problem)
    moves = reorder(tables, 4, kv_heads, "cpu")
    inputs = raster if moves is None else moves.inputs(*raster)
    run = plan_table(load_backend(name), problem, tables, KernelConfig(16, 32))
    accuracy = compare(run(*inputs), expected(inputs, table=tables, sm_scale=problem.scale))
    assert accuracy.passed, accuracy
    if moves is not None:
        there = moves.inputs(*raster)[0]
        assert torch.equal(moves.output(there), raster[0])
