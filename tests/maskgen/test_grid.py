from dataclasses import replace
from typing import Any

import pytest

from radialbench import TokenGrid
from radialbench.errors import GridError
from radialbench.maskgen.grid import PRESETS, load_model, model_names, parse_size


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


SHAPES = {
    ("wan2.1-1.3b", "832x480x81"): (21, 30, 52),
    ("wan2.1-1.3b", "1280x720x81"): (21, 45, 80),
    ("wan2.1-14b", "832x480x81"): (21, 30, 52),
    ("wan2.1-14b", "1280x720x81"): (21, 45, 80),
    ("wan2.1-14b", "1280x768x81"): (21, 48, 80),
    ("wan2.2-a14b", "1280x720x81"): (21, 45, 80),
    ("wan2.2-ti2v-5b", "832x480x121"): (31, 15, 26),
    ("wan2.2-ti2v-5b", "1280x704x121"): (31, 22, 40),
    ("hunyuanvideo", "832x480x129"): (33, 30, 52),
    ("hunyuanvideo", "960x544x129"): (33, 34, 60),
    ("hunyuanvideo", "1280x720x129"): (33, 45, 80),
    ("hunyuanvideo", "1280x768x117"): (30, 48, 80),
    ("hunyuanvideo", "1280x720x125"): (32, 45, 80),
    ("hunyuanvideo-1.5", "848x480x121"): (31, 30, 53),
    ("hunyuanvideo-1.5", "1280x720x121"): (31, 45, 80),
    ("mochi-1", "848x480x163"): (28, 30, 53),
    ("mochi-1", "848x480x331"): (56, 30, 53),
    ("mochi-1", "848x480x667"): (112, 30, 53),
    ("cogvideox-5b", "720x480x49"): (13, 30, 45),
    ("ltx-video", "704x512x161"): (21, 16, 22),
    ("ltx-video", "704x480x161"): (21, 15, 22),
    ("ltx-video", "1216x704x161"): (21, 22, 38),
    ("ltx-video", "1280x704x161"): (21, 22, 40),
    ("ltx-2", "768x512x121"): (16, 16, 24),
    ("ltx-2", "1920x1088x121"): (16, 34, 60),
    ("cosmos-predict2.5-2b", "1280x704x93"): (24, 44, 80),
    ("cosmos-predict2.5-14b", "1280x704x93"): (24, 44, 80),
    ("cosmos3-nano", "1280x704x189"): (48, 22, 40),
    ("kandinsky-5-lite", "768x512x121"): (31, 32, 48),
    ("kandinsky-5-pro", "1280x768x121"): (31, 48, 80),
    ("minimax-h3", "1344x768x124"): (37, 24, 42),
    ("minimax-h3", "768x768x5"): (2, 24, 24),
    ("minimax-h3", "768x768x22"): (7, 24, 24),
}
"""Frames, rows and columns of tokens, as the models' own code lays them out."""

HEADS = {
    "wan2.1-1.3b": (12, 128, 30),
    "wan2.1-14b": (40, 128, 40),
    "wan2.2-a14b": (40, 128, 40),
    "wan2.2-ti2v-5b": (24, 128, 30),
    "hunyuanvideo": (24, 128, 60),
    "hunyuanvideo-1.5": (16, 128, 54),
    "mochi-1": (24, 128, 48),
    "cogvideox-5b": (48, 64, 42),
    "ltx-video": (32, 64, 28),
    "ltx-2": (32, 128, 48),
    "cosmos-predict2.5-2b": (16, 128, 28),
    "cosmos-predict2.5-14b": (40, 128, 36),
    "cosmos3-nano": (32, 128, 36),
    "kandinsky-5-lite": (28, 64, 32),
    "kandinsky-5-pro": (32, 128, 60),
    "minimax-h3": (56, 128, 50),
}
"""Heads, numbers per head, layers."""

JOINT_TEXT = {
    "hunyuanvideo": 256,
    "hunyuanvideo-1.5": 1000 + 256 + 729,
    "mochi-1": 256,
    "cogvideox-5b": 226,
}
"""Text slots of the joint sequence; the other models cross-attend to their text."""


@pytest.mark.parametrize(("model", "size"), SHAPES)
def test_shapes(model: str, size: str) -> None:
    grid = TokenGrid.for_model(model, size)
    assert (grid.frames, grid.height, grid.width) == SHAPES[model, size]


@pytest.mark.parametrize("clips", [0, 1, 7, 15])
def test_clips_have_latents_of_their_own(clips: int) -> None:
    """A clip of 17 frames has 5 latents, and the 5 frames behind the last have 2."""
    grid = TokenGrid.for_model("minimax-h3", f"768x768x{17 * clips + 5}")
    assert grid.frames == 5 * clips + 2


def test_every_preset_is_covered_here() -> None:
    assert set(model_names()) == set(HEADS) == {model for model, _ in SHAPES}
    assert {file.stem for file in PRESETS.glob("*.yaml")} == set(HEADS)


@pytest.mark.parametrize("name", model_names())
def test_every_preset_lays_out_its_example(name: str) -> None:
    model = load_model(name)
    grid = model.grid(model.example)
    assert (model.heads, model.head_dim, model.layers) == HEADS[name]
    assert (grid.frames, grid.height, grid.width) == SHAPES[name, model.example]
    assert grid.text_tokens == grid.real_text == JOINT_TEXT.get(name, 0)
    assert model.title
    assert model.source


def test_cogvideox_has_its_text_first() -> None:
    grid = TokenGrid.for_model("cogvideox-5b", "720x480x49")
    assert grid.video_start == 226
    assert grid.text_start == 0
    assert [name for name in model_names() if load_model(name).text_first] == ["cogvideox-5b"]


@pytest.mark.parametrize("size", ["1280x720x81", "1280×720×81", " 1280x720×81 "])
def test_sizes_are_written_with_x_or_times(size: str) -> None:
    assert parse_size(size) == (1280, 720, 81)
    assert TokenGrid.for_model("wan2.1-14b", size).label == "21x45x80"


@pytest.mark.parametrize(
    "size",
    ["", "1280x720", "1280x720x81x1", "0x720x81", "-16x16x1", "1280*720*81", "axbxc", "1e3x9x9"],
)
def test_what_is_no_size(size: str) -> None:
    with pytest.raises(GridError, match="a size is width×height×frames, such as 1280x720x81, got"):
        TokenGrid.for_model("wan2.1-14b", size)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        ("wan2.1-14b", "1281x720x81", "width 1281 must be a multiple of 16, such as 1280 or 1296"),
        ("wan2.1-14b", "1280x721x81", "height 721 must be a multiple of 16, such as 720 or 736"),
        (
            "wan2.1-14b",
            "1280x720x80",
            "frames 80 must be 1 more than a multiple of 4, such as 77 or 81",
        ),
        (
            "mochi-1",
            "848x480x160",
            "frames 160 must be 1 more than a multiple of 6, such as 157 or 163",
        ),
        ("ltx-video", "704x480x2", "frames 2 must be 1 more than a multiple of 8, such as 1 or 9"),
        (
            "minimax-h3",
            "1344x768x121",
            "frames 121 must be 5 more than a multiple of 17, such as 107 or 124",
        ),
        ("ltx-video", "5x480x1", "width 5 must be a multiple of 32, such as 32;"),
    ],
)
def test_a_size_that_does_not_divide_names_its_neighbours(
    model: str, size: str, message: str
) -> None:
    with pytest.raises(GridError) as error:
        TokenGrid.for_model(model, size)
    assert str(error.value).startswith(f"{model} cannot make {size}: {message}")


@pytest.mark.parametrize("name", model_names())
def test_the_sizes_an_error_names_do_work(name: str) -> None:
    with pytest.raises(GridError) as error:
        TokenGrid.for_model(name, "1001x499x100")
    message = str(error.value)
    assert message.count(" such as ") == 3
    works = message.rsplit("; ", 1)[1].removesuffix(" works")
    width, height, frames = (int(side) for side in works.split("x"))
    assert width <= 1001
    assert height <= 499
    assert frames <= 100
    grid = TokenGrid.for_model(name, works)
    model = load_model(name)
    if model.clips is None:
        assert (frames - 1) / model.vae[0] + 1 == grid.frames * model.patch[0]
    assert height / model.vae[1] == grid.height * model.patch[1]
    assert width / model.vae[2] == grid.width * model.patch[2]


def test_an_unknown_model() -> None:
    with pytest.raises(GridError, match="unknown model 'wan2.1-41b'; did you mean 'wan2.1-14b'"):
        load_model("wan2.1-41b")
    with pytest.raises(GridError, match="unknown model"):
        load_model("../models/mochi-1")
