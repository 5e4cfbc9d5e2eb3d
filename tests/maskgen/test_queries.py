"""Queries that are part of the keys: the rows of the whole table that belong to their frames."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask, parse_mask
from radialbench.errors import GridError, SpecError, TableError
from radialbench.maskgen.cells import cell_pairs, difference_pairs, edges
from radialbench.maskgen.describe import cost_lines, scale_line, table_facts
from radialbench.maskgen.grid import load_model, parse_frames
from radialbench.maskgen.oracle import token_mask
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.work import Schedule, call_work, video_work
from tests.maskgen.random_masks import BLOCKS, GIVEN, Maker

DOCS = (Path(__file__).parents[2] / "docs" / "masks.md").read_text(encoding="utf-8")
SEEDS = st.integers(0, 2**63)
CACHE = TokenGrid(16, 3, 5, query_frames=(12, 15))


def compiled(mapping: dict[str, Any], grid: TokenGrid, *blocks: int) -> BlockTable | str:
    try:
        return compile_mask(parse_mask(mapping), grid, *blocks)
    except SpecError as error:
        return str(error)


@settings(GIVEN, max_examples=500)
@given(seed=SEEDS, depth=st.integers(0, 2))
def test_table_is_the_oracle(seed: int, depth: int) -> None:
    """Random masks in any order, where the queries are neighbours in it."""
    make = Maker(seed)
    mapping, grid = make.mask(depth), make.queries(make.grid())
    table = compiled(mapping, grid, make.pick(BLOCKS), make.pick(BLOCKS))
    if isinstance(table, str):
        assert "queries are neighbours in the order of tokens" in table
        with pytest.raises(SpecError, match="queries are neighbours in the order of tokens"):
            token_mask(parse_mask(mapping), grid)
        return
    assert table.to_dense().shape == (grid.q_len, grid.seq_len)
    np.testing.assert_array_equal(table.to_dense(), token_mask(parse_mask(mapping), grid))
    assert table.pairs == table.to_dense().sum()
    assert table.density == pytest.approx(table.pairs / (grid.q_len * grid.seq_len))


@settings(GIVEN, max_examples=200)
@given(seed=SEEDS)
def test_rows_are_those_of_the_whole_table(seed: int) -> None:
    make = Maker(seed)
    mapping, whole = make.mask(1) | {"empty_rows": "keep", "order": "raster"}, make.grid()
    grid, block = make.queries(whole), make.pick(BLOCKS)
    table, full = (compile_mask(parse_mask(mapping), one, block, 16) for one in (grid, whole))
    rows = full.to_dense()[grid.query_start :][: grid.q_len]
    np.testing.assert_array_equal(table.to_dense(), rows)


@settings(GIVEN, max_examples=60)
@given(seed=SEEDS)
def test_pictures_count_every_pair(seed: int) -> None:
    make = Maker(seed)
    grid = make.queries(make.grid())
    a, b = (
        compile_mask(
            parse_mask({"name": "a", "mask": str(make.truth(2)), "empty_rows": "keep"} | order),
            *(grid, 8, 16),
        )
        for order in ({}, {"order": {"tiles": [1, 2, 2]}})
    )
    width, height = make.random.randint(1, grid.seq_len), make.random.randint(1, grid.q_len)
    counted = cell_pairs(a, width, height)
    sums = np.add.reduceat(a.to_dense(), edges(grid.q_len, height)[:-1], axis=0, dtype=np.int64)
    sums = np.add.reduceat(sums, edges(grid.seq_len, width)[:-1], axis=1)
    np.testing.assert_array_equal(counted, sums)
    for other in (a, b):
        only_a, only_other, both = difference_pairs(a, other, height).sum(axis=(1, 2)).tolist()
        assert (only_a + both, only_other + both) == (a.pairs, other.pairs)


def test_only_queries_have_to_attend_something() -> None:
    mask = {"name": "late", "mask": "kt <= qt - 2"}
    late = TokenGrid(4, 2, 3, query_frames=(2, 3))
    assert isinstance(compiled(mask, late, 4, 4), BlockTable)
    assert np.array_equal(
        token_mask(parse_mask(mask), late), compile_mask(parse_mask(mask), late, 4, 4).to_dense()
    )
    message = compiled(mask, replace(late, query_frames=(1, 3)), 4, 4)
    assert message.startswith(  # type: ignore[union-attr]
        "6 of 18 tokens would attend nothing on 4x2x3 q1-3, the first is token 6 "
        "(frame 1, row 0, column 0)"
    )


def test_own_block_counts_from_the_first_token() -> None:
    mask = {"name": "own", "mask": "false", "empty_rows": "own_block"}
    table = compile_mask(parse_mask(mask), TokenGrid(4, 8, 8, query_frames=(1, 2)), 32, 32)
    dense = table.to_dense()
    assert dense[:64, :128].all() and not dense[:64, 128:].any()
    assert dense[64:, 128:].all() and not dense[64:, :128].any()


def test_the_order_must_keep_queries_together() -> None:
    message = (
        "queries are neighbours in the order of tokens, but in the order space_major other tokens "
        "stand between those of frames 12 to 15; take the order raster, or frames that fill tiles"
    )
    with pytest.raises(SpecError, match=re.escape(message)):
        compile_mask("svg_temporal", CACHE)
    mask = {"name": "tiles", "mask": "dt <= 2", "order": {"tiles": [4, 2, 2]}}
    table = compile_mask(parse_mask(mask), CACHE, 16, 16)
    assert (table.q_start, table.q_len) == (180, 60)
    with pytest.raises(SpecError, match="in the order tiles:4,2,2 other tokens"):
        compile_mask(parse_mask(mask), replace(CACHE, query_frames=(11, 15)))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ((12, 16), "queries are frames from 0 to 15, the first not after the last, got 12-16"),
        ((3, 2), "queries are frames from 0 to 15, the first not after the last, got 3-2"),
        ((-1, 2), "queries are frames from 0 to 15, the first not after the last, got -1-2"),
    ],
)
def test_frames_that_are_not_there(frames: tuple[int, int], message: str) -> None:
    with pytest.raises(GridError, match=re.escape(message)):
        TokenGrid(16, 3, 5, query_frames=frames)


@pytest.mark.parametrize("text", ["12", "12-", "a-b", "12-15,14-16", "12:15", "-1-3"])
def test_text_that_is_no_range(text: str) -> None:
    message = f"queries are one range of frames, first-last, such as 12-15, got {text!r}"
    with pytest.raises(GridError, match=re.escape(message)):
        parse_frames(text)


def test_all_tokens_as_queries_are_no_queries() -> None:
    whole = TokenGrid(16, 3, 5)
    assert TokenGrid(16, 3, 5, query_frames=(0, 15)) == whole
    with_text = TokenGrid(16, 3, 5, text_tokens=7, query_frames=(0, 15))
    assert with_text.query_frames == (0, 15) and with_text.label == "16x3x5+7 q0-15"


def test_labels_and_identity() -> None:
    assert CACHE.label == "16x3x5 q12-15"
    assert CACHE.sweep_label == "Fx3x5 q12-15"
    assert "query_frames=(12, 15)" in repr(CACHE)
    whole = replace(CACHE, query_frames=None)
    assert repr(whole) == (
        "TokenGrid(frames=16, height=3, width=5, text_tokens=0, text_first=False, text_valid=0)"
    )
    tables = [compile_mask("dense", replace(CACHE, query_frames=q)) for q in ((0, 3), (12, 15))]
    assert tables[0] != tables[1]


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    table = compile_mask("causal_chunks", CACHE, 16, 32)
    table.save(tmp_path / "table.npz")
    read = BlockTable.load(tmp_path / "table.npz")
    assert read == table and read.grid == CACHE
    np.testing.assert_array_equal(read.to_dense(), table.to_dense())


def test_a_table_of_some_queries_is_not_transposed() -> None:
    with pytest.raises(TableError, match="a table of 60 queries and 240 keys cannot be transposed"):
        compile_mask("dense", CACHE).transpose()


def test_descriptions() -> None:
    table = compile_mask("dense", CACHE, 16, 32)
    facts = table_facts(table, 2, 32, 0.1)
    assert facts["dense_flops"] == facts["flops"] == 4 * 2 * 32 * 60 * 240
    lines = dict(cost_lines(facts, None))
    assert lines["pairs"] == "14,400 of 14,400: 100%"
    assert lines["blocks"] == "32 of 32: 100%, 16×32 tokens each"
    assert scale_line(CACHE, 20, TokenOrder()) == (
        "queries down, keys across, in raster order; a cell has 3 queries and 12 keys, "
        "a frame 1.25 cells"
    )
    assert "has 1,200 tokens a side" in scale_line(TokenGrid(5, 60, 80), 20, TokenOrder())
    assert "has 524 tokens a side" in scale_line(TokenGrid(1, 1, 33_540), 64, TokenOrder())
    assert "240, 60 queries" in table._repr_html_()


def test_work_of_a_call_on_new_frames() -> None:
    """The layers run on the new frames, and attend to all."""
    model = load_model("wan2.1-14b")
    grid = replace(model.grid("832x480x61"), query_frames=(12, 15))
    whole, new = call_work(model, replace(grid, query_frames=None)), call_work(model, grid)
    assert new.self_attention * 4 == whole.self_attention
    assert 0.24 < new.linear / whole.linear < 0.27
    schedule = Schedule(model.steps or 1)
    tables = [compile_mask("dense", grid)]
    assert video_work(model, grid, schedule, tables) == video_work(model, grid, schedule)


@pytest.mark.parametrize("mask", ["causal_chunks", "block_causal"])
def test_new_frames_see_the_same_keys_with_and_without_later_frames(mask: str) -> None:
    """What a causal model computed once stays: a chunk attends as it did in the shorter video."""
    spec = load_mask(mask)
    early = compile_mask(spec, TokenGrid(12, 3, 5, query_frames=(9, 11)), 16, 16).to_dense()
    later = compile_mask(spec, TokenGrid(16, 3, 5, query_frames=(9, 11)), 16, 16).to_dense()
    np.testing.assert_array_equal(later[:, :180], early)
    assert not later[:, 180:].any()


def test_the_documented_call_attends_from_new_frames() -> None:
    section = DOCS.partition("## Queries that are part of the keys")[2]
    (code,) = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    small = {"30, 52": "2, 3", ' device="cuda",': "", "bfloat16": "float32", ", 128": ", 32"}
    for text, other in small.items():
        assert text in code
        code = code.replace(text, other)
    found: dict[str, Any] = {}
    exec(code, found)
    q, k, v, table, out = (found[name] for name in ("q", "k", "v", "table", "out"))
    assert (q.shape, k.shape, table.q_len) == ((1, 12, 24, 32), (1, 12, 96, 32), 24)
    allowed = torch.from_numpy(table.to_dense())
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-4)
