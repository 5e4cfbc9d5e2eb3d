"""The block lists have the shapes and types that FlashAttention-4 checks."""

import numpy as np

from radialbench.maskgen.export.fa4 import Fa4Table
from tests.kernels.tables import table_of


def test_causal_by_hand() -> None:
    arrays = Fa4Table.of(table_of(np.tri(5, dtype=np.bool_), 2, 2)).arrays()
    assert [arrays[name].dtype for name in list(arrays)[:4]] == [np.int32] * 4
    np.testing.assert_array_equal(arrays["mask_block_cnt"], [[[1, 1, 0]]])
    np.testing.assert_array_equal(arrays["mask_block_idx"], [[[[0, 0, 0], [1, 0, 0], [0, 0, 0]]]])
    np.testing.assert_array_equal(arrays["full_block_cnt"], [[[0, 1, 3]]])
    np.testing.assert_array_equal(arrays["full_block_idx"], [[[[0, 0, 0], [0, 0, 0], [0, 1, 2]]]])


def test_absent_and_full_blocks_have_a_bitmap_too() -> None:
    fa4 = Fa4Table.of(table_of(np.tri(5, dtype=np.bool_), 2, 2))
    np.testing.assert_array_equal(fa4.bitmap_at, [[0, 1, 1], [2, 0, 1], [2, 2, 2]])
    np.testing.assert_array_equal(fa4.bits[:2], [[[1], [3]], [[0], [0]]])
    np.testing.assert_array_equal(fa4.bits[2], [[-1], [-1]])
