"""The portable kernel with keys and values by TMA: when, and what it gives."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench.kernels import op
from radialbench.kernels.arch import Target, target_of
from radialbench.kernels.device_table import upload
from radialbench.kernels.op import block_sparse_attention, device_table
from radialbench.kernels.select import default_config
from radialbench.kernels.triton import launch
from tests.kernels.tables import mixed_mask, table_of
from tests.kernels.test_op import DEVICE, GPU, close, definition, inputs, nan_filled

__all__ = ["nan_filled"]

Qkv = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def described(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tensor]]:
    """Take the CPU, where kernels are interpreted, for a GPU with TMA.

    Yields:
        Tensors that were described to it.
    """
    if not GPU:
        pretend(monkeypatch, 90)
    elif target_of("cuda").tma_reasons:
        pytest.skip("needs a GPU of compute capability 9.0 or later")
    seen: list[Tensor] = []
    describer = launch.describer

    def watched(template: Any) -> Callable[[Tensor], Any]:
        describe = describer(template)

        def describe_and_note(tensor: Tensor) -> Any:
            seen.append(tensor)
            return describe(tensor)

        return describe_and_note

    monkeypatch.setattr(launch, "describer", watched)
    op.forget_plans()
    yield seen
    op.forget_plans()


def pretend(monkeypatch: pytest.MonkeyPatch, arch: int | None) -> None:
    monkeypatch.setattr(op, "target_of", lambda device: Target(str(device), arch))


def attend(qkv: Qkv, mask: np.ndarray, *, blocks: tuple[int, int] = (128, 128)) -> None:
    """Compare the operator with the definition."""
    got = block_sparse_attention(
        *(*qkv, table_of(mask, *blocks)), backend="triton", return_lse=True
    )
    close(got, definition(*qkv, torch.from_numpy(mask)))


@pytest.mark.parametrize("head_dim", [32, 80])
@pytest.mark.parametrize("seq_len", [1, 127, 128, 129, 300])
def test_mixed_masks(seq_len: int, head_dim: int, described: list[Tensor]) -> None:
    attend(inputs(seq_len, head_dim=head_dim, dtype=torch.float16), mixed_mask(seq_len))
    assert len(described) == 2


@pytest.mark.parametrize("blocks", [(16, 64), (64, 32), (128, 16)])
def test_other_blocks(blocks: tuple[int, int]) -> None:
    attend(inputs(200, dtype=torch.float16), mixed_mask(200), blocks=blocks)


@pytest.mark.parametrize("seq_len", [200, 256])
def test_full_blocks_alone(seq_len: int) -> None:
    attend(inputs(seq_len, dtype=torch.float16), np.ones((seq_len, seq_len), np.bool_))


def test_a_mask_that_keeps_nothing() -> None:
    qkv = inputs(140, dtype=torch.float16)
    attend(qkv, np.zeros((140, 140), np.bool_))


def test_groups_of_heads() -> None:
    masks = [mixed_mask(300, seed=seed) for seed in (1, 2)]
    uploaded = upload([table_of(mask, 128, 128) for mask in masks], DEVICE, [1, 0, 1])
    qkv = inputs(300, heads=3, batch=2, dtype=torch.float16)
    got = block_sparse_attention(*qkv, uploaded, backend="triton", return_lse=True)
    chosen = np.stack([masks[group] for group in (1, 0, 1)])
    close(got, definition(*qkv, torch.from_numpy(chosen)))


def test_tokens_before_heads_are_taken_as_they_are(described: list[Tensor]) -> None:
    plain = inputs(150, heads=2, dtype=torch.float16)
    q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in plain)
    attend((q, k, v), mixed_mask(150))
    assert [x.data_ptr() for x in described] == [k.data_ptr(), v.data_ptr()]


def test_key_lengths() -> None:
    """Past a sequence's end there is nan."""
    mask = mixed_mask(300)
    q, k, v = inputs(300, batch=3, dtype=torch.float16)
    key_len = torch.tensor([0, 177, 300], dtype=torch.int32, device=DEVICE)
    there = torch.arange(300) < key_len.cpu()[:, None]
    wanted = definition(q, k, v, (torch.from_numpy(mask) & there[:, None])[:, None])
    for tensor in (k, v):
        tensor.masked_fill_(~there.to(DEVICE)[:, None, :, None], math.nan)
    got = block_sparse_attention(
        *(q, k, v, table_of(mask, 128, 128)), key_len=key_len, backend="triton", return_lse=True
    )
    close(got, wanted)


def test_the_next_heads_tokens_do_not_contribute() -> None:
    """Past a head's last token its neighbour's begin, here with nan."""
    mask = np.ones((150, 150), np.bool_)
    q, k, v = inputs(150, heads=2, dtype=torch.float16)
    wanted = definition(q, k, v, torch.from_numpy(mask))
    k[:, 1, :60], v[:, 1, :60] = math.nan, math.nan
    out, lse = block_sparse_attention(
        *(q, k, v, table_of(mask, 128, 128)), backend="triton", return_lse=True
    )
    close((out[:, :1], lse[:, :1]), (wanted[0][:, :1], wanted[1][:, :1]))


def test_a_nan_key_reaches_exactly_its_queries() -> None:
    mask = mixed_mask(200)
    q, k, v = inputs(200, dtype=torch.float16)
    k[:, :, 20] = math.nan
    out = block_sparse_attention(q, k, v, table_of(mask, 128, 128), backend="triton")
    reached = torch.from_numpy(mask[:, 20]).to(DEVICE)
    assert torch.equal(out[0, 0].isnan().any(dim=1), reached)


def test_a_nan_value_reaches_no_query_whose_blocks_do_not_hold_it() -> None:
    mask = np.tri(300, dtype=np.bool_)
    q, k, v = inputs(300, dtype=torch.float16)
    v[:, :, 290] = math.nan
    out = block_sparse_attention(q, k, v, table_of(mask, 128, 128), backend="triton")
    assert out[:, :, 290:].isnan().all()
    assert not out[:, :, :256].isnan().any()


def unaligned(tensor: Tensor) -> Tensor:
    wide = torch.zeros((*tensor.shape[:3], tensor.shape[3] + 4), dtype=tensor.dtype, device=DEVICE)
    wide[..., :-4] = tensor
    return wide[..., :-4]


def repeated(tensor: Tensor) -> Tensor:
    return tensor[:, :, :1].expand(tensor.shape)


LOADED: dict[str, dict[str, Any]] = {
    "float32": {"dtype": torch.float32},
    "head_dim 20": {"head_dim": 20},
    "capability 8.9": {"arch": 89},
    "not an NVIDIA GPU": {"arch": None},
    "strides that are no multiples of 16 bytes": {"keys": unaligned},
    "tokens that overlap": {"keys": repeated},
}


@pytest.mark.parametrize("case", LOADED)
def test_what_is_not_copied_is_loaded(
    case: str, described: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = dict(LOADED[case])
    if "arch" in fields:
        pretend(monkeypatch, fields["arch"])
    shape = {"head_dim": fields.get("head_dim", 32), "dtype": fields.get("dtype", torch.float16)}
    q, k, v = inputs(50, heads=1, **shape)
    k = fields["keys"](k) if "keys" in fields else k
    attend((q, k, v), mixed_mask(50))
    assert not described


OPTIONS = {
    (128, 128, 128, "bfloat16", 90): (8, 3),
    (64, 128, 128, "bfloat16", 90): (8, 3),
    (256, 128, 128, "bfloat16", 90): (8, 1),
    (256, 128, 64, "bfloat16", 90): (8, 3),
    (128, 64, 64, "float16", 90): (4, 3),
    (128, 16, 64, "float16", 90): (1, 3),
    (128, 128, 128, "float32", 90): (8, 1),
    (128, 128, 128, "bfloat16", 80): (8, 2),
    (128, 128, 128, "bfloat16", 89): (8, 1),
    (128, 128, 128, "bfloat16", 120): (8, 1),
    (128, 64, 64, "bfloat16", 120): (4, 3),
    (128, 128, 64, "bfloat16", 90): (8, 5),
    (128, 256, 64, "bfloat16", 90): (8, 5),
    (128, 128, 64, "bfloat16", 120): (8, 3),
    (128, 128, 64, "float32", 90): (8, 2),
}
"""head_dim, blocks, dtype and architecture: the default warps and stages."""


@pytest.mark.parametrize("case", OPTIONS)
def test_as_many_stages_as_fit(case: tuple[int, int, int, str, int]) -> None:
    head_dim, block_m, block_n, dtype, arch = case
    blocks, target = (block_m, block_n), Target("cuda", arch)
    found = default_config("triton", getattr(torch, dtype), head_dim, blocks, target)
    assert (found.num_warps, found.num_stages) == OPTIONS[case]


def test_torch_compile_takes_it_whole() -> None:
    qkv = inputs(150, head_dim=64, dtype=torch.float16)
    table = device_table(table_of(mixed_mask(150), 128, 128), DEVICE)
    compiled = torch.compile(
        lambda q, k, v: block_sparse_attention(q, k, v, table, backend="triton") + 1,
        fullgraph=True,
        backend="aot_eager",
    )
    plain = block_sparse_attention(*qkv, table, backend="triton")
    torch.testing.assert_close(compiled(*qkv), plain + 1)


@pytest.mark.gpu
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
        (256, torch.bfloat16),
    ],
)
def test_on_a_gpu(head_dim: int, dtype: torch.dtype, seq_len: int) -> None:
    plain = inputs(seq_len, head_dim=head_dim, heads=3, batch=2, dtype=dtype)
    attend(plain, mixed_mask(seq_len))
    attend(plain, np.ones((seq_len, seq_len), np.bool_))
    q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in plain)
    attend((q, k, v), mixed_mask(seq_len), blocks=(64, 64))


@pytest.mark.gpu
def test_key_lengths_on_a_gpu() -> None:
    """Past a sequence's end there is nan."""
    mask = mixed_mask(300)
    q, k, v = inputs(300, batch=3, head_dim=128, dtype=torch.bfloat16)
    key_len = torch.tensor([0, 177, 300], dtype=torch.int32, device=DEVICE)
    there = torch.arange(300) < key_len.cpu()[:, None]
    wanted = definition(q, k, v, (torch.from_numpy(mask) & there[:, None])[:, None])
    for tensor in (k, v):
        tensor.masked_fill_(~there.to(DEVICE)[:, None, :, None], math.nan)
    got = block_sparse_attention(
        *(q, k, v, table_of(mask, 128, 128)), key_len=key_len, backend="triton", return_lse=True
    )
    close(got, wanted)


@pytest.mark.gpu
def test_a_graph_replays_it() -> None:
    qkv = inputs(300, head_dim=128, dtype=torch.bfloat16)
    mask = mixed_mask(300)
    table = table_of(mask, 128, 128)
    block_sparse_attention(*qkv, table, backend="triton")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = block_sparse_attention(*qkv, table, backend="triton", return_lse=True)
    qkv[0].copy_(torch.randn_like(qkv[0]))
    for _ in range(3):
        graph.replay()
    close(got, definition(*qkv, torch.from_numpy(mask)))


@pytest.mark.gpu
def test_two_streams_at_once() -> None:
    """Tensors at other places, so that descriptors of the other stream would be seen."""
    mask = mixed_mask(2000)
    table = device_table(table_of(mask, 128, 128), DEVICE)
    made = [inputs(2000, heads=8, head_dim=128, dtype=torch.bfloat16) for _ in range(2)]
    sets = [tuple(x.roll(n, dims=1).contiguous() for x in qkv) for n, qkv in enumerate(made)]
    streams = [torch.cuda.Stream() for _ in sets]
    torch.cuda.synchronize()
    results: list[list[tuple[Tensor, Tensor]]] = [[], []]
    for _ in range(10):
        for stream, (q, k, v), kept in zip(streams, sets, results, strict=True):
            with torch.cuda.stream(stream):
                kept.append(
                    block_sparse_attention(q, k, v, table, backend="triton", return_lse=True)
                )
    torch.cuda.synchronize()
    for (q, k, v), kept in zip(sets, results, strict=True):
        wanted = definition(q, k, v, torch.from_numpy(mask))
        for got in kept:
            close(got, wanted)
