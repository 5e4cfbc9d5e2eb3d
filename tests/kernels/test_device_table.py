"""DeviceTable: what the kernels read is what the tables say."""

import numpy as np
import pytest
import torch

from radialbench.errors import BackendError
from radialbench.kernels.device_table import DeviceTable, table_of_blocks, upload
from radialbench.maskgen.table import BlockTable
from tests.kernels.tables import mixed_mask, rows_of, table_of


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
    assert uploaded.nbytes == sum(tensor.nbytes for tensor in uploaded.all_tensors())


def test_groups_keep_their_masks() -> None:
    masks = [mixed_mask(100, seed=seed) for seed in (1, 2, 3)]
    uploaded = upload([table_of(mask, 32, 32) for mask in masks], "cpu", [2, 0, 0, 1])
    for group, mask in enumerate(masks):
        np.testing.assert_array_equal(read_back(uploaded, group), mask)
    assert uploaded.group_of_head.tolist() == [2, 0, 0, 1]


def read_transpose(uploaded: DeviceTable, group: int) -> np.ndarray:
    """Build the token mask of a group from the lists by key block."""
    assert uploaded.transpose is not None
    by_key, m, n = uploaded.transpose, uploaded.block_m, uploaded.block_n
    columns = by_key.column_order.shape[1]
    mask = np.zeros((uploaded.rows * m, columns * n), np.bool_)
    column = np.arange(n)
    word, bit = column % 8 // 2, column // 8 * 2 + column % 2
    for block in range(columns):
        at, keys = group * columns + block, slice(block * n, (block + 1) * n)
        for entry in range(by_key.full_indptr[at], by_key.full_indptr[at + 1]):
            start = int(by_key.full_indices[entry]) * m
            mask[start : start + m, keys] = True
        for entry in range(by_key.partial_indptr[at], by_key.partial_indptr[at + 1]):
            start = int(by_key.partial_indices[entry]) * m
            words = uploaded.bitmaps[by_key.bitmap_of[entry]].numpy()
            mask[start : start + m, keys] = words[:, word] >> bit & 1
    return mask[: uploaded.q_len, : uploaded.k_len]


@pytest.mark.parametrize(("block_m", "block_n"), [(16, 16), (32, 128), (128, 64)])
def test_the_transpose_has_the_same_mask(block_m: int, block_n: int) -> None:
    masks = [mixed_mask(150, seed=seed) for seed in (1, 2)]
    tables = [table_of(mask, block_m, block_n) for mask in masks]
    uploaded = upload(tables, "cpu", [1, 0])
    for group, mask in enumerate(masks):
        np.testing.assert_array_equal(read_transpose(uploaded, group), mask)
    assert uploaded.transpose is not None
    assert all(tensor.dtype == torch.int32 for tensor in uploaded.transpose)
    for order in uploaded.transpose.column_order:
        assert sorted(order.tolist()) == list(range(tables[0].columns))


def test_the_transpose_of_fewer_queries_than_keys() -> None:
    mask = mixed_mask(150)
    uploaded = upload([rows_of(table_of(mask, 32, 16), 2, 50)], "cpu")
    np.testing.assert_array_equal(read_transpose(uploaded, 0), mask[64:114])


@pytest.mark.parametrize("groups", [None, 2])
def test_blocks_chosen_at_run_time_have_a_transpose_if_asked(groups: int | None) -> None:
    shape = (4, 5) if groups is None else (groups, 4, 5)
    blocks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4
    made = table_of_blocks(blocks, 16, 32, 60, 150, gradients=True)
    for group, chosen in enumerate(blocks if groups else blocks[None]):
        wanted = chosen.repeat_interleave(16, 0).repeat_interleave(32, 1)[:60, :150]
        np.testing.assert_array_equal(read_transpose(made, group), wanted)
    assert table_of_blocks(blocks, 16, 32, 60, 150).transpose is None


def test_bitmap_0_attends_all() -> None:
    uploaded = upload([table_of(mixed_mask(100), 32, 128)], "cpu")
    assert torch.all(uploaded.bitmaps[0] == -1)
    assert not len(uploaded.bitmap_of) or uploaded.bitmap_of.min() >= 1


def test_every_group_has_its_own_order_of_rows() -> None:
    masks = [np.tri(128, dtype=np.bool_), np.tri(128, dtype=np.bool_)[::-1]]
    uploaded = upload([table_of(mask, 32, 32) for mask in masks], "cpu", [0, 1])
    assert uploaded.row_order.tolist() == [[3, 2, 1, 0], [0, 1, 2, 3]]
    assert uploaded.transpose is not None
    assert uploaded.transpose.column_order.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]


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
