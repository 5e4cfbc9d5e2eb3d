"""Attention in e4m3: rounding, its error, the kernel's machine code, and on a GPU its results."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from math import log2
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import BackendError
from radialbench.fidelity.generator import Generated
from radialbench.kernels.device_table import upload
from radialbench.kernels.fp8 import attend_fp8
from radialbench.kernels.triton.fp8_launch import LARGEST, Rounded, key_order, round_to_fp8
from radialbench.maskgen.library import mask_names
from radialbench.maskgen.table import BlockTable
from tests.kernels.ptx import weights_by_register
from tests.kernels.tables import mixed_mask, table_of

FP8 = torch.float8_e4m3fn
LOG2_E = log2(2.718281828459045)
STEP = 0.0265
"""RMS relative error of rounding to e4m3: a step of 1/8 of the power of two below, spread evenly
over an octave."""
QKV = tuple[Tensor, Tensor, Tensor]


def inputs(
    q_len: int,
    *,
    k_len: int = 0,
    batch: int = 1,
    heads: int = 2,
    kv_heads: int = 2,
    head_dim: int = 128,
    dtype: torch.dtype = torch.float16,
    models: bool = False,
    device: str = "cpu",
) -> QKV:
    """Return q, k and v, k with a mean; with `models` tokens come before heads in memory."""
    generator = torch.Generator(device).manual_seed(0)

    def made(tokens: int, own: int) -> Tensor:
        axes = (batch, tokens, own) if models else (batch, own, tokens)
        x = torch.randn((*axes, head_dim), generator=generator, device=device)
        return (x.transpose(1, 2) if models else x).to(dtype)

    k_len = k_len or q_len
    k = made(k_len, kv_heads)
    shift = torch.randn(head_dim, generator=generator, device=device).to(dtype)
    return made(q_len, heads), k + shift, made(k_len, kv_heads)


def rounded(q: Tensor, k: Tensor, v: Tensor, key_len: Tensor | None = None) -> Rounded:
    """Return what `round_to_fp8` does, by PyTorch's casts."""
    q, k, v = (x.float() for x in (q, k, v))
    batch, heads, _, head_dim = q.shape
    kv_heads, k_len = k.shape[1:3]
    lengths = torch.full((batch,), k_len) if key_len is None else key_len
    there = (torch.arange(k_len, device=q.device) < lengths[:, None].to(q.device))[:, None, :, None]
    k, v = k.where(there, 0.0), v.where(there, 0.0)
    mean = k.sum(2, keepdim=True) / lengths.clamp(min=1).to(q.device).view(-1, 1, 1, 1)
    times_mean = (q * mean.repeat_interleave(heads // kv_heads, 1)).sum(-1)
    k = (k - mean).where(there, 0.0)
    width = 64 if head_dim <= 64 else 128

    def padded(x: Tensor, tokens: int) -> Tensor:
        return torch.nn.functional.pad(x, (0, width - head_dim, 0, tokens - x.shape[2]))

    def by_block(x: Tensor) -> tuple[Tensor, Tensor]:
        blocks = padded(x, -(-x.shape[2] // 128) * 128).unflatten(2, (-1, 128))
        tops = blocks.abs().amax((3, 4)).clamp(min=1e-30)
        scaled = (blocks * (LARGEST / tops)[..., None, None]).flatten(2, 3)
        return scaled[:, :, : x.shape[2]].to(FP8), tops / LARGEST

    (q8, q_factors), (k8, k_factors) = by_block(q), by_block(k)
    values = padded(v, -(-k_len // 128) * 128)[:, :, key_order(-(-k_len // 128) * 128)]
    v_factors = values.abs().amax(2).clamp(min=1e-30) / LARGEST
    v8 = (values / v_factors[:, :, None]).transpose(2, 3).to(FP8).contiguous()
    return Rounded(q8, k8, v8, q_factors, k_factors, v_factors, times_mean)


def emulated(
    r: Rounded, allowed: Tensor, table: BlockTable, sm_scale: float
) -> tuple[Tensor, Tensor]:
    """Compute what the kernel does, step by step: out, with the padding's channels, and lse."""
    q8, k8, v8 = (x.float() for x in (r.q, r.k, r.v))
    per_kv = q8.shape[1] // k8.shape[1]
    k8, v8, k_factors, v_factors = (
        x.repeat_interleave(per_kv, 1) for x in (k8, v8, r.k_factors, r.v_factors)
    )
    out, lse = torch.zeros_like(q8), torch.zeros_like(r.times_mean)
    order = key_order(128)
    for row in range(table.rows):
        own = slice(128 * row, min(128 * row + 128, q8.shape[2]))
        q = q8[:, :, own]
        m = q.new_full(q.shape[:3], -3.0e38)
        sums, acc = torch.zeros_like(m), torch.zeros_like(q)
        lists = (table.full, table.partial)
        steps = [c for t in lists for c in t.indices[t.indptr[row] : t.indptr[row + 1]]]
        for column in map(int, steps):
            keys = slice(128 * column, min(128 * column + 128, k8.shape[2]))
            factor = r.q_factors[:, :, row] * sm_scale * LOG2_E * k_factors[:, :, column]
            s = q @ k8[:, :, keys].transpose(2, 3) * factor[..., None, None]
            s = s.masked_fill(~allowed[..., own, keys], -torch.inf)
            s = torch.nn.functional.pad(s, (0, 128 - s.shape[3]), value=-torch.inf)
            new = torch.maximum(m, s.amax(3))
            p, alpha = (s - new[..., None] + 8).exp2(), (m - new).exp2()
            sums = sums * alpha + p.sum(3)
            values = v8[:, :, :, 128 * column : 128 * column + 128].transpose(2, 3)
            acc = acc * alpha[..., None] + p[..., order].to(FP8).float() @ values
            m = new
        out[:, :, own] = acc / sums.where(sums != 0, 1.0)[..., None] * v_factors[:, :, None]
        shift = r.times_mean[:, :, own] * sm_scale * LOG2_E
        lse[:, :, own] = ((m + sums.log2() - 8 + shift) / LOG2_E).where(sums != 0, -torch.inf)
    return out, lse


def definition(qkv: QKV, allowed: Tensor, sm_scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return out, lse and scores in float64."""
    q, k, v = (x.double() for x in qkv)
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = (q @ k.transpose(2, 3) * sm_scale).masked_fill(~allowed, -torch.inf)
    return scores.softmax(-1).nan_to_num() @ v, scores.logsumexp(-1), scores


def relative(got: Tensor, wanted: Tensor) -> float:
    return float((got.double() - wanted).norm() / wanted.norm())


def predicted(qkv: QKV, allowed: Tensor, sm_scale: float) -> tuple[Tensor, Tensor]:
    """Return the RMS errors of out and lse if every number is rounded by itself, by `STEP`.

    To first order: a weight and its value are off by a step each; a key moves its own score, and a
    query the scores of all its keys together.
    """
    q, k, v = (x.double() for x in qkv)
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    out, _, scores = definition(qkv, allowed, sm_scale)
    w = scores.softmax(-1).nan_to_num()
    k = k - k.mean(2, keepdim=True)
    squares = (q * sm_scale).square()
    by_key = w.square() * (squares @ k.square().transpose(2, 3))
    mean = w @ k
    lse = by_key.sum(-1) + (squares * mean.square()).sum(-1)
    moved = by_key @ v.square() - 2 * out * (by_key @ v)
    found = 2 * w.square() @ v.square() + moved + out.square() * by_key.sum(-1, keepdim=True)
    for head in range(q.shape[1]):
        together = (k[:, head, :, :, None] * v[:, head, :, None]).flatten(2)
        slope = (w[:, head] @ together).unflatten(2, (k.shape[3], -1))
        slope -= mean[:, head, :, :, None] * out[:, head, :, None]
        found[:, head] += torch.einsum("bid,bidc->bic", squares[:, head], slope.square())
    return STEP * found.clamp(min=0).sqrt(), STEP * lse.sqrt()


def everywhere(seq_len: int) -> tuple[Tensor, BlockTable]:
    whole = np.ones((seq_len, seq_len), np.bool_)
    return torch.from_numpy(whole), table_of(whole, 128, 128)


@pytest.mark.skipif(torch.cuda.is_available(), reason="run on the GPU below")
@pytest.mark.parametrize(
    ("q_len", "more"),
    [
        (200, {}),
        (129, {"heads": 4, "kv_heads": 2, "head_dim": 40, "k_len": 300, "models": True}),
        (65, {"batch": 2, "heads": 1, "kv_heads": 1, "head_dim": 72, "dtype": torch.bfloat16}),
    ],
)
def test_rounding(q_len: int, more: dict[str, Any]) -> None:
    """All but what Triton's interpreter rounds wrongly: it loses carries, and denormal numbers."""
    q, k, v = inputs(q_len, **more)
    key_len = torch.tensor([0, 50], dtype=torch.int32) if q.shape[0] == 2 else None
    if key_len is not None:
        k[1, :, 50:], v[1, :, 50:] = torch.inf, torch.nan
    got, wanted = round_to_fp8(q, k, v, key_len), rounded(q, k, v, key_len)
    for name, x, y in zip(Rounded._fields, got, wanted, strict=True):
        assert x.shape == y.shape
        if x.dtype != FP8:
            torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-4 if name == "times_mean" else 0.0)
            continue
        bits, exact = x.view(torch.uint8), y.view(torch.uint8)
        sound = ((exact & 7) != 0) & ((exact & 0x78) != 0)
        assert sound.float().mean() > 0.3 or (exact == 0).float().mean() > 0.5
        assert (bits[sound] == exact[sound]).float().mean() > 0.99, name  # Ties are among them.
        assert ((bits & 0x7F) == 0)[(exact & 0x7F) == 0].all()


def decaying(dtype: str = "float32", device: str = "cpu") -> tuple[QKV, float]:
    """Return inputs whose attention decays: in space and in time."""
    made = Generated(TokenGrid(6, 8, 8), head_dim=128, dtype=dtype).load(device)
    return (made.q, made.k, made.v), made.header.sm_scale or 128**-0.5


@pytest.mark.parametrize("outliers", [1, 10, 100])
def test_error_is_that_of_the_steps(outliers: float) -> None:
    """Two channels of q, k and v are larger than the others."""
    q, k, v = (x.float() for x in inputs(300, heads=1, kv_heads=1, dtype=torch.float32))
    for x in (q, k, v):
        x[..., 5:7] *= outliers
    sm_scale = (126 + 2 * outliers**4) ** -0.5
    allowed, table = everywhere(300)
    wanted, wanted_lse, _ = definition((q, k, v), allowed, sm_scale)
    out_error, lse_error = predicted((q, k, v), allowed, sm_scale)
    out, lse = emulated(rounded(q, k, v), allowed, table, sm_scale)
    assert 0.7 < float((out - wanted).norm() / out_error.norm()) < 1.1
    assert ((out - wanted).abs() / out_error).max() < 6
    assert 0.8 < float((lse - wanted_lse).norm() / lse_error.norm()) < 1.2
    cosine = torch.cosine_similarity(out.double().flatten(), wanted.flatten(), 0)
    assert 1 - cosine < float(out_error.norm() / wanted.norm()) ** 2 / 2


def test_decaying_attention() -> None:
    """Keys that are equal are rounded alike, and move the lse together."""
    qkv, sm_scale = decaying()
    allowed = torch.from_numpy(mixed_mask(384, empty=False))
    wanted, wanted_lse, _ = definition(qkv, allowed, sm_scale)
    out_error, lse_error = predicted(qkv, allowed, sm_scale)
    out, lse = emulated(rounded(*qkv), allowed, table_of(allowed.numpy(), 128, 128), sm_scale)
    for head in range(wanted.shape[1]):
        error = (out - wanted)[:, head].norm() / out_error[:, head].norm()
        assert 0.5 < float(error) < 1.25
    assert (lse - wanted_lse).norm() / lse_error.norm() < 2


def test_mean_of_keys_costs_nothing() -> None:
    """A mean that is large beside the keys' differences is gone before they are rounded."""
    q, k, v = (x.float() for x in inputs(300, dtype=torch.float32))
    allowed, table = everywhere(300)
    (out, lse), (far, far_lse) = (
        emulated(rounded(q, k + shift, v), allowed, table, 128**-0.5) for shift in (0.0, 64.0)
    )
    assert relative(far, out.double()) < 0.01
    moved = q.sum(-1) * 64 * 128**-0.5
    torch.testing.assert_close(far_lse, lse + moved, rtol=0, atol=0.02)


COMPILE = """
import sys
from triton.backends.compiler import GPUTarget
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonASTSource
import triton
from radialbench.kernels.triton import compile
from radialbench.kernels.triton.forward_hopper_fp8 import block_sparse_fwd_hopper_fp8 as kernel
from radialbench.kernels.triton.launch import HOPPER_OPTIONS
width, more = int(sys.argv[1]), sys.argv[2] == "True"
def described(block, kind, name):
    block = [1, 1, *block]
    return f"tensordesc<{name}{block},{gl.NVMMASharedLayout.get_default_for(block, kind)!r}>"
fp8 = gl.float8e4nv, "fp8e4nv"
kinds = compile.FIXED | {"k_len": "i32"} | {
    "desc_q": described([64, width], *fp8), "desc_k": described([128, width], *fp8),
    "desc_v": described([width, 128], *fp8),
    "desc_out": described([64, width], gl.bfloat16, "bf16"),
} | dict.fromkeys(("q_factors", "k_factors", "v_factors", "times_mean"), "*fp32")
constants = {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_D": width, "GROUPED": more, "KEY_LENS": more,
    "RAGGED": more, "HEADS_PER_KV": 4 if more else 1, "BUFFERS": 2}
source = compile._source(GluonASTSource, kernel, kinds, constants)
done = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=HOPPER_OPTIONS)
listing = compile._cuobjdump(done.asm["cubin"], "-sass")
print(compile.resource_usage(done.asm["cubin"])[1], done.metadata.shared)
print("PTX", done.asm["ptx"], "SASS", listing, sep="\\n")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "more"), [(128, True), (128, False), (64, True)])
def test_machine_code(width: int, more: bool) -> None:
    """No spills, no bytes moved about, products in flight; weights stand where v's keys do."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(width), str(more)],
        capture_output=True,
        text=True,
        env=os.environ | {"TRITON_INTERPRET": "0"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures, rest = done.stdout.split("PTX\n", 1)
    ptx, listing = rest.split("SASS\n", 1)
    stack, shared = map(int, figures.split())
    assert (stack, shared <= 232448) == (0, True)
    assert not re.search(r"\b(PRMT|LDL|STL)\b", listing)
    # Four products of a loop are fenced as two groups; serialized, each has a fence of its own.
    assert len(re.findall(r"\bQGMMA\b", listing)) > len(re.findall(r"WARPGROUP\.ARRIVE", listing))
    column = key_order(128)
    found = 0
    for (step, register, byte), scores in weights_by_register(ptx):
        # Register 2·h + r of a step of 32 keys: keys 16·h + 4·lane + byte of row 8·r + …, and score
        # 4·j + 2·r + b is column 8·j + 2·lane + b.
        h, r = divmod(register, 2)
        for lane in range(4):
            key = int(column[32 * step + 16 * h + 4 * lane + byte])
            assert key // 2 % 4 == lane
            assert scores == {4 * (key // 8) + 2 * r + key % 2}
        found += 1
    assert found >= 3 * 64


class TestRefusals:
    def refused(self, qkv: QKV, message: str, block: int = 128) -> None:
        table = table_of(np.ones((qkv[0].shape[2],) * 2, np.bool_), 128, block)
        with pytest.raises(BackendError, match=message):
            attend_fp8(*qkv, table)

    def test_words(self) -> None:
        self.refused(inputs(130), r"needs a GPU of compute capability 9\.0, got 'cpu'")
        self.refused(inputs(130, dtype=torch.float32), "rounds float16 and bfloat16, got float32")
        self.refused(inputs(130, head_dim=136), "multiple of 8 up to 128, got 136")
        self.refused(inputs(130), "takes blocks of 128×128, got 128×64", block=64)
        q, k, v = inputs(130)
        self.refused((q.requires_grad_(), k, v), "has no gradients: use block_sparse_attention")


@pytest.fixture
def hopper() -> Iterator[None]:
    """Skip on other GPUs, and leave nan in the memory that results will have."""
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs compute capability 9.0")
    del_later = [torch.full((1 << n,), float("nan"), device="cuda") for n in range(8, 24)]
    del del_later
    yield


@pytest.mark.gpu
@pytest.mark.usefixtures("hopper")
class TestOnHopper:
    def check(self, qkv: QKV, allowed: Any, table: BlockTable, **more: Any) -> None:
        """Compare with what the kernel is to do, tightly, and with float64 by e4m3's steps."""
        sm_scale = more.get("sm_scale", qkv[0].shape[-1] ** -0.5)
        lengths, allowed = more.get("key_len"), torch.as_tensor(allowed, device="cuda")
        if lengths is not None:
            there = torch.arange(allowed.shape[-1], device="cuda") < lengths[:, None]
            allowed = allowed & there[:, None, None]
        out, lse = attend_fp8(*qkv, table, **more)
        r = round_to_fp8(*qkv, lengths)
        rough, rough_lse = emulated(r, allowed, table, sm_scale)
        assert relative(out, rough[..., : out.shape[-1]].double()) < 0.01
        torch.testing.assert_close(lse, rough_lse, rtol=0, atol=5e-3)
        wanted, wanted_lse, _ = definition(qkv, allowed, sm_scale)
        out_error, _ = predicted(qkv, allowed, sm_scale)
        assert (out - wanted).norm() < 1.25 * out_error.norm()
        assert torch.equal(lse.isinf(), wanted_lse.isinf())

    @pytest.mark.parametrize("head_dim", [40, 64, 128])
    @pytest.mark.parametrize("q_len", [1, 127, 129, 1000])
    def test_ragged(self, q_len: int, head_dim: int) -> None:
        for dtype in (torch.bfloat16, torch.float16):
            qkv = inputs(q_len, head_dim=head_dim, dtype=dtype, batch=2, device="cuda")
            mask = mixed_mask(q_len)
            self.check(qkv, mask, table_of(mask, 128, 128))

    @pytest.mark.parametrize("name", sorted(mask_names()))
    def test_library_masks(self, name: str) -> None:
        grid = TokenGrid(8, 12, 20)
        spec = replace(load_mask(name), empty_rows="keep")
        given = {each: np.eye(15, dtype=np.bool_) for each in ["selected"] if "table" in name}
        table = compile_mask(spec, grid, tables=given)
        qkv = inputs(table.q_len, dtype=torch.bfloat16, models=True, device="cuda")
        self.check(qkv, table.to_dense(), table)

    def test_lengths_and_shared_heads(self) -> None:
        qkv = inputs(500, batch=3, heads=6, dtype=torch.bfloat16, device="cuda")
        key_len = torch.tensor([0, 177, 500], dtype=torch.int32, device="cuda")
        for x in qkv[1:]:
            x[1, :, 177:] = torch.nan
        q, k, v = qkv
        clean = q, k.nan_to_num(), v.nan_to_num()
        mask = mixed_mask(500)
        table = table_of(mask, 128, 128)
        got = attend_fp8(q, k, v, table, key_len=key_len)
        for x, y in zip(got, attend_fp8(*clean, table, key_len=key_len), strict=True):
            assert torch.equal(x, y)
        self.check(clean, mask, table, key_len=key_len)

    def test_tables_of_heads(self) -> None:
        masks = [mixed_mask(300, seed=seed) for seed in (1, 2)]
        tables = [table_of(mask, 128, 128) for mask in masks]
        qkv = inputs(300, dtype=torch.bfloat16, device="cuda")
        out, lse = attend_fp8(*qkv, upload(tables, "cuda", [1, 0]))
        for head in (0, 1):
            own = attend_fp8(*qkv, tables[1 - head])
            assert torch.equal(out[:, head], own[0][:, head])
            assert torch.equal(lse[:, head], own[1][:, head])

    @pytest.mark.parametrize("outliers", [10, 100])
    def test_outliers(self, outliers: float) -> None:
        qkv = inputs(600, dtype=torch.bfloat16, device="cuda")
        for x in qkv:
            x[..., 5:7] *= outliers
        whole = np.ones((600, 600), np.bool_)
        self.check(qkv, whole, table_of(whole, 128, 128), sm_scale=(126 + 2 * outliers**4) ** -0.5)

    def test_decaying_attention(self) -> None:
        qkv, sm_scale = decaying("bfloat16", "cuda")
        mask = mixed_mask(384, empty=False)
        self.check(qkv, mask, table_of(mask, 128, 128), sm_scale=sm_scale)
