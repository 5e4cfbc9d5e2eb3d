"""The lists that bsa and fa4 get are those of the table, in both directions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from radialbench.errors import BackendError
from radialbench.kernels.backends import Backend, load_backend, plan_table
from radialbench.kernels.backends.bsa import Bsa, BsaFp8, BsaLists
from radialbench.kernels.backends.fa3 import Fa3Fp8
from radialbench.kernels.backends.fa4 import Fa4
from radialbench.kernels.checks import check_result
from radialbench.kernels.measure.accuracy import compare, draw_like, expected, make_inputs
from radialbench.kernels.measure.gradients import compare_gradients
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import FP8, KernelConfig, Problem
from tests.kernels import fake_peers
from tests.kernels.tables import Bool, config_of, mixed_mask, problem_of, rows_of, table_of

Check = Callable[[str, AnyTable, dict[str, Any]], None]


@pytest.fixture(params=["by definition", pytest.param("on a GPU", marks=pytest.mark.gpu)])
def check(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Return a function that compares out, lse and gradients of a backend with float64."""
    device = "cuda" if request.param == "on a GPU" else "cpu"
    if device == "cpu":
        fake_peers.install(monkeypatch)
        for backend in (Bsa, BsaFp8, Fa3Fp8, Fa4):
            monkeypatch.setattr(backend, "unsupported_reasons", lambda *_: [])

    def checked(name: str, table: AnyTable, fields: dict[str, Any]) -> None:
        backend, problem = load_backend(name), problem_for(table, **fields)
        if reasons := backend.unsupported_reasons(problem, "cuda"):
            pytest.skip("; ".join(reasons))
        run = plan_table(backend, problem, table, config_for(table))
        q, k, v = make_inputs(problem, device=device)
        q = q[:, :, : table.q_len].contiguous()
        backwards = problem.direction != "forward"
        for x in (q, k, v):
            x.requires_grad_(backwards)
        result = check_result(problem, table, run(q, k, v))
        scale = problem.scale
        exact = expected((q, k, v), table=table, sm_scale=scale, fp8=name in FP8)
        found = compare(result, exact)
        assert found.passed, found
        if backwards:
            dout = draw_like(q)
            dq, dk, dv = torch.autograd.grad(result[0], (q, k, v), dout)
            given = ((dq, dk, dv), (q, k, v), result, dout)
            found = compare_gradients(*given, table=table, sm_scale=scale)
            assert found.passed, found

    return checked


def problem_for(table: AnyTable, **fields: Any) -> Problem:
    one = table if isinstance(table, BlockTable) else table.tables[0]
    return problem_of(one, **({"dtype": "bfloat16", "head_dim": 128, "heads": 2} | fields))


def config_for(table: AnyTable) -> KernelConfig:
    return config_of(table if isinstance(table, BlockTable) else table.tables[0])


def whole(tokens: int, block: int, *, seed: int = 0, same: int | None = None) -> BlockTable:
    """Return a table of whole blocks; every row has `same`, or one row has none."""
    draw, blocks = np.random.default_rng(seed), -(-tokens // block)
    chosen: Bool = np.zeros((blocks, blocks), np.bool_)
    for row in range(blocks):
        chosen[row, draw.choice(blocks, same or int(draw.integers(1, blocks)), replace=False)] = (
            True
        )
    if same is None:
        chosen[1] = False
    return table_of(chosen.repeat(block, 0).repeat(block, 1)[:tokens, :tokens], block, block)


BOTH = {"direction": "both"}
TABLES: dict[str, tuple[AnyTable, dict[str, Any]]] = {
    "ragged, by row": (whole(700, 128), BOTH),
    "one count": (whole(640, 128, same=3), BOTH),
    "one count, ragged": (whole(700, 128, same=3), BOTH),
    "64": (whole(320, 64), BOTH),
    "64, ragged keys": (rows_of(whole(300, 64), 1, 128), {}),
    "128, fewer queries": (rows_of(whole(700, 128), 2, 300), BOTH),
    "heads of their own": (
        HeadTables((whole(700, 128), whole(700, 128, seed=3)), (0, 1, 0)),
        {"heads": 3, "batch": 2} | BOTH,
    ),
    "shared key heads": (whole(700, 128), {"heads": 4, "kv_heads": 2, "dtype": "float16"}),
    "a scale and a head_dim": (whole(700, 128), {"head_dim": 64, "sm_scale": 0.3}),
}


@pytest.mark.parametrize("name", TABLES)
def test_bsa_computes_whole_blocks(check: Check, name: str) -> None:
    check("bsa", *TABLES[name])


@pytest.mark.parametrize("name", ["mixed", "whole", "dense", "rows", "shared key heads"])
def test_fa4_has_the_gradients_of_every_mask(check: Check, name: str) -> None:
    table = {
        "whole": whole(700, 128),
        "dense": table_of(np.ones((300, 300), np.bool_), 128, 128),
        "rows": rows_of(table_of(mixed_mask(700), 128, 128), 2, 300),
    }.get(name, table_of(mixed_mask(700), 128, 128))
    heads = {"heads": 4, "kv_heads": 2} if name == "shared key heads" else {}
    check("fa4", table, BOTH | heads)


@pytest.mark.parametrize(
    ("name", "table", "fields"),
    [
        ("bsa_fp8", whole(640, 128, same=3), {"batch": 2, "sm_scale": 0.2}),
        ("fa3_fp8", table_of(np.ones((700, 700), np.bool_), 128, 128), {"batch": 2}),
        (
            "fa3_fp8",
            table_of(np.ones((300, 300), np.bool_), 128, 128),
            {"heads": 4, "kv_heads": 2, "head_dim": 64},
        ),
    ],
)
def test_8_bits_are_within_the_tolerance_of_8_bits(
    check: Check, name: str, table: BlockTable, fields: dict[str, Any]
) -> None:
    check(name, table, fields)


def test_bsa_in_8_bits_returns_the_lse_of_keys_with_a_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_peers.install(monkeypatch)
    monkeypatch.setattr(BsaFp8, "unsupported_reasons", lambda *_: [])
    table = whole(640, 128, same=3)
    problem = problem_for(table)
    q, k, v = make_inputs(problem)
    k += 7.3
    _, lse = BsaFp8().plan(problem, table, config_of(table))(q, k, v)
    pairs = torch.from_numpy(table.to_dense())
    _, exact = fake_peers.attention(q, k, v, pairs, problem.scale)
    assert exact.abs().max() > 10
    torch.testing.assert_close(lse, exact, rtol=0, atol=0.1)


@pytest.mark.parametrize("table", [whole(640, 128), whole(700, 128, same=3)])
def test_bsa_in_8_bits_takes_one_count_and_whole_blocks(
    monkeypatch: pytest.MonkeyPatch, table: BlockTable
) -> None:
    fake_peers.install(monkeypatch)
    monkeypatch.setattr(BsaFp8, "unsupported_reasons", lambda *_: [])
    with pytest.raises(BackendError, match="equally many blocks in every row; the table on"):
        BsaFp8().plan(problem_for(table), table, config_of(table))


def test_bsa_is_told_one_number_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_peers.install(monkeypatch)
    for count, table in ((3, whole(640, 128, same=3)), (None, whole(640, 128))):
        lists = BsaLists.of("bsa", problem_for(table), table)
        assert lists.count == count
        assert (lists.counts is None) == (count is not None)
        assert lists.sizes is None
        assert lists.index.shape[-1] == np.diff(table.full.indptr).max()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (table_of(mixed_mask(300), 128, 128), "of the table's 9 blocks are partial"),
        (whole(300, 32), "takes blocks of 64×64 or 128×128, got 32×32"),
        (table_of(np.ones((256, 256), np.bool_), 128, 64), "128×128, got 128×64"),
        (whole(300, 64), "300 queries are not a multiple of 64; use blocks of 128×128"),
    ],
)
def test_bsa_refuses_what_it_would_get_wrong(
    monkeypatch: pytest.MonkeyPatch, table: BlockTable, message: str
) -> None:
    fake_peers.install(monkeypatch)
    monkeypatch.setattr(Bsa, "unsupported_reasons", lambda *_: [])
    with pytest.raises(BackendError, match=message):
        Bsa().plan(problem_for(table), table, config_of(table))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": "float16"}, "got float16"),
        ({"head_dim": 64}, "head_dim is 128 for gradients, got 64"),
        ({"heads": 4, "kv_heads": 2}, "as many key heads as heads for gradients, got 2 and 4"),
    ],
)
def test_bsa_says_where_it_has_no_gradients(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], message: str
) -> None:
    fake_peers.install(monkeypatch)
    table = whole(300, 128)
    problem = problem_for(table, **fields)
    bsa: Backend = Bsa()
    backwards = problem_for(table, **(fields | BOTH))
    assert message in "; ".join(bsa.unsupported_reasons(backwards, "cuda"))
    assert message not in "; ".join(bsa.unsupported_reasons(problem, "cuda"))
    monkeypatch.setattr(Bsa, "unsupported_reasons", lambda *_: [])
    q, k, v = (x.requires_grad_() for x in make_inputs(problem))
    out, _ = bsa.plan(problem, table, config_of(table))(q, k, v)
    with pytest.raises(BackendError, match=f"no gradients here: .*{message}"):
        out.sum().backward()


def test_bsa_has_no_gradient_of_the_lse(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_peers.install(monkeypatch)
    monkeypatch.setattr(Bsa, "unsupported_reasons", lambda *_: [])
    table = whole(256, 128)
    problem = problem_for(table)
    q, k, v = (x.requires_grad_() for x in make_inputs(problem))
    _, lse = Bsa().plan(problem, table, config_of(table))(q, k, v)
    assert not lse.requires_grad


def test_fa4_says_which_blocks_have_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_peers.install(monkeypatch)
    monkeypatch.setattr(Fa4, "unsupported_reasons", lambda *_: [])
    table = table_of(mixed_mask(300), 128, 64)
    with pytest.raises(BackendError, match="block_n of 128 .* got 64 and 128"):
        Fa4().plan(problem_for(table, **BOTH), table, config_of(table))
    problem = problem_for(table)
    q, k, v = (x.requires_grad_() for x in make_inputs(problem))
    out, _ = Fa4().plan(problem, table, config_of(table))(q, k, v)
    with pytest.raises(BackendError, match="block_n of 128 .* got 64 and 128"):
        out.sum().backward()
