"""Token orders: permutations of a video's tokens that suit masks, and the tokens' coordinates."""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.maskgen.grid import TokenGrid

Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]

ORDERS = ("raster", "space_major", "tiles")


@dataclass(frozen=True, slots=True)
class TokenOrder:
    """A permutation of the video tokens; text is never moved.

    Attributes:
        kind: `raster` (frame by frame, row by row), `space_major` (all frames of a place side
            by side, for Sparse VideoGen's temporal heads) or `tiles` (boxes of tokens, for sliding
            tile attention; tiles and the tokens in them are in raster order, those at a ragged
            edge are smaller).
        tile_thw: Frames, rows and columns of a tile; (0, 0, 0) unless `kind` is `tiles`.
    """

    kind: str = "raster"
    tile_thw: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        if self.kind not in ORDERS:
            raise SpecError(f"order must be one of {', '.join(ORDERS)}, got {self.kind!r}")
        if (self.kind == "tiles") != all(side >= 1 for side in self.tile_thw):
            raise SpecError(f"a tile has three sides of at least 1 token, got {self.tile_thw}")

    def __str__(self) -> str:
        sides = ",".join(map(str, self.tile_thw))
        return f"tiles:{sides}" if self.kind == "tiles" else self.kind

    @classmethod
    def parse(cls, text: str) -> "TokenOrder":
        """Read the text of an order: `raster`, `space_major` or `tiles:6,8,8`."""
        tiles = re.fullmatch(r"tiles:(\d{1,9}),(\d{1,9}),(\d{1,9})", text)
        if tiles:
            t, h, w = map(int, tiles.groups())
            return cls("tiles", (t, h, w))
        return cls(text)

    def source_index(self, grid: TokenGrid) -> Int64:
        """Return the raster token of each position: `new[p] = old[source_index[p]]`.

        Returns:
            [seq_len] a permutation of 0 … seq_len - 1. Read-only: it is shared.
        """
        return _source_index(self, grid)


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Coordinates of the tokens of a sequence, position by position.

    Text tokens have t = y = x = s = 0.

    Attributes:
        grid: Token layout.
        order: Token order of the positions.
    """

    grid: TokenGrid
    order: TokenOrder

    @cached_property
    def i(self) -> Int64:
        """[seq_len] position in the raster sequence."""
        return self.order.source_index(self.grid)

    @cached_property
    def p(self) -> Int64:
        """[seq_len] position in the order."""
        return np.arange(self.grid.seq_len, dtype=np.int64)

    @cached_property
    def text(self) -> Bool:
        """[seq_len] whether the token is text or its padding."""
        place = self.p - self.grid.text_start
        return (place >= 0) & (place < self.grid.text_tokens)

    @cached_property
    def pad(self) -> Bool:
        """[seq_len] whether the token is padding of the text."""
        return self.text & (self.p >= self.grid.text_start + self.grid.real_text)

    @cached_property
    def t(self) -> Int64:
        """[seq_len] frame."""
        return self._video(self.grid.frame_tokens, divide=True)

    @cached_property
    def s(self) -> Int64:
        """[seq_len] place in the frame."""
        return self._video(self.grid.frame_tokens, divide=False)

    @cached_property
    def y(self) -> Int64:
        """[seq_len] row of the frame."""
        return self.s // self.grid.width

    @cached_property
    def x(self) -> Int64:
        """[seq_len] column of the frame."""
        return self.s % self.grid.width

    def axis(self, name: str) -> Int64:
        """[seq_len] a coordinate by its letter: t, y, x, s, i or p."""
        coordinate: Int64 = getattr(self, name)
        return coordinate

    def _video(self, size: int, *, divide: bool) -> Int64:
        place = self.i - self.grid.video_start
        values = place // size if divide else place % size
        if self.grid.text_tokens:
            values[self.text] = 0
        return values


@lru_cache(maxsize=4)
def _source_index(order: TokenOrder, grid: TokenGrid) -> Int64:
    index = np.arange(grid.seq_len, dtype=np.int64)
    start, stop = grid.video_start, grid.video_start + grid.video_tokens
    video = index[start:stop].reshape(grid.frames, grid.height, grid.width)
    if order.kind == "space_major":
        index[start:stop] = video.transpose(1, 2, 0).ravel()
    elif order.kind == "tiles":
        index[start:stop] = np.concatenate([box.ravel() for box in _boxes(video, order.tile_thw)])
    index.setflags(write=False)
    return index


def _boxes(video: Int64, tile_thw: tuple[int, int, int]) -> list[Int64]:
    tile_t, tile_h, tile_w = tile_thw
    frames, height, width = video.shape
    return [
        video[t : t + tile_t, y : y + tile_h, x : x + tile_w]
        for t in range(0, frames, tile_t)
        for y in range(0, height, tile_h)
        for x in range(0, width, tile_w)
    ]
