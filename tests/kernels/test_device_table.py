"""DeviceTable: what the kernels read is what the tables say."""

import numpy as np
import pytest
import torch

from radialbench.errors import BackendError
from radialbench.kernels.device_table import DeviceTable, upload
from radialbench.maskgen.table import BlockTable
from tests.kernels.tables import mixed_mask, table_of


def read_back(uploaded: DeviceTable, group: int) -> np.ndarray:
    """Build the token mask of a group from the uploaded arrays, pair by pair of blocks."""
    m, n, rows = uploaded.block_m, uploaded.block_n, uploaded.rows
    mask = np.zeros((rows * m, -(-uploaded.k_len // n) * n), np.bool_)
    column = np.arange(n)
    word, bit = column % 8 // 2, column // 8 * 2 + column % 2
    for row in range(rows):
        at = group * rows + row
        for entry in range(uploaded.full_indptr[at], uploaded.full_indptr[at + 1]):
            start = int(uploaded.full_indices[entry]) * n
            mask[row * m : (row + 1) * m, start : start + n] = True
        for entry in range(uploaded.partial_indptr[at], uploaded.partial_indptr[at + 1]):
            start = int(uploaded.partial_indices[entry]) * n
            words = uploaded.bitmaps[uploaded.bitmap_of[entry]].numpy()
            mask[row * m : (row + 1) * m, start : start + n] = words[:, word] >> bit & 1
    return mask[: uploaded.q_len, : uploaded.k_len]


@pytest.mark.parametrize(("block_m", "block_n"), [(16, 16), (32, 128), (64, 8), (128, 64)])
def test_reads_back(block_m: int, block_n: int) -> None:
    mask = mixed_mask(150)
    uploaded = upload([table_of(mask, block_m, block_n)], "cpu")
    np.testing.assert_array_equal(read_back(uploaded, 0), mask)
    assert all(tensor.dtype == torch.int32 for tensor in uploaded.tensors())
    assert uploaded.nbytes == sum(tensor.nbytes for tensor in uploaded.tensors())


def test_groups_keep_their_masks() -> None:
    masks = [mixed_mask(100, seed=seed) for seed in (1, 2, 3)]
    uploaded = upload([table_of(mask, 32, 32) for mask in masks], "cpu", [2, 0, 0, 1])
    for group, mask in enumerate(masks):
        np.testing.assert_array_equal(read_back(uploaded, group), mask)
    assert uploaded.group_of_head.tolist() == [2, 0, 0, 1]


def test_bitmap_0_attends_all() -> None:
    uploaded = upload([table_of(mixed_mask(100), 32, 128)], "cpu")
    assert torch.all(uploaded.bitmaps[0] == -1)
    assert not len(uploaded.bitmap_of) or uploaded.bitmap_of.min() >= 1


def test_every_group_has_its_own_order_of_rows() -> None:
    masks = [np.tri(128, dtype=np.bool_), np.tri(128, dtype=np.bool_)[::-1]]
    uploaded = upload([table_of(mask, 32, 32) for mask in masks], "cpu", [0, 1])
    assert uploaded.row_order.tolist() == [[3, 2, 1, 0], [0, 1, 2, 3]]


def unlike(table: BlockTable) -> list[tuple[BlockTable, str]]:
    mask = mixed_mask(96)
    return [
        (table_of(mixed_mask(97), 32, 32), "q_len is 96 and 97"),
        (table_of(mask, 16, 32), "block_m is 32 and 16"),
        (table_of(mask, 32, 16), "block_n is 32 and 16"),
    ]


@pytest.mark.parametrize("place", range(3))
def test_tables_that_do_not_go_together(place: int) -> None:
    table = table_of(mixed_mask(96), 32, 32)
    other, message = unlike(table)[place]
    with pytest.raises(BackendError, match=message):
        upload([table, other], "cpu", [0, 1])


def test_heads_and_blocks_that_cannot_be() -> None:
    table = table_of(mixed_mask(96), 32, 32)
    with pytest.raises(BackendError, match="2 tables need group_of_head"):
        upload([table, table], "cpu")
    with pytest.raises(BackendError, match=r"heads take tables 0 to 0, got \[0, 1\]"):
        upload([table], "cpu", [0, 1])
    with pytest.raises(BackendError, match="multiples of 8 tokens up to 128, got 20"):
        upload([table_of(mixed_mask(96), 32, 20)], "cpu")
    with pytest.raises(BackendError, match="multiples of 8 tokens up to 128, got 256"):
        upload([table_of(mixed_mask(96), 32, 256)], "cpu")
