from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from radialbench.maskgen.compiler import blocks
from radialbench.maskgen.compiler.blocks import (
    TABLE,
    distinct,
    ranked,
    reordered,
    sorted_blocks,
    unique_rows,
)

WHOLE = st.integers(-3, 3) | st.integers(-(2**32), 2**32)
ROWS = st.lists(st.tuples(WHOLE, st.sampled_from([0.5, -1.0, 2**40]), WHOLE, WHOLE), max_size=30)


@given(ROWS)
def test_kinds_are_the_distinct_rows(rows: list[tuple[int, float, int, int]]) -> None:
    dtypes = (np.int64, np.float64, np.int64, np.int64)
    columns = [np.array([row[place] for row in rows], dtype) for place, dtype in enumerate(dtypes)]
    some, kind = unique_rows(columns)
    assert [rows[some[number]] for number in kind] == rows
    assert len(some) == len(set(rows))


def test_columns_of_wide_numbers() -> None:
    """Their product would not fit 64 bits."""
    columns = [
        np.array([0, 2**40, 1, 2**40]),
        np.array([2**44, 5, 0, 5]),
        np.array([7, 0, 2**50, 0]),
    ]
    some, kind = unique_rows(columns)
    assert len(some) == 3 and kind[1] == kind[3] and len(set(kind.tolist())) == 3


@given(st.lists(st.integers(0, 50), max_size=30), st.sampled_from([51, 51 * 30 * TABLE]))
def test_ranked_by_table_and_by_sort(values: list[int], below: int) -> None:
    some, place = ranked(np.array(values, np.int64), below)
    assert some.tolist() == sorted(set(values))
    assert some[place].tolist() == values


@given(st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 3), max_size=30))
def test_distinct_rows(rows: list[tuple[int, int, int]]) -> None:
    table = np.array(rows, np.uint32).reshape(-1, 3)
    some, kind = distinct(table)
    assert [rows[some[number]] for number in kind] == rows
    assert len(some) == len(set(rows))


def test_rows_of_one_hash_are_told_apart() -> None:
    """The hash of 64-bit words does not see which of two highest bits is set."""
    rows = np.array([[2**63, 0], [0, 2**63]], np.uint64)
    some, kind = distinct(rows)
    assert (rows[some][kind] == rows).all()


PLACE, WIDE = st.integers(0, 9) | st.integers(0, 2**20), st.integers(0, 2**30)


@given(st.lists(st.tuples(PLACE, PLACE, WIDE), max_size=30, unique_by=lambda block: block[:2]))
def test_blocks_are_sorted(given_blocks: list[tuple[int, int, int]]) -> None:
    columns = (np.array([block[at] for block in given_blocks], np.int64) for at in range(3))
    found = sorted_blocks(*columns)
    assert list(zip(*(part.tolist() for part in found), strict=True)) == sorted(given_blocks)


@given(st.permutations(range(9)), st.integers(0, 9), st.sampled_from([1, 100, 1 << 25]))
def test_rows_are_reordered_in_place_or_not(order: list[int], count: int, most: int) -> None:
    rows = np.arange(9 * 7).reshape(9, 7)
    places = np.array(order[:count], np.int64)
    expected = rows[places]
    with patch.object(blocks, "MAX_COPY", most):
        assert np.array_equal(reordered(rows, places), expected)
