"""RadialAttention gives what the oracle's mask means, and says how."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from radialbench import TokenGrid, load_mask
from radialbench.errors import BackendError, GridError, RecordError, SpecError
from radialbench.integrations.module import RadialAttention, radial_attention
from radialbench.integrations.prepared import Shape
from radialbench.kernels import tuned
from radialbench.maskgen.grid import Segment
from radialbench.maskgen.language.heads import HeadPlan
from radialbench.maskgen.library import parse_head_plan, parse_mask
from radialbench.records.problem import KernelConfig
from tests.integrations.raster import raster_mask
from tests.kernels.configs import fresh, written

GRID = TokenGrid(5, 3, 4)
JOINT = TokenGrid(5, 3, 4, text_tokens=7)
MASKS: dict[str, dict[str, Any]] = {
    "radial": {"decay": 0.3},
    "sta": {"tile_t": 2, "tile_h": 2, "tile_w": 3, "window_t": 1, "window_h": 1, "window_w": 3},
    "svg_temporal": {},
}
SHAPE = Shape(2, 3, 16, torch.float32, torch.device("cpu"))
every_backend = pytest.mark.parametrize("backend", [None, "triton"])


def inputs(grid: TokenGrid, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Return q, k and v of two sequences and three heads, in the layout of models."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, grid.seq_len, 3, 16)
    q, k, v = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3))
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def definition(qkv: tuple[Tensor, Tensor, Tensor], mask: NDArray[np.bool_]) -> Tensor:
    q, k, v = (x.double() for x in qkv)
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(torch.from_numpy(~mask), -math.inf).softmax(-1).nan_to_num()
    return torch.einsum("bhqk,bhkd->bhqd", weights, v)


def close(got: Tensor, exact: Tensor) -> None:
    torch.testing.assert_close(got.double(), exact, rtol=0, atol=1e-5)


@every_backend
@pytest.mark.parametrize("grid", [GRID, JOINT, TokenGrid(5, 3, 4, text_tokens=7, text_first=True)])
@pytest.mark.parametrize("name", MASKS)
def test_masks_and_token_orders(name: str, grid: TokenGrid, backend: str | None) -> None:
    qkv = inputs(grid)
    out = radial_attention(*qkv, grid, name, backend=backend, **MASKS[name])
    close(out, definition(qkv, raster_mask(load_mask(name, **MASKS[name]), grid)))


@every_backend
def test_each_sequence_has_its_text(backend: str | None) -> None:
    qkv, lengths = inputs(JOINT), [5, 0]
    mask = raster_mask(load_mask("radial", decay=0.3), JOINT)
    keys = np.arange(JOINT.seq_len) < 60 + np.array(lengths)[:, None]
    text_len = torch.tensor(lengths)
    out = radial_attention(*qkv, JOINT, decay=0.3, text_len=text_len, backend=backend)
    close(out, definition(qkv, mask & keys[:, None, None, :]))
    attention = RadialAttention(JOINT, dense_layers=1, backend=backend)
    dense = attention(*qkv, layer=0, text_len=text_len)
    close(dense, definition(qkv, np.broadcast_to(keys[:, None, None, :], (2, 1, 67, 67))))


@every_backend
def test_query_heads_share_key_heads(backend: str | None) -> None:
    q, k, v = inputs(JOINT)
    k, v = k[:, :1], v[:, :1]
    copies = q, k.expand(-1, 3, -1, -1), v.expand(-1, 3, -1, -1)
    text_len = torch.tensor([7, 7])
    attention = RadialAttention(JOINT, decay=0.3, dense_layers=1, backend=backend)
    sparse = definition(copies, raster_mask(load_mask("radial", decay=0.3), JOINT))
    close(attention(q, k, v, layer=1, text_len=text_len), sparse)
    dense = definition(copies, np.ones((67, 67), np.bool_))
    close(attention(q, k, v, layer=0), dense)
    close(attention(q, k, v, layer=0, text_len=text_len), dense)
    choice = attention.prepare(replace(SHAPE, kv_heads=1))
    assert choice.source == "default"
    with pytest.raises(RecordError, match="Shape.kv_heads must divide the 3 heads, got 2"):
        replace(SHAPE, kv_heads=2)


@every_backend
def test_a_query_without_keys_gives_zeros(backend: str | None) -> None:
    mask = parse_mask({"name": "later", "mask": "kt < qt", "empty_rows": "keep"})
    qkv = inputs(GRID)
    out = radial_attention(*qkv, GRID, mask, backend=backend)
    assert torch.all(out[:, :, :12] == 0)
    close(out, definition(qkv, raster_mask(mask, GRID)))


@every_backend
def test_masks_by_head(backend: str | None) -> None:
    names = {"0,2": {"name": "radial", "params": {"decay": 0.3}}, "1": "dense"}
    plan = parse_head_plan({"name": "two", "heads": names})
    radial = raster_mask(load_mask("radial", decay=0.3), JOINT)
    mask = np.stack([radial, np.ones_like(radial), radial])
    qkv = inputs(JOINT)
    close(radial_attention(*qkv, JOINT, plan, backend=backend), definition(qkv, mask))


@every_backend
@pytest.mark.parametrize("kv_heads", [3, 1])
@pytest.mark.parametrize(
    "masks",
    [
        ("svg_spatial", "svg_temporal", "svg_temporal"),
        ("svg_temporal", "radial", "sta"),
        ("svg_temporal", "svg_temporal", "svg_temporal"),
    ],
)
def test_heads_of_a_layer_have_token_orders_of_their_own(
    masks: tuple[str, ...], kv_heads: int, backend: str | None
) -> None:
    q, k, v = inputs(JOINT)
    k, v = k[:, :kv_heads], v[:, :kv_heads]
    copies = q, k.expand(-1, 3, -1, -1), v.expand(-1, 3, -1, -1)
    sizes = {"sta": MASKS["sta"]}
    entries = {str(n): {"name": m, "params": sizes.get(m, {})} for n, m in enumerate(masks)}
    plan = parse_head_plan({"name": "p", "heads": entries})
    mask = np.stack([raster_mask(load_mask(m, **sizes.get(m, {})), JOINT) for m in masks])
    keys = np.arange(JOINT.seq_len) < 60 + np.array([5, 0])[:, None]
    text_len = torch.tensor([5, 0])
    out = radial_attention(q, k, v, JOINT, plan, text_len=text_len, backend=backend)
    close(out, definition(copies, mask & keys[:, None, None, :]))
    assert out.transpose(1, 2).is_contiguous()


def test_a_file_is_a_mask_or_a_head_plan(tmp_path: Path) -> None:
    path = tmp_path / "near.yaml"
    path.write_text("name: near\nmask: dt < near\nparams: {near: {type: int, default: 2}}\n")
    qkv = inputs(GRID)
    out = radial_attention(*qkv, GRID, path, near=1)
    close(out, definition(qkv, raster_mask(parse_mask({"name": "n", "mask": "dt < 1"}), GRID)))
    path.write_text("name: plan\nheads: {0-2: dense}\n")
    assert isinstance(RadialAttention(GRID, str(path)).schedule.masks[0], HeadPlan)


def test_layers_and_steps() -> None:
    qkv = inputs(GRID)
    attention = RadialAttention(GRID, decay=0.3, dense_layers=1, dense_steps=1)
    sparse = definition(qkv, raster_mask(load_mask("radial", decay=0.3), GRID))
    dense = definition(qkv, np.ones((60, 60), np.bool_))
    assert (sparse - dense).abs().max() > 0.1
    attention.at(torch.tensor([0.0, 900.0]))
    close(attention(*qkv, layer=3), dense)
    attention.at(800.0)
    close(attention(*qkv, layer=3), sparse)
    close(attention(*qkv), sparse)
    close(attention(*qkv, layer=0), dense)


@every_backend
@pytest.mark.parametrize("name", ["radial", "sta"])
def test_compiled_whole(name: str, backend: str | None) -> None:
    qkv, text_len = inputs(JOINT), torch.tensor([5, 2])
    attention = RadialAttention(JOINT, name, dense_steps=1, backend=backend, **MASKS[name])
    attention.at(900.0)
    attention.prepare(SHAPE)
    torch._dynamo.reset()
    compiled = torch.compile(attention, fullgraph=True, backend=(counted := CompileCounter()))
    for timestep in (900.0, 800.0, 700.0):
        attention.at(timestep)
        got = compiled(*qkv, text_len=text_len)
        torch.testing.assert_close(got, attention(*qkv, text_len=text_len), rtol=0, atol=1e-5)
    assert counted.frame_count == 2


@every_backend
def test_compiled_with_heads_of_two_token_orders(backend: str | None) -> None:
    qkv, heads = inputs(JOINT), plan("svg_spatial", "svg_temporal", "svg_temporal")
    attention = RadialAttention(JOINT, heads, backend=backend)
    wanted = attention(*qkv)
    torch._dynamo.reset()
    compiled = torch.compile(attention, fullgraph=True, backend=(counted := CompileCounter()))
    torch.testing.assert_close(compiled(*qkv), wanted, rtol=0, atol=1e-5)
    assert counted.frame_count == 1


def test_compiled_before_anything_is_ready() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(RadialAttention(GRID), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match="inside torch.compile nothing is prepared for 60 tokens"):
        compiled(*inputs(GRID))
    compiled = torch.compile(radial_attention, fullgraph=True, backend="eager")
    with pytest.raises(Exception, match="inside torch.compile use a RadialAttention"):
        compiled(*inputs(GRID), GRID)


def test_the_tuned_configuration_and_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = load_mask("radial", decay=0.3)
    attention = RadialAttention(GRID, mask, backend="triton")
    assert attention.prepare(SHAPE).source == "default"
    best = KernelConfig(16, 32, num_warps=2, num_stages=1)
    shape: dict[str, Any] = {"frames": 5, "tokens_per_frame": 12, "seq_len": 60, "batch": 2}
    shape |= {"mask_fingerprint": mask.fingerprint, "heads": 3, "head_dim": 16, "dtype": "float32"}
    record = fresh("triton", config=best, **shape)
    written(tmp_path, record)
    monkeypatch.setenv(tuned.VARIABLE, str(tmp_path))
    again = RadialAttention(GRID, mask, backend="triton")
    found = again.prepare(SHAPE)
    assert (found.source, found.config) == ("tuned", best)
    assert again.prepare(SHAPE) is found
    qkv = inputs(GRID)
    close(again(*qkv), definition(qkv, raster_mask(mask, GRID)))
    assert RadialAttention(GRID, mask).prepare(SHAPE).reason.startswith("no kernel of ours")


def test_all_tokens_are_queries() -> None:
    with pytest.raises(GridError, match="all tokens as queries, got a grid of 5x3x4 q3-4"):
        RadialAttention(replace(GRID, query_frames=(3, 4)))
    segments = TokenGrid.of(*JOINT.layout, Segment("audio", 3))
    with pytest.raises(GridError, match=r"got a grid of video=5x3x4\+text=7\+audio=3; compile"):
        RadialAttention(segments)


def test_what_does_not_go_together() -> None:
    with pytest.raises(GridError, match="belongs to the call, as text_len, got a grid of 5x3x4"):
        RadialAttention(TokenGrid(5, 3, 4, text_tokens=7, text_valid=3))
    with pytest.raises(SpecError, match="unknown parameter of radial 'decya'; did you mean"):
        RadialAttention(GRID, decya=1)
    with pytest.raises(SpecError, match="a head plan states its parameters itself, got decay"):
        RadialAttention(GRID, plan("radial"), decay=1)
    with pytest.raises(BackendError, match=r"q must be \[batch, heads, 67, .* with 7 text tokens"):
        RadialAttention(JOINT)(*inputs(GRID))
    with pytest.raises(BackendError, match="text_len cuts the end, and here text comes"):
        grid = TokenGrid(5, 3, 4, text_tokens=7, text_first=True)
        RadialAttention(grid)(*inputs(grid), text_len=torch.tensor([1, 2]))
    with pytest.raises(BackendError, match="head plan p has masks for 2 heads, the model has 3"):
        RadialAttention(GRID, plan("radial", "dense"))(*inputs(GRID))
    with pytest.raises(BackendError, match="the hopper kernel cannot run this: .* got 'cpu'"):
        RadialAttention(GRID, backend="hopper")(*inputs(GRID, torch.float16))


@every_backend
def test_q_k_v_and_lengths_that_do_not_fit(backend: str | None) -> None:
    q, k, v = inputs(JOINT)
    attention = RadialAttention(JOINT, dense_layers=1, backend=backend)
    lengths = torch.tensor([7, 3])
    wrong: list[tuple[tuple[Tensor, Tensor, Tensor], Tensor | None, str]] = [
        ((q[0], k, v), None, r"q must be \[batch, heads, 67, .* got \[3, 67, 16\]"),
        ((q, k[:, :2], v), None, r"k must be .* divide the 3 heads of q, got \[2, 2, 67, 16\]"),
        ((q, k[..., :8], v), None, r"k must be .*\[2, 3, 67, 16\] .* got .*\[2, 3, 67, 8\]"),
        ((q, k, v[:, :1]), None, r"v must be .*\[2, 3, 67, 16\] .* got .*\[2, 1, 67, 16\]"),
        ((q, k[:1], v), None, r"k must be .*, as q; got .*\[1, 3, 67, 16\]"),
        ((q, k.half(), v), None, "k must be torch.float32 .* got torch.float16"),
        ((q, k, v.double()), None, "v must be torch.float32 .* got torch.float64"),
        ((q, k, v.to("meta")), None, "v must be .* on cpu, as q; .* on meta"),
        (
            (q, k, v),
            lengths[:1],
            r"text_len must be \[2\] integers on cpu, .* got torch.int64 \[1\]",
        ),
        ((q, k, v), lengths[:, None], r"text_len must be .* got torch.int64 \[2, 1\]"),
        ((q, k, v), lengths + 1, "a text of 8 tokens is longer than the 7 slots .*: give text_tok"),
        ((q, k, v), lengths > 3, r"text_len must be .* got torch.bool"),
        ((q, k, v), lengths.float(), r"text_len must be .* got torch.float32"),
        ((q, k, v), lengths.to("meta"), r"text_len must be .* on meta"),
    ]
    for qkv, text_len, message in wrong:
        for layer in (0, 1):
            with pytest.raises(BackendError, match=message):
                attention(*qkv, text_len=text_len, layer=layer)


def test_an_unknown_backend() -> None:
    with pytest.raises(BackendError, match="unknown backend 'hoper'; did you mean 'hopper'"):
        RadialAttention(GRID, backend="hoper")


def test_what_is_kept_for_lengths_of_text_is_bounded() -> None:
    attention = RadialAttention(GRID, decay=0.3)
    for text in range(20):
        attention.prepare(SHAPE, text_tokens=text % 12)
        attention.prepare(SHAPE, text_tokens=0)
    kept = [text for _, text, _ in attention._prepared]
    assert kept == [1, 2, 3, 4, 5, 6, 7, 0]


def test_a_check_puts_nothing_on_a_device() -> None:
    attention = RadialAttention(GRID, decay=0.3, backend="triton")
    assert attention.check(SHAPE) == RadialAttention(GRID, decay=0.3, backend="triton").prepare(
        SHAPE
    )
    assert not attention._prepared


def plan(*masks: str) -> HeadPlan:
    return parse_head_plan({"name": "p", "heads": {str(n): mask for n, mask in enumerate(masks)}})
