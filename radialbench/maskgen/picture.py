"""Pictures of masks, exact to the pair: as text for a terminal, as PNG and SVG files."""

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
from radialbench.writing import replacement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Image = NDArray[np.float64]
Int64 = NDArray[np.int64]

GLYPHS = " ░▒▓█▀▄"
ASCII_GLYPHS = " .:*#"
_LEVELS = np.array([(0, 0), (0.25, 0.25), (0.5, 0.5), (0.75, 0.75), (1, 1), (1, 0), (0, 1)])
"""Upper and lower density of each glyph."""

SUFFIXES = (".png", ".svg")
SHARPEST = 1000
"""Most cells along a side of a mask in a file; more would be smaller than a pixel of a screen."""

DPI = 200
PER_ROW = 6
LINE_GAP = 14
"""Least pixels between the lines at the first tokens of frames."""

INK, QUIET, TEXT_BORDER = "#1b2733", "#66727e", "#d9660f"
SHADE = (31, 95, 168)

MOST_MASKS = 96
SHADES = ("#ffffff", "#c5daee", "#5b9bd0", "#1f5fa8", "#0a2350")
ONLY_A, ONLY_B, BOTH = "#d9660f", "#1a74c4", "#b9bfc6"
"""Distinct for any colour vision, and by their brightness in grey."""


@dataclass(frozen=True)
class Sheet:
    """A white figure with square panels side by side, in rows of at most `PER_ROW`.

    Attributes:
        figure: The figure of matplotlib.
        columns: Panels in a row.
        panel_in: Side of a panel; all lengths are inches.
        left: Space for the ticks of the first panel.
        gap: Space between panels.
        top: Space for titles.
        below: Space for ticks.
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
        """Return an empty sheet for a number of panels."""
        from matplotlib.figure import Figure

        rows = -(-panels // PER_ROW)
        columns = -(-panels // rows)
        width = width_px / DPI
        panel = (width - cls.left - 0.1 - cls.gap * (columns - 1)) / columns
        height = rows * (cls.top + panel + cls.below) + (0.17 if caption else 0)
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        sheet = cls(figure, columns, panel)
        sheet.text(cls.left, 0.07, caption, size=6.5, color=QUIET)
        return sheet

    @property
    def panel_px(self) -> int:
        """Pixels along the side of a panel."""
        return int(self.panel_in * DPI)

    def text(self, x: float, y: float, text: str, **style: Any) -> Any:
        """Draw text literally, not as mathematics."""
        width, height = self.figure.get_size_inches()
        return self.figure.text(x / width, y / height, text, parse_math=False, **style)

    def words(self, x: float, y: float, words: Sequence[tuple[str, str]], **style: Any) -> None:
        """Draw words in their colours from left to right, small enough for a panel."""
        written = [self.text(x, y, word, color=colour, **style) for word, colour in words]
        gaps = [0.03 if word == "■" else 0.12 for word, _ in words]
        widths = [text.get_window_extent().width / DPI for text in written]
        scale = min(1, self.panel_in / max(sum(widths) + sum(gaps[:-1]), 0.1))
        for text, width, gap in zip(written, widths, gaps, strict=True):
            text.set(x=x / self.figure.get_size_inches()[0], size=style["size"] * scale)
            x += (width + gap) * scale

    def panel(self, place: int, title: str, notes: Sequence[tuple[str, str]]) -> "Axes":
        """Add a panel with a title, and notes below it in their colours."""
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
        """Write the file, whole or not at all.

        Raises:
            ReportError: The file cannot be written.
        """
        from matplotlib import rc_context

        # The file must not change from one run to the next.
        stamps = {"Software": None} if kind == "png" else {"Date": None}
        try:
            with rc_context({"svg.hashsalt": "radialbench"}), replacement(path) as file:
                self.figure.savefig(file, format=kind, metadata=stamps)
        except OSError as error:
            raise ReportError(f"cannot write {path}: {error.strerror or error}") from error


def density_image(table: BlockTable, width: int, height: int) -> Image:
    """[min(height, q_len), min(width, k_len)] exact share of attending pairs in each cell."""
    width, height = min(width, table.k_len), min(height, table.q_len)
    sides = np.diff(edges(table.q_len, height)), np.diff(edges(table.k_len, width))
    shares: Image = cell_pairs(table, width, height) / np.outer(*sides)
    return shares


def picture_side(grid: TokenGrid, most: int) -> int:
    """Choose the cells along a side of a picture, so that frames are equally wide if possible."""
    aligned = most // grid.frames * grid.frames
    return min(grid.q_len, aligned if 3 * aligned > 2 * most else most)


def terminal_picture(image: Image, *, plain: bool = False) -> str:
    """Draw densities as text: blank without any pair, darker with more.

    Args:
        image: [height, width] densities; two rows make a line of text.
        plain: Use ASCII only.
    """
    rows = np.pad(image, ((0, len(image) % 2), (0, 0)), mode="edge")
    upper, lower = rows[::2, :, None], rows[1::2, :, None]
    levels, glyphs = (_LEVELS[:5], ASCII_GLYPHS) if plain else (_LEVELS, GLYPHS)
    distance = (upper - levels[:, 0]) ** 2 + (lower - levels[:, 1]) ** 2
    distance[:, :, 0] = np.where(np.maximum(upper, lower)[:, :, 0] > 0, np.inf, -1)
    return _text(glyphs, distance.argmin(axis=2))


def terminal_difference(pairs: Int64) -> str:
    """Draw the pairs of two masks as text.

    A cell is A or B if at least 3/4 of the pairs in which the masks differ there are that mask's,
    else X; small letters where most pairs are in both; `·` where the masks agree; blank where
    neither keeps a pair.

    Args:
        pairs: [3, height, width] pairs only in A, only in B, in both; two rows make a line.
    """
    a, b, both = np.add.reduceat(pairs, np.arange(0, pairs.shape[1], 2), axis=1)
    differing = a + b
    letter = np.where(4 * a >= 3 * differing, 2, np.where(4 * b >= 3 * differing, 4, 6))
    letter += differing > both
    return _text(" ·aAbBxX", np.where(differing > 0, letter, both > 0))


def shaded_png(table: BlockTable, cells: int) -> bytes:
    """Draw a mask as PNG: one colour, more opaque where more pairs attend, without a background."""
    from PIL import Image as Picture

    side = picture_side(table.grid, cells)
    levels = np.round(15 * _ink(density_image(table, side, side))).astype(np.uint8)
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
        path: File to write, with its format as suffix.
        titled_tables: Titles and masks, from left to right; the density is under the title.
        caption: A line below the pictures.
        width_px: Pixels across.

    Raises:
        ReportError: There is no mask or more than 96, the suffix is unknown, or the file cannot be
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
    """Draw the pairs of two masks, and write a PNG or SVG file.

    Args:
        path: File to write, with its format as suffix.
        pairs: [3, side, side] pairs only in A, only in B, and in both.
        names: Names of A and B.
        grid: Token layout.
        order: Token order of the cells.
        caption: A line below the picture.
        width_px: Pixels across.

    Raises:
        ReportError: The suffix is unknown, or the file cannot be written.
    """
    kind = picture_kind(path)
    from matplotlib import style
    from matplotlib.colors import to_rgb

    sides = (np.diff(edges(tokens, pairs.shape[1])) for tokens in (grid.q_len, grid.seq_len))
    ink = _ink(pairs / np.outer(*sides))
    paper = 1 - np.array([to_rgb(colour) for colour in (ONLY_A, ONLY_B, BOTH)])
    missing = np.einsum("cij,ck->ijk", ink, paper) / np.maximum(ink.sum(axis=0), 1)[:, :, None]
    notes = []
    shares = pairs.sum(axis=(1, 2)) / (grid.q_len * grid.seq_len)
    labels = (f"only {names[0]}", f"only {names[1]}", "both")
    for label, share, colour in zip(labels, shares, (ONLY_A, ONLY_B, BOTH), strict=True):
        notes += [("■", colour), (f"{label} {percent(share)}", QUIET)]
    with style.context("default"):
        sheet = Sheet.of(1, width_px, caption)
        axes = sheet.panel(0, " and ".join(names), notes)
        draw_cells(axes, 1 - missing, grid, order, named=True)
        sheet.write(Path(path), kind)


def draw_cells(
    axes: "Axes", colours: NDArray[np.float64], grid: TokenGrid, order: TokenOrder, *, named: bool
) -> None:
    """Draw cells with a line at the first token of each frame, and ticks that number frames."""
    n, (first, stop) = grid.seq_len, order.query_range(grid)
    axes.imshow(colours, extent=(0, n, stop, first), interpolation="antialiased", aspect="auto")
    word, starts, numbers = _divisions(grid, order)
    step = max(1, -(-len(starts) // 8))
    gap = axes.get_window_extent().width / n * (starts[1] - starts[0]) if len(starts) > 1 else 0
    for start in starts if gap >= LINE_GAP else starts[::step]:
        axes.axvline(start, color=INK, alpha=0.16, linewidth=0.35)
        axes.axhline(start, color=INK, alpha=0.16, linewidth=0.35)
    for border in grid.starts[1:]:
        axes.axvline(border, color=TEXT_BORDER, linewidth=0.6)
        axes.axhline(border, color=TEXT_BORDER, linewidth=0.6)
    width = (starts[1] - starts[0]) if len(starts) > 1 and numbers[1] == 1 else 0
    at, labels = starts[::step] + width / 2, [str(number) for number in numbers[::step]]
    axes.set_xticks(at, labels)
    if stop - first < n:
        # Fewer frames have room for more of their numbers.
        inside = (starts >= first) & (starts < stop)
        starts, numbers = starts[inside], numbers[inside]
        step = max(1, -(-len(starts) // 8))
        at, labels = starts[::step] + width / 2, [str(number) for number in numbers[::step]]
    axes.set_yticks(at if named else [], labels if named else [])
    axes.set_ylim(stop, first)
    axes.tick_params(length=0, pad=2, labelsize=6, labelcolor=QUIET)
    axes.set_xlabel(f"key {word}", size=6.5, color=QUIET, labelpad=2)
    if named:
        axes.set_ylabel(f"query {word.split(',')[0]}", size=6.5, color=QUIET, labelpad=2)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color=INK)


def picture_kind(path: str | Path) -> str:
    """Return the kind of picture of a file name: `png` or `svg`.

    Raises:
        ReportError: The suffix is another.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ReportError(f"a picture is a {' or '.join(SUFFIXES)} file, got {path}")
    return suffix[1:]


def percent(share: float) -> str:
    """Format a share such as 12.3%; only all pairs are 100%, and only no pair is 0%."""
    if 0.999 < share < 1:
        return "over 99.9%"
    if 0 < share < 1e-6:
        return "under 0.0001%"
    return f"{100 * share:.3g}%"


def _divisions(
    grid: TokenGrid, order: TokenOrder
) -> tuple[str, NDArray[np.int64], NDArray[np.int64]]:
    """Return the divisions of a sequence: their name, first positions and numbers."""
    if order.kind == "space_major":
        rows = np.arange(grid.height)
        return "row, place by place", grid.video_start + rows * grid.width * grid.frames, rows
    if order.kind == "hilbert":
        # No frame is whole: a part of the curve is as long as one.
        parts = np.arange(grid.frames)
        return "part of the curve", grid.video_start + parts * grid.frame_tokens, parts
    word, frames = "frame", np.arange(grid.frames)
    if order.kind == "tiles":
        word += f", tiles of {'×'.join(map(str, order.tile_thw))}"
        frames = order.tile_edges(grid)[0][:-1]
    return word, grid.video_start + frames * grid.frame_tokens, frames


def _ink(shares: Image) -> Image:
    """Return the darkness of cells: half of it for a quarter of the pairs, to show thin bands."""
    ink: Image = np.sqrt(shares)
    return ink


def _text(glyphs: str, chosen: NDArray[np.int64]) -> str:
    return "\n".join("".join(glyphs[place] for place in line) for line in chosen)
