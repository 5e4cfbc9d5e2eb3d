"""The queries or the keys of a sequence, cut into pieces: whole blocks, or parts of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.order import Coordinates

Int64 = NDArray[np.int64]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


GROUP = 16
"""Pieces that are bounded together before they are bounded one by one."""

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

    @cached_property
    def lengths(self) -> Int64:
        """[pieces] tokens of each piece."""
        return self.stop - self.start

    @cached_property
    def positions(self) -> Int64:
        """[pieces, size] position of each token; behind its end a piece repeats its last one."""
        places = self.start[:, None] + np.arange(self.size)
        return np.minimum(places, self.stop[:, None] - 1)

    @cached_property
    def groups(self) -> "Side":
        """Runs of `GROUP` neighbouring pieces; the positions between them count as theirs."""
        first = np.arange(0, len(self), GROUP)
        last = np.minimum(first + GROUP, len(self)) - 1
        return Side(self.at, 0, self.start[first], self.stop[last])

    def extremes(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """[pieces] least and greatest of the values by position; infinite where one is nan."""
        edges = np.stack([self.start, self.stop], axis=1).ravel()
        edges = edges[:-1] if edges[-1] == len(values) else edges
        low, high = np.minimum.reduceat(values, edges)[::2], np.maximum.reduceat(values, edges)[::2]
        if values.dtype.kind == "f":
            unknown = np.isnan(low)
            low, high = np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high)
        return low, high


def whole_blocks(at: Coordinates, block: int) -> Side:
    """Cut a sequence into blocks; the last may be short."""
    start = np.arange(0, at.grid.seq_len, block)
    return Side(at, block, start, np.minimum(start + block, at.grid.seq_len))


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
