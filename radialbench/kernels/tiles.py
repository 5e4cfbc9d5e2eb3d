"""Tiles: the visited blocks of a query block, cut into steps whose scores stay in cache."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.table import BlockTable

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring keys of a tile, read as one slice.

    Attributes:
        column: Where their scores begin in the tile.
        start: First key.
        stop: Key after the last.
    """

    column: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Masked:
    """Scores of a tile that belong to a partial block.

    Attributes:
        column: Where they begin in the tile.
        width: Keys of the block inside the sequence.
        bitmap: Which bitmap of the table says what attends.
    """

    column: int
    width: int
    bitmap: int


@dataclass(frozen=True, slots=True)
class Tile:
    """One step of a query block: scores, softmax and values of a few hundred keys.

    Attributes:
        width: Keys in all pieces.
        pieces: Slices of keys, side by side in the tile.
        masked: Its partial blocks.
    """

    width: int
    pieces: tuple[Piece, ...]
    masked: tuple[Masked, ...]


def cut_tiles(table: BlockTable, tile_tokens: int) -> list[tuple[Tile, ...]]:
    """Cut every query block's visited blocks, full and partial alike, into tiles.

    Blocks that are not neighbours share a tile too, so that scattered blocks cost few softmax
    steps. The tiles of a query block are of nearly equal width.

    Args:
        table: The blocks.
        tile_tokens: Most keys of a tile; a tile has at least one block.

    Returns:
        The tiles of each query block, in ascending order of keys.
    """
    rows, columns, bitmaps = _visited(table)
    if not len(rows):
        return [()] * table.rows
    first_of_row = np.searchsorted(rows, np.arange(table.rows + 1))
    place = np.arange(len(rows)) - first_of_row[rows]
    in_row = np.diff(first_of_row)[rows]
    tiles_in_row = -(-in_row // max(1, tile_tokens // table.block_n))
    tile = place * tiles_in_row // np.maximum(in_row, 1)

    starts_tile = _changes(rows) | _changes(tile)
    starts_piece = starts_tile | (np.diff(columns, prepend=-1) != 1)
    tile_first = np.flatnonzero(starts_tile)
    piece_first = np.flatnonzero(starts_piece)
    tile_of = np.cumsum(starts_tile) - 1
    column = (np.arange(len(rows)) - tile_first[tile_of]) * table.block_n
    start = columns * table.block_n
    stop = np.minimum(start + table.block_n, table.seq_len)

    pieces = [
        Piece(*piece)
        for piece in zip(
            column[piece_first].tolist(),
            start[piece_first].tolist(),
            stop[np.append(piece_first[1:], len(rows)) - 1].tolist(),
            strict=True,
        )
    ]
    partial = np.flatnonzero(bitmaps >= 0)
    masked = [
        Masked(*block)
        for block in zip(
            column[partial].tolist(),
            (stop - start)[partial].tolist(),
            bitmaps[partial].tolist(),
            strict=True,
        )
    ]
    tile_ends = np.append(tile_first, len(rows))
    piece_bounds = np.searchsorted(piece_first, tile_ends).tolist()
    masked_bounds = np.searchsorted(partial, tile_ends).tolist()
    last = tile_ends[1:] - 1
    widths = (column + stop - start)[last].tolist()
    tiles = [
        Tile(
            widths[t],
            tuple(pieces[piece_bounds[t] : piece_bounds[t + 1]]),
            tuple(masked[masked_bounds[t] : masked_bounds[t + 1]]),
        )
        for t in range(len(tile_first))
    ]
    bounds = np.searchsorted(tile_first, first_of_row).tolist()
    return [tuple(tiles[bounds[r] : bounds[r + 1]]) for r in range(table.rows)]


def _visited(table: BlockTable) -> tuple[Int64, Int64, Int64]:
    """Give row, column and bitmap (-1: full) of every visited block, by row, then column."""
    rows = np.concatenate([table.full.rows, table.partial.rows])
    columns = np.concatenate([table.full.indices, table.partial.indices]).astype(np.int64)
    bitmaps = np.concatenate([np.full(table.full.nnz, -1), table.bitmap_of]).astype(np.int64)
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], bitmaps[order]


def _changes(values: Int64) -> NDArray[np.bool_]:
    changes: NDArray[np.bool_] = np.diff(values, prepend=-1) != 0
    return changes
