from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask, parse_mask
from radialbench.errors import TableError
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.table import Csr
from tests.kernels.tables import mixed_mask, table_of
from tests.maskgen.random_masks import BLOCKS, GIVEN, Maker


def random_table(make: Maker) -> BlockTable:
    mapping = {**make.mask(1), "empty_rows": "keep"}
    return compile_mask(parse_mask(mapping), make.grid(), make.pick(BLOCKS), make.pick(BLOCKS))


def padded(table: BlockTable, dense: np.ndarray, fill: bool) -> np.ndarray:
    """[rows, columns, block_m, block_n] the token mask cut into blocks."""
    shape = (table.rows * table.block_m, table.columns * table.block_n)
    whole = np.full(shape, fill)
    whole[: table.seq_len, : table.seq_len] = dense
    cut = whole.reshape(table.rows, table.block_m, table.columns, table.block_n)
    return cut.swapaxes(1, 2)


def test_a_table_is_shown_in_a_line() -> None:
    table = compile_mask("radial", TokenGrid(5, 6, 8), 16, 16)
    blocks = f"{table.full.nnz} full and {table.partial.nnz} partial blocks of 16×16>"
    assert repr(table) == f"<BlockTable of radial on 5x6x8: {blocks}"
    assert repr(replace(table, mask=None)) == f"<BlockTable of blocks on 5x6x8: {blocks}"


@settings(GIVEN, max_examples=120)
@given(seed=st.integers(0, 2**63))
def test_properties_of_a_table_are_true_of_its_tokens(seed: int) -> None:
    table = random_table(Maker(seed))
    dense = table.to_dense()
    n = table.seq_len
    assert dense.shape == (n, n)
    some = padded(table, dense, fill=False).any(axis=(2, 3))
    every = padded(table, dense, fill=True).all(axis=(2, 3))
    np.testing.assert_array_equal(table.any_blocks(), some)
    np.testing.assert_array_equal(table.full_blocks(), every)
    assert table.nnz == some.sum()
    assert table.partial.nnz == (some & ~every).sum()
    assert table.pairs == dense.sum()
    assert table.density == pytest.approx(dense.mean())
    assert table.block_density == pytest.approx(some.mean())
    assert table.flops(3, 64) == 4 * 3 * 64 * int(dense.sum())
    blocks = table.nnz * table.block_m * table.block_n
    assert table.executed_flops(3, 64) == 4 * 3 * 64 * blocks
    assert table.row_lengths.sum() == table.column_lengths.sum() == n
    assert table.nbytes > 0


@settings(GIVEN, max_examples=120)
@given(seed=st.integers(0, 2**63))
def test_bitmaps_are_pooled_clean_and_neither_full_nor_empty(seed: int) -> None:
    table = random_table(Maker(seed))
    bits = table.unpacked_bitmaps()
    assert len({bitmap.tobytes() for bitmap in bits}) == len(bits)
    assert sorted(set(table.bitmap_of.tolist())) == list(range(len(bits)))
    for row, column, number in zip(
        table.partial.rows, table.partial.indices, table.bitmap_of, strict=True
    ):
        inside = bits[number][: table.row_lengths[row], : table.column_lengths[column]]
        assert inside.any() and not inside.all()
        assert inside.sum() == bits[number].sum()


@settings(GIVEN, max_examples=80)
@given(seed=st.integers(0, 2**63))
def test_transpose(seed: int) -> None:
    table = random_table(Maker(seed))
    flipped = table.transpose()
    np.testing.assert_array_equal(flipped.to_dense(), table.to_dense().T)
    assert (flipped.block_m, flipped.block_n) == (table.block_n, table.block_m)
    assert flipped.pairs == table.pairs
    assert flipped.transpose() == table


@settings(GIVEN, max_examples=80)
@given(seed=st.integers(0, 2**63))
def test_runs_are_the_full_blocks_in_as_few_pieces_as_there_can_be(seed: int) -> None:
    table = random_table(Maker(seed))
    runs, full = table.runs, table.full_blocks()
    assert len(runs.indptr) == table.rows + 1
    for row in range(table.rows):
        mine = slice(runs.indptr[row], runs.indptr[row + 1])
        starts, lengths = runs.start[mine].tolist(), runs.length[mine].tolist()
        found = [s + i for s, length in zip(starts, lengths, strict=True) for i in range(length)]
        assert found == np.flatnonzero(full[row]).tolist()
        ends = [s + length for s, length in zip(starts, lengths, strict=True)]
        assert not set(ends) & set(starts)


def test_the_example_of_the_docstring() -> None:
    mask = parse_mask({"name": "a", "mask": "qi - ki == 0 or qi - ki == 1"})
    table = compile_mask(mask, TokenGrid(1, 1, 5), 2, 2)
    assert table.partial.indptr.tolist() == [0, 1, 3, 4]
    assert table.partial.indices.tolist() == [0, 0, 1, 1]
    assert table.full.indptr.tolist() == [0, 0, 0, 1]
    assert table.full.indices.tolist() == [2]
    assert table.unpacked_bitmaps()[table.bitmap_of].astype(int).tolist() == [
        [[1, 0], [1, 1]],
        [[0, 1], [0, 0]],
        [[1, 0], [1, 1]],
        [[0, 1], [0, 0]],
    ]


def test_equality_is_of_all_but_the_name() -> None:
    grid = TokenGrid(5, 3, 4)
    table = compile_mask(load_mask("radial"), grid, 8, 8)
    named = replace(table, mask=MaskIdentity("another name", "f00d"))
    assert table == named and hash(table) == hash(named)
    assert table != "radial"
    for other in (
        compile_mask(load_mask("radial"), grid, 8, 16),
        compile_mask(load_mask("radial"), TokenGrid(5, 4, 3), 8, 8),
        replace(table, order=TokenOrder("space_major")),
        compile_mask(load_mask("radial", sink_frames=0, decay=0.1), grid, 8, 8),
    ):
        assert table != other


def test_compiling_twice_gives_the_same_table() -> None:
    grid = TokenGrid(3, 4, 7, text_tokens=5, text_valid=3)
    first = compile_mask(load_mask("radial"), grid, 16, 32)
    assert compile_mask(load_mask("radial"), grid, 16, 32) == first


def csr(indptr: list[int], indices: list[int]) -> Csr:
    return Csr(np.array(indptr, np.int64), np.array(indices, np.int32))


GOOD = table_of(mixed_mask(20), 8, 8)
EMPTY = csr([0, 0, 0, 0], [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_m": 0}, "block sizes must be at least 1, got 0 and 8"),
        ({"full": csr([0, 0], [])}, "full: indptr must have 4 entries, got 2"),
        ({"full": csr([0, 1, 1, 2], [0])}, "full: indptr must rise from 0 to the number of"),
        ({"full": csr([0, 2, 1, 1], [0])}, "full: indptr must rise from 0 to the number of"),
        ({"full": csr([0, 1, 1, 1], [3])}, "full: indices must lie in 0 … 2"),
        ({"full": csr([0, 1, 1, 1], [-1])}, "full: indices must lie in 0 … 2"),
        ({"full": csr([0, 2, 2, 2], [1, 0])}, "full: indices must ascend within a row"),
        ({"full": csr([0, 2, 2, 2], [1, 1])}, "full: indices must ascend within a row"),
        ({"partial": EMPTY}, "0 partial blocks, but"),
        ({"bitmaps": np.zeros((1, 8, 2), np.uint32)}, "bitmaps must be uint32 (1, 8, 1), got"),
        ({"bitmaps": np.zeros((1, 8, 1), np.int32)}, "bitmaps must be uint32 (1, 8, 1), got int32"),
        ({"bitmaps": np.zeros((0, 8, 1), np.uint32)}, "bitmap numbers must lie in 0 … -1"),
    ],
)
def test_broken_tables_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TableError) as error:
        replace(GOOD, **changes)
    assert str(error.value).startswith(f"not a block table: {message}")


def test_rows_may_be_empty_anywhere() -> None:
    table = replace(
        GOOD, full=csr([0, 0, 1, 1], [0]), partial=EMPTY, bitmap_of=np.zeros(0, np.int32)
    )
    assert table.nnz == 1
    assert table.to_dense()[8:16, :8].all()


def test_a_block_is_full_or_partial() -> None:
    table = table_of(mixed_mask(20), 8, 8)
    with pytest.raises(TableError, match="a block is in full and in partial"):
        replace(table, full=Csr(table.partial.indptr, table.partial.indices))
