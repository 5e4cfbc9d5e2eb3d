"""Token orders: permutations of a video's tokens that suit masks, and the tokens' coordinates."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.maskgen.grid import Segment, TokenGrid
from radialbench.maskgen.hilbert import hilbert_curve

Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]

ORDERS = ("raster", "space_major", "tiles", "hilbert")


@dataclass(frozen=True, slots=True)
class TokenOrder:
    """A permutation of the video tokens, of each video in itself; other tokens are never moved.

    Attributes:
        kind: `raster` (frame by frame, row by row), `space_major` (all frames of a place side
            by side, for Sparse VideoGen's temporal heads), `tiles` (boxes of tokens, for sliding
            tile attention; tiles and the tokens in them are in raster order, those at a ragged
            edge are smaller) or `hilbert` (along a Hilbert curve through the video).
        tile_thw: Frames, rows and columns of a tile; (0, 0, 0) unless `kind` is `tiles`.
        shift_thw: First border of tiles along each axis, less than a tile's side; the tiles before
            it are smaller.
    """

    kind: str = "raster"
    tile_thw: tuple[int, int, int] = (0, 0, 0)
    shift_thw: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        if self.kind not in ORDERS:
            raise SpecError(f"order must be one of {', '.join(ORDERS)}, got {self.kind!r}")
        if (self.kind == "tiles") != all(side >= 1 for side in self.tile_thw):
            raise SpecError(f"a tile has three sides of at least 1 token, got {self.tile_thw}")
        sides = zip(self.shift_thw, self.tile_thw, strict=True)
        if not all(0 <= shift < max(1, side) for shift, side in sides):
            raise SpecError(
                f"tiles of {self.tile_thw} are shifted by at least 0 tokens and less than their "
                f"sides, got {self.shift_thw}"
            )

    def __str__(self) -> str:
        if self.kind != "tiles":
            return self.kind
        shift = f"+{_listed(self.shift_thw)}" if any(self.shift_thw) else ""
        return f"tiles:{_listed(self.tile_thw)}{shift}"

    @classmethod
    def parse(cls, text: str) -> "TokenOrder":
        """Read the text of an order: `raster`, `hilbert`, `tiles:6,8,8` or `tiles:2,8,8+1,4,4`."""
        sides = r"(\d{1,9}),(\d{1,9}),(\d{1,9})"
        tiles = re.fullmatch(rf"tiles:{sides}(?:\+{sides})?", text)
        if tiles:
            t, h, w, *shift = (int(side or 0) for side in tiles.groups())
            return cls("tiles", (t, h, w), (shift[0], shift[1], shift[2]))
        return cls(text)

    def tile_edges(self, grid: TokenGrid | Segment) -> tuple[Int64, Int64, Int64]:
        """Return the borders of tiles along frames, rows and columns, both ends included."""
        t, h, w = (
            np.unique([0, *range(shift, size, side), size])
            for shift, side, size in zip(
                self.shift_thw, self.tile_thw, (grid.frames, grid.height, grid.width), strict=True
            )
        )
        return t, h, w

    def source_index(self, grid: TokenGrid) -> Int64:
        """Return the raster token of each position: `new[p] = old[source_index[p]]`.

        Returns:
            [seq_len] a permutation of 0 … seq_len - 1. Read-only: it is shared.
        """
        return _source_index(self, grid)

    def query_range(self, grid: TokenGrid) -> tuple[int, int]:
        """Return the first position of the grid's queries, and the one after the last.

        Raises:
            SpecError: In this order other tokens stand between them.
        """
        if grid.query_frames is None:
            return 0, grid.seq_len
        place = self.source_index(grid) - grid.query_start
        queries = np.flatnonzero((place >= 0) & (place < grid.q_len))
        start, stop = int(queries[0]), int(queries[-1]) + 1
        if stop - start != grid.q_len:
            first, last = grid.query_frames
            raise SpecError(
                f"queries are neighbours in the order of tokens, but in the order {self} other "
                f"tokens stand between those of frames {first} to {last}; take the order raster, "
                "or frames that fill tiles"
            )
        return start, stop


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Coordinates of the tokens of a sequence, position by position.

    Tokens of a video have their place in it. Flat tokens, such as text, have t = y = x = 0, and
    their place in the segment as s.

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
    def seg(self) -> Int64:
        """[seq_len] number of the segment."""
        lengths = [segment.tokens for segment in self.grid.layout]
        return np.repeat(np.arange(len(lengths)), lengths)

    @cached_property
    def text(self) -> Bool:
        """[seq_len] whether the token is text or its padding."""
        place = self.p - self.grid.text_start
        return (place >= 0) & (place < self.grid.text_tokens)

    @cached_property
    def pad(self) -> Bool:
        """[seq_len] whether the token is padding, of the text or other flat tokens."""
        pad = np.zeros(self.grid.seq_len, np.bool_)
        for segment, start in zip(self.grid.layout, self.grid.starts, strict=True):
            pad[start + segment.real : start + segment.tokens] = True
        return pad

    @cached_property
    def t(self) -> Int64:
        """[seq_len] frame."""
        return self._in_videos(self._place, lambda place, video: place // video.frame_tokens)

    @cached_property
    def s(self) -> Int64:
        """[seq_len] place in the frame, or among the flat tokens of a segment."""
        return self._place - self._in_videos(
            self._place, lambda place, video: place - place % video.frame_tokens
        )

    @cached_property
    def y(self) -> Int64:
        """[seq_len] row of the frame."""
        return self._in_videos(self.s, lambda s, video: s // video.width)

    @cached_property
    def x(self) -> Int64:
        """[seq_len] column of the frame."""
        return self._in_videos(self.s, lambda s, video: s % video.width)

    def axis(self, name: str) -> Int64:
        """[seq_len] a coordinate by its name: t, y, x, s, i, p, seg, text or pad."""
        coordinate: Int64 = getattr(self, name)
        return coordinate

    @cached_property
    def _place(self) -> Int64:
        """[seq_len] place in the segment."""
        place: Int64 = self.i - np.array(self.grid.starts)[self.seg]
        return place

    def _in_videos(self, values: Int64, function: Callable[[Int64, Segment], Int64]) -> Int64:
        """[seq_len] a function of values by position in each video; 0 for flat tokens."""
        found = np.zeros_like(values)
        for segment, start in zip(self.grid.layout, self.grid.starts, strict=True):
            if segment.sides:
                part = slice(start, start + segment.tokens)
                found[part] = function(values[part], segment)
        return found


@lru_cache(maxsize=1)
def coordinates_of(grid: TokenGrid, order: TokenOrder) -> Coordinates:
    """Return the coordinates of a grid's tokens, which the next mask on the grid finds computed."""
    return Coordinates(grid, order)


@lru_cache(maxsize=4)
def _source_index(order: TokenOrder, grid: TokenGrid) -> Int64:
    index = np.arange(grid.seq_len, dtype=np.int64)
    for segment, start in zip(grid.layout, grid.starts, strict=True):
        if segment.sides:
            part = index[start : start + segment.tokens]
            part[:] = start + _in_order(order, segment)
    index.setflags(write=False)
    return index


def _in_order(order: TokenOrder, segment: Segment) -> Int64:
    """[tokens] the raster places of a video's tokens in an order."""
    places: Int64 = np.arange(segment.tokens, dtype=np.int64)
    video = places.reshape(segment.frames, segment.height, segment.width)
    if order.kind == "space_major":
        places = video.transpose(1, 2, 0).ravel()
    elif order.kind == "hilbert":
        places = hilbert_curve(video.shape)
    elif order.kind == "tiles":
        edges = product(*map(pairwise, order.tile_edges(segment)))
        tiles = [video[t0:t1, y0:y1, x0:x1].ravel() for (t0, t1), (y0, y1), (x0, x1) in edges]
        places = np.concatenate(tiles)
    return places


def _listed(sides: tuple[int, int, int]) -> str:
    return ",".join(map(str, sides))
