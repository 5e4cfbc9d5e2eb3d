"""Token orders: in which sequence a mask wants the tokens of a video."""

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.maskgen.grid import TokenGrid

KINDS = ("raster", "space_major", "tiles")


@dataclass(frozen=True, slots=True)
class TokenOrder:
    """A permutation of the video tokens; text is never moved.

    Attributes:
        kind: `raster` (frame by frame, row by row), `space_major` (all frames of a place side
            by side, as Sparse VideoGen's temporal heads want them) or `tiles` (boxes of tokens,
            as sliding tile attention wants them; tiles and the tokens in them in raster order,
            tiles at a ragged edge are short).
        tile_thw: Frames, rows and columns of a tile; (0, 0, 0) unless `kind` is `tiles`.
    """

    kind: str = "raster"
    tile_thw: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SpecError(f"order must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if (self.kind == "tiles") != all(side >= 1 for side in self.tile_thw):
            raise SpecError(f"a tile has three sides of at least 1 token, got {self.tile_thw}")

    def __str__(self) -> str:
        sides = ",".join(map(str, self.tile_thw))
        return f"tiles:{sides}" if self.kind == "tiles" else self.kind

    @classmethod
    def parse(cls, text: str) -> "TokenOrder":
        """Read what `str` wrote: `raster`, `space_major` or `tiles:6,8,8`."""
        tiles = re.fullmatch(r"tiles:(\d{1,9}),(\d{1,9}),(\d{1,9})", text)
        if tiles:
            t, h, w = map(int, tiles.groups())
            return cls("tiles", (t, h, w))
        return cls(text)

    def source_index(self, grid: TokenGrid) -> NDArray[np.int64]:
        """Tell which raster token stands at each position: `new[p] = old[source_index[p]]`.

        Returns:
            [seq_len] a permutation of 0 … seq_len - 1. Read-only: it is shared.
        """
        return _source_index(self, grid)


@lru_cache(maxsize=4)
def _source_index(order: TokenOrder, grid: TokenGrid) -> NDArray[np.int64]:
    index = np.arange(grid.seq_len, dtype=np.int64)
    start, stop = grid.video_start, grid.video_start + grid.video_tokens
    video = index[start:stop].reshape(grid.frames, grid.height, grid.width)
    if order.kind == "space_major":
        index[start:stop] = video.transpose(1, 2, 0).ravel()
    elif order.kind == "tiles":
        index[start:stop] = np.concatenate([box.ravel() for box in _boxes(video, order.tile_thw)])
    index.setflags(write=False)
    return index


def _boxes(video: NDArray[np.int64], tile_thw: tuple[int, int, int]) -> list[NDArray[np.int64]]:
    tile_t, tile_h, tile_w = tile_thw
    frames, height, width = video.shape
    return [
        video[t : t + tile_t, y : y + tile_h, x : x + tile_w]
        for t in range(0, frames, tile_t)
        for y in range(0, height, tile_h)
        for x in range(0, width, tile_w)
    ]
