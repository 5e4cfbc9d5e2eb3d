"""Attention over several ranks is that of one process, for all masks and ways to deal it out."""

import math
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.reorder import reorder
from radialbench.maskgen.compiler import compile_heads, compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable, tables_by_head
from radialbench.maskgen.library import load_mask, mask_names, parse_head_plan
from radialbench.parallel import exchange
from radialbench.parallel.attention import SequenceParallel
from tests.contracts.test_masks import SMALL, tables_of
from tests.parallel.ranks import Ranks, started
from tests.parallel.work import Case, attend, refuse

GRID = TokenGrid(4, 3, 6, text_tokens=10, text_valid=4)
WAYS: list[tuple[int, int]] = [(2, 1), (4, 1), (8, 1), (2, 2), (4, 4), (4, 2), (8, 4), (8, 2)]
"""Ranks, and how many of them exchange heads: rings, Ulysses, and both."""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    with started((2, 4, 8), tmp_path_factory.mktemp("ranks")) as running:
        yield running


def expected(case: Case) -> list[Tensor]:
    """Return out and gradients by the definition, in float64."""
    q, k, v, dout = (x.double() for x in case.tensors())
    inputs = [x.requires_grad_() for x in (q, k, v)]
    shared = case.heads // case.kv_heads
    mask = torch.stack(
        [torch.from_numpy(one.to_dense()) for one in tables_by_head(case.table, case.heads)]
    )[None]
    if case.lengths is not None:
        places = torch.arange(case.table.k_len)
        mask = mask & (places < case.lengths[:, None])[:, None, None]
    keys, values = (x.repeat_interleave(shared, dim=1) for x in inputs[1:])
    moves = None
    if not case.options.get("in_order", True):
        moves = reorder(case.table, case.heads, case.heads, "cpu")
    if moves is not None:
        q, keys, values = moves.inputs(q, keys, values)
    scores = (q @ keys.mT / math.sqrt(q.shape[-1])).masked_fill(~mask, -math.inf)
    weights = scores.masked_fill(~mask.any(-1, keepdim=True), 0).softmax(-1) * mask
    out = weights @ values
    out = out if moves is None else moves.output(out)
    return [out.detach(), *torch.autograd.grad(out, inputs, dout)]


def check(ranks: Ranks, count: int, case: Case, tolerance: float = 1e-5) -> None:
    """Compare what ranks compute, put together, with the definition."""
    parts = ranks.run(count, attend, case)
    for part in parts:
        if isinstance(part, Exception):
            raise part
    for name, wanted, *own in zip(("out", "dq", "dk", "dv"), expected(case), *parts, strict=True):
        found = torch.cat(own, dim=2)
        assert found.dtype == case.dtype
        error = (found.double() - wanted).norm() / wanted.norm()
        assert error < tolerance, f"{name}: {error}"


def library_table(word: str) -> AnyTable:
    spec = load_mask(word, empty_rows="keep").with_params(**SMALL.get(word, {}))
    return compile_mask(spec, GRID, 16, 8, tables=tables_of(spec, GRID))


@pytest.mark.parametrize("number", range(len(mask_names())))
def test_library_masks(ranks: Ranks, number: int) -> None:
    """82 tokens, with text and rows without keys, over ranks that do not divide them."""
    table = library_table(mask_names()[number])
    for count, ulysses in (WAYS[number % 3], WAYS[3 + number % 5]):
        check(ranks, count, Case(table, 4, {"ulysses": ulysses}))


@pytest.mark.parametrize(("count", "ulysses"), WAYS)
def test_head_plans_with_grouped_heads_and_lengths(ranks: Ranks, count: int, ulysses: int) -> None:
    """Ten heads share five keys: no number of ranks here divides them."""
    window = {"name": "sliding_window", "params": {"window": 5, "sink": 0}}
    plan = parse_head_plan(
        {"name": "three", "heads": {"0,3-5": window, "1": "dense", "2,6-9": "radial"}}
    )
    table = compile_heads(plan, GRID, 8, 8)
    case = Case(table, 10, {"kv_heads": 5, "ulysses": ulysses}, key_len=(82, 37))
    check(ranks, count, case)


def test_lengths_are_free(ranks: Ranks) -> None:
    table = library_table("radial")
    check(ranks, 4, Case(table, 2, {"ulysses": 2, "lengths": (1, 40, 11, 30)}))
    check(ranks, 4, Case(table, 2, {"ulysses": 1, "lengths": (3, 64, 14, 1)}))


def test_heads_of_different_orders_move_where_their_tokens_are_together(ranks: Ranks) -> None:
    tiles = {"name": "sta", "params": SMALL["sta"]}
    plan = parse_head_plan(
        {
            "name": "orders",
            "heads": {"0,1": "svg_temporal", "2": "radial", "3,5": tiles, "4": "dense"},
        }
    )
    table = compile_heads(plan, GRID, 16, 8)
    check(ranks, 2, Case(table, 6, {"ulysses": 2, "in_order": False}))
    check(ranks, 4, Case(table, 6, {"ulysses": 4, "in_order": False}))


def test_sixteen_bits(ranks: Ranks) -> None:
    case = Case(library_table("radial"), 4, {"ulysses": 2}, dtype=torch.bfloat16)
    check(ranks, 8, case, tolerance=1e-2)


def refusals(ranks: Ranks, count: int, cases: list[Case]) -> list[str]:
    answers = ranks.run(count, refuse, cases)
    assert all(isinstance(answer, BackendError) for answer in answers)
    return [str(answer) for answer in answers]


def test_ranks_that_differ(ranks: Ranks) -> None:
    radial, dense = library_table("radial"), library_table("dense")
    usual = Case(radial, 4, {})
    others: list[tuple[Case, str]] = [
        (Case(dense, 4, {}), "ranks have different tables: rank 0 has"),
        (Case(radial, 4, {"ulysses": 1}), "ranks have different settings (heads, ulysses, length"),
        (Case(radial, 4, {}, dtype=torch.float16), "ranks have different tensors (batch, head_dim"),
    ]
    for other, message in others:
        for said in refusals(ranks, 4, [usual, usual, usual, other]):
            assert message in said and "give all ranks the same" in said


def test_tensors_that_do_not_fit_end_all_ranks(ranks: Ranks) -> None:
    """The one that has them says so, and the others do not wait for it."""
    radial = library_table("radial")
    wrong = Case(radial, 4, {"kv_heads": 2, "lengths": (41, 41)})
    said = ranks.run(2, short_tensors, wrong)
    assert "k of rank 1 must be torch.float32 [2, 2, 41, 16] on cpu, for tokens 41 to 81" in str(
        said[1]
    )
    assert "rank 1 refuses its tensors" in str(said[0])


def short_tensors(group: Any, case: Case) -> None:
    attention = SequenceParallel(case.table, case.heads, group=group, **case.options)
    q, k, v, _ = (x[:, :, :41] for x in case.tensors())
    if torch.distributed.get_rank(group):
        k = k[:, :, :40]
    attention(q, k, v)


def test_a_ring_needs_the_order_of_its_table(ranks: Ranks) -> None:
    case = Case(library_table("sta"), 4, {"ulysses": 2, "in_order": False})
    for said in refusals(ranks, 4, [case] * 4):
        assert re.match(r"a ring of 2 shards needs tokens in the order of the table, tiles", said)


def test_without_processes() -> None:
    with pytest.raises(BackendError, match="call torch.distributed.init_process_group"):
        SequenceParallel(library_table("radial"), 4)


def test_empty_hops_are_not_sent(ranks: Ranks) -> None:
    """A window of 9 tokens needs the neighbours' keys alone."""
    table = compile_mask(load_mask("sliding_window", window=9, sink=0), TokenGrid(8, 1, 20), 8, 8)
    case = Case(table, 2, {"ulysses": 1})
    check(ranks, 8, case)
    sent = np.array(ranks.run(8, messages, case))
    # Forward: keys to either neighbour; backward: again, and gradients back. Ends have one.
    assert sent.tolist() == [3, 6, 6, 6, 6, 6, 6, 3]


def messages(group: Any, case: Case) -> int:
    """Return how many messages a rank sends in a forward and a backward pass."""
    counted = 0

    def post(sends: Any, receives: Any, group: Any) -> Any:
        nonlocal counted
        counted += len(sends)
        return exchange.post(sends, receives, group)

    with mock.patch("radialbench.parallel.ring.post", post):
        attend(group, case)
    return counted
