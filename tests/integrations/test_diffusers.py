"""Video transformers of diffusers attend as the mask says, and as ever where they are dense."""

import copy
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import BackendError, GridError, IntegrationError, SpecError
from radialbench.integrations.diffusers import apply_radial, remove_radial
from radialbench.maskgen.language.schedule import MaskSchedule, ScheduleRule
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import parse_head_plan, parse_mask
from tests.integrations.raster import raster_mask
from tests.integrations.small import SMALL, Small, called, close, hunyuan, replaced, wan, wan_inputs

MASKS: dict[str, dict[str, Any]] = {
    "radial": {"decay": 0.3},
    "radial_published": {"block": 2, "sink_frames": 0},
    "sta": {"tile_t": 2, "tile_h": 2, "tile_w": 3, "window_t": 1, "window_h": 1, "window_w": 3},
}
pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")  # Mochi asks for float32 in one.
every_model = pytest.mark.parametrize("name", SMALL)
attention_processor = importlib.import_module("diffusers.models.attention_processor")


def masked_stock(monkeypatch: pytest.MonkeyPatch, small: Small, *specs: MaskSpec) -> None:
    """Have the stock processors attend under the oracle's mask, or under one for each head."""
    allowed = torch.from_numpy(np.stack([raster_mask(spec, small.grid) for spec in specs]))
    video = small.grid.video_tokens

    def attend(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        # Stock processors of joint models also refine the text alone, and Wan's attend to it.
        n = k.shape[2]
        given = options.get("attn_mask")
        if q.shape[2] != n or n < video:
            return scaled_dot_product_attention(q, k, v, attn_mask=given)
        mask = allowed[:, :n, :n] if given is None else allowed & given
        return scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def dispatch(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        return attend(q, k, v, attn_mask=options.get("attn_mask")).transpose(1, 2)

    for word in ("wan", "hunyuan_video"):
        module = f"diffusers.models.transformers.transformer_{word}"
        monkeypatch.setattr(f"{module}.dispatch_attention_fn", dispatch)
    functional = vars(torch.nn.functional) | {"scaled_dot_product_attention": attend}
    monkeypatch.setattr(attention_processor, "F", SimpleNamespace(**functional))


def differ(got: Tensor, other: Tensor) -> None:
    assert (got - other).abs().max() > 1e-3


@every_model
@pytest.mark.parametrize("backend", [None, "triton"])
def test_a_dense_mask_gives_what_the_stock_processor_gives(name: str, backend: str | None) -> None:
    small = SMALL[name]
    transformer, inputs = small.build(), small.inputs(900.0)
    wanted = called(transformer, inputs)
    attention = apply_radial(transformer, size=small.size, mask="dense", backend=backend)
    assert attention.grid.frames == small.grid.frames
    assert replaced(transformer) == (4 if name == "hunyuan" else 3)
    close(called(transformer, inputs), wanted)


@every_model
@pytest.mark.parametrize("mask", MASKS)
def test_a_sparse_mask_gives_what_masked_attention_gives(
    name: str, mask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SMALL[name]
    transformer, inputs = small.build(), small.inputs(900.0)
    dense = called(transformer, inputs)
    apply_radial(transformer, size=small.size, mask=mask, **MASKS[mask])
    got = called(transformer, inputs)
    remove_radial(transformer)
    masked_stock(monkeypatch, small, load_mask(mask, **MASKS[mask]))
    close(got, called(transformer, inputs))
    differ(got, dense)


@every_model
@pytest.mark.parametrize("mask", ["radial", "sta"])
def test_our_kernel_gives_it_too(name: str, mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = SMALL[name]
    transformer, inputs = small.build(), small.inputs(900.0)
    attention = apply_radial(
        transformer, size=small.size, mask=mask, backend="triton", **MASKS[mask]
    )
    got = called(transformer, inputs)
    remove_radial(transformer)
    masked_stock(monkeypatch, small, load_mask(mask, **MASKS[mask]))
    close(got, called(transformer, inputs))
    assert attention.denoising.step == 0


def test_masks_by_head(monkeypatch: pytest.MonkeyPatch) -> None:
    small = SMALL["hunyuan"]
    transformer, inputs = small.build(), small.inputs(900.0)
    plan = parse_head_plan(
        {"name": "two", "heads": {"0": {"name": "radial", "params": {"decay": 0.3}}, "1": "dense"}}
    )
    apply_radial(transformer, size=small.size, mask=plan)
    got = called(transformer, inputs)
    remove_radial(transformer)
    masked_stock(monkeypatch, small, load_mask("radial", decay=0.3), load_mask("dense"))
    close(got, called(transformer, inputs))


def test_image_cross_attention_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    small = SMALL["wan"]
    transformer = wan(image=True)
    # The stock processor takes the last 512 tokens for text, what is before them for the image.
    text, image = torch.randn(2, 512, 16), torch.randn(2, 9, 8)
    more = {"encoder_hidden_states": text, "encoder_hidden_states_image": image}
    inputs = small.inputs(900.0) | more
    found = [block.attn2.processor for block in transformer.blocks]
    apply_radial(transformer, size=small.size, decay=0.3)
    assert [block.attn2.processor for block in transformer.blocks] == found
    got = called(transformer, inputs)
    remove_radial(transformer)
    masked_stock(monkeypatch, small, load_mask("radial", decay=0.3))
    close(got, called(transformer, inputs))
    differ(got, called(transformer, inputs | {"encoder_hidden_states_image": -image}))


def test_fused_projections() -> None:
    small = SMALL["wan"]
    transformer, inputs = small.build(), small.inputs(900.0)
    apply_radial(transformer, size=small.size, decay=0.3)
    wanted = called(transformer, inputs)
    transformer.fuse_qkv_projections()
    close(called(transformer, inputs), wanted)


@pytest.mark.parametrize("name", ["hunyuan", "mochi"])
def test_the_table_follows_the_text_that_comes(name: str) -> None:
    small = SMALL[name]
    transformer, inputs = small.build(), small.inputs(900.0)
    apply_radial(transformer, size=small.size, decay=0.3)
    wanted = called(transformer, inputs)
    # What is cut off is padding: the longer text has seven tokens.
    shorter = {
        key: value[:, :8] if key.startswith("encoder") else value for key, value in inputs.items()
    }
    close(called(transformer, shorter), wanted)


@every_model
def test_first_steps_are_dense_however_often_they_are_called(name: str) -> None:
    small = SMALL[name]
    transformer = small.build()
    falling = [1000.0, 1000.0, 990.5, 990.5, 900.0, 900.0]
    timesteps = [1000 - t for t in falling] if name == "mochi" else falling
    dense = {t: called(transformer, small.inputs(t)) for t in timesteps}
    apply_radial(transformer, size=small.size, decay=0.3, dense_steps=2)
    for _ in range(2):
        same = [
            bool((called(transformer, small.inputs(t)) - dense[t]).abs().max() < 1e-5)
            for t in timesteps
        ]
        assert same == [True] * 4 + [False] * 2


def test_last_steps_are_dense() -> None:
    small = SMALL["wan"]
    transformer = small.build()
    timesteps = [1000.0, 900.0, 900.0, 500.0, 100.0]
    dense = [called(transformer, small.inputs(t)) for t in timesteps]
    apply_radial(transformer, size=small.size, decay=0.3, dense_from_step=2)
    same = [
        bool((called(transformer, small.inputs(t)) - one).abs().max() < 1e-5)
        for t, one in zip(timesteps, dense, strict=True)
    ]
    assert same == [False] * 3 + [True] * 2


@every_model
def test_first_layers_are_dense(name: str) -> None:
    small = SMALL[name]
    transformer, inputs = small.build(), small.inputs(900.0)
    layers = 4 if name == "hunyuan" else 3
    apply_radial(transformer, size=small.size, decay=0.3, dense_layers=2)
    assert replaced(transformer) == layers - 2
    names = ("blocks", "transformer_blocks", "single_transformer_blocks")
    blocks = [block for each in names for block in getattr(transformer, each, [])]
    assert [replaced(block) for block in blocks] == [0] * 2 + [1] * (layers - 2)
    called(transformer, inputs)


def test_the_two_transformers_of_a_pipeline_count_steps_together() -> None:
    small = SMALL["wan"]
    high, low = wan(), wan()
    pipe = SimpleNamespace(transformer=high, transformer_2=low)
    attention = apply_radial(pipe, size="64x48", frames=17, decay=0.3, dense_steps=3)
    seen = []
    for transformer, t in ((high, 999.0), (high, 950.0), (low, 900.0), (low, 800.0), (high, 999.0)):
        called(transformer, small.inputs(t))
        seen.append((attention.denoising.step, attention.dense))
    assert seen == [(0, True), (1, True), (2, True), (3, False), (0, True)]
    assert replaced(high) == replaced(low) == 3
    remove_radial(pipe)
    assert replaced(high) == replaced(low) == 0


def test_a_timestep_for_each_token() -> None:
    """Wan 2.2 5B gives the image's tokens timestep 0: the one with most noise counts."""
    transformer, inputs = wan(), wan_inputs(900.0)
    attention = apply_radial(transformer, size="64x48x17", decay=0.3, dense_steps=1)
    for t in (900.0, 800.0):
        each = torch.full((2, 60), t)
        each[:, :12] = 0
        called(transformer, inputs | {"timestep": each})
    assert attention.denoising.step == 1


def test_remove_gives_back_what_was_found() -> None:
    small = SMALL["hunyuan"]
    transformer, inputs = small.build(), small.inputs(900.0)
    found = dict(transformer.attn_processors)
    wanted = called(transformer, inputs)
    for decay in (0.3, 0.5):
        apply_radial(transformer, size=small.size, decay=decay, dense_steps=1)
    remove_radial(transformer)
    assert transformer.attn_processors == found
    assert not transformer._forward_pre_hooks
    assert torch.equal(called(transformer, inputs), wanted)
    remove_radial(transformer)


@pytest.mark.parametrize(
    ("build", "fields", "message"),
    [
        (
            lambda: nn.Linear(2, 2),
            {},
            "known are Wan.* and Kand.*, got a Linear; a class .* one row of .* call Rad",
        ),
        (lambda: SimpleNamespace(unet=1), {}, "expected a pipeline with a transformer"),
        (
            lambda: SimpleNamespace(transformer=wan(), transformer_2=hunyuan()),
            {},
            "has a WanTrans.* and a HunyuanVideoTr.*, whose layers differ: apply a mask to each",
        ),
        (lambda: wan(patch_size=(1, 1, 1)), {}, r"has patches of \(1, 2, 2\), got one of \(1, 1"),
        (lambda: hunyuan(), {"dense_layers": 4}, "all 4 layers of the Hun.* would be dense"),
        (lambda: wan(), {"dense_layers": -1}, "dense_layers must be a whole number from 0, got -1"),
        (lambda: wan(), {"dense_steps": 1.5}, "dense_steps must be a whole number from 0, got 1.5"),
    ],
)
def test_what_cannot_be(build: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises((IntegrationError, SpecError), match=message):
        apply_radial(build(), size="64x48x17", **fields)


def test_a_size_the_model_cannot_make() -> None:
    with pytest.raises(GridError, match="wan2.1-14b cannot make 64x50x17: height 50 must be"):
        apply_radial(wan(), size="64x50", frames=17)


def test_another_autoencoder() -> None:
    torch.manual_seed(0)
    attention = apply_radial(wan_5b(), size="64x96x5")
    assert attention.grid == TokenGrid(2, 3, 2)
    with pytest.raises(IntegrationError, match="has 16 or 48 latent channels, got 4"):
        apply_radial(wan_5b(channels=4), size="64x96x5")


def wan_5b(channels: int = 48) -> Any:
    return wan().__class__(
        num_attention_heads=1,
        attention_head_dim=16,
        out_channels=channels,
        num_layers=1,
        text_dim=8,
        ffn_dim=8,
    )


def test_latents_of_another_size() -> None:
    transformer = wan()
    apply_radial(transformer, size="64x48x13")
    with pytest.raises(GridError, match="got latents of 5×6×8, .* has 4×6×8: apply it"):
        called(transformer, wan_inputs(900.0))


def test_a_processor_that_is_not_the_stock_one() -> None:
    transformer = wan()

    class Other:
        pass

    transformer.blocks[1].attn1.set_processor(Other())
    with pytest.raises(IntegrationError, match="blocks.1.attn1 has the processor Other, where"):
        apply_radial(transformer, size="64x48x17")
    assert replaced(transformer) == 0


@every_model
@pytest.mark.parametrize("backend", [None, "triton"])
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
def test_autocast(name: str, backend: str | None) -> None:
    """Norms leave q and k in float32, v is of 16 bits."""
    small = SMALL[name]
    transformer, inputs = small.build(), small.inputs(900.0)
    with torch.autocast("cpu", torch.float16):
        wanted = called(transformer, inputs)
        attention = apply_radial(transformer, size=small.size, mask="dense", backend=backend)
        got = called(transformer, inputs)
    torch.testing.assert_close(got.float(), wanted.float(), rtol=0, atol=2e-2)
    assert {shape.dtype for shape, *_ in attention._prepared} == {torch.float16}


@every_model
def test_the_attention_backend_of_dense_steps_is_set_through_us(name: str) -> None:
    dispatch = importlib.import_module("diffusers.models.attention_dispatch")
    transformer = SMALL[name].build()
    modules = [module for module in transformer.modules() if hasattr(module, "processor")]
    processors = [module.processor for module in modules]
    apply_radial(transformer, size=SMALL[name].size, dense_steps=1)
    try:
        transformer.set_attention_backend("_native_math")
        set_now = [getattr(one, "_attention_backend", None) for one in processors]
        transformer.reset_attention_backend()
    finally:
        dispatch._AttentionBackendRegistry.set_active_backend(dispatch.AttentionBackendName.NATIVE)
    with_backend = [hasattr(one, "_attention_backend") for one in processors]
    assert [one is not None for one in set_now] == with_backend
    assert all(getattr(one, "_attention_backend", None) is None for one in processors)
    assert any(with_backend) or name == "mochi"


@pytest.fixture
def two_ranks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be rank 0 of two that do not exist, each with a device."""
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    fake = importlib.import_module("torch.testing._internal.distributed.fake_pg")
    torch.distributed.init_process_group("fake", store=fake.FakeStore(), rank=0, world_size=2)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("two_ranks")
@pytest.mark.parametrize("dense_steps", [0, 1])
def test_context_parallelism_is_refused_before_anything_runs(dense_steps: int) -> None:
    split = importlib.import_module("diffusers").ContextParallelConfig(ulysses_degree=2)
    small = SMALL["wan"]
    before, after = small.build(), small.build()
    apply_radial(after, size=small.size, dense_steps=dense_steps)
    for transformer in (before, after):
        transformer.enable_parallelism(config=split)
    with pytest.raises(IntegrationError, match="context parallelism splits the sequence, and"):
        called(after, small.inputs(900.0))
    with pytest.raises(IntegrationError, match="context parallelism splits the sequence, and"):
        apply_radial(before, size=small.size, dense_steps=dense_steps)
    assert replaced(before) == 0
    remove_radial(after)
    for block in after.blocks:
        assert block.attn1.processor._parallel_config is after._parallel_config


@every_model
def test_a_copy_stands_alone(name: str) -> None:
    small = SMALL[name]
    transformer = small.build()
    first, later = (0.0, 10.0) if name == "mochi" else (900.0, 800.0)
    stock = called(transformer, small.inputs(later))
    attention = apply_radial(transformer, size=small.size, decay=0.3, dense_steps=1)
    called(transformer, small.inputs(first))
    other = copy.deepcopy(transformer)
    wanted = called(transformer, small.inputs(later))
    assert (attention.denoising.step, attention.dense) == (1, False)
    close(called(other, small.inputs(first)), called(other, small.inputs(first)))
    assert (attention.denoising.step, attention.dense) == (1, False)
    close(called(other, small.inputs(later)), wanted)
    remove_radial(other)
    assert replaced(other) == 0
    assert not other._forward_pre_hooks
    assert not other._forward_pre_hooks_with_kwargs
    close(called(other, small.inputs(later)), stock)
    close(called(transformer, small.inputs(later)), wanted)


def test_a_transformer_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    small = SMALL["wan"]
    transformer, inputs = small.build(), small.inputs(900.0)
    apply_radial(transformer, size=small.size, decay=0.3, backend="triton")
    wanted = called(transformer, inputs)
    torch.save(transformer, tmp_path / "transformer.pt")
    loaded = torch.load(tmp_path / "transformer.pt", weights_only=False)
    close(called(loaded, inputs), wanted)
    remove_radial(loaded)
    assert replaced(loaded) == 0


LATER = {"name": "later", "mask": "kt < qt"}


def scheduled(layer: int | str) -> MaskSchedule:
    return MaskSchedule((ScheduleRule(load_mask("radial"), layers=(layer,)),))


OTHER_TABLE = compile_mask("radial", TokenGrid(3, 3, 4))
UNDEFINED = {"name": "undefined", "mask": "10 // (qt - kt) < 3 or dt == 0"}


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"mask": parse_mask(LATER)}, SpecError, "12 of 60 tokens would attend nothing"),
        ({"mask": parse_mask(UNDEFINED)}, SpecError, "division by zero"),
        ({"mask": "radial_or_table"}, SpecError, "selected"),
        ({"mask": parse_head_plan({"name": "p", "heads": {"0-2": "dense"}})}, BackendError, "3 he"),
        ({"backend": "tritron"}, BackendError, "unknown backend 'tritron'; did you mean 'triton'"),
        ({"backend": "hopper"}, BackendError, "the hopper kernel cannot run this"),
        ({"decya": 1}, SpecError, "unknown parameter"),
        ({"schedule": scheduled("blocks.9")}, SpecError, "no layer is named 'blocks.9'; there are"),
        ({"schedule": scheduled(7)}, SpecError, "there is no layer 7, the model has 3"),
        ({"mask": OTHER_TABLE}, SpecError, "a mask is a MaskSpec, a name .*, got BlockTable; see"),
        ({"size": "64x56x17"}, GridError, "cannot make 64x56x17: height 56 must be a multiple of"),
        ({"size": "64x48"}, GridError, "a size is width×height×frames, such as .* got '64x48'"),
    ],
)
@pytest.mark.parametrize("again", [False, True])
def test_what_cannot_run_is_known_when_it_is_applied(
    fields: dict[str, Any], kind: type[Exception], message: str, again: bool
) -> None:
    small = SMALL["wan"]
    transformer, inputs = small.build(), small.inputs(900.0)
    if again:
        apply_radial(transformer, size=small.size, decay=0.3)
    wanted = called(transformer, inputs)
    with pytest.raises(kind, match=message):
        # Though the first steps are dense.
        given: dict[str, Any] = {"size": small.size, "dense_steps": 2 * ("schedule" not in fields)}
        apply_radial(transformer, **given | fields)
    # Nothing has changed.
    assert replaced(transformer) == (3 if again else 0)
    close(called(transformer, inputs), wanted)


def test_what_a_length_of_text_rules_out_is_known_at_the_first_dense_step() -> None:
    small = SMALL["hunyuan"]
    transformer = small.build()
    # Text of 256 tokens can run, that of ten cannot.
    mask = parse_mask({"name": "long", "mask": "text_tokens > 99", "text": "text_tokens > 99"})
    apply_radial(transformer, size=small.size, mask=mask, dense_steps=5)
    with pytest.raises(SpecError, match="would attend nothing"):
        called(transformer, small.inputs(900.0))


def test_text_that_is_padded_on_the_left_is_refused() -> None:
    small = SMALL["mochi"]
    transformer, inputs = small.build(), small.inputs(900.0)
    apply_radial(transformer, size=small.size)
    called(transformer, inputs)
    left = inputs | {"encoder_attention_mask": inputs["encoder_attention_mask"].flip(1)}
    with pytest.raises(IntegrationError, match="real text after padding: pad text on the right"):
        called(transformer, left)


@every_model
def test_a_processor_that_is_replaced_later_is_no_silent_end_of_the_mask(name: str) -> None:
    small = SMALL[name]
    transformer, inputs = small.build(), small.inputs(900.0)
    wanted = called(transformer, inputs)
    attention = apply_radial(transformer, size=small.size, decay=0.3, dense_layers=1)
    called(transformer, inputs)
    blocks = getattr(transformer, "blocks", None) or transformer.transformer_blocks
    layer = blocks[1].attn if name == "hunyuan" else blocks[1].attn1
    layer.processor = layer.processor.stock
    with pytest.raises(IntegrationError, match=r"blocks.1.attn1? got the processor .* after apply"):
        called(transformer, inputs)
    remove_radial(transformer)
    close(called(transformer, inputs), wanted)
    assert [attention.schedule.may_be_sparse(layer) for layer in (0, 1)] == [False, True]


@every_model
@pytest.mark.parametrize("missing", ["hidden_states", "timestep", "encoder_hidden_states"])
def test_the_transformer_says_what_is_missing(name: str, missing: str) -> None:
    small = SMALL[name]
    transformer = small.build()
    apply_radial(transformer, size=small.size)
    inputs = {key: value for key, value in small.inputs(9.0).items() if key != missing}
    with pytest.raises(TypeError, match=missing):
        called(transformer, inputs)


def test_types_that_no_kernel_computes_are_known_early() -> None:
    with pytest.raises(BackendError, match="computes float16, bfloat16 and float32, got float64"):
        apply_radial(wan().double(), size="64x48x17", backend="triton")


def test_an_old_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusers.__version__", "0.35.2.dev0")
    with pytest.raises(IntegrationError, match="needs diffusers 0.36 or later, got 0.35.2"):
        apply_radial(wan(), size="64x48x17")
