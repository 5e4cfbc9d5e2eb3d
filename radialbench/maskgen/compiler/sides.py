"""The queries or the keys of a sequence, cut into pieces: whole blocks, or parts of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from radialbench.maskgen.compiler.blocks import distinct
from radialbench.maskgen.order import Coordinates

Int64 = NDArray[np.int64]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


MIN_GROUP = 8
"""Pieces of a group on average, at least."""

GROUP = 16
"""Pieces of a group where the order has no rows."""

MAX_SIDE = 8192
"""Most tokens of a block's side: the bits of one such block fill 8 MiB."""


@dataclass(frozen=True, eq=False)
class Side:
    """Pieces of a sequence; positions outside them take no part.

    Attributes:
        at: Coordinates of the tokens.
        size: Most tokens of a piece.
        start: [pieces] first position of each.
        stop: [pieces] position after its last.
    """

    at: Coordinates
    size: int
    start: Int64
    stop: Int64

    def __len__(self) -> int:
        return len(self.start)

    def take(self, chosen: Int64) -> "Side":
        """Return the side with some of the pieces."""
        return Side(self.at, self.size, self.start[chosen], self.stop[chosen])

    def strips(self, size: int) -> "Side":
        """Return the pieces cut into strips of a few tokens, as many of each piece.

        Behind the end of a piece they repeat its last token.
        """
        ends = self.stop[:, None]
        start = np.minimum(self.start[:, None] + np.arange(0, self.size, size), ends - 1)
        return Side(self.at, size, start.ravel(), np.minimum(start + size, ends).ravel())

    @cached_property
    def lengths(self) -> Int64:
        """[pieces] tokens of each piece."""
        return self.stop - self.start

    @cached_property
    def positions(self) -> Int64:
        """[pieces, size] position of each token; behind its end a piece repeats its last one."""
        places = self.start[:, None] + np.arange(self.size)
        return np.minimum(places, self.stop[:, None] - 1)

    def rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """[pieces, size] values by position of each piece's tokens, as `positions` has them."""
        spare = max(0, int(self.start.max()) + self.size - len(values))
        windows = sliding_window_view(np.append(values, values[:1].repeat(spare)), self.size)
        rows = windows[self.start]
        short = np.flatnonzero(self.lengths < self.size)
        rows[short] = values[self.take(short).positions]
        return rows

    @cached_property
    def cut(self) -> Int64:
        """[pieces] number that is equal for pieces of one length."""
        return self.lengths

    @cached_property
    def groups(self) -> "Groups":
        """Runs of neighbouring pieces, such as those that begin in one frame."""
        first = np.unique(np.searchsorted(self.start, _slabs(self.at)))
        first = first[first < len(self)]
        # Enough pieces in a group for its bounds to be worth it.
        every = max(1, MIN_GROUP * len(first) // len(self))
        pointer = np.concatenate([[0], first[first > 0][every - 1 :: every], [len(self)]])
        start, stop = self.start[pointer[:-1]], self.stop[pointer[1:] - 1]
        return Groups(self.at, int((stop - start).max()), start, stop, self, pointer)

    def extremes(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """[pieces] least and greatest of the values by position; infinite where one is nan."""
        edges = np.stack([self.start, self.stop], axis=1).ravel()
        # An edge may lie behind the last value.
        values = np.append(values, values[-1:])
        low, high = np.minimum.reduceat(values, edges)[::2], np.maximum.reduceat(values, edges)[::2]
        if values.dtype.kind == "f":
            unknown = np.isnan(low)
            low, high = np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high)
        return low, high


@dataclass(frozen=True, eq=False)
class Groups(Side):
    """Groups of pieces as pieces; positions between the pieces of a group count as the group's.

    Attributes:
        pieces: The pieces.
        pointer: [groups + 1] group g has the pieces `pointer[g]` to `pointer[g + 1]`.
    """

    pieces: Side
    pointer: Int64

    @cached_property
    def count(self) -> Int64:
        """[groups] pieces of each."""
        return np.diff(self.pointer)

    @cached_property
    def of(self) -> Int64:
        """[pieces] group of each piece."""
        return np.repeat(np.arange(len(self)), self.count)

    @cached_property
    def cut(self) -> Int64:
        """[groups] number that is equal for groups that are cut alike."""
        rows = np.full((len(self), int(self.count.max()), 2), -1, np.int64)
        place = np.arange(len(self.pieces)) - self.pointer[self.of]
        rows[self.of, place, 0] = self.pieces.start - self.start[self.of]
        rows[self.of, place, 1] = self.pieces.lengths
        return distinct(rows.reshape(len(self), -1).view(np.uint64))[1]


def _slabs(at: Coordinates) -> Int64:
    """Return positions where the order of tokens begins anew: frames, rows of tiles, or rows."""
    grid, order = at.grid, at.order
    if order.kind == "hilbert":
        return np.arange(0, grid.seq_len, GROUP)
    found = [np.zeros(1, np.int64)]
    for segment, start in zip(grid.layout, grid.starts, strict=True):
        lengths = np.full(segment.frames, segment.frame_tokens)
        if segment.sides and order.kind == "tiles":
            frames, rows, _ = (np.diff(edges) for edges in order.tile_edges(segment))
            lengths = np.multiply.outer(frames, rows).ravel() * segment.width
        elif segment.sides and order.kind == "space_major":
            lengths = np.full(segment.height, segment.width * segment.frames)
        found.append(start + np.cumsum(lengths) - lengths)
    return np.unique(np.concatenate(found))


def whole_blocks(at: Coordinates, block: int, first: int, stop: int) -> Side:
    """Cut the positions from `first` to before `stop` into blocks; the last may be short."""
    start = np.arange(first, stop, block)
    return Side(at, block, start, np.minimum(start + block, stop))


def video_parts(at: Coordinates, block: int, *, by_frame: bool, drop_overhang: bool) -> Side:
    """Cut the video into the parts of blocks that lie in it, or in each of its frames.

    Args:
        at: Coordinates of the tokens.
        block: Tokens of a block; the blocks start at the sequence's first token.
        by_frame: Whether a part lies in one frame; needs the raster order.
        drop_overhang: Drop the tokens of a frame beyond its first ⌈frame_tokens / block⌉ blocks.
    """
    grid = at.grid
    length = grid.frame_tokens if by_frame else grid.video_tokens
    starts = grid.video_start + np.arange(0, grid.video_tokens, length)
    first = starts // block
    count = (starts + length - 1) // block - first + 1
    if drop_overhang:
        count = np.minimum(count, -(-length // block))
    owner = np.repeat(np.arange(len(starts)), count)
    number = np.arange(len(owner)) - (np.cumsum(count) - count)[owner] + first[owner]
    start = np.maximum(number * block, starts[owner])
    stop = np.minimum((number + 1) * block, starts[owner] + length)
    return Side(at, min(block, grid.seq_len), start, stop)
