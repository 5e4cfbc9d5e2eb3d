"""Pictures of masks, exact to the pair: as text for a terminal, as PNG and SVG files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import ReportError
from radialbench.maskgen.cells import cell_pairs, edges
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.table import BlockTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Image = NDArray[np.float64]
Int64 = NDArray[np.int64]

GLYPHS = " ░▒▓█▀▄"
ASCII_GLYPHS = " .:*#"
_LEVELS = np.array([(0, 0), (0.25, 0.25), (0.5, 0.5), (0.75, 0.75), (1, 1), (1, 0), (0, 1)])
"""Upper and lower density that each glyph looks like."""

SUFFIXES = (".png", ".svg")
SHARPEST = 1000
"""Cells along the side of a mask in a file: more are smaller than a screen's pixels."""

DPI = 200
PER_ROW = 6
LINES_APART = 14
"""Least pixels between lines where frames begin."""

INK, QUIET, TEXT_BORDER = "#1b2733", "#66727e", "#d9660f"
SHADE = (31, 95, 168)

MOST_MASKS = 96
SHADES = ("#ffffff", "#c5daee", "#5b9bd0", "#1f5fa8", "#0a2350")
ONLY_A, ONLY_B, BOTH = "#d9660f", "#1a74c4", "#b9bfc6"
"""Apart for people with any colour vision, and in grey print by their brightness."""


@dataclass(frozen=True)
class Sheet:
    """A white figure with square panels side by side, in rows of at most `PER_ROW`.

    Attributes:
        figure: Where everything is drawn.
        columns: Panels in a row.
        panel_in: Side of a panel. This and the other lengths are inches.
        left: Room for the ticks of the first panel.
        gap: Between panels.
        top: Room for titles.
        below: Room for ticks.
    """

    figure: "Figure"
    columns: int
    panel_in: float
    left: float = 0.42
    gap: float = 0.14
    top: float = 0.42
    below: float = 0.34

    @classmethod
    def of(cls, panels: int, width_px: int, caption: str) -> "Sheet":
        """Lay a sheet out."""
        from matplotlib.figure import Figure

        rows = -(-panels // PER_ROW)
        columns = -(-panels // rows)
        width = width_px / DPI
        panel = (width - cls.left - 0.1 - cls.gap * (columns - 1)) / columns
        height = rows * (cls.top + panel + cls.below) + (0.17 if caption else 0)
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        sheet = cls(figure, columns, panel)
        sheet.say(cls.left, 0.07, caption, size=6.5, color=QUIET)
        return sheet

    @property
    def panel_px(self) -> int:
        """Pixels along the side of a panel."""
        return int(self.panel_in * DPI)

    def say(self, x: float, y: float, text: str, **style: Any) -> Any:
        """Write text as it stands: nothing in it is mathematics."""
        width, height = self.figure.get_size_inches()
        return self.figure.text(x / width, y / height, text, parse_math=False, **style)

    def words(self, x: float, y: float, words: Sequence[tuple[str, str]], **style: Any) -> None:
        """Write words in their colours from left to right, small enough for a panel."""
        written = [self.say(x, y, word, color=colour, **style) for word, colour in words]
        gaps = [0.03 if word == "■" else 0.12 for word, _ in words]
        widths = [text.get_window_extent().width / DPI for text in written]
        scale = min(1, self.panel_in / max(sum(widths) + sum(gaps[:-1]), 0.1))
        for text, width, gap in zip(written, widths, gaps, strict=True):
            text.set(x=x / self.figure.get_size_inches()[0], size=style["size"] * scale)
            x += (width + gap) * scale

    def panel(self, place: int, title: str, notes: Sequence[tuple[str, str]]) -> "Axes":
        """Add a panel with a title, and words below it in their colours."""
        width, height = self.figure.get_size_inches()
        row, column = divmod(place, self.columns)
        x = self.left + column * (self.panel_in + self.gap)
        top = height - row * (self.top + self.panel_in + self.below)
        y = top - self.top - self.panel_in
        self.words(x, top - 0.19, [(title, INK)], size=9, weight="bold")
        self.words(x, top - 0.35, notes, size=7.5)
        size = (self.panel_in / width, self.panel_in / height)
        return self.figure.add_axes((x / width, y / height, *size))

    def write(self, path: Path, kind: str) -> None:
        """Write the file; whoever reads the path sees the old one or the new one, never a part.

        Raises:
            ReportError: The file cannot be written.
        """
        try:
            self._replace(path, kind)
        except OSError as error:
            raise ReportError(f"cannot write {path}: {error.strerror or error}") from error

    def _replace(self, path: Path, kind: str) -> None:
        from matplotlib import rc_context

        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        # Nothing in the file may change from one run to the next.
        stamps = {"Software": None} if kind == "png" else {"Date": None}
        try:
            with rc_context({"svg.hashsalt": "radialbench"}), temporary.open("wb") as file:
                self.figure.savefig(file, format=kind, metadata=stamps)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def density_image(table: BlockTable, width: int, height: int) -> Image:
    """Return the share of attending pairs in each cell of a mask, in the table's order.

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


def shaded_png(table: BlockTable, cells: int) -> bytes:
    """Draw a mask as PNG: one ink that covers more where more pairs attend, on any paper.

    Args:
        table: The mask.
        cells: Most cells along a side.
    """
    from PIL import Image as Picture

    side = picture_side(table.grid, cells)
    # A quarter of the pairs gets half of the ink, so that thin bands are seen.
    levels = np.round(15 * np.sqrt(density_image(table, side, side))).astype(np.uint8)
    image = Picture.fromarray(levels)
    image.putpalette(SHADE * 16)
    buffer = BytesIO()
    shades = bytes(17 * level for level in range(16))
    image.save(buffer, "png", optimize=True, bits=4, transparency=shades)
    return buffer.getvalue()


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
            notes = [(f"{percent(table.density)} of the pairs", QUIET)]
            axes = sheet.panel(place, title, notes)
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
    notes = []
    shares = pairs.sum(axis=(1, 2)) / grid.seq_len**2
    words = (f"only {names[0]}", f"only {names[1]}", "both")
    for word, share, colour in zip(words, shares, (ONLY_A, ONLY_B, BOTH), strict=True):
        notes += [("■", colour), (f"{word} {percent(share)}", QUIET)]
    with style.context("default"):
        sheet = Sheet.of(1, width_px, caption)
        axes = sheet.panel(0, " and ".join(names), notes)
        draw_cells(axes, 1 - missing, grid, order, named=True)
        sheet.write(Path(path), kind)


def draw_cells(
    axes: "Axes", colours: NDArray[np.float64], grid: TokenGrid, order: TokenOrder, *, named: bool
) -> None:
    """Draw cells with lines where frames begin, and ticks that number them."""
    n = grid.seq_len
    axes.imshow(colours, extent=(0, n, n, 0), interpolation="antialiased", aspect="auto")
    word, starts, numbers = _divisions(grid, order)
    step = max(1, -(-len(starts) // 8))
    apart = axes.get_window_extent().width / n * (starts[1] - starts[0]) if len(starts) > 1 else 0
    for start in starts if apart >= LINES_APART else starts[::step]:
        axes.axvline(start, color=INK, alpha=0.16, linewidth=0.35)
        axes.axhline(start, color=INK, alpha=0.16, linewidth=0.35)
    if grid.text_tokens:
        border = grid.video_start or grid.text_start
        axes.axvline(border, color=TEXT_BORDER, linewidth=0.6)
        axes.axhline(border, color=TEXT_BORDER, linewidth=0.6)
    width = (starts[1] - starts[0]) if len(starts) > 1 and numbers[1] == 1 else 0
    at, labels = starts[::step] + width / 2, [str(number) for number in numbers[::step]]
    axes.set_xticks(at, labels)
    axes.set_yticks(at if named else [], labels if named else [])
    axes.tick_params(length=0, pad=2, labelsize=6, labelcolor=QUIET)
    axes.set_xlabel(f"key {word}", size=6.5, color=QUIET, labelpad=2)
    if named:
        axes.set_ylabel(f"query {word.split(',')[0]}", size=6.5, color=QUIET, labelpad=2)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color=INK)


def picture_kind(path: str | Path) -> str:
    """Return the kind of picture that a file name asks for: `png` or `svg`.

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


def _divisions(
    grid: TokenGrid, order: TokenOrder
) -> tuple[str, NDArray[np.int64], NDArray[np.int64]]:
    """What the sequence is divided into: its name, the first position of each, its number."""
    if order.kind == "space_major":
        rows = np.arange(grid.height)
        return "row, place by place", grid.video_start + rows * grid.width * grid.frames, rows
    step = order.tile_thw[0] if order.kind == "tiles" else 1
    word = "frame"
    if order.kind == "tiles":
        word += f", tiles of {'×'.join(map(str, order.tile_thw))}"
    frames = np.arange(0, grid.frames, step)
    return word, grid.video_start + frames * grid.frame_tokens, frames


def _ink(shares: Image) -> Image:
    """Darkness of cells: a quarter of the pairs gets half of it, so that thin bands are seen."""
    ink: Image = np.sqrt(shares)
    return ink


def _text(glyphs: str, chosen: NDArray[np.int64]) -> str:
    return "\n".join("".join(glyphs[place] for place in line) for line in chosen)
