"""Rows of the token mask, and which of them are checked."""

import numpy as np
import pytest

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.kernels.backends.reference import mask_rows
from radialbench.kernels.measure.accuracy import sample_rows
from radialbench.maskgen.table import BlockTable
from tests.kernels.tables import mixed_mask, table_of


@pytest.mark.parametrize("blocks", [(16, 16), (32, 8), (7, 40), (64, 100), (1, 1), (128, 128)])
@pytest.mark.parametrize("seq_len", [1, 33, 100, 129])
def test_rows_are_those_of_the_mask(seq_len: int, blocks: tuple[int, int]) -> None:
    mask = mixed_mask(seq_len)
    table = table_of(mask, *blocks)
    np.testing.assert_array_equal(mask_rows(table, np.arange(seq_len)), mask)


def test_rows_come_in_the_order_that_is_asked_for_repeats_included() -> None:
    mask = mixed_mask(90)
    queries = np.array([89, 0, 45, 45, 3])
    np.testing.assert_array_equal(mask_rows(table_of(mask, 16, 32), queries), mask[queries])


def test_no_rows_are_none() -> None:
    assert mask_rows(table_of(mixed_mask(90), 16, 32), np.arange(0)).shape == (0, 90)


@pytest.mark.parametrize("mask", ["radial", "sta", "svg_temporal", "dense"])
def test_rows_of_compiled_masks(mask: str) -> None:
    table = compile_mask(load_mask(mask), TokenGrid(5, 6, 7, text_tokens=11), 32, 16)
    queries = np.arange(table.seq_len)
    np.testing.assert_array_equal(mask_rows(table, queries), table.to_dense())


def banded(seq_len: int) -> BlockTable:
    token = np.arange(seq_len)
    return table_of(np.abs(token[:, None] - token) < 40, 16, 16)


@pytest.mark.parametrize("seq_len", [1, 2, 50, 200])
def test_short_sequences_are_checked_whole(seq_len: int) -> None:
    np.testing.assert_array_equal(sample_rows(banded(seq_len), 50, seed=0), np.arange(seq_len))


@pytest.mark.parametrize("rows", [2, 3, 10, 100, 249])
def test_exactly_the_rows_asked_for_ascending_and_with_both_ends(rows: int) -> None:
    chosen = sample_rows(banded(1000), rows, seed=1)
    assert len(chosen) == rows
    assert np.all(np.diff(chosen) > 0)
    assert chosen[0] == 0
    assert chosen[-1] == 999


def test_rows_are_spread_over_the_sequence() -> None:
    chosen = sample_rows(table_of(np.ones((2000, 2000), np.bool_), 16, 16), 200, seed=0)
    assert np.bincount(chosen * 100 // 2000, minlength=100).min() >= 1
    assert np.diff(chosen).max() <= 25


def test_half_of_the_rows_are_cut_by_bitmaps() -> None:
    mask = np.ones((1600, 1600), np.bool_)
    mask[800:832:8, 5] = False
    table = table_of(mask, 16, 16)
    assert table.partial.nnz == 2
    cut = set(range(800, 832, 8))
    assert all(len(cut & set(sample_rows(table, 40, seed=s).tolist())) >= 2 for s in range(20))


def test_the_sample_is_the_seeds() -> None:
    table = banded(1000)
    first = sample_rows(table, 100, seed=3)
    np.testing.assert_array_equal(first, sample_rows(table, 100, seed=3))
    assert not np.array_equal(first, sample_rows(table, 100, seed=4))
