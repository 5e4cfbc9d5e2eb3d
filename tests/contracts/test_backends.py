"""What every backend promises: reasons, or the definition's result."""

import importlib
import math
import pkgutil
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import BackendError
from radialbench.kernels import backends
from radialbench.kernels.accuracy import compare
from radialbench.kernels.backend import BACKENDS, Run, load_backend
from radialbench.kernels.inputs import make_inputs
from radialbench.maskgen.library import mask_names
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem
from tests.kernels.tables import config_of, mixed_mask, problem_of, table_of

every_backend = pytest.mark.parametrize("name", sorted(BACKENDS))


@pytest.fixture(autouse=True)
def nan_filled() -> Iterator[None]:
    """Fill fresh memory with nan, so that what a kernel never writes is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def planned(name: str, problem: Problem, table: BlockTable) -> Run:
    """Plan, or skip where the backend says why it cannot."""
    backend = load_backend(name)
    if reasons := backend.unsupported_reasons(problem, "cpu"):
        pytest.skip("; ".join(reasons))
    if name == "sdpa" and table.pairs != table.seq_len**2:
        with pytest.raises(BackendError, match="computes every pair"):
            backend.plan(problem, table, config_of(table))
        pytest.skip("dense tables only")
    return backend.plan(problem, table, config_of(table))


def softmax_rows(
    q: Tensor, k: Tensor, v: Tensor, mask: np.ndarray, scale: float
) -> tuple[Tensor, Tensor]:
    """Spell the definition out, apart from the package's own."""
    scores = torch.einsum("bhqd,bhkd->bhqk", q.double(), k.double()) * scale
    weights = scores.exp() * torch.from_numpy(mask)
    total = weights.sum(-1, keepdim=True)
    out = torch.einsum("bhqk,bhkd->bhqd", weights, v.double()) / total
    return out.nan_to_num(nan=0.0), total[..., 0].log()


def check(name: str, table: BlockTable, **fields: object) -> None:
    problem = problem_of(table, **fields)
    run = planned(name, problem, table)
    q, k, v = make_inputs(problem)
    out, lse = run(q, k, v)
    assert out.shape == q.shape
    assert out.dtype == q.dtype
    assert lse.shape == q.shape[:3]
    assert lse.dtype == torch.float32
    accuracy = compare((out, lse), (q, k, v), table=table, sm_scale=problem.scale)
    assert accuracy.passed, accuracy
    exact_out, exact_lse = softmax_rows(q, k, v, table.to_dense(), problem.scale)
    assert float((out - exact_out).abs().max()) <= accuracy.tolerance
    finite = exact_lse > -math.inf
    assert torch.equal(lse > -math.inf, finite)
    assert not finite.all() or float((lse - exact_lse).abs().max()) <= accuracy.tolerance
    assert torch.all(out[~finite] == 0)


@every_backend
@pytest.mark.parametrize("blocks", [(16, 16), (128, 128), (32, 8), (7, 40), (64, 100)])
@pytest.mark.parametrize("seq_len", [1, 17, 63, 100, 127, 129])
def test_ragged_lengths_and_block_sizes(name: str, seq_len: int, blocks: tuple[int, int]) -> None:
    check(name, table_of(mixed_mask(seq_len), *blocks))


@every_backend
@pytest.mark.parametrize("seq_len", [1, 100, 300])
def test_the_dense_mask(name: str, seq_len: int) -> None:
    check(name, table_of(np.ones((seq_len, seq_len), np.bool_), 64, 32), heads=2)


@every_backend
@pytest.mark.parametrize("mask", [mixed_mask(150), np.ones((150, 150), np.bool_)])
def test_batch_and_heads(name: str, mask: np.ndarray) -> None:
    check(name, table_of(mask, 32, 16), batch=2, heads=3)


@every_backend
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("mask", [mixed_mask(200), np.ones((200, 200), np.bool_)])
def test_16_bit_inputs(name: str, mask: np.ndarray, dtype: str) -> None:
    check(name, table_of(mask, 64, 64), dtype=dtype, head_dim=64)


@every_backend
@pytest.mark.parametrize("head_dim", [1, 8, 80, 128, 256])
def test_head_dims(name: str, head_dim: int) -> None:
    check(name, table_of(mixed_mask(70), 16, 32), head_dim=head_dim)


@every_backend
def test_a_scale_of_ones_own(name: str) -> None:
    check(name, table_of(np.ones((90, 90), np.bool_), 32, 32), sm_scale=0.4)


@every_backend
@pytest.mark.parametrize("mask", mask_names())
def test_library_masks(name: str, mask: str) -> None:
    grid = TokenGrid(3, 5, 6, text_tokens=7, text_valid=4)
    given = {"selected": np.ones((1, 1), np.bool_)} if mask == "radial_or_table" else {}
    spec = load_mask(mask, empty_rows="keep")
    check(name, compile_mask(spec, grid, 16, 32, tables=given))


@every_backend
def test_a_mask_that_keeps_nothing(name: str) -> None:
    table = table_of(np.zeros((40, 40), np.bool_), 16, 16)
    problem = problem_of(table)
    out, lse = planned(name, problem, table)(*make_inputs(problem))
    assert torch.all(out == 0)
    assert torch.all(lse == -math.inf)


@every_backend
def test_scores_of_ten_thousand(name: str) -> None:
    table = table_of(mixed_mask(130, empty=False), 32, 32)
    problem = problem_of(table)
    run = planned(name, problem, table)
    q, k, v = make_inputs(problem)
    q = q * 2000
    out, lse = run(q, k, v)
    assert float(lse.abs().max()) > 1e3
    assert compare((out, lse), (q, k, v), table=table, sm_scale=problem.scale).passed


@every_backend
def test_a_nan_key_reaches_exactly_its_queries(name: str) -> None:
    mask = mixed_mask(130)
    table = table_of(mask, 32, 16)
    problem = problem_of(table)
    run = planned(name, problem, table)
    q, k, v = make_inputs(problem)
    k[0, 0, 20] = math.nan
    out, _ = run(q, k, v)
    assert torch.equal(out[0, 0].isnan().all(dim=1), torch.from_numpy(mask[:, 20]))
    assert torch.equal(out[0, 0].isnan().any(dim=1), torch.from_numpy(mask[:, 20]))


@every_backend
def test_the_order_of_a_table_does_not_matter_to_a_kernel(name: str) -> None:
    mask = np.ones((60, 60), np.bool_) if name == "sdpa" else mixed_mask(60)
    results = []
    for order in (TokenOrder(), TokenOrder("space_major")):
        table = table_of(mask, 16, 16, order=order, frames=4)
        problem = problem_of(table)
        results.append(planned(name, problem, table)(*make_inputs(problem)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@every_backend
def test_two_runs_agree_bit_for_bit_and_leave_the_inputs_alone(name: str) -> None:
    mask = np.ones((200, 200), np.bool_) if name == "sdpa" else mixed_mask(200)
    table = table_of(mask, 16, 16)
    problem = problem_of(table, heads=2)
    inputs = make_inputs(problem)
    run = planned(name, problem, table)
    first, second = run(*inputs), run(*inputs)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    for before, after in zip(make_inputs(problem), inputs, strict=True):
        assert torch.equal(before, after)


@every_backend
def test_strided_inputs_and_inputs_that_ask_for_gradients(name: str) -> None:
    mask = np.ones((80, 80), np.bool_) if name == "sdpa" else mixed_mask(80)
    table = table_of(mask, 32, 32)
    problem = problem_of(table, heads=2)
    inputs = make_inputs(problem)
    run = planned(name, problem, table)
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for x in inputs]
    expected, (out, lse) = run(*inputs), run(*strided)
    assert not out.requires_grad
    torch.testing.assert_close(out, expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(lse, expected[1], rtol=0, atol=1e-5)


@every_backend
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing_and_their_number_survives(name: str, threads: int) -> None:
    mask = np.ones((300, 300), np.bool_) if name == "sdpa" else mixed_mask(300)
    table = table_of(mask, 32, 32)
    problem = problem_of(table, heads=2)
    run, inputs, before = (
        planned(name, problem, table),
        make_inputs(problem),
        torch.get_num_threads(),
    )
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
    table = table_of(np.ones((80, 80), np.bool_), 32, 32)
    backend, problem, config = load_backend(name), problem_of(table), config_of(table)
    run = backend.plan(problem, table, config)
    q, k, v = make_inputs(problem)
    with pytest.raises(BackendError, match=r"k must be \[batch, heads, seq_len, head_dim\]"):
        run(q, k[:, :, 1:], v)
    with pytest.raises(BackendError, match="v must be float32, got torch.float64"):
        run(q, k, v.double())
    with pytest.raises(BackendError, match="table is for 80 tokens, the problem has 81"):
        backend.plan(problem_of(table, seq_len=81), table, config)
    with pytest.raises(BackendError, match="blocks of 32×32, the configuration asks for 64×32"):
        backend.plan(problem, table, KernelConfig(64, 32))


@every_backend
def test_reasons_are_given_and_stop_a_plan(name: str) -> None:
    table = table_of(np.ones((8, 8), np.bool_), 4, 4)
    backend, problem = load_backend(name), problem_of(table, direction="backward")
    assert backend.unsupported_reasons(problem_of(table), "cpu") == []
    assert any("'cuda'" in r for r in backend.unsupported_reasons(problem_of(table), "cuda"))
    assert any("backward" in r for r in backend.unsupported_reasons(problem, "cpu"))
    with pytest.raises(BackendError, match=f"'{name}' cannot run this problem: .*backward"):
        backend.plan(problem, table, config_of(table))


@every_backend
def test_needs_is_one_line(name: str) -> None:
    backend = load_backend(name)
    assert backend.name == name
    assert "torch" in backend.needs()
    assert "\n" not in backend.needs()


def test_every_backend_file_is_in_the_table() -> None:
    files = {module.name for module in pkgutil.iter_modules(backends.__path__)}
    assert files == {path.split(":")[0].rpartition(".")[2] for path in BACKENDS.values()}
    for path in BACKENDS.values():
        importlib.import_module(path.split(":")[0])


def test_an_unknown_backend_is_named_with_its_neighbour() -> None:
    with pytest.raises(
        BackendError, match="unknown backend 'references'; did you mean 'reference'"
    ):
        load_backend("references")
