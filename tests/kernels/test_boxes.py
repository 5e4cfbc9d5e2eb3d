"""Tables of boxes: attention on tokens where they stand is that of the definition."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench import TokenGrid, block_sparse_attention, compile_mask, load_mask
from radialbench.errors import BackendError
from radialbench.kernels.backends import InRaster, load_backend
from radialbench.kernels.op import device_table
from radialbench.kernels.reorder import reorder
from radialbench.maskgen.boxes import BoxTable, boxed
from radialbench.maskgen.compiler import compile_heads
from radialbench.maskgen.library import parse_head_plan
from radialbench.records.problem import KernelConfig
from tests.integrations.raster import raster_mask
from tests.kernels.tables import problem_of
from tests.maskgen.test_boxes import CASES, tiles

BF16 = torch.bfloat16
QKV = tuple[Tensor, Tensor, Tensor]


def inputs(
    grid: TokenGrid,
    *,
    batch: int = 1,
    heads: int = 2,
    kv_heads: int = 0,
    head_dim: int = 128,
    dtype: torch.dtype = BF16,
    models: bool = False,
    device: str = "cuda",
) -> QKV:
    """Return q, k and v in raster order; with `models` tokens come before heads in memory."""
    generator = torch.Generator(device).manual_seed(0)

    def made(own: int) -> Tensor:
        axes = (batch, grid.seq_len, own) if models else (batch, own, grid.seq_len)
        x = torch.randn((*axes, head_dim), generator=generator, device=device, dtype=dtype)
        return x.transpose(1, 2) if models else x

    return made(heads), made(kv_heads or heads), made(kv_heads or heads)


def check(qkv: QKV, allowed: Any, table: Any, **options: Any) -> None:
    """Compare out and lse with float64; allowed is [tokens, tokens], or with heads in front."""
    q, k, v = (x.double() for x in qkv)
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~torch.as_tensor(allowed, device=q.device), -torch.inf)
    wanted = torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1).nan_to_num(), v)
    out, lse = block_sparse_attention(*qkv, table, backend="hopper", return_lse=True, **options)
    assert out.stride() == torch.empty_like(qkv[0]).stride()
    error = (out.double() - wanted).norm() / wanted.norm()
    assert error < (4e-3 if out.dtype == BF16 else 6e-4), float(error)
    assert (out.double() - wanted).abs().max() < 0.05
    torch.testing.assert_close(lse.double(), scores.logsumexp(-1), rtol=0, atol=2e-3)


@pytest.fixture
def hopper() -> None:
    """Skip on other GPUs, and leave nan in the memory that results will have."""
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs compute capability 9.0")
    del_later = [torch.full((1 << n,), float("nan"), device="cuda") for n in range(8, 24)]
    del del_later


@pytest.mark.gpu
@pytest.mark.usefixtures("hopper")
class TestOnHopper:
    @pytest.mark.parametrize("models", [False, True])
    @pytest.mark.parametrize("name", CASES)
    def test_tiles_and_edges(self, name: str, models: bool) -> None:
        spec, grid, block_n = CASES[name]
        table = boxed(compile_mask(spec, grid, 128, block_n))
        check(inputs(grid, batch=2, models=models), raster_mask(spec, grid), table)

    @pytest.mark.parametrize(
        ("head_dim", "block_n", "dtype"),
        [(64, 128, BF16), (40, 128, torch.float16), (96, 128, BF16), (256, 64, BF16)],
    )
    def test_head_dims_and_types(self, head_dim: int, block_n: int, dtype: torch.dtype) -> None:
        spec, grid = tiles(6, 8, 8), TokenGrid(7, 13, 20)
        table = boxed(compile_mask(spec, grid, 128, block_n))
        qkv = inputs(grid, head_dim=head_dim, dtype=dtype, models=True)
        check(qkv, raster_mask(spec, grid), table)

    def test_heads_that_share_keys_and_have_masks_of_their_own(self) -> None:
        heads = {"0,3": {"name": "sta", "params": {"window_h": 1}}, "1-2": "sta"}
        grid = TokenGrid(7, 30, 24)
        plan = parse_head_plan({"name": "plan", "heads": heads})
        table = boxed(compile_heads(plan, grid))
        windows: tuple[dict[str, Any], ...] = ({"window_h": 1}, {})
        both = [raster_mask(load_mask("sta", **p), grid) for p in windows]
        allowed = np.stack([both[0], both[1], both[1], both[0]])
        check(inputs(grid, batch=2, heads=4, kv_heads=2, models=True), allowed, table)

    def test_strided_views_and_compiled_code(self) -> None:
        spec, grid = tiles(6, 8, 8), TokenGrid(7, 13, 24)
        boxes = boxed(compile_mask(spec, grid))
        packed = torch.randn((2, grid.seq_len, 3, 2, 128), device="cuda", dtype=BF16)
        q, k, v = (packed[:, :, part].transpose(1, 2) for part in range(3))
        qkv = (q, k, v)
        check(qkv, raster_mask(spec, grid), boxes)
        table = device_table(boxes, "cuda")
        compiled = torch.compile(
            lambda q, k, v: block_sparse_attention(q, k, v, table) + 0,
            fullgraph=True,
            backend="aot_eager",
        )
        assert torch.equal(compiled(*qkv), block_sparse_attention(*qkv, table))

    def test_as_in_the_tables_order(self) -> None:
        """At a length at which all SMs are busy, and launches follow one another."""
        grid = TokenGrid(21, 45, 80)
        table = compile_mask("sta", grid)
        qkv = inputs(grid, heads=4, models=True)
        moves = reorder(table, 4, 4, "cuda")
        assert moves is not None
        wanted = moves.output(block_sparse_attention(*moves.inputs(*qkv), table))
        boxes = boxed(table)
        outs = [block_sparse_attention(*qkv, boxes) for _ in range(3)]
        assert (outs[0].float() - wanted.float()).abs().max() < 0.02
        assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])

    def test_the_backend(self) -> None:
        grid = TokenGrid(7, 13, 24)
        table = compile_mask(tiles(6, 8, 8), grid)
        backend, config = load_backend("hopper_boxes"), KernelConfig(128, 128)
        problem = problem_of(table, head_dim=128, dtype="bfloat16", heads=2)
        run = backend.plan(problem, table, config)
        assert isinstance(run, InRaster)
        qkv = inputs(grid)
        out, lse = block_sparse_attention(*qkv, boxed(table), return_lse=True)
        assert all(x.equal(y) for x, y in zip(run(*qkv), (out, lse), strict=True))
        radial = compile_mask("radial", grid)
        with pytest.raises(BackendError, match="cannot run this problem: only tiles are boxes"):
            backend.plan(problem_of(radial, dtype="bfloat16"), radial, config)

    def test_three_stages(self) -> None:
        spec, grid = tiles(6, 8, 8), TokenGrid(12, 24, 40)
        table = boxed(compile_mask(spec, grid))
        qkv = inputs(grid)
        check(qkv, raster_mask(spec, grid), table, config=KernelConfig(128, 128, 4, 3))


def small() -> tuple[QKV, BoxTable]:
    grid = TokenGrid(6, 8, 16)
    qkv = inputs(grid, dtype=torch.float16, device="cpu", head_dim=16)
    return qkv, boxed(compile_mask(tiles(6, 8, 8), grid))


def test_what_takes_no_boxes_says_so() -> None:
    qkv, table = small()
    with pytest.raises(BackendError, match="the triton kernel cannot run this: takes no table of"):
        block_sparse_attention(*qkv, table, backend="triton")
    qkv[0].requires_grad_()
    with pytest.raises(BackendError, match="a table of boxes has no gradients: take the table it"):
        block_sparse_attention(*qkv, table)


def test_on_a_device() -> None:
    _, boxes = small()
    table = device_table(boxes, "cpu")
    assert table is device_table(boxes, "cpu")
    assert (table.key.run, table.key.width, table.key.q_len) == (8, 16, 768)
    assert table.key.mask_fingerprint == boxes.source.mask.fingerprint  # type: ignore[union-attr]
    assert (table.key.frames, table.key.tokens_per_frame, table.rows) == (6, 128, 6)
    assert [tuple(one.shape) for one in table.tensors()[-2:]] == [(12, 8), (768,)]
