"""Sheets of square panels, drawn with matplotlib: what the picture files share in style."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import ReportError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.order import TokenOrder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200
PER_ROW = 6
LINES_APART = 14
"""Least pixels between lines where frames begin."""

INK, QUIET, TEXT_BORDER = "#1b2733", "#66727e", "#d9660f"


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

    def panel(self, place: int, title: str, told: Sequence[tuple[str, str]]) -> "Axes":
        """Add a panel with a title, and words below it in their colours."""
        width, height = self.figure.get_size_inches()
        row, column = divmod(place, self.columns)
        x = self.left + column * (self.panel_in + self.gap)
        top = height - row * (self.top + self.panel_in + self.below)
        y = top - self.top - self.panel_in
        self.words(x, top - 0.19, [(title, INK)], size=9, weight="bold")
        self.words(x, top - 0.35, told, size=7.5)
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
