"""A transformer runs in its mask's token order, moves tokens once a call, and gives the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from radialbench import TokenGrid, load_mask
from radialbench.errors import BackendError, SpecError
from radialbench.fidelity.files import open_inputs
from radialbench.integrations.capture import capture
from radialbench.integrations.diffusers import apply_radial, remove_radial
from radialbench.integrations.module import RadialAttention
from radialbench.kernels.reorder import Reorder
from radialbench.maskgen.library import parse_head_plan
from tests.integrations.raster import raster_mask
from tests.integrations.small import SMALL, called, close, hunyuan, wan, wan_inputs
from tests.integrations.test_diffusers import masked_stock
from tests.integrations.test_module import JOINT, definition, inputs
from tests.integrations.test_module import close as close_to

STA: dict[str, Any] = {
    "tile_t": 2,
    "tile_h": 2,
    "tile_w": 3,
    "window_t": 1,
    "window_h": 1,
    "window_w": 3,
}
pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")
every_model = pytest.mark.parametrize("name", SMALL)


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Note what is moved into an order inside attention."""
    found: list[Tensor] = []
    inputs = Reorder.inputs

    def noted(self: Reorder, q: Tensor, k: Tensor, v: Tensor) -> Any:
        found.append(q)
        return inputs(self, q, k, v)

    monkeypatch.setattr(Reorder, "inputs", noted)
    return found


@every_model
def test_layers_move_nothing_and_give_the_same(
    name: str, moved: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SMALL[name]
    transformer, one = small.build(), small.inputs(900.0)
    attention = apply_radial(transformer, size=small.size, mask="sta", **STA)
    assert attention.in_order and str(attention.order) == "tiles:2,2,3"
    got = called(transformer, one)
    with torch.no_grad():
        close(transformer(**one).sample, got)
        close(transformer(*one.values()).sample, got)
    remove_radial(transformer)
    masked_stock(monkeypatch, small, load_mask("sta", **STA))
    close(got, called(transformer, one))
    assert not moved


@every_model
def test_dense_steps_and_layers_run_in_the_order_too(name: str) -> None:
    small = SMALL[name]
    transformer = small.build()
    first, later = (0.0, 10.0) if name == "mochi" else (900.0, 800.0)
    wanted = called(transformer, small.inputs(first))
    apply_radial(transformer, size=small.size, mask="sta", dense_steps=1, dense_layers=1, **STA)
    close(called(transformer, small.inputs(first)), wanted)
    sparse = called(transformer, small.inputs(later))
    assert (sparse - called(transformer, small.inputs(first))).abs().max() > 1e-3


@every_model
def test_removed_without_a_trace(name: str) -> None:
    small = SMALL[name]
    transformer, one = small.build(), small.inputs(900.0)
    wanted = called(transformer, one)
    for _ in range(2):
        apply_radial(transformer, size=small.size, mask="sta", **STA)
        called(transformer, one)
    remove_radial(transformer)
    for module in transformer.modules():
        hooks = [value for key, value in vars(module).items() if "forward" in key and "hook" in key]
        assert not any(hooks)
    assert torch.equal(called(transformer, one), wanted)


def test_timesteps_of_tokens_follow_them() -> None:
    """Wan 2.2 5B modulates each token, and the output's norm with it."""
    transformer, one = wan(), wan_inputs(900.0)
    each = torch.linspace(0, 900, 60).expand(2, -1)
    wanted = called(transformer, one | {"timestep": each})
    apply_radial(transformer, size="64x48x17", mask="sta", dense_steps=1, **STA)
    close(called(transformer, one | {"timestep": each}), wanted)


def test_heads_of_different_orders_move_their_tokens(
    moved: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SMALL["hunyuan"]
    transformer, one = small.build(), small.inputs(900.0)
    heads = {"0": {"name": "sta", "params": STA}, "1": "svg_temporal"}
    plan = parse_head_plan({"name": "two", "heads": heads})
    attention = apply_radial(transformer, size=small.size, mask=plan)
    assert not attention.in_order and attention.order is None
    got = called(transformer, one)
    assert len(moved) == 4
    remove_radial(transformer)
    masked_stock(monkeypatch, small, load_mask("sta", **STA), load_mask("svg_temporal"))
    close(got, called(transformer, one))


def test_a_model_that_treats_its_first_frame_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    small = SMALL["hunyuan"]
    transformer, one = hunyuan(image_condition_type="token_replace"), small.inputs(900.0)
    attention = apply_radial(transformer, size=small.size, mask="sta", **STA)
    assert not attention.in_order
    got = called(transformer, one)
    remove_radial(transformer)
    masked_stock(monkeypatch, small, load_mask("sta", **STA))
    close(got, called(transformer, one))


@pytest.mark.parametrize(("name", "whole"), [("hunyuan", False), ("wan", True)])
def test_compiled(name: str, whole: bool) -> None:
    small = SMALL[name]
    layers = {"num_layers": 1} | ({"num_single_layers": 1} if name == "hunyuan" else {})
    transformer = small.build(**layers)
    apply_radial(transformer, size=small.size, mask="sta", dense_steps=1, **STA)
    timesteps = [900.0, 800.0]
    wanted = [called(transformer, small.inputs(t)) for t in timesteps]
    torch._dynamo.reset()
    compiled: Any = transformer
    if whole:
        compiled = torch.compile(transformer, fullgraph=True, backend="eager")
    else:
        transformer.compile_repeated_blocks(fullgraph=True, backend="eager")
    for t, out in zip(timesteps, wanted, strict=True):
        close(called(compiled, small.inputs(t)), out)
    # Another order, then none: no compiled code of before runs on.
    for mask in ("svg_temporal", "radial"):
        apply_radial(compiled, size=small.size, mask=mask)
        uncompiled = small.build(**layers)
        apply_radial(uncompiled, size=small.size, mask=mask)
        close(called(compiled, small.inputs(900.0)), called(uncompiled, small.inputs(900.0)))


@every_model
def test_captured_in_raster_order(name: str, tmp_path: Path) -> None:
    small = SMALL[name]
    transformer, one = small.build(), small.inputs(900.0)
    for folder in ("stock", "ordered"):
        with capture(transformer, tmp_path / folder, layers=[0]):
            called(transformer, one)
        apply_radial(transformer, size=small.size, mask="sta", **STA)
    stock, ordered = (open_inputs(tmp_path / each)[0].load() for each in ("stock", "ordered"))
    for part in "qkv":
        torch.testing.assert_close(getattr(ordered, part), getattr(stock, part))


@pytest.mark.parametrize("grid", [JOINT, TokenGrid(5, 3, 4, text_tokens=7, text_first=True)])
@pytest.mark.parametrize("backend", [None, "triton"])
def test_a_module_that_is_told_so(grid: TokenGrid, backend: str | None) -> None:
    qkv = inputs(grid)
    attention = RadialAttention(grid, "sta", in_order=True, backend=backend, **STA)
    out = attention(*(attention.to_order(x, 2) for x in qkv))
    wanted = definition(qkv, raster_mask(load_mask("sta", **STA), grid))
    close_to(attention.to_raster(out, 2), wanted)
    assert (out - attention.to_raster(out, 2)).abs().max() > 0.1
    assert torch.equal(attention.to_raster(attention.to_order(qkv[0], 2), 2), qkv[0])
    with pytest.raises(BackendError, match="dimension 1 must have the 60 tokens of the video"):
        attention.to_order(qkv[0], 1)


def test_in_order_needs_one_order() -> None:
    plan = parse_head_plan({"name": "two", "heads": {"0": "sta", "1": "svg_temporal"}})
    with pytest.raises(SpecError, match="for all heads, and those of two have tiles:6,8,8, space_"):
        RadialAttention(JOINT, plan, in_order=True)
    with pytest.raises(SpecError, match="the heads of two have different token orders"):
        RadialAttention(JOINT, plan).to_order(inputs(JOINT)[0], 2)
