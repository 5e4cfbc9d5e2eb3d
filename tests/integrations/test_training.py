"""RadialAttention and the processors train: gradients, compiled too, and a small LoRA."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from radialbench import TokenGrid, load_mask
from radialbench.integrations.diffusers import apply_radial
from radialbench.integrations.module import RadialAttention
from radialbench.maskgen.library import parse_head_plan
from tests.integrations.raster import raster_mask
from tests.integrations.small import SMALL

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")

JOINT = TokenGrid(5, 3, 4, text_tokens=7)
QKV = tuple[Tensor, Tensor, Tensor]


def inputs(kv_heads: int = 3) -> QKV:
    """Return q, k and v of two sequences in the layout of models."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, JOINT.seq_len, heads, 16, generator=generator).transpose(1, 2)
        for heads in (3, kv_heads, kv_heads)
    )
    return q.requires_grad_(), k.requires_grad_(), v.requires_grad_()


def exact_gradients(qkv: QKV, mask: NDArray[np.bool_], dout: Tensor) -> tuple[Tensor, ...]:
    """Return those of the definition in float64."""
    q, k, v = leaves = [x.detach().double().requires_grad_() for x in qkv]
    k, v = (x.repeat_interleave(3 // x.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(torch.from_numpy(~mask), -math.inf).softmax(-1)
    return torch.autograd.grad(weights @ v, leaves, dout.double())


def plan(*names: str) -> Any:
    heads = {str(head): {"name": name} for head, name in enumerate(names)}
    return parse_head_plan({"name": "each", "heads": heads})


@pytest.mark.parametrize("backend", [None, "triton"])
@pytest.mark.parametrize("kv_heads", [3, 1])
@pytest.mark.parametrize("names", [("sta",), ("svg_spatial", "svg_temporal", "svg_temporal")])
def test_gradients_go_back_through_the_orders_of_tokens(
    names: tuple[str, ...], kv_heads: int, backend: str | None
) -> None:
    """Of tiles for all heads, and of two orders under one key head, which is copied."""
    sizes: dict[str, Any] = {
        "tile_t": 2,
        "tile_h": 2,
        "tile_w": 3,
        "window_t": 1,
        "window_h": 1,
        "window_w": 3,
    }
    mask = load_mask("sta", **sizes) if names == ("sta",) else plan(*names)
    qkv, text_len = inputs(kv_heads), [5, 2]
    attention = RadialAttention(JOINT, mask, backend=backend)
    out = attention(*qkv, text_len=torch.tensor(text_len))
    dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad(out, qkv, dout)
    each = [load_mask("sta", **sizes)] if names == ("sta",) else [load_mask(n) for n in names]
    raster = np.stack([raster_mask(one, JOINT) for one in each])
    keys = np.arange(JOINT.seq_len) < JOINT.video_tokens + np.array(text_len)[:, None]
    wanted = exact_gradients(qkv, raster & keys[:, None, None, :], dout)
    for x, y in zip(found, wanted, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=0, atol=1e-5)


# By torch.compile, for any function of autograd.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_whole_with_two_orders() -> None:
    attention = RadialAttention(JOINT, plan("svg_spatial", "svg_temporal", "sta"), backend="triton")
    qkv = inputs()
    wanted = torch.autograd.grad(attention(*qkv).square().sum(), qkv)
    torch._dynamo.reset()
    compiled = torch.compile(attention, fullgraph=True, backend="aot_eager")
    for x, y in zip(torch.autograd.grad(compiled(*qkv).square().sum(), qkv), wanted, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_processors_have_the_gradients_of_masked_sdpa(name: str) -> None:
    small = SMALL[name]
    grads = []
    for backend in ("sdpa", "triton"):
        transformer = small.build(num_layers=1)
        apply_radial(transformer, size=small.size, decay=0.3, backend=backend)
        transformer(**small.inputs(500.0), return_dict=False)[0].square().mean().backward()
        grads.append({n: x.grad for n, x in transformer.named_parameters() if x.grad is not None})
    masked, sparse = grads
    assert masked.keys() == sparse.keys()
    assert any("to_q" in weight for weight in masked)
    for weight, wanted in masked.items():
        scale = float(wanted.abs().max())
        torch.testing.assert_close(sparse[weight], wanted, rtol=0, atol=1e-4 * scale + 1e-8)


class LowRank(nn.Module):
    """A linear layer that stays as it is, and a trainable update of rank 2."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(0.3 * torch.randn(2, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, 2))

    def forward(self, x: Tensor) -> Tensor:
        base: Tensor = self.base(x)
        return base + x @ self.down.T @ self.up.T


def losses(backend: str, steps: int) -> list[float]:
    """Tune a LoRA of a Wan block's self-attention, with activation checkpointing."""
    small = SMALL["wan"]
    transformer = small.build(num_layers=1).requires_grad_(False).train()
    transformer.enable_gradient_checkpointing()
    apply_radial(transformer, size=small.size, decay=0.3, backend=backend)
    torch.manual_seed(0)
    attention = transformer.blocks[0].attn1
    for name in ("to_q", "to_k", "to_v"):
        setattr(attention, name, LowRank(getattr(attention, name)))
    given = small.inputs(500.0)
    with torch.no_grad():
        target = transformer(**given, return_dict=False)[0].roll(1, 0)
    tuned = [x for x in transformer.parameters() if x.requires_grad]
    optimizer = torch.optim.Adam(tuned, lr=0.1)
    found = []
    for _ in range(steps):
        loss = (transformer(**given, return_dict=False)[0] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def test_a_lora_reaches_the_loss_of_masked_sdpa() -> None:
    sparse, masked = losses("triton", 6), losses("sdpa", 6)
    assert sparse[-1] < 0.97 * sparse[0]
    np.testing.assert_allclose(sparse, masked, rtol=1e-3)
