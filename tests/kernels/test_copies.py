"""The portable kernel with specialized warps: when it is taken, and what it gives."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels import _block_sparse_fwd_specialized as device_code
from radialbench.kernels import defaults, launch
from radialbench.kernels.device_table import upload
from radialbench.kernels.op import block_sparse_attention, device_table
from radialbench.records.problem import KernelConfig
from tests.kernels.tables import mixed_mask, table_of
from tests.kernels.test_op import DEVICE, GPU, close, definition, inputs, nan_filled

__all__ = ["nan_filled"]

Qkv = tuple[Tensor, Tensor, Tensor]
SPECIALIZED = KernelConfig(warp_specialize=True)

both = pytest.mark.parametrize("specialize", [True, False])


@triton.jit
def _pair(pointers):  # type: ignore[no-untyped-def]
    """What the assembly does, for the interpreter."""
    low = tl.load(pointers).to(tl.int64) & 0xFFFFFFFF
    return (tl.load(pointers + 1).to(tl.int64) << 32) | low


@pytest.fixture(autouse=True)
def hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the CPU, where kernels are interpreted, for a GPU that specializes warps."""
    if not GPU:
        monkeypatch.setattr(defaults, "capability", lambda device: (9, 0))
        monkeypatch.setattr(device_code, "_pair", _pair)
    elif defaults.capability("cuda") != (9, 0):
        pytest.skip("needs a GPU of compute capability 9.0")


def attend(qkv: Qkv, mask: np.ndarray, *, specialize: bool | None = True) -> None:
    """Compare the operator with the definition."""
    got = block_sparse_attention(
        *(*qkv, table_of(mask, 128, 128)),
        config=KernelConfig(warp_specialize=specialize),
        backend="triton",
        return_lse=True,
    )
    close(got, definition(*qkv, torch.from_numpy(mask)))


@pytest.mark.parametrize("head_dim", [32, 80])
@pytest.mark.parametrize("seq_len", [1, 127, 128, 129, 300])
def test_mixed_masks(seq_len: int, head_dim: int) -> None:
    attend(inputs(seq_len, head_dim=head_dim, dtype=torch.float16), mixed_mask(seq_len))


@pytest.mark.parametrize("seq_len", [200, 256])
def test_full_blocks_alone(seq_len: int) -> None:
    attend(inputs(seq_len, dtype=torch.float16), np.ones((seq_len, seq_len), np.bool_))


def test_a_mask_that_keeps_nothing() -> None:
    qkv = inputs(140, dtype=torch.float16)
    attend(qkv, np.zeros((140, 140), np.bool_))


def test_groups_of_heads_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six heads, two at a time, of two tables."""
    monkeypatch.setattr(launch, "SCRATCH_LIMIT", 2 * 3 * launch.SCRATCH_BYTES)
    masks = [mixed_mask(300, seed=seed) for seed in (1, 2)]
    uploaded = upload([table_of(mask, 128, 128) for mask in masks], DEVICE, [1, 0, 1])
    qkv = inputs(300, heads=3, batch=2, dtype=torch.float16)
    got = block_sparse_attention(
        *qkv, uploaded, config=SPECIALIZED, backend="triton", return_lse=True
    )
    chosen = np.stack([masks[group] for group in (1, 0, 1)])
    close(got, definition(*qkv, torch.from_numpy(chosen)))


def test_tokens_before_heads_are_taken_as_they_are() -> None:
    plain = inputs(150, dtype=torch.float16)
    q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in plain)
    attend((q, k, v), mixed_mask(150))


def test_a_nan_key_reaches_exactly_its_queries() -> None:
    mask = mixed_mask(200)
    q, k, v = inputs(200, dtype=torch.float16)
    k[:, :, 20] = math.nan
    table = table_of(mask, 128, 128)
    out = block_sparse_attention(q, k, v, table, config=SPECIALIZED, backend="triton")
    reached = torch.from_numpy(mask[:, 20]).to(DEVICE)
    assert torch.equal(out[0, 0].isnan().any(dim=1), reached)


def test_a_nan_value_reaches_no_query_whose_blocks_do_not_hold_it() -> None:
    mask = np.tri(300, dtype=np.bool_)
    q, k, v = inputs(300, dtype=torch.float16)
    v[:, :, 290] = math.nan
    table = table_of(mask, 128, 128)
    out = block_sparse_attention(q, k, v, table, config=SPECIALIZED, backend="triton")
    assert out[:, :, 290:].isnan().all()
    assert not out[:, :, :256].isnan().any()


def test_the_callers_allocator_stays() -> None:
    variable = triton.runtime._allocation._allocator
    before = variable.get()
    attend(inputs(100, dtype=torch.float16), mixed_mask(100))
    assert variable.get() is before


def unaligned(tensor: Tensor) -> Tensor:
    wide = torch.zeros((*tensor.shape[:3], tensor.shape[3] + 4), dtype=tensor.dtype, device=DEVICE)
    wide[..., :-4] = tensor
    return wide[..., :-4]


def repeated(tensor: Tensor) -> Tensor:
    return tensor[:, :, :1].expand(tensor.shape)


REFUSED: dict[str, dict[str, Any]] = {
    "blocks are 128×128, got 64×128": {"blocks": (64, 128)},
    "num_warps is 4 and num_stages 2, got 8 and 2": {"num_warps": 8, "num_stages": 2},
    "num_warps is 4 and num_stages 2, got None and 3": {"num_stages": 3},
    "computes float16 and bfloat16, got float32": {"dtype": torch.float32},
    "head_dim is a multiple of 8 up to 128, got 20": {"head_dim": 20},
    "head_dim is a multiple of 8 up to 128, got 136": {"head_dim": 136},
    "needs a GPU of compute capability 9.0, got 8.9": {"capability": (8, 9)},
    "k must start at a multiple of 16 bytes": {"keys": unaligned},
    "k's tokens may not overlap": {"keys": repeated},
    "all sequences must be of full length, got key_len": {"key_len": [50]},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_specialized_is_refused_or_done_without(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = dict(REFUSED[reason])
    found = case.pop("capability", (9, 0))
    monkeypatch.setattr(defaults, "capability", lambda device: found)
    blocks, keys, lengths = (case.pop(name, None) for name in ("blocks", "keys", "key_len"))
    shape = {"head_dim": case.pop("head_dim", 32), "dtype": case.pop("dtype", torch.float16)}
    q, k, v = inputs(50, heads=1, **shape)
    k = keys(k) if keys else k
    mask = mixed_mask(50)
    table = table_of(mask, *(blocks or (128, 128)))
    key_len = lengths and torch.tensor(lengths, dtype=torch.int32, device=DEVICE)

    def run(specialize: bool | None) -> tuple[Tensor, Tensor]:
        config = KernelConfig(warp_specialize=specialize, **case)
        return block_sparse_attention(
            *(q, k, v, table),
            config=config,
            key_len=key_len,
            backend="triton",
            return_lse=True,
        )

    with pytest.raises(BackendError, match=f"warps cannot be specialized here: .*{reason}"):
        run(True)
    monkeypatch.setattr(launch, "_launch_specialized", None)
    close(run(None), definition(q, k, v, torch.from_numpy(mask)))


def test_where_it_applies_it_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(
        launch, "_launch_specialized", lambda *tensors, **options: taken.append(tensors)
    )
    qkv, table = inputs(50, dtype=torch.float16), table_of(mixed_mask(50), 128, 128)
    block_sparse_attention(*qkv, table, backend="triton")
    assert len(taken) == 1
    block_sparse_attention(
        *qkv, table, backend="triton", config=KernelConfig(warp_specialize=False)
    )
    assert len(taken) == 1


def test_hopper_specializes_always() -> None:
    config = KernelConfig(warp_specialize=False)
    qkv, table = inputs(50, dtype=torch.float16), table_of(mixed_mask(50), 128, 128)
    with pytest.raises(BackendError, match="hopper kernel cannot.* its warps are specialized"):
        block_sparse_attention(*qkv, table, backend="hopper", config=config)


@both
def test_torch_compile_takes_it_whole(specialize: bool) -> None:
    qkv = inputs(150, head_dim=64, dtype=torch.float16)
    table = device_table(table_of(mixed_mask(150), 128, 128), DEVICE)
    config = KernelConfig(warp_specialize=specialize)
    compiled = torch.compile(
        lambda q, k, v: block_sparse_attention(q, k, v, table, config=config, backend="triton") + 1,
        fullgraph=True,
        backend="aot_eager",
    )
    plain = block_sparse_attention(*qkv, table, config=config, backend="triton")
    torch.testing.assert_close(compiled(*qkv), plain + 1)


@pytest.mark.gpu
@both
@pytest.mark.parametrize("seq_len", [1, 127, 129, 512])
@pytest.mark.parametrize(
    ("head_dim", "dtype"),
    [
        (8, torch.float16),
        (32, torch.bfloat16),
        (64, torch.float16),
        (72, torch.bfloat16),
        (80, torch.float16),
        (96, torch.bfloat16),
        (128, torch.float16),
        (128, torch.bfloat16),
    ],
)
def test_on_a_gpu(head_dim: int, dtype: torch.dtype, seq_len: int, specialize: bool) -> None:
    plain = inputs(seq_len, head_dim=head_dim, heads=3, batch=2, dtype=dtype)
    attend(plain, mixed_mask(seq_len), specialize=specialize)
    attend(plain, np.ones((seq_len, seq_len), np.bool_), specialize=specialize)
    q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in plain)
    attend((q, k, v), mixed_mask(seq_len), specialize=specialize)


@pytest.mark.gpu
@both
def test_groups_and_parts_on_a_gpu(specialize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "SCRATCH_LIMIT", 2 * 6 * launch.SCRATCH_BYTES)
    masks = [mixed_mask(700, seed=seed) for seed in (1, 2)]
    uploaded = upload([table_of(mask, 128, 128) for mask in masks], DEVICE, [1, 0, 1, 1, 0])
    qkv = inputs(700, heads=5, batch=3, head_dim=128, dtype=torch.bfloat16)
    config = KernelConfig(warp_specialize=specialize)
    got = block_sparse_attention(*qkv, uploaded, config=config, backend="triton", return_lse=True)
    chosen = np.stack([masks[group] for group in (1, 0, 1, 1, 0)])
    close(got, definition(*qkv, torch.from_numpy(chosen)))


@pytest.mark.gpu
@pytest.mark.parametrize("specialize", [None, False])
def test_key_lengths_on_a_gpu(specialize: bool | None) -> None:
    """Past a sequence's end there is nan."""
    mask = mixed_mask(300)
    q, k, v = inputs(300, batch=3, head_dim=128, dtype=torch.bfloat16)
    key_len = torch.tensor([0, 177, 300], dtype=torch.int32, device=DEVICE)
    there = torch.arange(300) < key_len.cpu()[:, None]
    wanted = definition(q, k, v, (torch.from_numpy(mask) & there[:, None])[:, None])
    for tensor in (k, v):
        tensor.masked_fill_(~there.to(DEVICE)[:, None, :, None], math.nan)
    got = block_sparse_attention(
        *(q, k, v, table_of(mask, 128, 128)),
        key_len=key_len,
        config=KernelConfig(warp_specialize=specialize),
        backend="triton",
        return_lse=True,
    )
    close(got, wanted)


@pytest.mark.gpu
@both
def test_a_graph_replays_it(specialize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts, so that scratch is allocated more than once in the capture."""
    monkeypatch.setattr(launch, "SCRATCH_LIMIT", 3 * launch.SCRATCH_BYTES)
    qkv = inputs(300, head_dim=128, dtype=torch.bfloat16)
    mask = mixed_mask(300)
    table, config = table_of(mask, 128, 128), KernelConfig(warp_specialize=specialize)
    block_sparse_attention(*qkv, table, config=config, backend="triton")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = block_sparse_attention(*qkv, table, config=config, backend="triton", return_lse=True)
    kept = [torch.full((1 << 20,), 255, dtype=torch.uint8, device=DEVICE) for _ in range(8)]
    qkv[0].copy_(torch.randn_like(qkv[0]))
    for _ in range(3):
        graph.replay()
    close(got, definition(*qkv, torch.from_numpy(mask)))
    assert all(bool((block == 255).all()) for block in kept)


@pytest.mark.gpu
@both
def test_two_streams_at_once(specialize: bool) -> None:
    """Tensors at other places, so that descriptors of the other stream would be seen."""
    mask = mixed_mask(2000)
    table, config = (
        device_table(table_of(mask, 128, 128), DEVICE),
        KernelConfig(warp_specialize=specialize),
    )
    made = [inputs(2000, heads=8, head_dim=128, dtype=torch.bfloat16) for _ in range(2)]
    sets = [tuple(x.roll(n, dims=1).contiguous() for x in qkv) for n, qkv in enumerate(made)]
    streams = [torch.cuda.Stream() for _ in sets]
    torch.cuda.synchronize()
    results: list[list[tuple[Tensor, Tensor]]] = [[], []]
    for _ in range(10):
        for stream, (q, k, v), kept in zip(streams, sets, results, strict=True):
            with torch.cuda.stream(stream):
                kept.append(
                    block_sparse_attention(
                        q, k, v, table, config=config, backend="triton", return_lse=True
                    )
                )
    torch.cuda.synchronize()
    for (q, k, v), kept in zip(sets, results, strict=True):
        wanted = definition(q, k, v, torch.from_numpy(mask))
        for got in kept:
            close(got, wanted)


@pytest.mark.gpu
def test_whatever_was_launched_is_specialized() -> None:
    """Values of 1, and those that are not multiples of 16, are kernels of their own."""
    for seq_len, heads, head_dim in [(1, 1, 128), (128, 1, 64), (300, 3, 72), (512, 16, 128)]:
        qkv = inputs(seq_len, heads=heads, head_dim=head_dim, dtype=torch.bfloat16)
        attend(qkv, mixed_mask(seq_len))
    caches = device_code.block_sparse_fwd_specialized.device_caches
    kernels = [kernel for cache in caches.values() for kernel in cache[0].values()]
    assert len(kernels) >= 4
    assert {kernel.metadata.num_warps for kernel in kernels} == {12}
