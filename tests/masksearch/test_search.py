"""A search finds the masks that heads were made for, and goes on where it ended."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from radialbench.errors import AutotuneError, BackendError, InputsError, SpecError
from radialbench.fidelity.files import InputsHeader, open_inputs, save_inputs
from radialbench.fidelity.generator import SPATIAL, TEMPORAL, Generated
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.run import measure_fidelity
from radialbench.fidelity.settings import How
from radialbench.kernels.measure.environment import environment
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import brief_yaml, load_head_plan, parse_head_plan
from radialbench.maskgen.table import BlockTable
from radialbench.masksearch import cost
from radialbench.masksearch import search as module
from radialbench.masksearch.plans import head_plans
from radialbench.masksearch.search import Searched, SearchSettings, search_masks
from radialbench.masksearch.space import read_families
from radialbench.records.front import read_front, write_front
from radialbench.records.problem import KernelConfig
from radialbench.reports.front import describe_point, front_table

GRID = TokenGrid(8, 8, 8)
MADE = Generated(GRID, (SPATIAL, TEMPORAL), 64)
BLOCKS = KernelConfig(16, 16)
HERE = environment("test", device="cpu")
SVG = read_families(["svg_spatial", "svg_temporal"], ["sink_frames=0"])


def search(folder: Path, families: Any = SVG, sources: Any = (MADE,), **how: Any) -> Searched:
    chosen: dict[str, Any] = {"config": BLOCKS, "rows": 64, "trials": 24} | how
    settings = SearchSettings(**chosen)
    storage = f"journal:{folder / 'trials.journal'}"
    return search_masks(sources, families, settings, HERE, storage=storage)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    return search(tmp_path_factory.mktemp("by-head"), by=["head"])


def test_each_head_has_masks_of_its_kind(found: Searched) -> None:
    names = [[mask.name for mask in masks] for masks in found.plans]
    sparse = [one for one in names if "dense" not in one]
    assert len(sparse) >= 3
    assert all(one == ["svg_spatial", "svg_temporal"] for one in sparse)


def test_no_point_is_dominated_and_the_last_is_dense(found: Searched) -> None:
    for one in found.points:
        for other in found.points:
            assert one == other or one.cost < other.cost or one.loss < other.loss
    assert [point.number for point in found.points] == [*range(1, len(found.points) + 1)]
    assert (found.points[-1].cost, found.points[-1].loss) == (1, 0)
    (dense,) = {mask.name for mask in found.plans[-1]}
    assert dense == "dense"


def test_points_keep_and_cost_what_fidelity_measures(found: Searched, tmp_path: Path) -> None:
    point, masks = next(
        pair for pair in zip(found.points, found.plans, strict=True) if pair[0].cost > 0.4
    )
    ((name, plan),) = head_plans(point, masks, found.groups).items()
    (tmp_path / f"{name}.yaml").write_text(brief_yaml(plan))
    again = load_head_plan(tmp_path / f"{name}.yaml")
    (record,) = measure_fidelity(
        [MADE], [(again.identity, again)], How(rows=None, config=BLOCKS), HERE
    )
    assert record.table.block_density == pytest.approx(point.cost, abs=1e-6)
    assert record.fidelity.mass_kept.value == pytest.approx(1 - point.loss, abs=0.02)


def test_plans_are_for_all_heads_of_the_model(tmp_path: Path) -> None:
    header = replace(MADE.header, heads=(1, 4))
    save_inputs(replace(MADE.load(), header=header), tmp_path / "some.safetensors")
    (file,) = open_inputs(tmp_path)
    for how in ({"by": ["head"]}, {}, {"head_groups": [(1,)]}):
        found = search(tmp_path, sources=[file], trials=8, heads=6, **how)
        point, masks = found.points[0], found.plans[0]
        (plan,) = head_plans(point, masks, found.groups, 6).values()
        names = [plan.groups[group].mask.name for group in plan.group_of_head]
        assert len(names) == 6
        others = "dense" if "by" in how else names[4]
        assert {names[head] for head in (0, 2, 3, 5)} == {others}
        (record,) = measure_fidelity([file], [(plan.identity, plan)], How(config=BLOCKS), HERE)
        assert [one.head for one in record.fidelity.heads] == [1, 4]
        assert record.fidelity.mass_kept.value == pytest.approx(1 - point.loss, abs=0.05)
    with pytest.raises(InputsError, match="the inputs have head 4, which is not among 4"):
        search(tmp_path, sources=[file], heads=4)


def test_a_search_goes_on_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(tmp_path / "whole", trials=48)
    tried: list[MaskSpec] = []
    compiled = module._compiled

    def noted(mask: MaskSpec, *rest: Any) -> BlockTable | str:
        tried.append(mask)
        return compiled(mask, *rest)

    monkeypatch.setattr(module, "_compiled", noted)
    search(tmp_path / "parts", trials=32)
    parts = search(tmp_path / "parts", trials=48)
    assert len(tried) == len(set(tried)) == 48
    assert [trial.place for trial in parts.trials] == [trial.place for trial in whole.trials]
    assert [point.loss for point in parts.points] == [point.loss for point in whole.points]
    search(tmp_path / "parts", trials=48)
    assert len(tried) == 48
    search(tmp_path / "parts", trials=8, rows=32)
    assert len(tried) == 56, "trials on other rows are others"


def test_a_small_space_is_tried_whole(tmp_path: Path) -> None:
    families = read_families(["radial"], ["sink_frames=0..2", "decay=1"])
    assert len(search(tmp_path, families).trials) == 3
    wider = read_families(["radial", "dense"], ["sink_frames=0..3", "decay=1"])
    assert len(search(tmp_path, wider).trials) == 5
    boxes = ["kernel_t=1..3", "kernel_h=3..6", "kernel_w=3..5"]
    all_boxes = search(tmp_path, read_families(["neighborhood"], boxes), trials=99).trials
    assert len(all_boxes) == len({trial.mask for trial in all_boxes}) == 36


def test_a_mask_that_changed_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "near.yaml"
    text = "name: near\nparams: {w: {type: int, default: 2, search: [1, 3]}}\nmask: dt < w\n"
    file.write_text(text)
    first = search(tmp_path, read_families([str(file)]))
    file.write_text(text.replace("dt < w", "dt <= w"))
    second = search(tmp_path, read_families([str(file)]))
    assert len(first.trials) == len(second.trials) == 3
    assert first.trials[0].cost != second.trials[0].cost
    (plan,) = head_plans(second.points[0], second.plans[0], second.groups).values()
    assert "dt <= w" in brief_yaml(plan)
    assert parse_head_plan(yaml.safe_load(brief_yaml(plan))) == plan


def test_masks_that_do_not_fit_are_kept_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "far.yaml"
    file.write_text(
        "name: far\nparams: {w: {type: int, default: 2, search: [1, 6]}}\nmask: dt >= w\n"
    )
    found = search(tmp_path, read_families([str(file)]))
    fits = {trial.mask.params[0].value: not trial.reason for trial in found.trials}
    assert fits == {1: True, 2: True, 3: True, 4: True, 5: False, 6: False}
    with pytest.raises(SpecError, match="no mask fits the grid 8x8x8: "):
        search(tmp_path, read_families([str(file)], ["w=5..6"]))


def test_the_error_of_the_output_can_be_the_loss(tmp_path: Path) -> None:
    found = search(tmp_path, loss="error", trials=12, by=["head"])
    mask = SVG[0].at(SVG[0].start)
    how = How(rows=None, config=BLOCKS)
    (record,) = measure_fidelity([MADE], [(mask.identity, mask)], how, HERE)
    (trial,) = [one for one in found.trials if one.mask == mask]
    assert {point.loss_kind for point in found.points} == {"error"}
    by_head = [one.kept.error for one in record.fidelity.heads]
    assert trial.losses[0] == pytest.approx(by_head, rel=0.15)


def test_steps_of_diffuse_attention_stay_dense(tmp_path: Path) -> None:
    for step, sharp in ((0, 0.05), (9, 3.0)):
        q, k, v = sharp * MADE.load().q, MADE.load().k, MADE.load().v
        header = InputsHeader(GRID, "made", "generated", (0, 1), layer=0, step=step)
        save_inputs(AttentionInputs(q, k, v, header), tmp_path / f"{step}.safetensors")
    found = search(tmp_path, sources=open_inputs(tmp_path), steps=10, layers=1, by=["head"])
    some = [point.schedule for point in found.points if 0 < point.schedule.share < 1]
    assert {(one.dense_steps, one.dense_from_step) for one in some} == {(5, 10)}
    point = next(one for one in found.points if one.schedule.share < 1)
    assert describe_point(point).endswith("of dense attention, with dense_steps=5.")
    assert all(point.cost >= 0.5 for point in found.points if point.loss < 0.2)


def test_a_front_is_stored(found: Searched, tmp_path: Path) -> None:
    write_front(tmp_path / "deep" / "front.jsonl", found.points)
    assert read_front(tmp_path / "deep" / "front.jsonl") == found.points


def test_times_are_those_of_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tables: list[AnyTable] = []

    def attend(
        q: torch.Tensor, k: object, v: object, table: AnyTable, *, sm_scale: float
    ) -> torch.Tensor:
        assert q.shape == (1, 2, 512, 64)
        if not tables or tables[-1] is not table:
            tables.append(table)
        time.sleep(2e-3 * table.block_density)
        return q

    monkeypatch.setattr(cost, "block_sparse_attention", attend)
    monkeypatch.setitem(cost.SAMPLING, "max_seconds", 0.0)
    monkeypatch.setattr(SearchSettings, "cost_kind", "time")
    found = search(tmp_path, by=["head"], trials=8)
    last = len(tables) - len(found.points)
    assert [table.block_density for table in tables[:1]] == [1]
    assert all(isinstance(table, HeadTables) for table in tables[last:])
    assert all(trial.ms for trial in found.trials)
    for point, table in zip(found.points, tables[last:], strict=True):
        assert point.cost_kind == "time"
        assert point.masked_ms and point.dense_ms
        assert point.masked_ms >= 2 * table.block_density
    some = replace(MADE.load(), q=MADE.load().q[:, :, :9], rows=torch.arange(9))
    with pytest.raises(InputsError, match="times are measured on all queries"):
        cost.MeasuredTime(some, BLOCKS)
    assert "ms under masks" in front_table(found.points)


def test_a_mask_that_cannot_run_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    executed = cost.ExecutedBlocks.of

    def refusing(self: Any, table: BlockTable) -> tuple[float, float | None]:
        if table.mask and table.mask.name == "svg_temporal":
            raise BackendError("too large")
        return executed(self, table)

    monkeypatch.setattr(cost.ExecutedBlocks, "of", refusing)
    found = search(tmp_path, trials=8)
    assert {(one.family, one.reason) for one in found.trials} == {
        *(("svg_spatial", ""), ("svg_temporal", "too large"))
    }
    assert {mask.name for masks in found.plans for mask in masks} == {"svg_spatial", "dense"}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"loss": "speed"}, "a mask loses mass or error, got 'speed'"),
        ({"cost": "money"}, "a mask costs blocks or time, got 'money'"),
        ({"cost": "time"}, "times are measured on a GPU"),
    ],
)
def test_settings_that_cannot_be_are_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(InputsError, match=message):
        SearchSettings(**how)


def test_a_storage_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trials.journal").write_text("something else")
    with pytest.raises(AutotuneError, match="cannot use the storage"):
        search(tmp_path)
