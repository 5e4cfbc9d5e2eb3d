"""block_sparse_attention gives what the definition gives: in the interpreter, and on a GPU."""

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import BackendError
from radialbench.integrations.module import RadialAttention
from radialbench.kernels import op
from radialbench.kernels.backends import load_backend
from radialbench.kernels.device_table import upload
from radialbench.kernels.measure.accuracy import compare, expected
from radialbench.kernels.op import block_sparse_attention, device_table, forget_plans
from radialbench.kernels.triton.launch import PREPARE, prepare_triton
from radialbench.maskgen.library import parse_mask
from radialbench.records.problem import KernelConfig
from tests.kernels.tables import mixed_mask, problem_of, rows_of, table_of

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
HALF = {torch.float16: 4e-3, torch.bfloat16: 3e-2, torch.float32: 1e-5}
"""Largest error of the output that rounding explains, for normal inputs."""


@pytest.fixture(autouse=True)
def nan_filled() -> Iterator[None]:
    """Fill fresh memory with nan, so that what a kernel never writes is seen."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def inputs(
    seq_len: int,
    *,
    heads: int = 2,
    kv_heads: int | None = None,
    q_len: int | None = None,
    batch: int = 1,
    head_dim: int = 32,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw q, k and v; k and v of `seq_len` tokens, and as q if nothing else is given."""
    generator = torch.Generator().manual_seed(0)
    queries = (batch, heads, q_len or seq_len, head_dim)
    keys = (batch, kv_heads or heads, seq_len, head_dim)
    q, k, v = (
        torch.randn(shape, generator=generator).to(DEVICE, dtype) for shape in (queries, keys, keys)
    )
    return q, k, v


def definition(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Compute attention in float64, with a copy of the key head for each of its query heads."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("bhqd,bhkd->bhqk", q.double(), k.double()) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~mask.to(q.device), -math.inf)
    lse = scores.logsumexp(-1)
    weights = (scores - lse.masked_fill(lse == -math.inf, 0)[..., None]).exp()
    return torch.einsum("bhqk,bhkd->bhqd", weights, v.double()), lse


def close(got: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor]) -> None:
    bound = HALF[got[0].dtype]
    assert got[1].dtype == torch.float32
    torch.testing.assert_close(got[0].double(), exact[0], rtol=0, atol=bound)
    torch.testing.assert_close(got[1].double(), exact[1], rtol=0, atol=max(bound, 1e-4))


def attend(
    qkv: tuple[Tensor, Tensor, Tensor],
    mask: np.ndarray,
    blocks: tuple[int, int],
    *,
    backend: str,
) -> None:
    """Compare the operator with the definition."""
    table = table_of(mask, *blocks)
    got = block_sparse_attention(*qkv, table, return_lse=True, backend=backend)
    close(got, definition(*qkv, torch.from_numpy(mask)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("blocks", [(16, 16), (32, 64), (64, 32)])
@pytest.mark.parametrize("seq_len", [1, 17, 63, 100, 129])
def test_portable_kernel(seq_len: int, blocks: tuple[int, int], dtype: torch.dtype) -> None:
    qkv = inputs(seq_len, dtype=dtype, batch=2)
    attend(qkv, mixed_mask(seq_len), blocks, backend="triton")


@pytest.mark.parametrize("head_dim", [16, 40, 80, 128])
def test_head_dims(head_dim: int) -> None:
    qkv = inputs(70, head_dim=head_dim, dtype=torch.float32, heads=1)
    attend(qkv, mixed_mask(70), (32, 32), backend="triton")


def test_a_mask_that_keeps_nothing() -> None:
    qkv = inputs(40, dtype=torch.float16)
    mask = np.zeros((40, 40), np.bool_)
    out, lse = block_sparse_attention(*qkv, table_of(mask, 16, 16), return_lse=True)
    assert torch.all(out == 0)
    assert torch.all(lse == -math.inf)


def test_a_nan_key_reaches_exactly_its_queries() -> None:
    mask = mixed_mask(130)
    q, k, v = inputs(130, dtype=torch.float32)
    k[:, :, 20] = math.nan
    out = block_sparse_attention(q, k, v, table_of(mask, 32, 16), backend="triton")
    reached = torch.from_numpy(mask[:, 20]).to(DEVICE)
    assert torch.equal(out[0, 0].isnan().any(dim=1), reached)


@pytest.mark.parametrize("lengths", [(0, 100), (37, 64), (99, 1)])
def test_keys_end_where_a_sequence_ends(lengths: tuple[int, int]) -> None:
    mask = mixed_mask(100)
    qkv = inputs(100, batch=2, dtype=torch.float16)
    key_len = torch.tensor(lengths, dtype=torch.int32, device=DEVICE)
    table = table_of(mask, 16, 32)
    got = block_sparse_attention(*qkv, table, key_len=key_len, return_lse=True, backend="triton")
    there = torch.arange(100) < key_len.cpu()[:, None]
    close(got, definition(*qkv, (torch.from_numpy(mask) & there[:, None])[:, None]))


def test_what_lies_past_a_sequences_end_reaches_no_query() -> None:
    mask = mixed_mask(100)
    q, k, v = inputs(100, batch=2, dtype=torch.float16)
    key_len = torch.tensor([37, 90], dtype=torch.int32, device=DEVICE)
    table = table_of(mask, 16, 32)
    there = torch.arange(100) < key_len.cpu()[:, None]
    wanted = definition(q, k, v, (torch.from_numpy(mask) & there[:, None])[:, None])
    for tensor in (k, v):
        tensor.masked_fill_(~there.to(DEVICE)[:, None, :, None], math.nan)
    got = block_sparse_attention(q, k, v, table, key_len=key_len, return_lse=True, backend="triton")
    close(got, wanted)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 30.0])
def test_any_positive_scale(scale: float) -> None:
    mask = mixed_mask(60)
    q, k, v = inputs(60, dtype=torch.float32)
    got = block_sparse_attention(
        *(q, k, v, table_of(mask, 16, 32)), sm_scale=scale, return_lse=True, backend="triton"
    )
    exact = definition(q.double() * scale * 32**0.5, k, v, torch.from_numpy(mask))
    torch.testing.assert_close(got[0].double(), exact[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(got[1].double(), exact[1], rtol=1e-6, atol=1e-4)


def test_a_table_for_each_group_of_heads() -> None:
    masks = [mixed_mask(90, seed=seed) for seed in (1, 2)]
    uploaded = upload([table_of(mask, 32, 16) for mask in masks], DEVICE, [1, 0, 1])
    qkv = inputs(90, heads=3, dtype=torch.float16)
    got = block_sparse_attention(*qkv, uploaded, return_lse=True, backend="triton")
    chosen = np.stack([masks[group] for group in (1, 0, 1)])
    close(got, definition(*qkv, torch.from_numpy(chosen)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (3, 1), (6, 2)])
@pytest.mark.parametrize("seq_len", [17, 64, 100])
def test_query_heads_share_key_heads(
    seq_len: int, heads: int, kv_heads: int, dtype: torch.dtype
) -> None:
    qkv = inputs(seq_len, heads=heads, kv_heads=kv_heads, batch=2, dtype=dtype)
    attend(qkv, mixed_mask(seq_len), (32, 16), backend="triton")


def test_key_heads_under_a_table_for_each_group_of_heads_and_lengths_of_ones_own() -> None:
    masks = [mixed_mask(90, seed=seed) for seed in (1, 2)]
    group_of_head = [1, 0, 0, 1]
    uploaded = upload([table_of(mask, 32, 16) for mask in masks], DEVICE, group_of_head)
    qkv = inputs(90, heads=4, kv_heads=2, batch=2, dtype=torch.float16)
    key_len = torch.tensor([37, 90], dtype=torch.int32, device=DEVICE)
    got = block_sparse_attention(*qkv, uploaded, key_len=key_len, return_lse=True, backend="triton")
    chosen = torch.from_numpy(np.stack([masks[group] for group in group_of_head]))
    there = torch.arange(90) < key_len.cpu()[:, None]
    close(got, definition(*qkv, chosen & there[:, None, None]))


def test_key_heads_of_transposed_and_of_cut_tensors() -> None:
    table = table_of(mixed_mask(80), 16, 16)
    plain = inputs(80, heads=4, kv_heads=2, batch=2, dtype=torch.float16)
    wanted = block_sparse_attention(*plain, table, backend="triton")
    q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in plain)
    assert torch.equal(block_sparse_attention(q, k, v, table, backend="triton"), wanted)
    both = torch.cat([plain[1], plain[2]], dim=1)
    k, v = both[:, :2], both[:, 2:]
    assert torch.equal(block_sparse_attention(plain[0], k, v, table, backend="triton"), wanted)


@pytest.mark.parametrize(
    ("kv_heads", "message"),
    [
        (3, r"k must be \[batch, kv_heads, 40, head_dim\] with kv_heads that divide the 4 heads"),
        (8, r"that divide the 4 heads of q, got \[1, 8, 40, 32\]"),
    ],
)
def test_key_heads_that_do_not_divide_the_heads(kv_heads: int, message: str) -> None:
    qkv = inputs(40, heads=4, kv_heads=kv_heads, dtype=torch.float16)
    with pytest.raises(BackendError, match=message):
        block_sparse_attention(*qkv, table_of(mixed_mask(40), 16, 16), backend="triton")


def test_k_and_v_have_equally_many_heads() -> None:
    q, k, v = inputs(40, heads=4, kv_heads=2, dtype=torch.float16)
    with pytest.raises(BackendError, match=r"v must be torch.float16 \[1, 2, 40, 32\]"):
        block_sparse_attention(q, k, v[:, :1], table_of(mixed_mask(40), 16, 16), backend="triton")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("seq_len", "first", "q_len", "kv_heads"),
    [(100, 1, 32, 2), (100, 2, 36, 1), (96, 0, 17, 2), (129, 4, 1, 1), (129, 2, 64, 2)],
)
def test_fewer_queries_than_keys(
    seq_len: int, first: int, q_len: int, kv_heads: int, dtype: torch.dtype
) -> None:
    mask = mixed_mask(seq_len)
    table = rows_of(table_of(mask, 32, 16), first, q_len)
    qkv = inputs(seq_len, q_len=q_len, heads=2, kv_heads=kv_heads, batch=2, dtype=dtype)
    got = block_sparse_attention(*qkv, table, return_lse=True, backend="triton")
    close(got, definition(*qkv, torch.from_numpy(mask[32 * first : 32 * first + q_len])))


def test_fewer_queries_than_keys_under_head_plans_and_lengths_of_ones_own() -> None:
    masks = [mixed_mask(100, seed=seed) for seed in (1, 2)]
    group_of_head = [1, 0, 0, 1]
    tables = [rows_of(table_of(mask, 16, 32), 4, 36) for mask in masks]
    table = upload(tables, DEVICE, group_of_head)
    qkv = inputs(100, q_len=36, heads=4, kv_heads=2, batch=2, dtype=torch.float16)
    key_len = torch.tensor([70, 100], dtype=torch.int32, device=DEVICE)
    got = block_sparse_attention(*qkv, table, key_len=key_len, return_lse=True, backend="triton")
    chosen = torch.from_numpy(np.stack([masks[group][64:] for group in group_of_head]))
    there = torch.arange(100) < key_len.cpu()[:, None]
    close(got, definition(*qkv, chosen & there[:, None, None]))


def test_lengths_that_are_not_the_tables() -> None:
    table = rows_of(table_of(mixed_mask(100), 32, 16), 1, 32)
    q, k, v = inputs(100, q_len=32, dtype=torch.float16)
    with pytest.raises(BackendError, match=r"q must be \[batch, heads, 32, head_dim\], got .*100"):
        block_sparse_attention(k, k, v, table, backend="triton")
    with pytest.raises(BackendError, match=r"k must be torch.float16 \[1, 2, 100, 32\]"):
        block_sparse_attention(q, q, q, table, backend="triton")


def test_tokens_before_heads_are_taken_as_they_are() -> None:
    mask = mixed_mask(80)
    plain = inputs(80, dtype=torch.float16)
    q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in plain)
    table = table_of(mask, 16, 16)
    torch.testing.assert_close(
        block_sparse_attention(q, k, v, table), block_sparse_attention(*plain, table)
    )


def test_two_runs_agree_bit_for_bit() -> None:
    qkv = inputs(120, dtype=torch.float16)
    table = table_of(mixed_mask(120), 32, 32)
    assert torch.equal(block_sparse_attention(*qkv, table), block_sparse_attention(*qkv, table))


def test_a_compiled_mask_and_a_scale_of_ones_own() -> None:
    table = compile_mask(load_mask("radial"), TokenGrid(5, 4, 9), 16, 32)
    q, k, v = inputs(180, dtype=torch.float32)
    got = block_sparse_attention(q, k, v, table, sm_scale=0.5, return_lse=True, backend="triton")
    exact = definition(q * 0.5 * 32**0.5, k, v, torch.from_numpy(table.to_dense()))
    close(got, exact)


def test_torch_compile_takes_it_whole() -> None:
    qkv = inputs(60, dtype=torch.float16)
    table = table_of(mixed_mask(60), 16, 16)
    uploaded = device_table(table, DEVICE)
    compiled = torch.compile(
        lambda q, k, v: block_sparse_attention(q, k, v, uploaded, backend="triton") + 1,
        fullgraph=True,
        backend="eager",
    )
    torch.testing.assert_close(
        compiled(*qkv), block_sparse_attention(*qkv, table, backend="triton") + 1
    )
    with pytest.raises(Exception, match="inside torch.compile a table must be a DeviceTable"):
        torch.compile(block_sparse_attention, fullgraph=True, backend="eager")(*qkv, table)


def test_the_operator_keeps_its_promises_to_pytorch() -> None:
    qkv = inputs(40, dtype=torch.float16)
    tensors = list(device_table(table_of(mixed_mask(40), 16, 16), DEVICE).tensors())
    torch.library.opcheck(
        torch.ops.radialbench.block_sparse_attention.default,
        (*qkv, tensors, None, 0.2, "triton", 16, 16, 40, 40, [0], "", 0, 0, True, None, None, 0),
        test_utils=("test_schema", "test_faketensor"),
    )


def test_torch_compile_does_not_look_into_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def launch(*_: object) -> None:
        seen.append(torch.compiler.is_dynamo_compiling())

    monkeypatch.setitem(PREPARE, "triton", lambda *_, **__: launch)
    op.forget_plans()
    qkv = inputs(40, dtype=torch.float16)
    tensors = list(device_table(table_of(mixed_mask(40), 16, 16), DEVICE).tensors())
    attend = torch.compile(op._operator, backend="eager")
    attend(*qkv, tensors, None, 0.2, "triton", 16, 16, 40, 40, [0], "", 0, 0, True, None, None, 0)
    op.forget_plans()
    assert seen == [False]


def test_a_call_does_not_import_what_only_torch_compile_needs() -> None:
    """It takes a second and more, in each process."""
    code = """
import sys
import torch
from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.kernels.op import block_sparse_attention
table = compile_mask(load_mask("dense"), TokenGrid(2, 4, 4), 16, 16)
q = torch.zeros(1, 1, 32, 16, device=sys.argv[1], dtype=torch.float16)
block_sparse_attention(q, q, q, table, backend="triton")
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, DEVICE], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


class Seen(TorchDispatchMode):
    """Notes which operators are called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **kwargs or {})


def test_a_mode_and_a_profile_see_one_operator() -> None:
    qkv, table = inputs(40, dtype=torch.float16), table_of(mixed_mask(40), 16, 16)
    name = "radialbench::block_sparse_attention"
    plain = block_sparse_attention(*qkv, table)
    with Seen() as seen:
        assert torch.equal(block_sparse_attention(*qkv, table), plain)
    assert "radialbench.block_sparse_attention.default" in seen.names
    with torch.profiler.profile() as profile:
        block_sparse_attention(*qkv, table)
    assert name in {event.key for event in profile.key_averages()}


def test_tensors_without_memory_give_such() -> None:
    q, k, v = (x.to("meta") for x in inputs(40, dtype=torch.float16))
    table = device_table(table_of(mixed_mask(40), 16, 16), "cpu")
    out, lse = block_sparse_attention(q, k, v, table, return_lse=True)
    assert (out.device.type, out.shape, lse.shape) == ("meta", q.shape, q.shape[:3])


def test_a_launch_is_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []

    def prepare(*layouts: Any, **options: Any) -> Any:
        prepared.append(layouts)
        return prepare_triton(*layouts, **options)

    monkeypatch.setitem(PREPARE, "triton", prepare)
    op.forget_plans()
    q, k, v = inputs(40, dtype=torch.float16)
    table = table_of(mixed_mask(40), 16, 16)
    first = block_sparse_attention(q, k, v, table)
    assert torch.equal(block_sparse_attention(q.clone(), k, v, table, sm_scale=32**-0.5), first)
    assert len(prepared) == 1
    swapped = q.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(block_sparse_attention(swapped, k, v, table), first)
    assert len(prepared) == 2
    op.forget_plans()


def test_the_best_kernel_is_not_asked_for_when_one_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(op, "choose_config")
    monkeypatch.setattr("radialbench.kernels.select.default_config", None)
    qkv, table = inputs(45, dtype=torch.float16), table_of(mixed_mask(45), 16, 16)
    block_sparse_attention(*qkv, table, backend="triton", config=KernelConfig(num_warps=2))


def test_a_table_is_uploaded_once() -> None:
    table = table_of(mixed_mask(50), 16, 16)
    assert device_table(table, DEVICE) is device_table(table, torch.device(DEVICE))
    # An equal one can be of a mask of another name, for which other things were tuned.
    assert device_table(replace(table), DEVICE) is not device_table(table, DEVICE)


def test_what_does_not_fit_is_refused() -> None:
    table = table_of(mixed_mask(50), 16, 16)
    q, k, v = inputs(50, dtype=torch.float16)
    with pytest.raises(BackendError, match=r"q must be \[batch, heads, 50, head_dim\]"):
        block_sparse_attention(q[:, :, 1:], k, v, table)
    with pytest.raises(BackendError, match="v must be torch.float16"):
        block_sparse_attention(q, k, v.float(), table)
    with pytest.raises(BackendError, match="kernels are hopper, triton, got 'magic'"):
        block_sparse_attention(q, k, v, table, backend="magic")
    with pytest.raises(BackendError, match="key_len must be int32"):
        block_sparse_attention(q, k, v, table, key_len=torch.tensor([3]))
    with pytest.raises(BackendError, match="the table is for 3 heads, q has 2"):
        block_sparse_attention(q, k, v, upload([table], DEVICE, [0, 0, 0]))
    with pytest.raises(BackendError, match="q's last stride must be 1"):
        block_sparse_attention(q.mT.contiguous().mT, k, v, table)
    with pytest.raises(BackendError, match=r"blocks of 16 to 256.*powers of two, got 24"):
        block_sparse_attention(q, k, v, table_of(mixed_mask(50), 24, 16), backend="triton")
    for scale in (0.0, -0.5, math.nan, math.inf, 1e-300):
        with pytest.raises(BackendError, match=f"sm_scale must be a positive float32.*got {scale}"):
            block_sparse_attention(q, k, v, table, sm_scale=scale)
    with pytest.raises(BackendError, match=r"the hopper kernel cannot run this: block_m is 128"):
        block_sparse_attention(q, k, v, table, backend="hopper")


@pytest.mark.parametrize(
    ("interpret", "dtype", "reason"),
    [
        ("1", torch.bfloat16, "bfloat16 products are wrong in Triton's interpreter; use float16"),
        ("0", torch.float32, "runs on a GPU only, got device 'cpu'"),
        ("", torch.float32, "runs on a GPU only, got device 'cpu'"),
    ],
)
def test_what_does_not_run_on_a_cpu(
    interpret: str, dtype: torch.dtype, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator, the backend of suites and the module have one rule.

    Without the interpreter the operator takes the CPU's backend, unless a kernel is asked for.
    """
    monkeypatch.setenv("TRITON_INTERPRET", interpret)
    forget_plans()
    grid = TokenGrid(1, 5, 10)
    table = compile_mask(load_mask("dense"), grid, 16, 16)
    q, k, v = (torch.ones(1, 2, 50, 16, dtype=dtype) for _ in range(3))
    refused = f"the triton kernel cannot run this: {reason}"
    if interpret != "1":
        block_sparse_attention(q, k, v, table)
        refused = "the triton kernel runs on a GPU only, and q is on the CPU"
    with pytest.raises(BackendError, match=refused):
        block_sparse_attention(q, k, v, table, backend="triton")
    with pytest.raises(BackendError, match=f"the triton kernel cannot run this: {reason}"):
        RadialAttention(grid, "dense", backend="triton")(q, k, v)
    problem = problem_of(table, dtype=str(dtype).removeprefix("torch."))
    assert load_backend("triton").unsupported_reasons(problem, "cpu") == [reason]
    forget_plans()


@pytest.mark.gpu
@pytest.mark.parametrize("head_dim", [64, 80, 96, 128, 256])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("seq_len", [1, 63, 127, 129, 513])
def test_hopper(seq_len: int, dtype: torch.dtype, head_dim: int) -> None:
    qkv = inputs(seq_len, head_dim=head_dim, heads=3, batch=2, dtype=dtype)
    blocks = (128, 64 if head_dim == 256 else 128)
    attend(qkv, mixed_mask(seq_len), blocks, backend="hopper")


@pytest.mark.gpu
def test_hopper_lengths_and_groups() -> None:
    masks = [mixed_mask(300, seed=seed) for seed in (1, 2)]
    uploaded = upload([table_of(mask, 128, 128) for mask in masks], DEVICE, [1, 0])
    qkv = inputs(300, batch=2, head_dim=128, dtype=torch.bfloat16)
    key_len = torch.tensor([0, 177], dtype=torch.int32, device=DEVICE)
    got = block_sparse_attention(*qkv, uploaded, key_len=key_len, return_lse=True, backend="hopper")
    there = (torch.arange(300) < key_len.cpu()[:, None])[:, None, None]
    close(got, definition(*qkv, torch.from_numpy(np.stack(masks[::-1])) & there))


EITHER = [pytest.param("hopper", marks=pytest.mark.gpu), "triton"]


def climbing(rise: float, *, head_dim: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs whose weights grow by 2^rise per block of 128 keys for some queries.

    Of four warps with 16 queries each it is all of the first and one of the second; for the others
    they shrink.
    """
    q, k, v = inputs(1100, head_dim=head_dim, dtype=torch.float16)
    token = torch.arange(1100, device=DEVICE)
    climbs = (token % 64 < 16) | (token % 64 == 21)
    q[..., 0] = torch.where(climbs, 1.0, -1.0) * math.log(2) * head_dim**0.5
    k[..., 0] = rise * (token // 128 - 4)
    return q, k, v


@pytest.mark.parametrize("backend", EITHER)
@pytest.mark.parametrize(
    ("rise", "everything"), [(0.5, True), (3.0, False), (5.0, True), (5.0, False), (20.0, False)]
)
def test_maxima_that_climb(rise: float, everything: bool, backend: str) -> None:
    """By more than a rescaling waits for, by less, and by little that adds up to much."""
    mask = np.ones((1100, 1100), np.bool_) if everything else mixed_mask(1100)
    attend(climbing(rise), mask, (128, 128), backend=backend)


@pytest.mark.gpu
@pytest.mark.parametrize("head_dim", [64, 256])
def test_hopper_maxima_that_climb(head_dim: int) -> None:
    blocks = (128, 64 if head_dim == 256 else 128)
    attend(climbing(5.0, head_dim=head_dim), mixed_mask(1100), blocks, backend="hopper")


@pytest.mark.gpu
@pytest.mark.parametrize("num_stages", [1, 2, 3])
def test_hopper_stages(num_stages: int) -> None:
    mask = mixed_mask(1100)
    qkv = climbing(5.0)
    got = block_sparse_attention(
        *(*qkv, table_of(mask, 128, 128)),
        config=KernelConfig(num_stages=num_stages),
        backend="hopper",
        return_lse=True,
    )
    close(got, definition(*qkv, torch.from_numpy(mask)))


@pytest.mark.gpu
def test_hopper_refuses_stages_that_do_not_fit() -> None:
    qkv = inputs(300, head_dim=128, dtype=torch.float16)
    with pytest.raises(BackendError, match="cannot run this: num_stages 4 takes 2"):
        block_sparse_attention(
            *(*qkv, table_of(mixed_mask(300), 128, 128)),
            config=KernelConfig(num_stages=4),
            backend="hopper",
        )


@pytest.mark.gpu
def test_hopper_strides_of_single_sequences_and_heads_do_not_matter() -> None:
    mask = mixed_mask(300)
    odd = [
        tensor.as_strided(tensor.shape, (7, 13, 128, 1))
        for tensor in inputs(300, heads=1, head_dim=128, dtype=torch.float16)
    ]
    attend((odd[0], odd[1], odd[2]), mask, (128, 128), backend="hopper")


@pytest.mark.gpu
def test_hopper_refuses_tensors_that_start_anywhere() -> None:
    q, _, v = inputs(300, head_dim=128, dtype=torch.float16)
    odd = torch.empty(q.numel() + 1, dtype=q.dtype, device=DEVICE)[1:].view(q.shape)
    with pytest.raises(BackendError, match="k must start at a multiple of 16 bytes"):
        block_sparse_attention(q, odd, v, table_of(mixed_mask(300), 128, 128), backend="hopper")


@pytest.mark.parametrize("backend", EITHER)
def test_nan_keys_among_maxima_that_climb(backend: str) -> None:
    """A nan reaches its key's queries, and not those that a warp computes beside them."""
    mask = mixed_mask(1100)
    q, k, v = climbing(20.0)
    for key in (20, 400, 900):
        k[:, :, key] = math.nan
    got = block_sparse_attention(
        *(q, k, v, table_of(mask, 128, 128)), return_lse=True, backend=backend
    )
    reached = torch.from_numpy(mask[:, [20, 400, 900]].any(axis=1)).to(DEVICE)
    assert 0 < reached.sum() < len(reached)
    for result, wanted in zip(got, definition(q, k, v, torch.from_numpy(mask)), strict=True):
        result = result.double()
        assert result[:, :, reached].isnan().all()
        torch.testing.assert_close(
            result[:, :, ~reached], wanted[:, :, ~reached], rtol=0, atol=HALF[q.dtype]
        )


@pytest.mark.gpu
def test_hopper_infinities() -> None:
    """A score of inf makes its query nan, one of -inf is a key that is not there."""
    mask = mixed_mask(1100)
    q, k, v = climbing(5.0)
    for sign, query, key in ((1, 77, 200), (-1, 600, 1000)):
        q[:, :, query, 5] = sign * math.inf
        k[:, :, key, 3] = sign * math.inf
    # All its scores are -inf.
    k[:, :, :, 7] = k[:, :, :, 7].abs() + 0.1
    q[:, :, 3, 7] = -math.inf
    k[:, :, (200, 1000), 3] *= -q[:, :, 3:4, 3].sign()
    out, lse = block_sparse_attention(
        *(q, k, v, table_of(mask, 128, 128)), return_lse=True, backend="hopper"
    )
    wanted, wanted_lse = definition(q, k, v, torch.from_numpy(mask))
    assert (wanted_lse[:, :, 3] == -math.inf).all()
    good = wanted.isfinite().all(dim=3)
    assert 0.2 < good.float().mean() < 0.9
    close((out[good], lse[good]), (wanted[good], wanted_lse[good]))
    assert out[~good].isnan().all()
    assert not lse[~good].isfinite().any()


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["hopper", "triton"])
def test_later_launches_take_what_was_compiled(backend: str) -> None:
    """With other tensors, another scale, another stream and lengths that start anywhere."""
    mask = mixed_mask(300)
    table = table_of(mask, 128, 128)
    lengths = torch.tensor([300, 177, 300, 33], dtype=torch.int32, device=DEVICE)
    first = inputs(300, batch=2, head_dim=128, dtype=torch.bfloat16)
    for turn, (start, scale) in enumerate([(0, 0.1), (0, 0.05), (1, 0.1), (2, 0.1), (1, 0.2)]):
        q, k, v = (x.roll(turn, 2) for x in first)
        key_len = lengths[start : start + 2]
        there = (torch.arange(300) < key_len.cpu()[:, None])[:, None, None]
        asked = (q.double() * scale * 128**0.5, k, v)
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()):
            cut = block_sparse_attention(
                *(q, k, v, table), sm_scale=scale, key_len=key_len, backend=backend, return_lse=True
            )
        torch.cuda.synchronize()
        close(cut, definition(*asked, torch.from_numpy(mask) & there))
        whole = block_sparse_attention(
            q, k, v, table, sm_scale=scale, backend=backend, return_lse=True
        )
        close(whole, definition(*asked, torch.from_numpy(mask)))


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["hopper", "triton"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(8, 2), (6, 1), (4, 4)])
@pytest.mark.parametrize("swapped", [False, True])
def test_key_heads_on_a_gpu(backend: str, heads: int, kv_heads: int, swapped: bool) -> None:
    """Ragged lengths, in both layouts, under one table and under two, with lengths of sequences."""
    masks = [mixed_mask(1000, seed=seed) for seed in (1, 2)]
    tables = [table_of(mask, 128, 64) for mask in masks]
    qkv = inputs(1000, heads=heads, kv_heads=kv_heads, batch=2, head_dim=128, dtype=torch.bfloat16)
    if swapped:
        q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in qkv)
        qkv = q, k, v
    for _ in range(2):  # As Triton launches it, and as it was compiled.
        got = block_sparse_attention(*qkv, tables[0], return_lse=True, backend=backend)
        close(got, definition(*qkv, torch.from_numpy(masks[0])))
    group_of_head = [head % 3 % 2 for head in range(heads)]
    uploaded = upload(tables, DEVICE, group_of_head)
    key_len = torch.tensor([1000, 333], dtype=torch.int32, device=DEVICE)
    got = block_sparse_attention(*qkv, uploaded, key_len=key_len, return_lse=True, backend=backend)
    chosen = torch.from_numpy(np.stack([masks[group] for group in group_of_head]))
    there = torch.arange(1000) < key_len.cpu()[:, None]
    close(got, definition(*qkv, chosen & there[:, None, None]))


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["hopper", "triton"])
@pytest.mark.parametrize(("first", "q_len", "kv_heads"), [(4, 488, 4), (7, 104, 1), (2, 256, 2)])
def test_fewer_queries_than_keys_on_a_gpu(
    backend: str, first: int, q_len: int, kv_heads: int
) -> None:
    masks = [mixed_mask(1000, seed=seed) for seed in (1, 2)]
    tables = [rows_of(table_of(mask, 128, 64), first, q_len) for mask in masks]
    rows = slice(128 * first, 128 * first + q_len)
    qkv = inputs(
        1000, q_len=q_len, heads=4, kv_heads=kv_heads, batch=2, head_dim=64,
        dtype=torch.bfloat16,
    )  # fmt: skip
    for _ in range(2):  # As Triton launches it, and as it was compiled.
        got = block_sparse_attention(*qkv, tables[0], return_lse=True, backend=backend)
        close(got, definition(*qkv, torch.from_numpy(masks[0][rows])))
    grouped = upload(tables, DEVICE, [1, 0, 0, 1])
    key_len = torch.tensor([1000, 333], dtype=torch.int32, device=DEVICE)
    got = block_sparse_attention(*qkv, grouped, key_len=key_len, return_lse=True, backend=backend)
    chosen = torch.from_numpy(np.stack([masks[group][rows] for group in (1, 0, 0, 1)]))
    there = torch.arange(1000) < key_len.cpu()[:, None]
    close(got, definition(*qkv, chosen & there[:, None, None]))


@pytest.mark.gpu
def test_a_graph_replays_it() -> None:
    qkv = inputs(300, head_dim=128, dtype=torch.bfloat16)
    mask = mixed_mask(300)
    table = table_of(mask, 128, 128)
    block_sparse_attention(*qkv, table)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out, lse = block_sparse_attention(*qkv, table, return_lse=True)
    qkv[0].copy_(torch.randn_like(qkv[0]))
    graph.replay()
    close((out, lse), definition(*qkv, torch.from_numpy(mask)))


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["hopper", "triton"])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_million_tokens_and_forty_heads(backend: str, swapped: bool) -> None:
    """Offsets pass 2³¹: 5.1 · 10⁹ numbers a tensor, 10 GB."""
    grid = TokenGrid(frames=100, height=100, width=100)
    spec = parse_mask({"name": "near", "mask": "dt == 0 and ds < 300 or ki < 128"})
    table = compile_mask(spec, grid)
    heads = 40
    shape = (1, grid.seq_len, heads, 128) if swapped else (1, heads, grid.seq_len, 128)
    made = [torch.randn(shape, device=DEVICE, dtype=torch.bfloat16) for _ in range(3)]
    q, k, v = (tensor.transpose(1, 2) if swapped else tensor for tensor in made)
    result = block_sparse_attention(q, k, v, table, return_lse=True, backend=backend)
    assert result[0].stride() == q.stride()
    accuracy = compare(result, expected((q, k, v), table=table, sm_scale=128**-0.5))
    assert accuracy.passed, accuracy
    assert not result[0].isnan().any()
