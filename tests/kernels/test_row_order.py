"""row_order: every row once, long ones first, short ones last, and neighbours side by side."""

import numpy as np
import pytest

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.kernels.row_order import LONG, row_blocks, row_order
from radialbench.maskgen.table import BlockTable
from tests.kernels.tables import table_of

GRIDS = (
    TokenGrid(9, 16, 24),
    TokenGrid(5, 12, 20, text_tokens=30),
    TokenGrid(3, 4, 5),
    TokenGrid(40, 16, 32, text_tokens=256),
)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.label)
@pytest.mark.parametrize("mask", ["dense", "radial", "sta", "svg_temporal"])
@pytest.mark.parametrize("sm_count", [1, 7, 132])
def test_every_row_once_long_ones_first_and_short_ones_last(
    mask: str, grid: TokenGrid, sm_count: int
) -> None:
    table = compile_mask(load_mask(mask), grid, 64, 64)
    order, blocks = row_order(table, sm_count), row_blocks(table)
    assert sorted(order) == list(range(table.rows))
    np.testing.assert_array_equal(blocks, table.any_blocks().sum(1))
    long = int((blocks > LONG * np.median(blocks)).sum())
    launched = blocks[order]
    assert (np.diff(launched[:long]) <= 0).all()
    rest = launched[long:]
    assert (np.diff(rest[-sm_count:]) <= 0).all()
    assert sorted(rest[-sm_count:]) == sorted(rest)[:sm_count]


def test_rows_that_all_fit_are_launched_longest_first() -> None:
    mask = np.tri(128, dtype=np.bool_)
    assert row_order(table_of(mask, 32, 32)).tolist() == [3, 2, 1, 0]


def test_tiles_have_as_many_frames_as_sms_allow() -> None:
    # Eight rows of equal length in each of twelve frames, the last of which end the launch.
    table = compile_mask(load_mask("dense"), TokenGrid(12, 16, 32), 64, 64)
    order = row_order(table, 16)
    launched = [divmod(int(row), 8) for row in order[:-16]]
    assert launched[:6] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    assert {frame for frame, _ in launched[16:32]} == {2, 3}


def shared(table: BlockTable, order: np.ndarray, window: int) -> float:
    """How often a key block is read, on average, by that many rows launched in succession."""
    read = table.any_blocks()[order]
    parts = [read[start : start + window] for start in range(0, len(read) - window, window)]
    return float(np.mean([part.sum() / part.any(0).sum() for part in parts]))


def test_rows_launched_together_read_the_same_keys() -> None:
    grid = TokenGrid(64, 45, 80)
    mask = load_mask("radial_blocks:hunyuan", empty_rows="own_block")
    table = compile_mask(mask, grid)
    heavy = np.argsort(-row_blocks(table), kind="stable")
    assert shared(table, row_order(table), 16) > 1.3 * shared(table, heavy, 16)
