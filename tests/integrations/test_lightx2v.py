"""LightX2V's layers attend under a mask, by its registry and the grid that it hands over."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from radialbench.errors import IntegrationError
from radialbench.integrations import lightx2v
from radialbench.integrations.host_schedule import schedule_of_environment
from radialbench.integrations.module import RadialAttention
from radialbench.kernels.tuned import warn_once
from radialbench.maskgen.grid import TokenGrid
from tests.integrations.lightx2v_host import host

GRID = (3, 4, 5)
HEADS, HEAD_DIM = 2, 16


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("RADIALBENCH_MASK", "radial")
    monkeypatch.delenv("RADIALBENCH_SCHEDULE", raising=False)
    schedule_of_environment.cache_clear()
    warn_once.cache_clear()
    with host() as found:
        yield found
    schedule_of_environment.cache_clear()


def scheduler(step: int = 0, sigmas: Any = (1.0, 0.7, 0.3, 0.0)) -> Any:
    return SimpleNamespace(step_index=step, sigmas=torch.tensor(sigmas))


def called(registry: Any, own: list[Tensor], **said: Any) -> Tensor:
    """Call a layer as the host's Wan does."""
    lightx2v.register()
    lightx2v.register()
    ends = torch.tensor([0, len(own[0])], dtype=torch.int32)
    host_says: dict[str, Any] = {"cu_seqlens_q": ends, "cu_seqlens_kv": ends}
    host_says |= {"max_seqlen_q": len(own[0]), "max_seqlen_kv": len(own[1])}
    host_says |= {"block_idx": 7, "scheduler": scheduler(), "grid_sizes": GRID}
    host_says |= {"sol_morton_preordered": False} | said
    out: Tensor = registry["radialbench"]().apply(q=own[0], k=own[1], v=own[2], **host_says)
    return out


def tensors(*shape: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(*shape, HEADS, HEAD_DIM, generator=draw) for _ in range(3)]


def wanted(own: list[Tensor], mask: str = "radial") -> Tensor:
    q, k, v = ((x[None] if x.ndim == 3 else x).transpose(1, 2) for x in own)
    out: Tensor = RadialAttention(TokenGrid(*GRID), mask)(q, k, v)
    return out.transpose(1, 2).flatten(2).flatten(0, 1)


@pytest.mark.parametrize("shape", [(60,), (1, 60), (2, 60)])
def test_a_layer_attends_under_the_mask(shape: tuple[int, ...], registry: Any) -> None:
    own = tensors(*shape)
    out = called(registry, own)
    torch.testing.assert_close(out, wanted(own))
    assert (out - wanted(own, "dense")).abs().max() > 0.01


def test_padding_of_parallel_sequences_is_cut(
    registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tensors(62)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    out = called(registry, own)
    torch.testing.assert_close(out[:60], wanted([x[:60] for x in own]))
    assert out.shape == (62, HEADS * HEAD_DIM) and not out[60:].any()


def test_what_has_no_grid_is_dense(registry: Any) -> None:
    own = tensors(60)
    dense = wanted(own, "dense")
    text = [own[0], *tensors(7)[1:]]
    q, k, v = (x.transpose(0, 1) for x in text)
    expected = scaled_dot_product_attention(q, k, v)
    out = called(registry, text, grid_sizes=None)
    torch.testing.assert_close(out, expected.transpose(0, 1).flatten(1))
    with pytest.warns(UserWarning, match="says no grid of some self-attention") as caught:
        for _ in range(2):
            torch.testing.assert_close(called(registry, own, grid_sizes=None), dense)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"is 2x4x5, 40 tokens, and hands 60 queries") as caught:
        for _ in range(2):
            torch.testing.assert_close(called(registry, own, grid_sizes=(2, 4, 5)), dense)
    assert len(caught) == 1
    causal = called(registry, own, causal=True)
    assert (causal - dense).abs().max() > 0.01
    assert (causal - wanted(own)).abs().max() > 0.01


@pytest.mark.parametrize(
    ("rule", "said", "is_masked"),
    [
        ("layers: 0-7", {}, True),
        ("layers: 8-9", {}, False),
        ("steps: 1-", {"scheduler": scheduler(1)}, True),
        ("steps: 1-", {"scheduler": scheduler(0)}, False),
        ("noise: [0.4, 0.9]", {"scheduler": scheduler(1)}, True),
        ("noise: [0.4, 0.9]", {"scheduler": scheduler(2)}, False),
    ],
)
def test_a_schedule_says_layers_steps_and_noise(
    rule: str,
    said: dict[str, Any],
    is_masked: bool,
    registry: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "mine.yaml").write_text(f"rules:\n  - {{mask: radial, {rule}}}\n", "utf-8")
    monkeypatch.delenv("RADIALBENCH_MASK")
    monkeypatch.setenv("RADIALBENCH_SCHEDULE", str(tmp_path / "mine.yaml"))
    own = tensors(60)
    expected = wanted(own, "radial" if is_masked else "dense")
    torch.testing.assert_close(called(registry, own, **said), expected)


def test_noise_beyond_a_share_is_not_known(
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("rules: [{mask: radial, noise: [0, 1]}]\n", "utf-8")
    monkeypatch.delenv("RADIALBENCH_MASK")
    monkeypatch.setenv("RADIALBENCH_SCHEDULE", str(tmp_path / "mine.yaml"))
    own = tensors(60)
    with pytest.warns(UserWarning, match="LightX2V does not say the noise of attention"):
        out = called(registry, own, scheduler=scheduler(0, (80.0, 0.1)))
    torch.testing.assert_close(out, wanted(own, "dense"))


def test_what_is_missing_is_one_sentence(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIALBENCH_MASK", "radail")
    with pytest.raises(IntegrationError, match="RADIALBENCH_MASK: unknown mask 'radail'; did you"):
        lightx2v.register()
    words = [sys.executable, "-m", "radialbench.integrations.lightx2v"]
    monkeypatch.setenv("RADIALBENCH_MASK", "radial")
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    assert done.stderr == (
        "radialbench: LightX2V is not installed here: install it from its repository\n"
    )
