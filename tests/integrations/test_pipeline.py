"""What a mask brings in a pipeline: whole calls, compared before they are timed."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import BackendError, GridError, IntegrationError, RecordError, SpecError
from radialbench.integrations import attending, time_pipeline
from radialbench.integrations.attending import Attends, MaskedAttention, Watch, raster_mask, twin
from radialbench.integrations.blueprint import RELEASED, Blueprint, sharpen
from radialbench.integrations.module import RadialAttention
from radialbench.integrations.needs import needs_of
from radialbench.integrations.pipeline_plan import plan_pipeline
from radialbench.maskgen.grid import load_model
from radialbench.maskgen.work import call_work
from radialbench.records.codec import from_json, to_json
from radialbench.records.pipeline import PipelineTime
from radialbench.records.store import append
from radialbench.reports.pipeline import PipelineTimes, amdahl, read_pipeline
from tests.integrations.raster import raster_mask as oracle_mask
from tests.integrations.small import SMALL, called, replaced, wan

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")  # Mochi asks for float32 in one.
every_model = pytest.mark.parametrize("name", SMALL)
QUICK: dict[str, Any] = {"min_samples": 2, "max_samples": 2, "max_seconds": 600.0}
MASK: dict[str, Any] = {"mask": "radial", "decay": 0.3}


def built(name: str) -> Any:
    transformer = SMALL[name].build()
    sharpen(transformer)
    return transformer


@every_model
def test_a_mask_is_compared_and_timed_and_the_transformer_stays(name: str) -> None:
    small, transformer = SMALL[name], built(name)
    inputs = small.inputs(900.0)
    before = called(transformer, inputs)
    transformer.train()
    times = time_pipeline(transformer, size=small.size, steps=4, calls=2, **MASK, **QUICK)
    dense, own = times.records
    assert dense.is_dense and (dense.count, own.count) == (0, 4)
    assert (own.kernel, own.dense_kernel) == ("sdpa", None)
    assert own.accuracy.dense_rms_error is not None
    assert own.accuracy.dense_rms_error > 100 * own.accuracy.rms_tolerance
    assert own.timing is not None and dense.timing is not None
    assert len(own.attention_ms) == len(own.timing.samples_ms) == 2
    pairs = zip(own.attention_ms, own.timing.samples_ms, strict=True)
    assert all(0 < part < whole for part, whole in pairs)
    assert times.speedup(own, "stock") is not None
    assert replaced(transformer) == 0
    assert transformer.training
    assert torch.equal(called(transformer.eval(), inputs), before)


def test_dense_steps_and_layers_are_timed_with_each_dense_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel that is slower and another that is not there."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v, torch.empty(0)

    def plan(name: str, grid: TokenGrid, shape: Any) -> Any:
        if name == "fa3":
            raise BackendError("needs fa3-fwd")
        return run

    monkeypatch.setattr("radialbench.integrations.pipeline.dense_kernel", plan)
    times = time_pipeline(
        built("wan"),
        size=SMALL["wan"].size,
        dense_steps=2,
        dense_layers=1,
        steps=5,
        calls=2,
        against=["fa3", "flash"],
        **MASK,
        **QUICK,
    )
    kinds = [(one.dense_kernel, one.sparse_layers, one.count) for one in times.records]
    assert kinds == [("stock", 0, 2), ("flash", 0, 2), ("stock", 2, 3), ("flash", 2, 3)]
    assert times.left_out == {"fa3": "needs fa3-fwd"}
    stock, flash, with_stock, with_flash = times.records
    assert stock.timing and with_stock.timing and flash.timing and with_flash.timing
    for dense, own in ((stock, with_stock), (flash, with_flash)):
        assert dense.timing and own.timing and dense.dense_kernel
        pairs = zip(dense.timing.samples_ms, own.timing.samples_ms, strict=True)
        videos = sorted(2 * (2 * all_ms + 3 * masked_ms) / 1e3 for all_ms, masked_ms in pairs)
        found = times.video_s(dense.dense_kernel, masked=True)
        assert found and found.value == pytest.approx(sum(videos) / 2)
    share = 1 / 3 + 2 / 3 * compile_mask(load_mask("radial", decay=0.3), TokenGrid(5, 3, 4)).density
    assert with_stock.density == pytest.approx(share)
    assert "without fa3: needs fa3-fwd" in str(times)


def test_masks_by_layer_and_step_are_calls_of_their_own() -> None:
    from radialbench.maskgen.language.schedule import MaskSchedule, ScheduleRule

    radial, sta = load_mask("radial", decay=0.3), load_mask("sta", tile_t=2, tile_h=2, tile_w=3)
    rules = (
        ScheduleRule(None, steps=(0, 0)),
        ScheduleRule(sta, layers=("blocks.0",), noise=(0.0, 0.5)),
        ScheduleRule(radial, layers=(0, 1)),
    )
    plan = plan_pipeline(wan(), size="64x48x17", schedule=MaskSchedule(rules), steps=4, calls=1)
    assert plan.states == {(None, None, None): 1, (1, 1, None): 1, (0, 1, None): 2}


def test_a_wrong_result_is_not_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forward = RadialAttention.forward

    def shifted(self: Any, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        out = forward(self, q, k, v, **options).clone()
        out[:, :, 7] = out[:, :, 8]
        return out

    monkeypatch.setattr(RadialAttention, "forward", shifted)
    times = time_pipeline(built("wan"), size=SMALL["wan"].size, **MASK, **QUICK)
    dense, own = times.records
    assert own.timing is None and dense.timing is not None
    assert times.speedup(own, "stock") is times.video_speedup("stock") is None
    assert "the output differs from that of the stock transformer" in str(times)
    assert "×" not in str(times).split("wrong")[1].splitlines()[0]
    append(tmp_path / "times.jsonl", own)


def test_a_mask_that_cannot_be_told_from_dense_is_not_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Attention whose output the model does not use."""
    transformer = built("wan")
    for block in transformer.blocks:
        nn.init.zeros_(block.attn1.to_out[0].weight)
    times = time_pipeline(transformer, size=SMALL["wan"].size, **MASK, **QUICK)
    assert times.records[1].timing is None
    assert "cannot show whether the mask is right: dense attention changes it by" in str(times)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"against": ["fa9"]}, BackendError, "unknown dense kernel 'fa9'"),
        ({"dense_steps": 50}, IntegrationError, "all 50 steps are dense under radial"),
        ({"size": "64x50x17"}, GridError, "cannot make 64x50x17: height 50 must be"),
        ({"mask": "radiall"}, SpecError, "radiall"),
    ],
)
def test_what_cannot_be_timed(fields: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        time_pipeline(wan(), **{"size": "64x48x17"} | fields)


def test_another_attention_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "diffusers.models.transformers.transformer_wan"
    monkeypatch.setattr(f"{module}.dispatch_attention_fn", lambda q, k, v, **_: q)
    with pytest.raises(IntegrationError, match=r"is not PyTorch's scaled.*: reset_attention"):
        time_pipeline(built("wan"), size="64x48x17")


def test_offloaded_weights_are_refused() -> None:
    transformer = wan()
    transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn)
    with pytest.raises(IntegrationError, match="has hooks of diffusers or accelerate"):
        time_pipeline(transformer, size="64x48x17")


@pytest.mark.parametrize("mask", ["radial", "sta"])
def test_the_mask_that_is_compared_with_is_the_oracles(mask: str) -> None:
    params = {"tile_t": 2, "tile_h": 2, "tile_w": 3} if mask == "sta" else {"decay": 0.3}
    grid, spec = TokenGrid(5, 3, 4, text_tokens=6), load_mask(mask, **params)
    table = compile_mask(spec, grid)
    assert np.array_equal(raster_mask(table, torch.device("cpu")).numpy(), oracle_mask(spec, grid))


def test_masked_attention_by_rows_is_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, spec = TokenGrid(3, 3, 4, text_tokens=4), load_mask("radial", decay=0.3)
    allowed = torch.from_numpy(oracle_mask(spec, grid))
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 4, grid.seq_len, 8, generator=draw) for _ in range(3))
    given = torch.ones(2, 1, 1, grid.seq_len, dtype=torch.bool)
    given[1, :, :, -2:] = False
    scores = (q @ k[:, :1].mT / math.sqrt(8)).masked_fill(~(allowed & given), -math.inf)
    wanted = scores.softmax(-1) @ v[:, :1]
    monkeypatch.setattr(attending, "SCORES_BYTES", 2048)  # Two rows at once.
    masked = MaskedAttention(compile_mask(spec, grid), 4, torch.device("cpu"))
    for exact in (False, True):
        for mask in (given, torch.zeros_like(given, dtype=torch.float32).masked_fill(~given, -1e9)):
            got = masked.rounded(exact=exact)(q, k[:, :1], v[:, :1], mask)
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)


class Event:
    """Stands in for a GPU's: a millisecond passes from each one that is recorded to the next."""

    recorded = 0

    def record(self) -> None:
        Event.recorded += 1
        self.at = Event.recorded

    def elapsed_time(self, other: "Event") -> float:
        return float(other.at - self.at)


@every_model
def test_only_self_attention_of_the_layers_is_replaced_and_watched(name: str) -> None:
    transformer, inputs = SMALL[name].build(), SMALL[name].inputs(900.0)
    layers = 4 if name == "hunyuan" else 3
    sequences = 2 if name == "mochi" else 1  # Mochi attends to one sequence after the other.
    watch = Watch(Event)
    mode = Attends.all_by(None, watch)
    wanted = called(transformer, inputs)
    for chosen in (range(layers), [1]):
        with mode.within(transformer, chosen):
            assert torch.equal(called(transformer, inputs), wanted)
        watch.end()
    assert watch.calls_ms == [layers * sequences, sequences]
    assert not any(module._forward_hooks for module in transformer.modules())


def test_a_twin_has_modules_of_its_own_and_the_same_weights() -> None:
    transformer = wan()
    other = twin(transformer)
    ours, theirs = (dict(one.named_parameters()) for one in (transformer, other))
    assert all(theirs[name] is weight for name, weight in ours.items())
    assert other.blocks[0].attn1.processor is not transformer.blocks[0].attn1.processor


@pytest.fixture(scope="module")
def records() -> tuple[PipelineTime, ...]:
    return time_pipeline(built("wan"), size="64x48x17", **MASK, **QUICK).records


def test_records_are_read_as_they_were_written(
    records: tuple[PipelineTime, ...], tmp_path: Path
) -> None:
    path = tmp_path / "pipeline.jsonl"
    for one in records:
        assert from_json(to_json(one).encode(), PipelineTime) == one
        append(path, one)
    (read,) = read_pipeline(path)
    assert read == PipelineTimes(records)
    line = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps(line | {"schema": 9}) + "\n")
    with pytest.raises(RecordError, match="written in version 9"):
        read_pipeline(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timing": None, "attention_ms": ()}, "no time without an output that was compared"),
        ({"kernel": None}, "name what computes them"),
        ({"count": 99}, "more layers or steps than there are"),
        ({"attention_ms": (1.0,)}, "one time for each sample"),
    ],
)
def test_records_that_cannot_be(
    records: tuple[PipelineTime, ...], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecordError, match=message):
        replace(records[1], **fields)


def test_amdahls_law(records: tuple[PipelineTime, ...]) -> None:
    timing = records[0].timing
    assert timing is not None
    share = tuple(ms / 2 for ms in timing.samples_ms)
    half = replace(records[0], attention_ms=share)
    assert amdahl(half, 0.0) == pytest.approx(2)
    assert amdahl(half, 0.5) == pytest.approx(4 / 3)
    assert amdahl(replace(half, attention_ms=()), 0.5) is None


@pytest.mark.parametrize("model", ["wan2.1-14b", "hunyuanvideo"])
def test_a_dry_run_counts_the_work_of_the_preset(model: str) -> None:
    preset = load_model(model)
    outline = Blueprint.of_preset(model).outline(torch.bfloat16)
    plan = plan_pipeline(outline, size=preset.example, mask="radial", dense_steps=10)
    needs = needs_of(plan)
    work = call_work(preset, plan.grid)
    dense, masked = needs.flops.values()
    assert dense == pytest.approx(work.total, rel=1e-3)
    (state,) = (one for one in plan.states if set(one) != {None})
    assert dense - masked == pytest.approx(work.self_attention * (1 - plan.density(state)))
    steps, calls = preset.steps or 0, preset.calls
    assert needs.video_flops(masked=False) == steps * calls * dense
    assert needs.video_flops(masked=True) == calls * (10 * dense + (steps - 10) * masked)
    weights = 2 * sum(one.numel() for one in outline.parameters())
    assert needs.weights_bytes == pytest.approx(weights, rel=1e-3)  # Buffers count too.
    hidden = 2 * plan.grid.seq_len * preset.heads * preset.head_dim
    assert needs.call_bytes and 6 * hidden < needs.call_bytes < 20 * hidden
    assert needs.mask_bytes == plan.grid.seq_len**2


@pytest.mark.parametrize("model", RELEASED)
def test_every_preset_has_a_small_model_of_its_class(model: str) -> None:
    small, whole = (Blueprint.of_preset(model, tiny=tiny) for tiny in (True, False))
    assert small.title == whole.title
    assert sum(one.numel() for one in small.outline().parameters()) < 1e7
