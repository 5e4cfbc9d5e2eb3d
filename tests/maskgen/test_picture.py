"""Pictures: cells against a count of the oracle's pairs, glyphs, and files written whole."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask
from radialbench.errors import ReportError, TableError
from radialbench.maskgen import cells
from radialbench.maskgen.cells import cell_pairs, difference_pairs
from radialbench.maskgen.grid import TokenGrid as Grid
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.oracle import token_mask
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.picture import (
    DPI,
    Sheet,
    _divisions,
    density_image,
    percent,
    picture_side,
    save_difference,
    save_pictures,
    terminal_difference,
    terminal_picture,
)

Bool = NDArray[np.bool_]

GRID = TokenGrid(3, 5, 7, text_tokens=9, text_valid=6)
TEXT_FIRST = TokenGrid(4, 3, 5, text_tokens=4, text_first=True)
SPECS = {
    "radial": load_mask("radial"),
    "sta": load_mask("sta", tile_t=2, tile_h=2, tile_w=3, window_t=1, window_h=2, window_w=1),
    "svg_temporal": load_mask("svg_temporal", granularity=4),
    "radial_blocks": load_mask("radial_blocks", block=16, empty_rows="keep"),
}


def counted(mask: Bool, height: int, width: int) -> NDArray[np.int64]:
    """Count the pairs of each cell, by the definition of a cell: as even as whole tokens allow."""
    n = len(mask)
    count = np.zeros((height, width), np.int64)
    for i in range(height):
        for j in range(width):
            rows = slice(i * n // height, (i + 1) * n // height)
            columns = slice(j * n // width, (j + 1) * n // width)
            count[i, j] = mask[rows, columns].sum()
    return count


def in_raster(spec: MaskSpec, grid: Grid) -> Bool:
    mask = token_mask(spec, grid)
    raster = np.zeros_like(mask)
    source = spec.order_on(grid).source_index(grid)
    raster[np.ix_(source, source)] = mask
    return raster


@pytest.mark.parametrize("grid", [GRID, TEXT_FIRST])
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(("block_m", "block_n"), [(16, 16), (7, 40), (1, 33), (128, 128)])
def test_cells_are_counts_of_the_oracle(name: str, grid: Grid, block_m: int, block_n: int) -> None:
    table = compile_mask(SPECS[name], grid, block_m, block_n)
    mask = token_mask(SPECS[name], grid)
    for height, width in ((1, 1), (13, 9), (len(mask), len(mask))):
        count = cell_pairs(table, width, height)
        assert np.array_equal(count, counted(mask, height, width))


def test_density_is_the_share_of_a_cell() -> None:
    table = compile_mask(SPECS["radial"], GRID, 16, 16)
    mask = token_mask(SPECS["radial"], GRID)
    every = counted(np.ones_like(mask), 10, 20)
    image = density_image(table, 20, 10)
    assert np.array_equal(image, counted(mask, 10, 20) / every)


def test_a_cell_is_at_least_a_token() -> None:
    table = compile_mask(SPECS["radial"], GRID, 16, 16)
    assert np.array_equal(density_image(table, 1000, 2000), token_mask(SPECS["radial"], GRID))


def test_a_long_sequence_is_never_made_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(table: BlockTable) -> Bool:
        raise AssertionError("the token matrix was built")

    monkeypatch.setattr(BlockTable, "to_dense", refuse)
    grid = TokenGrid(21, 45, 80)
    table = compile_mask(load_mask("radial"), grid)
    assert cell_pairs(table, 1000, 700).sum() == table.pairs
    # A frame attends itself and its neighbours whole, and everything attends the first frame.
    image = density_image(table, 21, 21)
    frame = np.arange(21)
    whole = (np.abs(frame[:, None] - frame) <= 1) | (frame[None, :] == 0)
    assert np.array_equal(image == 1, whole)


@pytest.mark.parametrize("grid", [GRID, TEXT_FIRST])
@pytest.mark.parametrize("a", SPECS)
@pytest.mark.parametrize("b", SPECS)
def test_differences_are_counts_of_the_oracle(a: str, b: str, grid: Grid) -> None:
    tables = [compile_mask(SPECS[name], grid, 16, 24) for name in (a, b)]
    same = tables[0].order == tables[1].order
    left, right = (
        token_mask(SPECS[name], grid) if same else in_raster(SPECS[name], grid) for name in (a, b)
    )
    found = difference_pairs(tables[0], tables[1], 12)
    for got, mask in zip(found, (left & ~right, right & ~left, left & right), strict=True):
        assert np.array_equal(got, counted(mask, 12, 12))


def test_a_mask_does_not_differ_from_itself() -> None:
    table = compile_mask(SPECS["sta"], GRID, 16, 16)
    only_a, only_b, both = difference_pairs(table, table, 5).sum(axis=(1, 2))
    assert (only_a, only_b, both) == (0, 0, table.pairs)


def test_only_like_tables_are_compared() -> None:
    a = compile_mask(SPECS["radial"], GRID, 16, 16)
    with pytest.raises(TableError, match=r"3x5x7\+6of9 in 16×16 and 3x5x7\+6of9 in 8×16"):
        difference_pairs(a, compile_mask(SPECS["radial"], GRID, 8, 16), 4)
    with pytest.raises(TableError, match=r"6of9 in 16×16 and 4\+4x3x5 in 16×16"):
        difference_pairs(a, compile_mask(SPECS["radial"], TEXT_FIRST, 16, 16), 4)


def test_too_long_to_compare_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (compile_mask(SPECS[name], GRID, 16, 16) for name in ("radial", "sta"))
    monkeypatch.setattr(cells, "RASTER_LIMIT", GRID.seq_len)
    difference_pairs(a, b, 4)
    monkeypatch.setattr(cells, "RASTER_LIMIT", GRID.seq_len - 1)
    message = r"done up to 113 tokens, and 3x5x7\+6of9 has 114; take a smaller grid"
    with pytest.raises(TableError, match=message):
        difference_pairs(a, b, 4)
    # Of one order the length does not matter.
    difference_pairs(a, a, 4)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ([[1.0, 1, 0, 0], [1, 0, 1, 0]], "█▀▄ "),
        ([[0.26, 0.5, 0.74], [0.26, 0.5, 0.74]], "░▒▓"),
        ([[1e-9, 0.0], [0, 0]], "░ "),
        ([[1.0], [0], [1]], "▀\n█"),
    ],
)
def test_terminal_pictures(image: list[list[float]], text: str) -> None:
    assert terminal_picture(np.array(image)) == text


def test_a_plain_picture_is_ascii() -> None:
    ramp = np.array([[0, 0.2, 0.5, 0.8, 1]] * 2)
    assert terminal_picture(ramp, plain=True) == " .:*#"
    rows = terminal_picture(np.random.default_rng(0).random((20, 30)), plain=True)
    assert rows.isascii()


def test_blank_means_no_pair_at_all() -> None:
    image = density_image(
        compile_mask(load_mask("power", block=4), TokenGrid(5, 9, 9), 16, 16), 64, 64
    )
    lines = terminal_picture(image).split("\n")
    assert len(lines) == 32
    for line, rows in zip(lines, image.reshape(32, 2, 64), strict=True):
        assert [glyph == " " for glyph in line] == (rows.max(axis=0) == 0).tolist()


def test_terminal_differences() -> None:
    pairs = np.zeros((3, 2, 8), np.int64)
    pairs[:, 0] = [
        # nothing, agreed, a few of A, most of A, a few of B, most of B, mixed, mostly mixed
        [0, 0, 3, 9, 0, 1, 1, 2],
        [0, 0, 1, 0, 4, 3, 1, 2],
        [0, 7, 9, 1, 9, 1, 5, 1],
    ]
    assert terminal_difference(pairs) == " ·aAbBxX"
    assert terminal_difference(pairs[:, ::-1]) == " ·aAbBxX"


@pytest.mark.parametrize(
    ("grid", "most", "side"),
    [
        (TokenGrid(21, 30, 52), 66, 63),
        (TokenGrid(33, 45, 80), 66, 66),
        (TokenGrid(31, 22, 40), 40, 31),
        (TokenGrid(31, 22, 40), 61, 61),
        (TokenGrid(161, 30, 52), 66, 66),
        (TokenGrid(1, 3, 4), 66, 12),
    ],
)
def test_sides_are_whole_frames_if_there_is_room(grid: Grid, most: int, side: int) -> None:
    assert picture_side(grid, most) == side


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.12345, "12.3%"),
        (0.000452, "0.0452%"),
        (1e-9, "under 0.0001%"),
        (0.99999, "over 99.9%"),
    ],
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.fixture(scope="module")
def tables() -> list[tuple[str, BlockTable]]:
    grid = TokenGrid(3, 4, 6, text_tokens=5)
    names = ("dense", "sta", "svg_temporal")
    specs = [load_mask(name) for name in names]
    return [(spec.name, compile_mask(spec, grid, 16, 16)) for spec in specs]


def test_a_png_shows_the_mask(tmp_path: Path, tables: list[tuple[str, BlockTable]]) -> None:
    from matplotlib.image import imread

    grid = TokenGrid(4, 4, 4)
    diagonal = compile_mask(load_mask("sliding_window", window=0, sink=0), grid, 16, 16)
    file = tmp_path / "masks.png"
    save_pictures(file, [tables[0], ("diagonal", diagonal)], caption="both", width_px=900)
    pixels = imread(file)
    assert pixels.shape[1] == 900
    dark = pixels[:, :, :3].mean(axis=2) < 0.3
    sheet = Sheet.of(2, 900, "")
    ends = int((sheet.left + sheet.panel_in + sheet.gap / 2) * DPI)
    top, bottom = sheet.top * DPI + 4, (sheet.top + sheet.panel_in) * DPI - 4
    panels = dark[int(top) : int(bottom)]
    # All of one panel, and of the other one token in 64.
    assert panels[:, :ends].sum() == pytest.approx(sheet.panel_px**2, rel=0.05)
    assert panels[:, ends + 20 :].sum() == pytest.approx(sheet.panel_px**2 / 64, rel=0.3)
    assert pixels[0, 0].tolist() == [1, 1, 1, 1]


def test_an_svg_is_one(tmp_path: Path, tables: list[tuple[str, BlockTable]]) -> None:
    file = tmp_path / "masks.SVG"
    save_pictures(file, tables)
    root = ElementTree.parse(file).getroot()
    assert root.tag.endswith("svg")
    assert len(root.findall(".//{http://www.w3.org/2000/svg}image")) == 3


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_same_masks_give_the_same_file(
    suffix: str, tmp_path: Path, tables: list[tuple[str, BlockTable]]
) -> None:
    files = [tmp_path / f"{number}.{suffix}" for number in range(2)]
    for file in files:
        save_pictures(file, tables[:1], caption="$not^mathematics$", width_px=500)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_difference_in_colours(tmp_path: Path) -> None:
    from matplotlib.image import imread

    grid = TokenGrid(2, 4, 4)
    pairs = np.zeros((3, 2, 2), np.int64)
    pairs[0, 0, 0] = pairs[1, 0, 1] = pairs[2, 1, 0] = 256
    file = tmp_path / "diff.png"
    save_difference(file, pairs, ("a_b", "c$d$"), grid, TokenOrder(), width_px=600)
    pixels = imread(file)[:, :, :3]
    sheet = Sheet.of(1, 600, "")
    left, top, side = sheet.left * DPI, sheet.top * DPI, sheet.panel_in * DPI

    def colour(row: float, column: float) -> list[int]:
        at = pixels[int(top + row * side), int(left + column * side)]
        return [round(float(part) * 255) for part in at]

    assert colour(0.3, 0.3) == pytest.approx([0xD9, 0x66, 0x0F], abs=1)
    assert colour(0.3, 0.7) == pytest.approx([0x1A, 0x74, 0xC4], abs=1)
    assert colour(0.7, 0.3) == pytest.approx([0xB9, 0xBF, 0xC6], abs=1)
    assert colour(0.7, 0.7) == [255, 255, 255]


def test_long_words_fit_their_panel() -> None:
    sheet = Sheet.of(2, 1000, "")
    notes = [("■", "red"), ("only radial_blocks(decay=0.5, block=64, sink_frames=0) 12.3%", "blue")]
    sheet.panel(0, "radial_blocks(decay=0.5, block=64, sink_frames=0)", notes)
    right = (sheet.left + sheet.panel_in + sheet.gap / 2) * DPI
    for text in sheet.figure.texts:
        assert text.get_window_extent().x1 <= right


@pytest.mark.parametrize("name", ["masks.jpg", "masks", "masks.png.gz"])
def test_other_kinds_of_file(name: str, tmp_path: Path, tables: list[Any]) -> None:
    with pytest.raises(ReportError, match=r"a picture is a \.png or \.svg file, got"):
        save_pictures(tmp_path / name, tables)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [0, 97])
def test_too_few_and_too_many_masks(count: int, tmp_path: Path, tables: list[Any]) -> None:
    with pytest.raises(ReportError, match=f"a picture has 1 to 96 masks, got {count}"):
        save_pictures(tmp_path / "none.png", tables[:1] * count)


def test_many_masks_make_rows(tmp_path: Path, tables: list[Any]) -> None:
    file = tmp_path / "many.svg"
    save_pictures(file, tables * 3)
    root = ElementTree.parse(file).getroot()
    assert len(root.findall(".//{http://www.w3.org/2000/svg}image")) == 9
    sheet = Sheet.of(9, 1600, "")
    boxes = [sheet.panel(place, "", []).get_position() for place in range(9)]
    assert len({round(box.y0, 6) for box in boxes}) == 2
    assert len({round(box.x0, 6) for box in boxes}) == 5
    assert all(0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1 for box in boxes)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("missing/masks.png", "No such file or directory"),
        ("file/masks.png", "Not a directory"),
        ("folder.png", "Is a directory"),
    ],
)
def test_a_path_that_cannot_be_written(
    place: str, reason: str, tmp_path: Path, tables: list[Any]
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ReportError, match=f"cannot write .*{place}: {reason}"):
        save_pictures(tmp_path / place, tables[:1], width_px=300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_a_full_disk_leaves_the_old_picture(
    tmp_path: Path, tables: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    def savefig(figure: Figure, file: Any, **options: object) -> None:
        file.write(b"half a pict")
        raise OSError(28, "No space left on device")

    (tmp_path / "masks.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", savefig)
    with pytest.raises(ReportError, match=r"masks\.png: No space left on device"):
        save_pictures(tmp_path / "masks.png", tables[:1], width_px=300)
    assert [path.name for path in tmp_path.iterdir()] == ["masks.png"]
    assert (tmp_path / "masks.png").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("order", "word", "starts", "numbers"),
    [
        (TokenOrder(), "frame", [2, 14, 26], [0, 1, 2]),
        (TokenOrder("tiles", (2, 2, 2)), "frame, tiles of 2×2×2", [2, 26], [0, 2]),
        (TokenOrder("tiles", (2, 2, 2), (1, 0, 0)), "frame, tiles of 2×2×2", [2, 14], [0, 1]),
        (TokenOrder("space_major"), "row, place by place", [2, 14, 26], [0, 1, 2]),
        (TokenOrder("hilbert"), "part of the curve", [2, 14, 26], [0, 1, 2]),
    ],
)
def test_divisions_of_an_order(
    order: TokenOrder, word: str, starts: list[int], numbers: list[int]
) -> None:
    found = _divisions(TokenGrid(3, 3, 4, text_tokens=2, text_first=True), order)
    assert (found[0], found[1].tolist(), found[2].tolist()) == (word, starts, numbers)
