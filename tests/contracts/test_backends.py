"""What every backend promises: reasons, or the definition's result."""

import math
import os
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import BackendError
from radialbench.kernels.backends import BACKENDS, Run, load_backend
from radialbench.kernels.measure.accuracy import (
    Expected,
    Inputs,
    compare,
    expected,
    make_inputs,
)
from radialbench.maskgen.export import pairs_of
from radialbench.maskgen.library import mask_names
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import FP8, KernelConfig, Problem
from tests.kernels.tables import Bool, config_of, mixed_mask, problem_of, rows_of, table_of

EXACT = ("cpu", "fa4", "flex", "flex_tma", "hopper", "reference", "triton")
"""Backends that may refuse no mask; the others in no tuple here may refuse what is not theirs."""
DENSE = ("cudnn", "fa3", "fa3_fp8", "flash", "sdpa")
"""Backends that know no mask."""
SELECTING = ("topk_cpu", "topk_hopper", "topk_triton")
"""Backends that choose blocks from q and k, and do not compute the table they are given; see
tests/kernels/test_topk.py."""
IN_RASTER = ("hopper_boxes",)
"""Backends that take no table's token order; see tests/kernels/test_boxes.py."""
SINGLE = ("cpu", "reference", "sdpa", "topk_cpu", "topk_triton", "triton")
"""Backends that compute float32; the others are tried in bfloat16."""
DIFFERENTIABLE = (
    *("bsa", "cpu", "cudnn", "fa4", "flash", "flex", "hopper", "reference", "sdpa", "triton"),
    *SELECTING,
)
WHOLE = ("bsa", "bsa_fp8", "fastvideo", "flashinfer_fa2", "flashinfer_fa3")
"""Backends that know no partial blocks."""
HEAD_DIMS = dict.fromkeys(WHOLE[:2], 128) | dict.fromkeys(WHOLE[2:], 64)
"""The head_dim with which a backend is tried where it makes no difference; 32 for the others."""
ANY_BLOCKS = ("cpu", "reference", *DENSE)


SIZES = ("batch", "heads", "kv_heads", "head_dim", "dtype")
"""What a backend can refuse, whatever the mask."""


@pytest.fixture(autouse=True)
def nan_filled() -> Iterator[None]:
    """Fill fresh memory with nan, so that what a kernel never writes is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def dtype_of(name: str) -> str:
    return "float32" if name in SINGLE else "bfloat16"


def problem_for(name: str, table: BlockTable, **fields: object) -> Problem:
    """Return a problem that fits a table, in what the backend takes."""
    plain = {"dtype": dtype_of(name), "head_dim": HEAD_DIMS.get(name, 32)}
    return problem_of(table, **(plain | fields))


def small_problem(name: str, **fields: object) -> Problem:
    return problem_for(name, table_of(np.ones((8, 8), np.bool_), 128, 128), **fields)


@cache
def device_of(name: str) -> str:
    """Return the device a backend computes on: the CPU if it does there, in the interpreter too."""
    return "cuda" if load_backend(name).unsupported_reasons(small_problem(name), "cpu") else "cpu"


def reasons(name: str, **fields: object) -> list[str]:
    """Return why a backend does not compute here, whatever the mask."""
    return load_backend(name).unsupported_reasons(small_problem(name, **fields), device_of(name))


def blocks_of(name: str, blocks: tuple[int, int], head_dim: int = 32) -> tuple[int, int]:
    """Return the blocks asked for, or what the backend takes in their place."""
    if name == "triton":
        sides = (2 ** max(4, round(math.log2(block))) for block in blocks)
        block_m, block_n = sides
        return block_m, block_n
    if name in ANY_BLOCKS:
        return blocks
    if name == "fastvideo":
        return 64, 64
    if name == "fa4" and head_dim > 128:
        return 128, 80
    return 128, 64 if name == "hopper" and head_dim > 128 else 128


def each(
    *, dense: bool = True, without: Collection[str] = (), **axes: Sequence[Any]
) -> pytest.MarkDecorator:
    """Run a test for every backend that computes here, and for what it takes of some values.

    Values that come to the same for a backend are tried once: blocks that it takes in the place of
    those asked for, and all masks and blocks if it knows no mask.

    Args:
        dense: Whether for backends that know no mask too.
        without: Backends that do not take part.
        axes: The values, by the names of the test's arguments.
    """
    found: dict[Any, Any] = {}
    others = {*SELECTING, *IN_RASTER, *without, *(() if dense else DENSE)}
    for name in sorted(set(BACKENDS) - others):
        for values in product(*axes.values()):
            given = dict(zip(axes, values, strict=True))
            if reasons(name, **{key: given[key] for key in SIZES if key in given}):
                continue
            same = dict(given)
            if name in DENSE:
                same |= {"blocks": None, "mask": None}
            elif "blocks" in given:
                same["blocks"] = blocks_of(name, given["blocks"])
            found.setdefault((name, *same.items()), (name, *values))
    return pytest.mark.parametrize(
        ("name", *axes), found.values(), ids=["-".join(map(_id, one)) for one in found.values()]
    )


def _id(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


every_backend = each()


def mask_of(kind: str, seq_len: int) -> Bool:
    return mixed_mask(seq_len) if kind == "mixed" else np.ones((seq_len, seq_len), np.bool_)


def table_for(name: str, mask: Bool, *blocks: int, **fields: Any) -> BlockTable:
    """Return a mask's table in the backend's blocks, as dense or whole as it takes masks."""
    head_dim = fields.pop("head_dim", 32)
    if name in DENSE:
        mask = np.ones_like(mask)
    table = table_of(mask, *blocks_of(name, (blocks[0], blocks[1]), head_dim), **fields)
    if name in WHOLE:
        mask = pairs_of(table.any_blocks(), table.block_m, table.block_n, *mask.shape)
        table = table_of(mask, table.block_m, table.block_n, **fields)
    return table


def planned(name: str, problem: Problem, table: BlockTable) -> Run:
    """Plan; skip where a backend that does not know every mask says why it cannot."""
    try:
        return load_backend(name).plan(problem, table, config_of(table))
    except BackendError as error:
        if name in EXACT or (name in DENSE and table.pairs == table.q_len * table.k_len):
            raise
        pytest.skip(str(error))


def inputs_for(name: str, problem: Problem) -> Inputs:
    return make_inputs(problem, device=device_of(name))


def softmax_rows(
    q: Tensor, k: Tensor, v: Tensor, mask: np.ndarray, scale: float
) -> tuple[Tensor, Tensor]:
    """Compute attention by its definition, without code of the package."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("bhqd,bhkd->bhqk", q.double(), k.double()) * scale
    weights = scores.exp() * torch.from_numpy(mask).to(q.device)
    total = weights.sum(-1, keepdim=True)
    out = torch.einsum("bhqk,bhkd->bhqd", weights, v.double()) / total
    return out.nan_to_num(nan=0.0), total[..., 0].log()


def wanted_of(name: str, problem: Problem, table: BlockTable, inputs: Inputs) -> Expected:
    return expected(inputs, table=table, sm_scale=problem.scale, fp8=name in FP8)


def check(name: str, table: BlockTable, **fields: object) -> None:
    problem = problem_for(name, table, **fields)
    run = planned(name, problem, table)
    q, k, v = inputs_for(name, problem)
    q = q[:, :, : table.q_len].contiguous()
    out, lse = run(q, k, v)
    assert out.shape == q.shape
    assert out.dtype == q.dtype
    assert lse.shape == q.shape[:3]
    assert lse.dtype == torch.float32
    accuracy = compare((out, lse), wanted_of(name, problem, table, (q, k, v)))
    assert accuracy.passed, accuracy
    exact_out, exact_lse = softmax_rows(q, k, v, table.to_dense(), problem.scale)
    assert float((out - exact_out).abs().max()) <= accuracy.tolerance
    finite = exact_lse > -math.inf
    assert torch.equal(lse > -math.inf, finite)
    assert not finite.all() or float((lse - exact_lse).abs().max()) <= accuracy.tolerance
    assert torch.all(out[~finite] == 0)


@each(
    seq_len=[1, 17, 63, 100, 127, 129],
    blocks=[(16, 16), (128, 128), (32, 8), (7, 40), (64, 100)],
)
def test_ragged_lengths_and_block_sizes(name: str, seq_len: int, blocks: tuple[int, int]) -> None:
    check(name, table_for(name, mixed_mask(seq_len), *blocks))


@each(seq_len=[1, 100, 300])
def test_the_dense_mask(name: str, seq_len: int) -> None:
    check(name, table_for(name, np.ones((seq_len, seq_len), np.bool_), 64, 32), heads=2)


@each(mask=["mixed", "dense"], batch=[2])
def test_batch_and_heads(name: str, mask: str, batch: int) -> None:
    check(name, table_for(name, mask_of(mask, 150), 32, 16), batch=batch, heads=3)


@each(mask=["mixed", "dense"], heads=[6], kv_heads=[1, 2])
def test_query_heads_share_key_heads(name: str, mask: str, heads: int, kv_heads: int) -> None:
    check(name, table_for(name, mask_of(mask, 150), 32, 16), heads=heads, kv_heads=kv_heads)


@each(batch=[2], heads=[4], kv_heads=[2])
def test_key_heads_of_a_batch(name: str, batch: int, heads: int, kv_heads: int) -> None:
    table = table_for(name, mixed_mask(100), 32, 32)
    check(name, table, batch=batch, heads=heads, kv_heads=kv_heads)


@each(mask=["mixed", "dense"], first=[0, 1, 3], heads=[4], kv_heads=[1, 4])
def test_fewer_queries_than_keys(
    name: str, mask: str, first: int, heads: int, kv_heads: int
) -> None:
    whole = table_for(name, mask_of(mask, 520), 128, 64)
    table = rows_of(whole, first, min(300, 520 - first * whole.block_m))
    check(name, table, heads=heads, kv_heads=kv_heads)


@each(mask=["mixed", "dense"], dtype=["float16", "bfloat16"], head_dim=[64])
def test_16_bit_inputs(name: str, mask: str, dtype: str, head_dim: int) -> None:
    check(name, table_for(name, mask_of(mask, 200), 64, 64), dtype=dtype, head_dim=head_dim)


@each(head_dim=[1, 8, 80, 128, 256])
def test_head_dims(name: str, head_dim: int) -> None:
    table = table_for(name, mixed_mask(70), 16, 32, head_dim=head_dim)
    check(name, table, head_dim=head_dim)


@every_backend
def test_a_scale_of_ones_own(name: str) -> None:
    check(name, table_for(name, np.ones((90, 90), np.bool_), 32, 32), sm_scale=0.4)


@each(mask=mask_names(), dense=False)
def test_library_masks(name: str, mask: str) -> None:
    grid = TokenGrid(3, 5, 6, text_tokens=7, text_valid=4)
    given = {"selected": np.ones((1, 1), np.bool_)} if mask == "radial_or_table" else {}
    spec = load_mask(mask, empty_rows="keep")
    check(name, compile_mask(spec, grid, *blocks_of(name, (16, 32)), tables=given))


@each(dense=False)
def test_a_mask_that_keeps_nothing(name: str) -> None:
    table = table_for(name, np.zeros((40, 40), np.bool_), 16, 16)
    problem = problem_for(name, table)
    out, lse = planned(name, problem, table)(*inputs_for(name, problem))
    assert torch.all(out == 0)
    assert torch.all(lse == -math.inf)


@every_backend
def test_scores_of_ten_thousand(name: str) -> None:
    table = table_for(name, mixed_mask(130, empty=False), 32, 32)
    problem = problem_for(name, table)
    run = planned(name, problem, table)
    q, k, v = inputs_for(name, problem)
    q = q * 2000
    out, lse = run(q, k, v)
    assert float(lse.abs().max()) > 1e3
    assert compare((out, lse), wanted_of(name, problem, table, (q, k, v))).passed


@every_backend
def test_a_nan_key_reaches_exactly_its_queries(name: str) -> None:
    table = table_for(name, mixed_mask(130), 32, 16)
    mask = table.to_dense()
    problem = problem_for(name, table)
    run = planned(name, problem, table)
    q, k, v = inputs_for(name, problem)
    k[0, 0, 20] = math.nan
    out, _ = run(q, k, v)
    reached = torch.from_numpy(mask[:, 20]).to(out.device)
    assert torch.equal(out[0, 0].isnan().all(dim=1), reached)
    assert torch.equal(out[0, 0].isnan().any(dim=1), reached)


# FlexAttention does not keep this limit of our kernels: seen on an H200. 8 bits scale whole heads.
@each(without=("flex", "flex_tma", *FP8))
@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul")  # By the interpreter.
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_in_v_reaches_no_further_than_partial_blocks(
    name: str, number: float
) -> None:
    table = table_for(name, mixed_mask(130), 32, 16)
    mask = table.to_dense()
    problem = problem_for(name, table)
    run = planned(name, problem, table)
    q, k, v = inputs_for(name, problem)
    exact, exact_lse = run(q, k, v)
    v[0, 0, 20, 3] = number
    out, lse = run(q, k, v)
    assert torch.equal(lse, exact_lse)
    others = [channel for channel in range(out.shape[-1]) if channel != 3]
    assert torch.equal(out[..., others], exact[..., others])
    attends = torch.from_numpy(mask[:, 20]).to(out.device)
    limit = attends.clone()
    if name != "reference":
        key, rows = 20 // table.block_n, table.partial.rows
        for row in rows[table.partial.indices == key].tolist():
            limit[row * table.block_m : (row + 1) * table.block_m] = True
    found = out[0, 0, :, 3]
    wanted = torch.tensor(number, dtype=out.dtype, device=out.device).expand(130)
    whole = attends & (limit == attends)
    assert torch.equal(found[~limit], exact[0, 0, ~limit, 3])
    assert not found[attends].isfinite().any()
    if name == "reference":
        torch.testing.assert_close(found[whole], wanted[whole], equal_nan=True)


@every_backend
def test_the_order_of_a_table_does_not_matter_to_a_kernel(name: str) -> None:
    mask = mixed_mask(60)
    results = []
    for order in (TokenOrder(), TokenOrder("space_major")):
        table = table_for(name, mask, 16, 16, order=order, frames=4)
        problem = problem_for(name, table)
        results.append(planned(name, problem, table)(*inputs_for(name, problem)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@every_backend
def test_two_runs_agree_bit_for_bit_and_leave_the_inputs_alone(name: str) -> None:
    mask = mixed_mask(200)
    table = table_for(name, mask, 16, 16)
    problem = problem_for(name, table, heads=2)
    run = planned(name, problem, table)
    inputs = inputs_for(name, problem)
    first, second = run(*inputs), run(*inputs)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    for before, after in zip(inputs_for(name, problem), inputs, strict=True):
        assert torch.equal(before, after)


@every_backend
def test_strided_inputs(name: str) -> None:
    mask = mixed_mask(80)
    table = table_for(name, mask, 32, 32)
    problem = problem_for(name, table, heads=2)
    run = planned(name, problem, table)
    inputs = inputs_for(name, problem)
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in inputs]
    expected, (out, lse) = run(*inputs), run(*strided)
    torch.testing.assert_close(out, expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(lse, expected[1], rtol=0, atol=1e-5)


@every_backend
def test_inputs_that_want_gradients(name: str) -> None:
    """They have them, or are refused."""
    table = table_for(name, mixed_mask(40, empty=False), 32, 32)
    problem = problem_for(name, table)
    run = planned(name, problem, table)
    q, k, v = (x.requires_grad_() for x in inputs_for(name, problem))
    if name not in DIFFERENTIABLE:
        with pytest.raises(BackendError, match="q wants gradients, and this backend computes the"):
            run(q, k, v)
        return
    found = torch.autograd.grad(run(q, k, v)[0].sum(), (q, k, v))
    masked = torch.from_numpy(~table.to_dense()).to(q.device)
    x, y, z = (t.detach().double().requires_grad_() for t in (q, k, v))
    weights = (x @ y.mT * problem.scale).masked_fill(masked, -math.inf).softmax(-1)
    for got, exact in zip(found, torch.autograd.grad((weights @ z).sum(), (x, y, z)), strict=True):
        bound = 1e-5 if q.dtype == torch.float32 else 5e-2
        torch.testing.assert_close(got.double(), exact, rtol=0, atol=bound)


@each(threads=[2, 5])
def test_threads_change_nothing_and_their_number_survives(name: str, threads: int) -> None:
    mask = mixed_mask(300)
    table = table_for(name, mask, 32, 32)
    problem = problem_for(name, table, heads=2)
    run, before = planned(name, problem, table), torch.get_num_threads()
    inputs = inputs_for(name, problem)
    torch.set_num_threads(1)
    alone = run(*inputs)
    torch.set_num_threads(threads)
    together = run(*inputs)
    assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    torch.testing.assert_close(together[0], alone[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(together[1], alone[1], rtol=0, atol=1e-5)


@every_backend
def test_what_does_not_fit_is_refused(name: str) -> None:
    table, dtype = table_for(name, np.ones((80, 80), np.bool_), 32, 32), dtype_of(name)
    backend, problem = load_backend(name), problem_for(name, table)
    run = planned(name, problem, table)
    q, k, v = inputs_for(name, problem)
    with pytest.raises(BackendError, match=r"k must be \[batch, kv_heads, k_len, head_dim\]"):
        run(q, k[:, :, 1:], v)
    with pytest.raises(BackendError, match=r"v must be \[batch, kv_heads, .*1, 1, 80, \d+.*2, 80"):
        run(q, k, v.expand(1, 2, -1, -1))
    with pytest.raises(BackendError, match=f"v must be {dtype}, got torch.float64"):
        run(q, k, v.double())
    with pytest.raises(BackendError, match="table is for 80 tokens, the problem has 81"):
        backend.plan(problem_for(name, table, grid=TokenGrid(1, 1, 81)), table, config_of(table))
    with pytest.raises(BackendError, match="asks for 64×32|block_m.* 64|multiples of 128, got 64"):
        backend.plan(problem, table, KernelConfig(64, 32))


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_reasons_are_given_and_stop_a_plan(name: str) -> None:
    table = table_for(name, np.ones((8, 8), np.bool_), 16, 16)
    forward, backward = (
        problem_for(name, table, direction=direction) for direction in ("forward", "backward")
    )
    backend, device = load_backend(name), device_of(name)
    elsewhere = "cuda" if device == "cpu" else "cpu"
    assert any(f"'{elsewhere}'" in r for r in backend.unsupported_reasons(forward, elsewhere))
    if name in DIFFERENTIABLE:
        assert backend.unsupported_reasons(backward, device) == backend.unsupported_reasons(
            forward, device
        )
        return
    assert any("backward" in r for r in backend.unsupported_reasons(backward, device))
    with pytest.raises(BackendError, match=f"'{name}' cannot run this problem: .*backward"):
        backend.plan(backward, table, config_of(table))


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_a_backend_of_the_cpu_runs_there(name: str) -> None:
    runs_here = load_backend(name).unsupported_reasons(small_problem(name), "cpu") == []
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    there = ("cpu", "reference", "sdpa", "topk_cpu")
    assert runs_here == (name in there or (name in ("triton", "topk_triton") and interpreted))


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_needs_is_one_line(name: str) -> None:
    backend = load_backend(name)
    assert backend.name == name
    assert "torch" in backend.needs()
    assert "\n" not in backend.needs()


def test_every_backend_computes_here() -> None:
    """Check that backends that do not run here describe what they need."""
    absent = {name: reasons(name, head_dim=64) for name in sorted(BACKENDS)}
    if lines := [f"{name}: {'; '.join(why)}" for name, why in absent.items() if why]:
        pytest.skip(" | ".join(lines))


def test_an_unknown_backend_is_named_with_its_neighbour() -> None:
    with pytest.raises(
        BackendError, match="unknown backend 'references'; did you mean 'reference'"
    ):
        load_backend("references")
