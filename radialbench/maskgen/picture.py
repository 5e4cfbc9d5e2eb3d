"""Pictures of masks, exact to the pair: as text for a terminal, as PNG and SVG files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import ReportError
from radialbench.maskgen.cells import cell_pairs, edges
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.sheet import QUIET, Sheet, draw_cells
from radialbench.maskgen.table import BlockTable

Image = NDArray[np.float64]
Int64 = NDArray[np.int64]

GLYPHS = " ░▒▓█▀▄"
ASCII_GLYPHS = " .:*#"
_LEVELS = np.array([(0, 0), (0.25, 0.25), (0.5, 0.5), (0.75, 0.75), (1, 1), (1, 0), (0, 1)])
"""Upper and lower density that each glyph looks like."""

SUFFIXES = (".png", ".svg")
SHARPEST = 1000
"""Cells along the side of a mask in a file: more are smaller than a screen's pixels."""

MOST_MASKS = 96
SHADES = ("#ffffff", "#c5daee", "#5b9bd0", "#1f5fa8", "#0a2350")
ONLY_A, ONLY_B, BOTH = "#d9660f", "#1a74c4", "#b9bfc6"
"""Apart for people with any colour vision, and in grey print by their brightness."""


def density_image(table: BlockTable, width: int, height: int) -> Image:
    """Give the share of attending pairs in each cell of a mask, in the table's order.

    Args:
        table: The mask.
        width: Cells along the keys; at most one a token.
        height: Cells along the queries; at most one a token.

    Returns:
        [min(height, seq_len), min(width, seq_len)] shares, exactly.
    """
    width, height = min(width, table.seq_len), min(height, table.seq_len)
    sides = (np.diff(edges(table.seq_len, cells)) for cells in (height, width))
    shares: Image = cell_pairs(table, width, height) / np.outer(*sides)
    return shares


def picture_side(grid: TokenGrid, most: int) -> int:
    """Choose how many cells a side of a picture has, so that frames are equally wide if they can.

    Args:
        grid: Token layout.
        most: Cells there is room for.
    """
    aligned = most // grid.frames * grid.frames
    return min(grid.seq_len, aligned if 3 * aligned > 2 * most else most)


def terminal_picture(image: Image, *, plain: bool = False) -> str:
    """Draw densities as text: blank where there is no pair at all, darker with more.

    Args:
        image: [height, width] densities; two rows make a line, as characters are tall.
        plain: Use ASCII only.
    """
    rows = np.pad(image, ((0, len(image) % 2), (0, 0)), mode="edge")
    upper, lower = rows[::2, :, None], rows[1::2, :, None]
    levels, glyphs = (_LEVELS[:5], ASCII_GLYPHS) if plain else (_LEVELS, GLYPHS)
    distance = (upper - levels[:, 0]) ** 2 + (lower - levels[:, 1]) ** 2
    distance[:, :, 0] = np.where(np.maximum(upper, lower)[:, :, 0] > 0, np.inf, -1)
    return _text(glyphs, distance.argmin(axis=2))


def terminal_difference(pairs: Int64) -> str:
    """Draw what two masks keep as text.

    A cell is A or B if at least 3/4 of the pairs in which the masks differ there are that mask's,
    else X; small letters where most pairs are in both; `·` where the masks agree; blank where
    neither keeps a pair.

    Args:
        pairs: [3, height, width] pairs only in A, only in B, in both; two rows make a line.
    """
    a, b, both = np.add.reduceat(pairs, np.arange(0, pairs.shape[1], 2), axis=1)
    apart = a + b
    letter = np.where(4 * a >= 3 * apart, 2, np.where(4 * b >= 3 * apart, 4, 6))
    letter += apart > both
    return _text(" ·aAbBxX", np.where(apart > 0, letter, both > 0))


def save_pictures(
    path: str | Path,
    titled_tables: Sequence[tuple[str, BlockTable]],
    *,
    caption: str = "",
    width_px: int = 1600,
) -> None:
    """Draw masks side by side, each in its own token order, and write a PNG or SVG file.

    More than six make several rows.

    Args:
        path: File to write; its suffix says which.
        titled_tables: Titles and masks, from left to right; the density stands under the title.
        caption: A line below the pictures.
        width_px: Pixels across.

    Raises:
        ReportError: There is no mask or more than 96, the suffix is another, or the file cannot be
            written.
    """
    if not 1 <= len(titled_tables) <= MOST_MASKS:
        raise ReportError(
            f"cannot draw {path}: a picture has 1 to {MOST_MASKS} masks, got {len(titled_tables)}"
        )
    kind = picture_kind(path)
    from matplotlib import style
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("attended", list(SHADES))
    with style.context("default"):
        sheet = Sheet.of(len(titled_tables), width_px, caption)
        for place, (title, table) in enumerate(titled_tables):
            side = min(SHARPEST, sheet.panel_px)
            ink = _ink(density_image(table, side, side))
            told = [(f"{percent(table.density)} of the pairs", QUIET)]
            axes = sheet.panel(place, title, told)
            draw_cells(axes, shades(ink), table.grid, table.order, named=place % sheet.columns == 0)
        sheet.write(Path(path), kind)


def save_difference(
    path: str | Path,
    pairs: Int64,
    names: tuple[str, str],
    grid: TokenGrid,
    order: TokenOrder,
    *,
    caption: str = "",
    width_px: int = 1200,
) -> None:
    """Draw what two masks keep, and write a PNG or SVG file.

    Args:
        path: File to write; its suffix says which.
        pairs: [3, side, side] pairs only in A, only in B, and in both.
        names: What A and B are called.
        grid: Token layout.
        order: Token order of the cells.
        caption: A line below the picture.
        width_px: Pixels across.

    Raises:
        ReportError: The suffix is another, or the file cannot be written.
    """
    kind = picture_kind(path)
    from matplotlib import style
    from matplotlib.colors import to_rgb

    side = np.diff(edges(grid.seq_len, pairs.shape[1]))
    ink = _ink(pairs / np.outer(side, side))
    paper = 1 - np.array([to_rgb(colour) for colour in (ONLY_A, ONLY_B, BOTH)])
    missing = np.einsum("cij,ck->ijk", ink, paper) / np.maximum(ink.sum(axis=0), 1)[:, :, None]
    told = []
    shares = pairs.sum(axis=(1, 2)) / grid.seq_len**2
    words = (f"only {names[0]}", f"only {names[1]}", "both")
    for word, share, colour in zip(words, shares, (ONLY_A, ONLY_B, BOTH), strict=True):
        told += [("■", colour), (f"{word} {percent(share)}", QUIET)]
    with style.context("default"):
        sheet = Sheet.of(1, width_px, caption)
        axes = sheet.panel(0, " and ".join(names), told)
        draw_cells(axes, 1 - missing, grid, order, named=True)
        sheet.write(Path(path), kind)


def picture_kind(path: str | Path) -> str:
    """Tell the kind of picture that a file name asks for: `png` or `svg`.

    Raises:
        ReportError: It asks for another.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ReportError(f"a picture is a {' or '.join(SUFFIXES)} file, got {path}")
    return suffix[1:]


def percent(share: float) -> str:
    """Write a share as people read it, such as 12.3%; nothing is called all, something not none."""
    if 0.999 < share < 1:
        return "over 99.9%"
    if 0 < share < 1e-6:
        return "under 0.0001%"
    return f"{100 * share:.3g}%"


def _ink(shares: Image) -> Image:
    """Darkness of cells: a quarter of the pairs gets half of it, so that thin bands are seen."""
    ink: Image = np.sqrt(shares)
    return ink


def _text(glyphs: str, chosen: NDArray[np.int64]) -> str:
    return "\n".join("".join(glyphs[place] for place in line) for line in chosen)
