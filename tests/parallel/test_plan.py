"""Tables between shards, exactly, and what a plan makes of their work."""

import os
import re
import socket
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from benchmarks.parts import ROOT
from benchmarks.scale import Machine, replay, swapped
from radialbench.errors import BackendError, TableError
from radialbench.maskgen.compiler import compile_heads, compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask, mask_names, parse_head_plan
from radialbench.maskgen.table import BlockTable
from radialbench.parallel.cut import cut_table, shard_work
from radialbench.parallel.plan import deal_heads, plan_parallel
from tests.contracts.test_masks import SMALL, tables_of

GRID = TokenGrid(5, 4, 9, text_tokens=7, text_valid=5)


def library_table(word: str, blocks: tuple[int, int] = (24, 40)) -> BlockTable:
    spec = load_mask(word, empty_rows="keep").with_params(**SMALL.get(word, {}))
    return compile_mask(spec, GRID, *blocks, tables=tables_of(spec, GRID))


@pytest.mark.parametrize("word", mask_names())
def test_cuts_are_exact_wherever_they_are(word: str) -> None:
    table, random = library_table(word), np.random.default_rng(0)
    dense = table.to_dense()
    for _ in range(20):
        (a, b), (c, d) = np.sort([random.choice(table.k_len + 1, 2, False) for _ in "qk"]).tolist()
        k_len = max(b - a, d - c) + int(random.integers(0, 50))
        cut = cut_table(table, range(a, b), range(c, d), k_len)
        wanted = np.zeros((b - a, k_len), np.bool_)
        wanted[:, : d - c] = dense[a:b, c:d]
        assert np.array_equal(cut.to_dense(), wanted)
        assert cut.pairs == wanted.sum()


@pytest.mark.parametrize("word", mask_names())
def test_work_between_shards_is_that_of_cut_tables(word: str) -> None:
    table, lengths = library_table(word), [50, 3, 70, 64]
    edges = np.cumsum([0, *lengths]).tolist()
    shards = [range(*edge) for edge in pairwise(edges)]
    work = shard_work(table, lengths)
    for i, queries in enumerate(shards):
        for j, keys in enumerate(shards):
            cut = cut_table(table, queries, keys)
            assert (work.pairs[i, j], work.blocks[i, j]) == (cut.pairs, cut.nnz)
    assert work.pairs.sum() == table.pairs
    assert shard_work(table, [187]).blocks.tolist() == [[table.nnz]]


def test_a_cut_of_everything_is_the_table() -> None:
    table = library_table("radial")
    whole = range(table.k_len)
    assert np.array_equal(cut_table(table, whole, whole).any_blocks(), table.any_blocks())
    assert cut_table(table, whole, whole).full.nnz == table.full.nnz


@pytest.mark.parametrize(
    ("queries", "keys", "k_len", "message"),
    [
        (range(3, 3), range(9), None, "queries are cut to positions 3 to 3"),
        (range(9), range(180, 188), None, "keys are cut to positions 180 to 188: the table has 0"),
        (range(9), range(4), 8, "k_len must be at least 9, got 8"),
    ],
)
def test_cuts_that_cannot_be(queries: range, keys: range, k_len: Any, message: str) -> None:
    with pytest.raises(TableError, match=message):
        cut_table(library_table("radial"), queries, keys, k_len)


def test_heads_are_dealt_by_work() -> None:
    assert deal_heads([9, 1, 1, 1, 9, 3, 3, 3], 3) == ((0, 1), (2, 4), (3, 5, 6, 7))
    assert [len(heads) for heads in deal_heads([5] * 40, 16)] == [3] * 8 + [2] * 8
    assert all(deal_heads([0, 0, 7, 0], 4))
    assert deal_heads([5] * 12, 4) == tuple((i, i + 4, i + 8) for i in range(4))


def test_a_plan_counts_every_block_once() -> None:
    window = {"name": "sliding_window", "params": {"window": 9, "sink": 0}}
    plan = parse_head_plan({"name": "two", "heads": {"0-2": window, "3-5": "dense"}})
    tables = compile_heads(plan, GRID, 8, 8)
    dealt = plan_parallel(tables, 8, 6, kv_heads=3, ulysses=2)
    assert (dealt.ring, dealt.dealt) == (4, ((2,), (0, 1)))
    own = [len(dealt.tokens(rank)) for rank in range(8)]
    assert (sum(own), max(own) - min(own)) == (187, 1)
    hops = {
        (place, i, j): dealt.hop(place, i, j)
        for place in (0, 1)
        for i in range(4)
        for j in range(4)
    }
    visited = np.zeros((4, 2), np.int64)
    for (place, i, _), hop in hops.items():
        visited[i, place] += 0 if hop is None else hop.table.nnz
    assert visited.ravel().tolist() == dealt.visited().tolist()
    # Heads 0 and 1 look 9 tokens far: between distant shards key head 0 has nothing.
    far = hops[1, 0, 2]
    assert far is not None and (far.key_heads, far.query_heads) == ((1,), (2, 3))


@pytest.mark.parametrize(
    ("ranks", "heads", "options", "message"),
    [
        (8, 12, {"ulysses": 3}, "ulysses=3 does not fit 8 ranks and 12 key heads.*take 1, 2, 4, 8"),
        (8, 12, {"kv_heads": 4, "ulysses": 8}, "take 1, 2, 4; a ring has the rest"),
        (8, 12, {"kv_heads": 5}, "key heads that divide the heads, got 8 ranks, 12 heads and 5"),
        (2, 4, {"lengths": (80, 80)}, "all have 187; got 80, 80, together 160"),
        (2, 4, {"lengths": (187, 0)}, "at least one token"),
        (200, 4, {}, "take fewer ranks or other lengths"),
        (0, 4, {}, "at least one rank"),
    ],
)
def test_what_does_not_fit(ranks: int, heads: int, options: Any, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        plan_parallel(library_table("radial"), ranks, heads, **options)


def test_tables_that_cannot_be_dealt_out() -> None:
    some = compile_mask("radial", TokenGrid(5, 4, 9, query_frames=(3, 4)), 8, 8)
    with pytest.raises(BackendError, match="72 queries and 180 keys"):
        plan_parallel(some, 2, 4)
    tables = compile_heads(parse_head_plan({"name": "p", "heads": {"0-3": "dense"}}), GRID)
    with pytest.raises(BackendError, match="the tables are for 4 heads, q has 6"):
        plan_parallel(tables, 2, 6)
    with pytest.raises(BackendError, match="compile_mask or compile_heads returns, got str"):
        plan_parallel("radial", 2, 6)  # type: ignore[arg-type]


def test_as_many_ranks_exchange_heads_as_share_them_evenly() -> None:
    table = library_table("radial")
    ways = [(8, 40), (16, 40), (8, 12), (3, 40)]
    assert [plan_parallel(table, *way).ulysses for way in ways] == [8, 8, 4, 1]


def test_the_example_of_the_docs_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/scale.md").read_text("utf-8"), re.S)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    subprocess.run([sys.executable, "-c", code], env=os.environ | alone, check=True)


def test_the_simulator_replays_what_ranks_send() -> None:
    """A window reaches the neighbours alone, and every head is as much work."""
    table = compile_mask(load_mask("sliding_window", window=9, sink=0), TokenGrid(8, 1, 20), 8, 8)
    plan = plan_parallel(table, 8, 2, ulysses=1)
    seconds, sent = replay(plan, Machine())
    # Keys and values of 20 tokens and two heads of 128 in 16 bits, to two neighbours.
    assert sent == 2 * (2 * 20 * 2 * 128 * 2)
    assert replay(plan, Machine(), skip=False)[1] == 7 * sent // 2
    slowest = 2 * plan.work[0].blocks.sum(axis=1).max() * 4 * 8 * 8 * 128 / 600e12
    assert slowest < seconds < slowest + 2 * 11e-6
    both = plan_parallel(table, 8, 4, ulysses=4)
    # Each of 20 tokens: q, k, v of three heads, and out of 20 tokens of three ranks.
    assert swapped(both).sum(axis=1).tolist() == [20 * (3 * 3 + 3) * 128 * 2] * 8
