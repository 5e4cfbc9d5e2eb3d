"""SpargeAttn's mask has the shape its kernels want on each architecture."""

import numpy as np
import pytest

from radialbench.errors import TableError
from radialbench.maskgen.export.sparge import Sparge
from tests.kernels.tables import table_of


@pytest.mark.parametrize(
    ("arch", "block_m", "block_n", "shape"),
    [
        ("sm80", 128, 64, (1, 3, 3, 5)),
        ("sm89", 128, 64, (1, 3, 3, 5)),
        ("sm90", 64, 128, (1, 3, 5, 3)),
    ],
)
def test_shape(arch: str, block_m: int, block_n: int, shape: tuple[int, ...]) -> None:
    table = table_of(np.tri(300, dtype=np.bool_), block_m, block_n)
    sparge = Sparge.of(table, partial="full", arch=arch, heads=3)
    assert sparge.mask_id.dtype == np.int8
    assert sparge.mask_id.shape == shape
    np.testing.assert_array_equal(sparge.mask_id[0, 2], table.any_blocks())


def test_another_block_size_is_refused() -> None:
    table = table_of(np.ones((300, 300), np.bool_), 128, 128)
    with pytest.raises(TableError, match="compile the mask with block_m=64, block_n=128"):
        Sparge.of(table, arch="sm90")


@pytest.mark.parametrize("arch", ["sm_90", "SM90", "hopper", "sm90a", ""])
def test_a_word_that_is_no_architecture_is_refused(arch: str) -> None:
    table = table_of(np.ones((300, 300), np.bool_), 128, 64)
    with pytest.raises(TableError, match="unknown architecture of SpargeAttn"):
        Sparge.of(table, arch=arch)


def test_every_sequence_has_its_mask() -> None:
    """SpargeAttn's kernels read the blocks of a sequence at its own place."""
    table = table_of(np.tri(300, dtype=np.bool_), 128, 64)
    sparge = Sparge.of(table, partial="full", heads=2, batch=3)
    assert sparge.mask_id.shape == (3, 2, 3, 5)
    assert sparge.mask_id.flags.c_contiguous
    for sequence in sparge.mask_id:
        np.testing.assert_array_equal(sequence[1], table.any_blocks())
