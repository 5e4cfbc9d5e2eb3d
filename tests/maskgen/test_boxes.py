"""boxed: a table over slots means what the mask means, and its runs lead to the slots' tokens."""

import re
from typing import Any

import numpy as np
import pytest

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import TableError
from radialbench.maskgen.boxes import PIECE, BoxTable, box_reasons, boxed
from radialbench.maskgen.compiler import compile_heads
from radialbench.maskgen.grid import Segment
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import parse_head_plan, parse_mask
from radialbench.maskgen.order import TokenOrder
from tests.integrations.raster import raster_mask

SMALL: dict[str, Any] = {"window_t": 1, "window_h": 3, "window_w": 1}
TWO = TokenGrid.of(
    Segment("first", sides=(3, 5, 12)),
    Segment("text", 21, valid=17),
    Segment("video", sides=(4, 9, 16)),
)
SHIFTED = parse_mask(
    {
        "name": "shifted",
        "order": {"tiles": {"size": [2, 4, 16], "shift": [1, 2, 8]}},
        "mask": "abs(qy - ky) < 5 and abs(qx - kx) < 9 and qt <= kt",
    }
)


def tiles(t: int, h: int, w: int) -> MaskSpec:
    return load_mask("sta", tile_t=t, tile_h=h, tile_w=w, **SMALL)


CASES: dict[str, tuple[MaskSpec, TokenGrid, int]] = {
    "whole tiles": (tiles(6, 8, 8), TokenGrid(12, 16, 16), 128),
    "ragged edges": (tiles(6, 8, 8), TokenGrid(7, 13, 24), 128),
    "ragged rows": (tiles(6, 8, 8), TokenGrid(5, 9, 20), 128),
    "narrow key blocks": (tiles(6, 8, 8), TokenGrid(7, 13, 20), 64),
    "tiles of half a block": (tiles(2, 4, 8), TokenGrid(5, 9, 20), 128),
    "long runs": (tiles(2, 4, 32), TokenGrid(5, 6, 40), 128),
    "three runs in a row": (tiles(4, 4, 24), TokenGrid(5, 6, 40), 128),
    "text": (tiles(6, 8, 8), TokenGrid(5, 9, 20, text_tokens=150, text_valid=130), 128),
    "text first": (tiles(2, 8, 8), TokenGrid(3, 9, 16, text_tokens=16, text_first=True), 128),
    "two videos": (tiles(2, 8, 8), TWO, 128),
    "shifted": (SHIFTED, TokenGrid(5, 9, 40), 128),
}


def copied(boxes: BoxTable) -> Any:
    """Return [slots] the raster tokens that copies of a group read; seq_len outside a tensor."""
    width, n = boxes.grid.width, boxes.grid.seq_len
    read = boxes.runs[:, :, None] + np.arange(boxes.run)
    whole = boxes.runs[:, 0] < 0
    lines, first = np.arange(PIECE // boxes.run)[:, None], (-1 - boxes.runs[whole, 0])
    line, column = np.divmod(first, width)
    assert (column + boxes.run <= width).all() and (line + len(lines) <= n // width).all()
    read[whole] = first[:, None, None] + width * lines + np.arange(boxes.run)
    return np.minimum(read, n).ravel()


@pytest.mark.parametrize("name", CASES)
def test_the_mask_and_the_places(name: str) -> None:
    spec, grid, block_n = CASES[name]
    table = compile_mask(spec, grid, 128, block_n)
    boxes = boxed(table)
    real = boxes.slots >= 0
    assert sorted(boxes.slots[real]) == list(range(grid.seq_len))
    assert (copied(boxes)[real] == boxes.slots[real]).all()
    (over_slots,) = boxes.tables
    assert over_slots.mask == table.mask
    dense = over_slots.to_dense()
    assert not dense[np.ix_(real, ~real)].any()
    got = np.zeros((grid.seq_len, grid.seq_len), np.bool_)
    got[np.ix_(boxes.slots[real], boxes.slots[real])] = dense[np.ix_(real, real)]
    assert (got == raster_mask(spec, grid)).all()
    assert (boxes.runs[:, 0] < 0).any() == (name not in WITHOUT_BOXES)


WITHOUT_BOXES = (
    "tiles of half a block",
    "three runs in a row",
    "text first",
    "two videos",
    "shifted",
)


def test_whole_tiles_are_whole_boxes_and_full_blocks() -> None:
    boxes = boxed(compile_mask(tiles(6, 8, 8), TokenGrid(12, 16, 16)))
    assert (boxes.slots >= 0).all() and (boxes.runs[:, 0] < 0).all()
    assert not boxes.tables[0].partial.nnz
    # Frames 0 and 1 of the first tile, then the first tile's next two.
    assert [-1 - one for one in boxes.runs[:3, 0]] == [0, 256, 512]


def test_queries_that_are_padding_make_no_block_partial() -> None:
    boxes = boxed(compile_mask(tiles(6, 8, 8), TokenGrid(6, 9, 8)))
    (table,) = boxes.tables
    full = table.full_blocks()
    # The second tile is one row of 6 frames: 48 of 128 slots.
    assert full[3, :3].all() and not full[:, 3].any() and table.partial.nnz == 4


def test_heads_share_boxes() -> None:
    heads = {"0,2": {"name": "sta", "params": SMALL}, "1": "sta"}
    plan = parse_head_plan({"name": "plan", "heads": heads})
    tables = compile_heads(plan, TokenGrid(7, 24, 24))
    boxes = boxed(tables)
    assert boxes.group_of_head == (0, 1, 0) and len(boxes.tables) == 2
    alone = boxed(tables.tables[1])
    assert boxes.tables[1] == alone.tables[0] and (boxes.slots == alone.slots).all()


@pytest.mark.parametrize(
    ("spec", "blocks", "reason"),
    [
        ("radial", (128, 128), "only tiles are boxes, and its token order is raster"),
        (tiles(2, 4, 12), (128, 128), "tiles are multiples of 8 columns wide, got 12 columns"),
        (tiles(2, 8, 8), (64, 128), "blocks are 128×64 or 128×128, got 64×128"),
    ],
)
def test_what_cannot_be(spec: Any, blocks: tuple[int, int], reason: str) -> None:
    table = compile_mask(spec, TokenGrid(4, 8, 24), *blocks)
    assert box_reasons(table) == [reason]
    with pytest.raises(TableError, match=re.escape(f"cannot be read in boxes: {reason}")):
        boxed(table)


def test_heads_of_different_orders_and_fewer_queries() -> None:
    plan = parse_head_plan({"name": "two", "heads": {"0": "sta", "1": "radial"}})
    grid = TokenGrid(12, 16, 16)
    assert box_reasons(compile_heads(plan, grid)) == ["its heads have different token orders"]
    some = compile_mask(tiles(6, 8, 8), TokenGrid(12, 16, 16, query_frames=(6, 11)))
    assert box_reasons(some) == ["all tokens are queries, got 1,536 of 3,072"]
    assert TokenOrder("tiles", (6, 8, 8)) == some.order
