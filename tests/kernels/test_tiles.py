"""Tiles hold every visited block once, in order, in steps of the size that is asked for."""

import numpy as np
import pytest

from radialbench.kernels.backends.cpu import Tile, cut_tiles
from radialbench.maskgen.table import BlockTable
from tests.kernels.tables import Bool, mixed_mask, table_of

MASKS = [mixed_mask(150), np.ones((150, 150), np.bool_), np.tri(97, dtype=np.bool_)]
BLOCKS = [(16, 16), (32, 8), (7, 40), (64, 100), (128, 128)]

every_table = pytest.mark.parametrize(
    "table", [table_of(mask, *blocks) for mask in MASKS for blocks in BLOCKS]
)
every_size = pytest.mark.parametrize("tile_tokens", [1, 16, 40, 100, 10_000])


def redrawn(table: BlockTable, rows: list[tuple[Tile, ...]]) -> Bool:
    """Draw the token mask from the tiles, refusing keys that come twice."""
    bitmaps = table.unpacked_bitmaps()
    drawn = np.zeros((table.rows * table.block_m, table.seq_len), np.bool_)
    for row, tiles in enumerate(rows):
        block = drawn[row * table.block_m : (row + 1) * table.block_m]
        for tile in tiles:
            keys = np.concatenate([np.arange(p.start, p.stop) for p in tile.pieces])
            assert len(keys) == tile.width
            assert not block[:, keys].any()
            attends = np.ones((table.block_m, tile.width), np.bool_)
            for part in tile.masked:
                columns = slice(part.column, part.column + part.width)
                attends[:, columns] = bitmaps[part.bitmap][:, : part.width]
            block[:, keys] = attends
    return drawn[: table.seq_len]


@every_table
@every_size
def test_tiles_redraw_the_mask(table: BlockTable, tile_tokens: int) -> None:
    rows = cut_tiles(table, tile_tokens)
    assert len(rows) == table.rows
    np.testing.assert_array_equal(redrawn(table, rows), table.to_dense())


@every_table
@every_size
def test_tiles_are_of_nearly_equal_width_and_not_too_wide(
    table: BlockTable, tile_tokens: int
) -> None:
    for tiles in cut_tiles(table, tile_tokens):
        blocks = [-(-tile.width // table.block_n) for tile in tiles]
        assert max(blocks, default=0) - min(blocks, default=0) <= 1
        assert all(tile.width <= max(tile_tokens, table.block_n) for tile in tiles)


@every_table
def test_pieces_stand_side_by_side_in_ascending_order(table: BlockTable) -> None:
    for tiles in cut_tiles(table, 100):
        starts = [piece.start for tile in tiles for piece in tile.pieces]
        assert starts == sorted(starts)
        for tile in tiles:
            widths = [piece.stop - piece.start for piece in tile.pieces]
            assert [piece.column for piece in tile.pieces] == [0, *np.cumsum(widths)[:-1]]


def test_neighbouring_blocks_are_one_piece_whether_full_or_partial() -> None:
    table = table_of(np.tri(64, dtype=np.bool_), 16, 16)
    (tile,) = cut_tiles(table, 1000)[3]
    assert [(piece.start, piece.stop) for piece in tile.pieces] == [(0, 64)]
    assert [(part.column, part.width) for part in tile.masked] == [(48, 16)]


def test_scattered_blocks_share_a_tile() -> None:
    mask = np.zeros((160, 160), np.bool_)
    mask[:, :16] = mask[:, 64:80] = mask[:, 144:] = True
    (tile,) = cut_tiles(table_of(mask, 160, 16), 48)[0]
    assert [(p.column, p.start, p.stop) for p in tile.pieces] == [
        (0, 0, 16),
        (16, 64, 80),
        (32, 144, 160),
    ]


def test_the_last_keys_may_be_fewer_than_a_block() -> None:
    (tile,) = cut_tiles(table_of(np.ones((50, 50), np.bool_), 64, 16), 1000)[0]
    assert tile.width == 50


def test_rows_that_visit_nothing_have_no_tiles() -> None:
    mask = np.zeros((48, 48), np.bool_)
    assert cut_tiles(table_of(mask, 16, 16), 100) == [(), (), ()]
    mask[16:32] = True
    assert [len(tiles) for tiles in cut_tiles(table_of(mask, 16, 16), 100)] == [0, 1, 0]
