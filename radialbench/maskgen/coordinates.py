"""Where every token of a sequence stands, in a mask's own order."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.order import TokenOrder

Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]


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
        text = np.zeros(self.grid.seq_len, np.bool_)
        start = self.grid.text_start
        text[start : start + self.grid.text_tokens] = True
        return text

    @cached_property
    def pad(self) -> Bool:
        """[seq_len] whether the token is padding of the text."""
        pad = np.zeros(self.grid.seq_len, np.bool_)
        start = self.grid.text_start
        pad[start + self.grid.real_text : start + self.grid.text_tokens] = True
        return pad

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
        found: Int64 = getattr(self, name)
        return found

    def _video(self, size: int, *, divide: bool) -> Int64:
        place = self.i - self.grid.video_start
        values = place // size if divide else place % size
        if self.grid.text_tokens:
            values[self.text] = 0
        return values
