"""Blocks chosen at run time: the choice, its launch, and backends that choose in every call."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import BackendError
from radialbench.kernels.backends import Selects, load_backend, plan_table
from radialbench.kernels.device_table import table_of_blocks, upload
from radialbench.kernels.measure.accuracy import compare, expected, make_inputs
from radialbench.kernels.op import block_sparse_attention
from radialbench.kernels.top_blocks import selected_tables, top_blocks
from radialbench.maskgen.compiler import compile_heads
from radialbench.maskgen.library import parse_head_plan
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.result import Status
from radialbench.suites.attempt import attempt
from tests.kernels.tables import config_of, problem_of, table_of
from tests.suites import small

BACKENDS = ("topk_cpu", "topk_triton", "topk_hopper")


def random_blocks(*shape: int, share: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(*shape, generator=generator) < share


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("shape", [(5, 4), (3, 5, 4)])
def test_blocks_become_the_table_that_upload_makes(shape: tuple[int, ...], known: bool) -> None:
    blocks = random_blocks(*shape)
    nnz = int(blocks.sum()) if known else None
    made = table_of_blocks(blocks, 16, 32, 70, 128, nnz=nnz)
    for group, chosen in enumerate(blocks if blocks.dim() == 3 else blocks[None]):
        rows = slice(group * 5, group * 5 + 6)
        indptr = made.full_indptr[rows]
        assert indptr.diff().tolist() == chosen.sum(1).tolist()
        columns = made.full_indices[int(indptr[0]) : int(indptr[-1])]
        assert columns.tolist() == chosen.nonzero()[:, 1].tolist()
        lengths = chosen.sum(1)[made.row_order[group].long()]
        assert lengths.tolist() == sorted(lengths.tolist(), reverse=True)
        assert sorted(made.row_order[group].tolist()) == list(range(5))
    assert made.group_of_head.tolist() == ([0, 1, 2] if blocks.dim() == 3 else [])
    uploaded = upload([table_of(np.eye(64) > 0, 16, 32)], "cpu")
    for ours, theirs in zip(made.tensors(), uploaded.tensors(), strict=True):
        assert (ours.dtype, ours.dim()) == (theirs.dtype, theirs.dim())


@pytest.mark.parametrize(
    ("blocks", "block_n", "message"),
    [
        (random_blocks(5, 3), 32, r"bool \[5, 4\] or \[heads, 5, 4\], got torch.bool \[5, 3\]"),
        (random_blocks(5, 4).int(), 32, r"got torch.int32 \[5, 4\]"),
        (random_blocks(5, 7), 20, "multiples of 8 tokens up to 128, got 20"),
    ],
)
def test_blocks_that_do_not_fit(blocks: Tensor, block_n: int, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        table_of_blocks(blocks, 16, block_n, 70, 128)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_the_blocks_of_greatest_mean_scores_are_chosen(kv_heads: int) -> None:
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(4, 70, 8, generator=generator)
    k = torch.randn(kv_heads, 70, 8, generator=generator)
    kept = torch.tensor([3, 0, 2, 1, 3])
    chosen = top_blocks(q, k, kept, 3, 16, 32)
    for head, row in np.ndindex(4, 5):
        mean = q[head, row * 16 : row * 16 + 16].mean(0)
        own = k[head // (4 // kv_heads)]
        scores = [float(mean @ own[c * 32 : c * 32 + 32].mean(0)) for c in range(3)]
        best = sorted(range(3), key=lambda column: -scores[column])[: int(kept[row])]
        assert chosen[head, row].nonzero().flatten().tolist() == sorted(best)


@pytest.mark.parametrize("kv_heads", [None, 1])
@pytest.mark.parametrize("seq_len", [64, 100])
@pytest.mark.parametrize("name", BACKENDS)
def test_the_result_is_that_of_the_chosen_blocks(
    name: str, seq_len: int, kv_heads: int | None
) -> None:
    backend = load_backend(name)
    dtype = "bfloat16" if name == "topk_hopper" else "float32"
    block = 128 if name == "topk_hopper" else 16
    mask = np.tri(seq_len, dtype=np.bool_)
    table = table_of(mask, block, block)
    problem = problem_of(table, heads=2, kv_heads=kv_heads, dtype=dtype)
    device = "cuda" if backend.unsupported_reasons(problem, "cpu") else "cpu"
    if reasons := backend.unsupported_reasons(problem, device):
        pytest.skip("; ".join(reasons))
    run = backend.plan(problem, table, config_of(table))
    assert isinstance(run, Selects)
    for seed in range(2):  # The blocks of the second call are others.
        q, k, v = make_inputs(problem, device=device, seed=seed)
        chosen = run.selected(q, k)
        kept = [np.diff(one.full.indptr) for one in chosen.tables]
        assert all((rows == np.arange(1, table.rows + 1)).all() for rows in kept)
        result = expected((q, k, v), table=chosen, sm_scale=problem.scale)
        assert compare(run(q, k, v), result).passed


def test_a_mask_that_keeps_nothing_chooses_nothing() -> None:
    table = table_of(np.zeros((40, 40), np.bool_), 16, 16)
    problem = problem_of(table, dtype="float32")
    out, lse = load_backend("topk_cpu").plan(problem, table, config_of(table))(
        *make_inputs(problem)
    )
    assert torch.all(out == 0)
    assert torch.all(lse == -math.inf)


def test_what_it_does_not_compute() -> None:
    table = table_of(np.tri(40, dtype=np.bool_), 16, 16)
    backend = load_backend("topk_cpu")
    problem = problem_of(table, dtype="float32", batch=2)
    assert backend.unsupported_reasons(problem, "cpu") == [
        "chooses the blocks of one sequence, got a batch of 2"
    ]
    plan = parse_head_plan({"name": "p", "heads": {"0": "radial", "1": "dense"}})
    grid = TokenGrid(3, 4, 5)
    heads = compile_heads(plan, grid, 16, 16)
    problem = Problem(plan.fingerprint, grid, 1, 2, 8, "float32")
    with pytest.raises(BackendError, match="takes one mask for all heads"):
        plan_table(backend, problem, heads, KernelConfig(16, 16))


def test_in_a_suite_the_choice_defines_the_result_and_what_is_counted() -> None:
    fields: dict[str, Any] = {"grids": [{"frames": 5, "height": 6, "width": 7}], "heads": 2}
    (case,) = small.cases(masks=["radial"], backends=["topk_cpu"], **fields)
    record = attempt(case, small.bench())
    assert record.status is Status.OK, record.reason
    assert record.accuracy is not None and record.accuracy.passed
    table = compile_mask(load_mask("radial"), case.grid, 16, 16)
    assert record.table is not None
    assert (record.table.full, record.table.partial) == (2 * table.nnz, 0)
    assert record.table.block_density == pytest.approx(table.block_density)
    # Its static neighbour is compared with its own definition.
    (static,) = small.cases(masks=["radial"], backends=["cpu"], **fields)
    bench = small.bench()
    for one in (case, static, case):
        assert attempt(one, bench).status is Status.OK


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["hopper", "triton"])
def test_chosen_blocks_on_a_gpu(backend: str) -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    q, k, v = torch.randn(3, 1, 4, 1000, 64, generator=generator, device="cuda").bfloat16().unbind()
    blocks = random_blocks(4, 8, 8, share=0.5).cuda()
    table = table_of(np.ones((1000, 1000), np.bool_), 128, 128)
    exact = expected((q, k, v), table=selected_tables(blocks, table), sm_scale=0.125)
    for nnz in (None, int(blocks.sum())):
        made = table_of_blocks(blocks, 128, 128, 1000, 1000, nnz=nnz)
        result = block_sparse_attention(q, k, v, made, return_lse=True, backend=backend)
        assert compare(result, exact).passed
