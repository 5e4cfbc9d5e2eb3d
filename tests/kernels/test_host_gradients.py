"""Gradients on the host: the reference's are right, and those of others are the reference's."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.backends import load_backend, plan_table
from radialbench.kernels.backends.reference import exact_attention
from radialbench.kernels.checks import check_inputs
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from tests.kernels.tables import config_of, mixed_mask, problem_of, rows_of, table_of

QKV = tuple[Tensor, Tensor, Tensor]


def inputs(
    tokens: int, *, q_len: int | None = None, heads: int = 2, kv_heads: int = 2, dtype: torch.dtype
) -> QKV:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, number, length, 8, generator=generator, dtype=torch.float64).to(dtype)
        for number, length in ((heads, q_len or tokens), (kv_heads, tokens), (kv_heads, tokens))
    )
    return q.requires_grad_(), k.requires_grad_(), v.requires_grad_()


def gradients(qkv: QKV, out: Tensor, lse: Tensor) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    dout, dlse = (torch.randn(x.shape, generator=generator).to(x) for x in (out, lse))
    return torch.autograd.grad([out, lse], qkv, [dout, dlse])


@pytest.mark.parametrize("kv_heads", [2, 1])
def test_those_of_the_reference_are_right(kv_heads: int) -> None:
    table = rows_of(table_of(mixed_mask(11, empty=False), 4, 4), 1, 5)
    q, k, v = inputs(11, q_len=5, kv_heads=kv_heads, dtype=torch.float64)
    qkv = tuple(x[:1, :, :, :4].detach().requires_grad_() for x in (q, k, v))
    assert torch.autograd.gradcheck(exact_attention(table, 0.3), qkv)


def test_of_queries_without_keys_and_of_keys_without_queries_they_are_zero() -> None:
    mask = mixed_mask(50)
    mask[:, 7] = False
    qkv = inputs(50, dtype=torch.float64)
    dq, dk, dv = gradients(qkv, *exact_attention(table_of(mask, 16, 16), 0.3)(*qkv))
    assert torch.all(dq[:, :, torch.from_numpy(~mask.any(1))] == 0)
    assert torch.all(dk[:, :, 7] == 0)
    assert torch.all(dv[:, :, 7] == 0)
    assert torch.cat([dq, dk, dv]).isfinite().all()


def tables() -> dict[str, AnyTable]:
    whole = table_of(mixed_mask(90), 16, 32)
    other = table_of(mixed_mask(90, seed=5), 16, 32)
    return {
        "mixed": whole,
        "fewer queries": rows_of(whole, 1, 41),
        "by head": HeadTables((whole, other), (0, 1, 1, 0)),
        "nothing": table_of(np.zeros((40, 40), np.bool_), 16, 32),
    }


@pytest.mark.parametrize(
    ("name", "kind", "dtype"),
    [("triton", "fewer queries", "float32"), ("cpu", "mixed", "float16")]
    + [("cpu", kind, "float32") for kind in tables()],
)
def test_those_of_backends_are_the_references(name: str, kind: str, dtype: str) -> None:
    table = tables()[kind]
    one = table.tables[0] if isinstance(table, HeadTables) else table
    problem = problem_of(one, batch=2, heads=4, kv_heads=2, head_dim=8, dtype=dtype)
    kinds = {"float32": torch.float32, "float16": torch.float16}
    qkv = inputs(one.k_len, q_len=one.q_len, heads=4, dtype=kinds[dtype])
    run, exact = (
        plan_table(load_backend(which), problem, table, config_of(one))
        for which in (name, "reference")
    )
    found, wanted = gradients(qkv, *run(*qkv)), gradients(qkv, *exact(*qkv))
    for x, y in zip(found, wanted, strict=True):
        assert x.dtype == y.dtype
        torch.testing.assert_close(x, y, rtol=0, atol=1e-5 if dtype == "float32" else 4e-3)


@pytest.mark.parametrize("name", ["cpu", "reference"])
@pytest.mark.parametrize("place", ["q", "k", "dout"])
def test_nan_reaches_pairs_that_attend_and_no_others(name: str, place: str) -> None:
    mask = mixed_mask(60)
    table = table_of(mask, 16, 16)
    problem = problem_of(table, batch=2, heads=2, head_dim=8)
    q, k, v = inputs(60, dtype=torch.float32)
    dout = torch.ones(2, 2, 60, 8)
    run = load_backend(name).plan(problem, table, config_of(table))
    clean = torch.autograd.grad(run(q, k, v)[0], (q, k, v), dout)
    with torch.no_grad():
        {"q": q, "k": k, "dout": dout}[place][:, 1, 20, 3] = math.nan
    found = torch.autograd.grad(run(q, k, v)[0], (q, k, v), dout)
    one = torch.arange(60) == 20
    queries = torch.from_numpy(mask[:, 20]) if place == "k" else one
    # A query that attends to the key has nan weights for all of its keys.
    rows = mask[mask[:, 20]].any(0) if place == "k" else mask[20]
    keys = torch.from_numpy(rows)
    assert 0 < queries.sum() < 60
    for got, wanted, reached in zip(found, clean, (queries, keys, keys), strict=True):
        assert torch.equal(got[:, 0], wanted[:, 0])
        torch.testing.assert_close(got[:, 1, ~reached], wanted[:, 1, ~reached], rtol=0, atol=1e-6)
        assert got[:, 1, reached].isnan().any(dim=-1).all()


def test_a_second_gradient_is_refused() -> None:
    qkv = inputs(20, dtype=torch.float64)
    table = table_of(mixed_mask(20, empty=False), 8, 8)
    out, _ = exact_attention(table, 0.3)(*qkv)
    (dq,) = torch.autograd.grad(out.sum(), qkv[0], create_graph=True)
    with pytest.raises(BackendError, match="has no second gradient: call backward without"):
        dq.sum().backward()


def test_a_backend_without_gradients_says_so() -> None:
    table = table_of(np.ones((20, 20), np.bool_), 8, 8)
    qkv = inputs(20, dtype=torch.float32)
    problem = problem_of(table, batch=2, heads=2, head_dim=8)
    with pytest.raises(BackendError, match="q wants gradients, and this backend computes the forw"):
        check_inputs(problem, table, *qkv)
    with torch.no_grad():
        check_inputs(problem, table, *qkv)
