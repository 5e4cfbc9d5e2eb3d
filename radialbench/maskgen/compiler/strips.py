"""A sequence cut into strips (frames, tiles, text) and cells (the part of a strip in a block)."""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.language.evaluate import Interval
from radialbench.maskgen.language.expressions import SEGMENTS
from radialbench.maskgen.order import Coordinates

Int64 = NDArray[np.int64]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

GROUP = 16
"""Cells that are bounded together before they are bounded one by one."""


@dataclass(frozen=True, eq=False)
class Side:
    """The queries or the keys of a sequence, cut into strips and cells.

    Every strip is cut at block boundaries into cells. Two strips of one shape have the same
    coordinates up to a shift, and if they also start at the same place of a block, the same cells.

    Attributes:
        at: Coordinates of the tokens.
        block: Tokens of a block.
        start: [strips] first position.
        shape: [strips] number of the shape.
        text: [strips] whether the strip is text or its padding.
        pad: [strips] whether it is padding.
        cell_ptr: [strips + 1] strip s owns cells `cell_ptr[s]` to `cell_ptr[s + 1]`.
        cell_start: [cells] first position.
        cell_stop: [cells] position after the last.
        cell_block: [cells] block of the cell.
        linear: Axes that rise by one from token to token inside every strip.
    """

    at: Coordinates
    block: int
    start: Int64
    shape: Int64
    text: Bool
    pad: Bool
    cell_ptr: Int64
    cell_start: Int64
    cell_stop: Int64
    cell_block: Int64
    linear: frozenset[str]

    @cached_property
    def cells(self) -> Int64:
        """[strips] number of cells."""
        return np.diff(self.cell_ptr)

    @cached_property
    def phase(self) -> Int64:
        """[strips] place of the first token in its block."""
        return self.start % self.block

    @cached_property
    def cell_low(self) -> Int64:
        """[cells] place of the first token in its block."""
        return self.cell_start - self.cell_block * self.block

    @cached_property
    def cell_high(self) -> Int64:
        """[cells] place after the last token in its block."""
        return self.cell_stop - self.cell_block * self.block

    def cell_boxes(self, axis: str) -> tuple[Float, Float]:
        """[cells] least and greatest coordinate of each cell."""
        values = self.at.axis(axis)
        if axis in self.linear:
            return (
                values[self.cell_start].astype(np.float64),
                values[self.cell_stop - 1].astype(np.float64),
            )
        # reduceat runs to the next start: cells dropped by `cut` need their own end.
        edges = np.stack([self.cell_start, self.cell_stop], axis=1).ravel()
        edges = edges[:-1] if edges[-1] == len(values) else edges
        low = np.minimum.reduceat(values, edges)[::2].astype(np.float64)
        return low, np.maximum.reduceat(values, edges)[::2].astype(np.float64)


def cut(
    at: Coordinates, block: int, *, frames: bool | None = None, drop_overhang: bool = False
) -> Side:
    """Cut a sequence into strips and cells.

    Args:
        at: Coordinates of the tokens.
        block: Tokens of a block.
        frames: Whether each frame (or tile) is a strip; otherwise the whole video is one. By
            default frames of at least half a block are.
        drop_overhang: Drop the tokens of a strip beyond its first ⌈length / block⌉ blocks.
    """
    grid = at.grid
    lengths, shapes, by_frame = _video_strips(at, block, frames)
    starts = grid.video_start + np.cumsum(lengths) - lengths
    kinds = np.zeros(len(starts), np.int64)
    for kind, begin, size in (
        (1, grid.text_start, grid.real_text),
        (2, grid.text_start + grid.real_text, grid.text_tokens - grid.real_text),
    ):
        if size:
            starts = np.append(starts, begin)
            lengths = np.append(lengths, size)
            shapes = np.append(shapes, -kind)
            kinds = np.append(kinds, kind)
    order = np.argsort(starts)
    starts, lengths, shapes, kinds = starts[order], lengths[order], shapes[order], kinds[order]
    first = starts // block
    count = (starts + lengths - 1) // block - first + 1
    if drop_overhang:
        count = np.minimum(count, -(-lengths // block))
    pointer = np.concatenate([[0], np.cumsum(count)])
    strip = np.repeat(np.arange(len(starts)), count)
    cell_block = np.arange(pointer[-1]) - pointer[strip] + first[strip]
    linear = {"p"}
    if at.order.kind == "raster":
        linear |= {"i", "s"} if by_frame else {"i"}
    return Side(
        at=at,
        block=block,
        start=starts,
        shape=shapes,
        text=kinds > 0,
        pad=kinds == 2,
        cell_ptr=pointer,
        cell_start=np.maximum(cell_block * block, starts[strip]),
        cell_stop=np.minimum((cell_block + 1) * block, (starts + lengths)[strip]),
        cell_block=cell_block,
        linear=frozenset(linear),
    )


def _video_strips(at: Coordinates, block: int, frames: bool | None) -> tuple[Int64, Int64, bool]:
    """Return the lengths and shapes of the video's strips, and whether they are frames."""
    grid = at.grid
    if at.order.kind == "tiles" and frames is not True:
        t, h, w = np.meshgrid(*map(np.diff, at.order.tile_edges(grid)), indexing="ij")
        lengths = (t * h * w).ravel().astype(np.int64)
        if frames is None and 2 * lengths.max() >= block:
            shape = ((t * (grid.height + 1) + h) * (grid.width + 1) + w).ravel()
            return lengths, np.unique(shape, return_inverse=True)[1].astype(np.int64), False
    large = frames or 2 * grid.frame_tokens >= block
    if at.order.kind == "raster" and frames is not False and large:
        lengths = np.full(grid.frames, grid.frame_tokens, np.int64)
        return lengths, np.zeros(grid.frames, np.int64), True
    return np.array([grid.video_tokens]), np.zeros(1, np.int64), grid.frames == 1


class Boxes:
    """Coordinate boxes of the cells, cell groups and strips of two sides."""

    def __init__(self, names: Iterable[str], q: Side, k: Side) -> None:
        self.names = sorted(names)
        axes = {name[1:] for name in self.names if name not in SEGMENTS}
        self.q = {axis: q.cell_boxes(axis) for axis in axes}
        self.k = {axis: k.cell_boxes(axis) for axis in axes}
        self.sides = (q, k)

    def only(self, names: Iterable[str]) -> "Boxes":
        """Return the same boxes for fewer names."""
        fewer = copy(self)
        fewer.names = sorted(names)
        return fewer

    def strips(self) -> "PairBoxes":
        """Return the boxes of whole strips."""
        return self.grouped(self.sides[0].cell_ptr[:-1], self.sides[1].cell_ptr[:-1])

    def cells(self) -> "PairBoxes":
        """Return the boxes of cells."""
        return PairBoxes(self.names, self.q, self.k, {})

    def grouped(self, q_starts: Int64, k_starts: Int64) -> "PairBoxes":
        """Return the boxes of runs of cells with these first cells."""
        flags: dict[str, Bool] = {}
        for word, side in zip("qk", self.sides, strict=True):
            starts = q_starts if word == "q" else k_starts
            strip = np.searchsorted(side.cell_ptr, starts, side="right") - 1
            flags[f"{word}text"], flags[f"{word}pad"] = side.text[strip], side.pad[strip]
        return PairBoxes(self.names, _reduced(self.q, q_starts), _reduced(self.k, k_starts), flags)


@dataclass(frozen=True, eq=False)
class PairBoxes:
    """Boxes on both sides; `on` returns those of pairs, for three-valued evaluation."""

    names: list[str]
    q: Mapping[str, tuple[Float, Float]]
    k: Mapping[str, tuple[Float, Float]]
    flags: Mapping[str, Bool]

    def on(self, q: Int64, k: Int64) -> dict[str, Interval]:
        """Return the boxes of the pairs (q[j], k[j]); index arrays may broadcast."""
        boxes: dict[str, Interval] = {}
        for name in self.names:
            if name in self.flags:
                value = self.flags[name][q if name[0] == "q" else k].astype(np.float64)
                boxes[name] = (value, value)
                continue
            axis = name[1:]
            if name[0] == "q":
                boxes[name] = (self.q[axis][0][q], self.q[axis][1][q])
            elif name[0] == "k":
                boxes[name] = (self.k[axis][0][k], self.k[axis][1][k])
            else:
                boxes[name] = (
                    self.q[axis][0][q] - self.k[axis][1][k],
                    self.q[axis][1][q] - self.k[axis][0][k],
                )
        return boxes


def _reduced(
    boxes: Mapping[str, tuple[Float, Float]], starts: Int64
) -> dict[str, tuple[Float, Float]]:
    return {
        axis: (np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts))
        for axis, (low, high) in boxes.items()
    }
