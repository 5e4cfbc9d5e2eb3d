"""Gradients of block_sparse_attention are those of its definition, interpreted and on GPUs."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import BackendError
from radialbench.kernels.backward import block_sparse_attention_backward
from radialbench.kernels.device_table import DeviceTable, table_of_blocks, upload
from radialbench.kernels.op import block_sparse_attention, device_table
from radialbench.maskgen.library import mask_names
from tests.kernels.tables import Bool, mixed_mask, rows_of, table_of

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
QKV = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def nan_filled() -> Iterator[None]:
    """Fill fresh memory with nan, so that what a kernel never writes is seen."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def inputs(
    tokens: int,
    *,
    q_len: int | None = None,
    batch: int = 1,
    heads: int = 1,
    kv_heads: int | None = None,
    head_dim: int = 16,
    dtype: torch.dtype = torch.float16,
) -> QKV:
    """Draw q, k and v that want gradients."""
    generator = torch.Generator().manual_seed(0)
    queries = (batch, heads, q_len or tokens, head_dim)
    keys = (batch, kv_heads or heads, tokens, head_dim)
    q, k, v = (
        torch.randn(shape, generator=generator).to(DEVICE, dtype).requires_grad_()
        for shape in (queries, keys, keys)
    )
    return q, k, v


def definition(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Compute masked attention in the type of its inputs; zeros and -inf without keys."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = (q @ k.mT) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~mask.to(q.device), -math.inf)
    lse = scores.float().logsumexp(-1) if q.dtype != torch.float64 else scores.logsumexp(-1)
    top = lse.masked_fill(lse == -math.inf, 0)[..., None]
    return (scores - top).exp().to(q.dtype) @ v, lse


def upstream(out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    """Draw gradients of out and lse."""
    generator = torch.Generator().manual_seed(1)
    dout, dlse = (torch.randn(x.shape, generator=generator) for x in (out, lse))
    return dout.to(out), 0.1 * dlse.to(lse)


def gradients(qkv: QKV, out: Tensor, lse: Tensor, dout: Tensor, dlse: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of q, k and v; rows without keys have no lse to differentiate."""
    some = lse.isfinite()
    kept = lse.masked_fill(~some, 0)
    return torch.autograd.grad([out, kept], qkv, [dout, dlse.masked_fill(~some, 0)])


def check(qkv: QKV, table: Any, mask: Tensor, **options: Any) -> tuple[Tensor, ...]:
    """Compare gradients with those in float64: at most twice PyTorch's error in the same type."""
    out, lse = block_sparse_attention(*qkv, table, return_lse=True, **options)
    dout, dlse = upstream(out, lse)
    found = torch.autograd.grad([out, lse], qkv, [dout, dlse])
    q, k, v = (x.detach().double().requires_grad_() for x in qkv)
    exact = gradients((q, k, v), *definition(q, k, v, mask), dout.double(), dlse.double())
    rough = gradients(qkv, *definition(*qkv, mask), dout, dlse)
    for ours, same, wanted, x in zip(found, rough, exact, qkv, strict=True):
        assert (ours.shape, ours.dtype) == (x.shape, x.dtype)
        error, allowed = ((y.double() - wanted).norm() for y in (ours, same))
        # Where exact gradients cancel to 0, sums of either order leave some rounding.
        assert error <= 2 * allowed + 1e-6 * max(wanted.norm(), dout.double().norm())
    return found


@pytest.mark.parametrize("name", mask_names())
def test_library_masks(name: str) -> None:
    grid = TokenGrid(3, 4, 5, text_tokens=7, text_valid=4)
    given = {"selected": np.ones((1, 1), np.bool_)} if name == "radial_or_table" else {}
    table = compile_mask(load_mask(name, empty_rows="keep"), grid, 32, 32, tables=given)
    mask = torch.from_numpy(table.to_dense())
    dq, dk, dv = check(inputs(67), table, mask, backend="triton")
    assert torch.all(dq[:, :, ~mask.any(1)] == 0)
    assert torch.all(dk[:, :, ~mask.any(0)] == 0)
    assert torch.all(dv[:, :, ~mask.any(0)] == 0)


@pytest.mark.parametrize(
    ("tokens", "blocks", "head_dim", "dtype"),
    [
        (1, (16, 16), 16, torch.float32),
        (63, (64, 16), 40, torch.float16),
        (100, (32, 64), 16, torch.float32),
        (257, (128, 128), 8, torch.float16),
    ],
)
def test_ragged_sizes(
    tokens: int, blocks: tuple[int, int], head_dim: int, dtype: torch.dtype
) -> None:
    """Also where steps are parts of blocks."""
    mask = mixed_mask(tokens)
    qkv = inputs(tokens, head_dim=head_dim, dtype=dtype)
    check(qkv, table_of(mask, *blocks), torch.from_numpy(mask), backend="triton")


def grouped(masks: list[Bool], heads: list[int], blocks: tuple[int, int]) -> DeviceTable:
    return upload([table_of(mask, *blocks) for mask in masks], DEVICE, heads)


def test_groups_of_heads_share_key_heads_and_sequences_have_lengths() -> None:
    """A key head's gradients sum over its query heads, which have different masks."""
    masks, group_of_head = [mixed_mask(60, seed=seed) for seed in (1, 2)], [1, 0, 0, 1]
    table = grouped(masks, group_of_head, (32, 32))
    qkv = inputs(60, heads=4, kv_heads=2, batch=2)
    key_len = torch.tensor([0, 37], dtype=torch.int32, device=DEVICE)
    there = torch.arange(60) < key_len.cpu()[:, None]
    chosen = torch.from_numpy(np.stack([masks[group] for group in group_of_head]))
    with torch.no_grad():
        for x in qkv[1:]:
            x[~there[:, None].expand(x.shape[:3])] = 0.0
    _, dk, dv = check(qkv, table, chosen & there[:, None, None], key_len=key_len, backend="triton")
    for x in (dk, dv):
        assert torch.all(x[0] == 0)
        assert torch.all(x[1, :, 37:] == 0)


def test_what_lies_past_a_sequences_end_reaches_nothing() -> None:
    mask = mixed_mask(60)
    q, k, v = inputs(60, dtype=torch.float32)
    key_len = torch.tensor([37], dtype=torch.int32, device=DEVICE)
    table = table_of(mask, 16, 32)

    def run() -> tuple[Tensor, ...]:
        out = block_sparse_attention(q, k, v, table, key_len=key_len, backend="triton")
        return torch.autograd.grad(out, (q, k, v), torch.ones_like(out))

    wanted = run()
    with torch.no_grad():
        k[:, :, 37:], v[:, :, 37:] = math.nan, math.nan
    assert all(map(torch.equal, run(), wanted))


def test_fewer_queries_than_keys() -> None:
    mask = mixed_mask(100)
    table = rows_of(table_of(mask, 32, 16), 1, 41)
    check(inputs(100, q_len=41), table, torch.from_numpy(mask[32:73]), backend="triton")


def test_tokens_before_heads_and_sums_that_are_expanded() -> None:
    table = table_of(mixed_mask(50), 32, 32)
    plain = inputs(50, heads=2)
    wanted = torch.autograd.grad(
        block_sparse_attention(*plain, table, backend="triton").float().sum(), plain
    )
    q, k, v = (x.detach().transpose(1, 2).contiguous().transpose(1, 2) for x in plain)
    swapped = (q.requires_grad_(), k.requires_grad_(), v.requires_grad_())
    out = block_sparse_attention(*swapped, table, backend="triton")
    found = torch.autograd.grad(out, swapped, torch.ones_like(out[:1, :1, :1, :1]).expand_as(out))
    for x, y in zip(found, wanted, strict=True):
        assert x.stride() == q.stride()
        assert torch.equal(x, y)


def test_blocks_chosen_at_run_time() -> None:
    blocks = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)) < 0.6
    mask = blocks.repeat_interleave(16, 0).repeat_interleave(32, 1)[:60, :90]
    table = table_of_blocks(blocks.to(DEVICE), 16, 32, 60, 90, gradients=True)
    check(inputs(90, q_len=60), table, mask, backend="triton")
    without = table_of_blocks(blocks.to(DEVICE), 16, 32, 60, 90)
    with pytest.raises(
        BackendError, match=r"made without: make it by device_table, or by table_of"
    ):
        block_sparse_attention(*inputs(90, q_len=60), without, backend="triton")


def test_parts_that_are_joined_by_lse() -> None:
    """As over several GPUs: autograd of the parts, and the backward pass with the joined lse."""
    mask = mixed_mask(80, empty=False)
    q, k, v = inputs(80, dtype=torch.float32)
    halves = [(mask & half, slice(None)) for half in (np.arange(80) < 40, np.arange(80) >= 40)]
    tables = [device_table(table_of(half, 16, 32), DEVICE) for half, _ in halves]
    parts = [block_sparse_attention(q, k, v, t, return_lse=True, backend="triton") for t in tables]
    lse = torch.logsumexp(torch.stack([part[1] for part in parts]), 0)
    out = sum(part * (own - lse).exp()[..., None] for part, own in parts)
    assert isinstance(out, Tensor)
    dout, _ = upstream(out, lse)
    joined = torch.autograd.grad(out, (q, k, v), dout)
    x, y, z = (t.detach().double().requires_grad_() for t in (q, k, v))
    exact, _ = definition(x, y, z, torch.from_numpy(mask))
    wanted = torch.autograd.grad(exact, (x, y, z), dout.double())
    given = {"dout": dout, "q": q, "k": k, "v": v}
    each = [backward(given, out.detach(), lse.detach(), table) for table in tables]
    for found, first, second, right in zip(joined, *each, wanted, strict=True):
        torch.testing.assert_close(found.double(), right, rtol=0, atol=2e-5)
        torch.testing.assert_close((first + second).double(), right, rtol=0, atol=2e-5)


def backward(
    given: dict[str, Tensor], out: Tensor, lse: Tensor, table: DeviceTable
) -> tuple[Tensor, ...]:
    dout, q, k, v = (given[name] for name in ("dout", "q", "k", "v"))
    return block_sparse_attention_backward(dout, q, k, v, out, lse, table)


@pytest.mark.filterwarnings(
    "ignore:invalid value encountered:RuntimeWarning"
)  # By the interpreter.
@pytest.mark.parametrize(
    ("name", "number"),
    [("dout", math.nan), ("q", math.nan), ("k", math.nan), ("v", math.nan), ("k", math.inf)],
)
def test_what_is_not_finite_reaches_pairs_that_attend_and_no_others(
    name: str, number: float
) -> None:
    mask = mixed_mask(60)
    table = device_table(table_of(mask, 32, 32), DEVICE)
    q, k, v = (x.detach() for x in inputs(60, heads=2, dtype=torch.float32))
    out, lse = block_sparse_attention(q, k, v, table, return_lse=True, backend="triton")
    given = {"dout": upstream(out, lse)[0], "q": q, "k": k, "v": v}
    clean = backward(given, out, lse, table)
    token = 20
    given[name][:, 1, token, 3] = number
    found = backward(given, out, lse, table)
    one = torch.arange(60) == token
    queries = one if name in ("dout", "q") else torch.from_numpy(mask[:, token])
    keys = torch.from_numpy(mask[token]) if name in ("dout", "q") else one
    assert 1 < (keys if name in ("dout", "q") else queries).sum() < 60
    for got, wanted, reached in zip(found, clean, (queries, keys, keys), strict=True):
        assert torch.equal(got[:, 0], wanted[:, 0])
        assert torch.equal(got[:, 1, ~reached], wanted[:, 1, ~reached])
        some = got[:, 1, reached].isfinite().all(dim=-1)
        # A weight of v is none of its own: dv does not depend on v.
        assert name == "v" or number == math.inf or not some.any()


def test_torch_compile_differentiates_it_whole() -> None:
    table = device_table(table_of(mixed_mask(40), 32, 32), DEVICE)

    def loss(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, lse = block_sparse_attention(q, k, v, table, return_lse=True, backend="triton")
        return (out.float() ** 2).sum() + lse.clamp(min=-9).sum()

    qkv = inputs(40)
    wanted = torch.autograd.grad(loss(*qkv), qkv)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert all(map(torch.equal, torch.autograd.grad(compiled(*qkv), qkv), wanted))


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(reentrant: bool) -> None:
    table = table_of(mixed_mask(40), 32, 32)
    calls = []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        calls.append(q)
        return block_sparse_attention(q, k, v, table, backend="triton").float()

    qkv = inputs(40)
    wanted = torch.autograd.grad(attend(*qkv).sum(), qkv)
    checkpoint(attend, *qkv, use_reentrant=reentrant).sum().backward()
    assert len(calls) == 3
    for x, y in zip(qkv, wanted, strict=True):
        assert x.grad is not None
        assert torch.equal(x.grad, y)


def test_autocast_casts_as_for_pytorchs_attention() -> None:
    table = table_of(mixed_mask(40), 32, 32)
    qkv = inputs(40, dtype=torch.float32)
    with torch.autocast(DEVICE, torch.float16):
        out = block_sparse_attention(*qkv, table, backend="triton")
    assert out.dtype == torch.float16
    grads = torch.autograd.grad(out.float().sum(), qkv)
    assert all(x.dtype == torch.float32 for x in grads)
    q, k, v = half = [x.detach().half().requires_grad_() for x in qkv]
    same = block_sparse_attention(q, k, v, table, backend="triton")
    wanted = torch.autograd.grad(same.float().sum(), half)
    assert all(torch.equal(x, y.float()) for x, y in zip(grads, wanted, strict=True))


def test_pytorch_finds_no_fault_in_the_operators() -> None:
    qkv = inputs(40)
    table = device_table(table_of(mixed_mask(40), 32, 32), DEVICE)
    tensors, sizes = list(table.all_tensors()), (32, 32, 40, 40)
    out, lse = block_sparse_attention(*qkv, table, return_lse=True, backend="triton")
    torch.library.opcheck(
        torch.ops.radialbench.block_sparse_attention.default,
        (*qkv, tensors, None, 0.2, "triton", *sizes, [0], "", 0, 0, True, None, None, 0),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )
    given = (torch.ones_like(out), None, *qkv, out.detach(), lse.detach())
    torch.library.opcheck(
        torch.ops.radialbench.block_sparse_attention_backward.default,
        (
            *(x if x is None else x.detach() for x in given),
            *(tensors, None, 0.2, "", *sizes, [0], "", 0, 0),
        ),
        test_utils=("test_schema", "test_faketensor"),
    )


def test_gradients_of_gradients_are_refused_in_words() -> None:
    qkv = inputs(40, dtype=torch.float32)
    out = block_sparse_attention(*qkv, table_of(mixed_mask(40), 32, 32), backend="triton")
    (dq,) = torch.autograd.grad(out.sum(), qkv[0], create_graph=True)
    with pytest.raises(BackendError, match="no second gradient: call backward without create"):
        dq.sum().backward()


def test_one_gradient_and_none() -> None:
    """Of a loss of lse alone, and of no loss at all."""
    q, k, v = (x.detach() for x in inputs(40, dtype=torch.float32))
    mask = mixed_mask(40, empty=False)
    k.requires_grad_()
    _, lse = block_sparse_attention(
        q, k, v, table_of(mask, 16, 16), return_lse=True, backend="triton"
    )
    (dk,) = torch.autograd.grad(lse.sum(), k)
    exact = k.detach().double().requires_grad_()
    _, wanted = definition(q.double(), exact, v.double(), torch.from_numpy(mask))
    (right,) = torch.autograd.grad(wanted.sum(), exact)
    torch.testing.assert_close(dk.double(), right, rtol=0, atol=1e-5)
    with torch.no_grad():
        assert not block_sparse_attention(
            q, k, v, table_of(mask, 16, 16), backend="triton"
        ).requires_grad


def test_what_does_not_fit_is_refused_before_a_launch() -> None:
    q, k, v = (x.detach() for x in inputs(40))
    table = device_table(table_of(mixed_mask(40), 32, 32), DEVICE)
    out, lse = block_sparse_attention(q, k, v, table, return_lse=True, backend="triton")
    dout = torch.ones_like(out)
    with pytest.raises(BackendError, match=r"lse must be torch.float32 \[1, 1, 40\] on cpu.*; got"):
        block_sparse_attention_backward(dout, q, k, v, out, lse[..., :-1], table)
    with pytest.raises(BackendError, match="lse must be torch.float32 .* got torch.float64"):
        block_sparse_attention_backward(dout, q, k, v, out, lse.double(), table)
    with pytest.raises(BackendError, match=r"dlse must be torch.float32 \[1, 1, 40\]"):
        block_sparse_attention_backward(dout, q, k, v, out, lse, table, dlse=dout)
    with pytest.raises(BackendError, match=r"dout must be torch.float16 \[1, 1, 40, 16\]"):
        block_sparse_attention_backward(dout.float(), q, k, v, out, lse, table)
    with pytest.raises(BackendError, match="out must be torch.float16"):
        block_sparse_attention_backward(dout, q, k, v, out[:, :, 1:], lse, table)
    with pytest.raises(BackendError, match="sm_scale must be a positive float32"):
        block_sparse_attention_backward(dout, q, k, v, out, lse, table, sm_scale=-1.0)
    a, b, c = (x.to(torch.float8_e4m3fn).requires_grad_() for x in (q, k, v))
    with pytest.raises(BackendError, match="computes float16, bfloat16 and float32, got float8"):
        block_sparse_attention(a, b, c, table, backend="triton")
    a, b, c = (x.to(torch.int32) for x in (q, k, v))
    with pytest.raises(BackendError, match="computes float16, bfloat16 and float32, got int32"):
        block_sparse_attention(a, b, c, table, backend="triton")


EITHER = pytest.mark.parametrize("backend", ["hopper", "triton"])


@pytest.mark.gpu
@EITHER
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("head_dim", [64, 80, 128, 256])
@pytest.mark.parametrize("tokens", [63, 513, 1000])
def test_on_a_gpu(backend: str, dtype: torch.dtype, head_dim: int, tokens: int) -> None:
    mask = mixed_mask(tokens)
    blocks = (128, 64 if head_dim == 256 else 128)
    qkv = inputs(tokens, heads=3, batch=2, head_dim=head_dim, dtype=dtype)
    for _ in range(2):  # As Triton launches it, and as it was compiled.
        check(qkv, table_of(mask, *blocks), torch.from_numpy(mask), backend=backend)


@pytest.mark.gpu
@pytest.mark.parametrize("head_dim", [16, 64, 128, 256])
@pytest.mark.parametrize("blocks", [(64, 32), (128, 64), (256, 128)])
def test_single_precision_on_a_gpu(head_dim: int, blocks: tuple[int, int]) -> None:
    mask = mixed_mask(333)
    qkv = inputs(333, heads=2, head_dim=head_dim, dtype=torch.float32)
    check(qkv, table_of(mask, *blocks), torch.from_numpy(mask), backend="triton")


@pytest.mark.gpu
@EITHER
@pytest.mark.parametrize(("heads", "kv_heads"), [(8, 2), (6, 1), (4, 4)])
@pytest.mark.parametrize("swapped", [False, True])
def test_groups_and_lengths_on_a_gpu(
    backend: str, heads: int, kv_heads: int, swapped: bool
) -> None:
    masks = [mixed_mask(1000, seed=seed) for seed in (1, 2)]
    group_of_head = [head % 3 % 2 for head in range(heads)]
    table = grouped(masks, group_of_head, (128, 64))
    qkv = inputs(1000, heads=heads, kv_heads=kv_heads, batch=2, head_dim=128, dtype=torch.bfloat16)
    if swapped:
        q, k, v = (x.detach().transpose(1, 2).contiguous().transpose(1, 2) for x in qkv)
        qkv = (q.requires_grad_(), k.requires_grad_(), v.requires_grad_())
    key_len = torch.tensor([1000, 333], dtype=torch.int32, device=DEVICE)
    there = torch.arange(1000) < key_len.cpu()[:, None]
    chosen = torch.from_numpy(np.stack([masks[group] for group in group_of_head]))
    check(qkv, table, chosen & there[:, None, None], key_len=key_len, backend=backend)


@pytest.mark.gpu
@EITHER
def test_two_runs_agree_bit_for_bit_on_a_gpu(backend: str) -> None:
    mask = mixed_mask(2000)
    qkv = inputs(2000, heads=4, kv_heads=2, head_dim=128, dtype=torch.bfloat16)
    table = table_of(mask, 128, 128)
    runs = []
    for _ in range(3):
        out = block_sparse_attention(*qkv, table, backend=backend)
        dout, _ = upstream(out, out[..., 0].float())
        runs.append(torch.autograd.grad(out, qkv, dout))
    assert all(map(torch.equal, runs[0], runs[1]))
    assert all(map(torch.equal, runs[0], runs[2]))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["dout", "q", "k", "v"])
def test_nan_on_a_gpu(name: str) -> None:
    """In a key head of two, in full and in partial blocks."""
    mask = mixed_mask(1000)
    table = device_table(table_of(mask, 128, 128), DEVICE)
    q, k, v = (x.detach() for x in inputs(1000, heads=2, head_dim=128, dtype=torch.bfloat16))
    out, lse = block_sparse_attention(q, k, v, table, return_lse=True, backend="triton")
    given = {"dout": upstream(out, lse)[0], "q": q, "k": k, "v": v}
    clean = backward(given, out, lse, table)
    given[name][:, 1, 300, 3] = math.nan
    found = backward(given, out, lse, table)
    one = torch.arange(1000) == 300
    queries = one if name in ("dout", "q") else torch.from_numpy(mask[:, 300])
    keys = torch.from_numpy(mask[300]) if name in ("dout", "q") else one
    for got, wanted, reached in zip(found, clean, (queries, keys, keys), strict=True):
        assert torch.equal(got[:, 0], wanted[:, 0])
        assert torch.equal(got[:, 1, ~reached], wanted[:, 1, ~reached])
        assert name == "v" or got[:, 1, reached].isnan().any(dim=-1).all()
