"""Block sparse rows by hand, and what filling partial blocks costs."""

import numpy as np

from radialbench.maskgen.export.bsr import Bsr
from tests.kernels.tables import table_of


def test_causal_by_hand() -> None:
    bsr = Bsr.of(table_of(np.tri(5, dtype=np.bool_), 2, 2), partial="full")
    np.testing.assert_array_equal(bsr.indptr, [0, 1, 3, 6])
    np.testing.assert_array_equal(bsr.indices, [0, 0, 1, 0, 1, 2])
    np.testing.assert_array_equal(bsr.block_row_sz, [2, 2, 1])
    np.testing.assert_array_equal(bsr.block_col_sz, [2, 2, 1])
    assert bsr.added_pairs == 2
    assert all(array.dtype == np.int32 for array in bsr.arrays().values())


def test_a_row_without_blocks() -> None:
    mask = np.zeros((6, 6), np.bool_)
    mask[:2, 2:4] = mask[4:, :2] = True
    bsr = Bsr.of(table_of(mask, 2, 2))
    np.testing.assert_array_equal(bsr.indptr, [0, 1, 1, 2])
    np.testing.assert_array_equal(bsr.indices, [1, 0])
    assert bsr.added_pairs == 0
