"""block_sparse_attention on CPU tensors without Triton: it is the backend `cpu`."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from radialbench import TokenGrid, block_sparse_attention, compile_mask
from radialbench.errors import BackendError
from radialbench.kernels.op import device_table
from radialbench.maskgen.compiler import compile_heads
from radialbench.maskgen.language.heads import HeadGroup, HeadPlan
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.oracle import token_mask

GRID = TokenGrid(3, 5, 7)


@pytest.fixture(autouse=True)
def no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def tensors(heads: int = 2, kv_heads: int = 2, *, grad: bool = False) -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    shapes = [(2, count, GRID.seq_len, 16) for count in (heads, kv_heads, kv_heads)]
    return [torch.randn(shape, generator=draw).requires_grad_(grad) for shape in shapes]


def test_it_is_attention_with_gradients() -> None:
    table = compile_mask("radial", GRID, 32, 16)
    allowed = torch.from_numpy(token_mask(load_mask("radial"), GRID))
    own = tensors(heads=4, grad=True)
    exact = [x.detach().double().requires_grad_() for x in own]
    out, lse = block_sparse_attention(own[0], own[1], own[2], table, sm_scale=0.3, return_lse=True)
    q, k, v = exact[0], *(x.repeat_interleave(2, 1) for x in exact[1:])
    scores = (q @ k.mT * 0.3).masked_fill(~allowed, -torch.inf)
    expected = scores.softmax(-1) @ v
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lse.double(), scores.logsumexp(-1), atol=1e-5, rtol=1e-5)
    (out.square().sum() + lse.sum()).backward()
    (expected.square().sum() + scores.logsumexp(-1).sum()).backward()
    for mine, theirs in zip(own, exact, strict=True):
        assert mine.grad is not None and theirs.grad is not None
        torch.testing.assert_close(mine.grad.double(), theirs.grad, atol=1e-4, rtol=1e-4)


def test_heads_have_tables_of_their_own() -> None:
    masks = load_mask("radial"), load_mask("dense")
    plan = HeadPlan("two", tuple(HeadGroup((head,), mask) for head, mask in enumerate(masks)))
    q, k, v = tensors()
    out = block_sparse_attention(q, k, v, compile_heads(plan, GRID, 32, 16))
    for head, mask in enumerate(masks):
        one = slice(head, head + 1)
        alone = block_sparse_attention(q[:, one], k[:, one], v[:, one], compile_mask(mask, GRID))
        torch.testing.assert_close(out[:, one], alone)


def test_a_table_is_planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = compile_mask("radial", GRID, 32, 16)
    q, k, v = tensors()
    first = block_sparse_attention(q, k, v, table)
    monkeypatch.setattr("radialbench.kernels.backends.cpu.cut_tiles", None)
    assert torch.equal(block_sparse_attention(q, k, v, table), first)


TABLE = compile_mask("radial", GRID, 32, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backend": "triton"}, "the triton kernel runs on a GPU only, and q is on the CPU; move"),
        ({"key_len": torch.tensor([9, 9])}, "key_len runs on a GPU only"),
        ({"v": None}, "v must be [batch, heads, tokens, head_dim], got NoneType"),
        ({"k": torch.zeros(3)}, "k must be [batch, heads, tokens, head_dim], got shape [3]"),
        ({"table": 3}, "on a CPU the table is what compile_mask or compile_heads returns, got int"),
        ({"q": torch.zeros(2, 2, 105, 16, dtype=torch.float64)}, "float16, bfloat16"),
        ({"q": torch.zeros(2, 3, 105, 16)}, "2"),
        ({"q": torch.zeros(2, 2, 9, 16)}, "q must be [batch, heads, q_len, head_dim] = [2, 2, 105"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(change: dict[str, Any], message: str) -> None:
    given = dict(zip("qkv", tensors(), strict=True)) | {"table": TABLE} | change
    with pytest.raises(BackendError, match=re.escape(message)):
        block_sparse_attention(**given)


def test_a_table_on_the_device_needs_a_gpu() -> None:
    q, k, v = tensors()
    with pytest.raises(BackendError, match="got DeviceTable"):
        block_sparse_attention(q, k, v, device_table(TABLE, "cpu"))
