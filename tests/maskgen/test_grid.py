from dataclasses import replace
from typing import Any

import pytest

from radialbench import TokenGrid
from radialbench.errors import GridError


@pytest.mark.parametrize(
    ("grid", "label", "video_start", "text_start"),
    [
        (TokenGrid(21, 45, 80), "21x45x80", 0, 75_600),
        (TokenGrid(2, 3, 4, text_tokens=5), "2x3x4+5", 0, 24),
        (TokenGrid(2, 3, 4, text_tokens=5, text_valid=2), "2x3x4+2of5", 0, 24),
        (TokenGrid(2, 3, 4, text_tokens=5, text_valid=0), "2x3x4+0of5", 0, 24),
        (TokenGrid(2, 3, 4, text_tokens=5, text_first=True), "5+2x3x4", 5, 0),
        (TokenGrid(2, 3, 4, text_tokens=5, text_first=True, text_valid=4), "4of5+2x3x4", 5, 0),
        (TokenGrid(1, 1, 1), "1x1x1", 0, 1),
    ],
)
def test_layout(grid: TokenGrid, label: str, video_start: int, text_start: int) -> None:
    assert grid.label == label
    assert (grid.video_start, grid.text_start) == (video_start, text_start)
    assert grid.video_tokens == grid.frames * grid.frame_tokens
    assert grid.frame_tokens == grid.height * grid.width
    assert grid.seq_len == grid.video_tokens + grid.text_tokens


def test_all_text_is_real_if_nothing_is_said() -> None:
    grid = TokenGrid(2, 3, 4, text_tokens=5)
    assert grid.real_text == 5
    assert grid == TokenGrid(2, 3, 4, text_tokens=5, text_valid=5)
    assert hash(grid) == hash(TokenGrid(2, 3, 4, text_tokens=5, text_valid=5))
    assert grid != replace(grid, text_valid=4)
    assert replace(grid, frames=3).real_text == 5


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 1, 1), "frames must be a whole number of at least 1, got 0"),
        ((1, -2, 1), "height must be a whole number of at least 1, got -2"),
        ((1, 1, 1.5), "width must be a whole number of at least 1, got 1.5"),
        ((1, 1, True), "width must be a whole number of at least 1, got True"),
        (("3", 1, 1), "frames must be a whole number of at least 1, got '3'"),
        ((1, 1, 1, -1), "text_tokens must be a whole number of at least 0, got -1"),
        ((1, 1, 1, 2, False, 3), "text_valid must be at most text_tokens, got 3 of 2"),
        ((1, 1, 1, 2, False, -1), "text_valid must be a whole number of at least 0, got -1"),
        ((1, 1, 1, 0, False, 1), "text_valid must be at most text_tokens, got 1 of 0"),
        ((2**16, 2**8, 2**7), "a sequence has at most 2^31 - 1 tokens, got 2,147,483,648"),
    ],
)
def test_errors(sizes: tuple[Any, ...], message: str) -> None:
    with pytest.raises(GridError) as error:
        TokenGrid(*sizes)
    assert str(error.value) == message
