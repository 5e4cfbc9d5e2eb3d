from dataclasses import replace
from pathlib import Path

import pytest

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.records.problem import Problem
from radialbench.records.result import Record
from radialbench.reports.masks import draw_masks, drawable, grid_of, known_mask
from radialbench.reports.rows import rows_of
from tests.reports.factory import made


@pytest.mark.parametrize(
    "spec",
    [
        load_mask("radial"),
        load_mask("radial", decay=0.5, sink_frames=2),
        load_mask("sta", exact_even=True, window_t=2),
        load_mask("svg_spatial", density=0.1, round_up=False),
    ],
    ids=lambda spec: spec.label,
)
def test_a_mask_is_found_by_its_label(spec: MaskSpec) -> None:
    assert known_mask(spec.label, spec.fingerprint) == spec


@pytest.mark.parametrize(
    "label",
    [
        *("radial", "radial(decay=0.5)", "radial(decay=fast)", "radial(speed=1)", "radial(decay)"),
        *("nothing", "radial(", "../radial", "radial.yaml", "radial(decay=0.5)(decay=1)", ""),
    ],
)
def test_another_mask_is_not_guessed(label: str) -> None:
    assert known_mask(label, "f00d") is None


def problem(grid: str, seq_len: int) -> Problem:
    return Problem("f", grid, 3, 20, seq_len, 1, 1, 128, "float32")


@pytest.mark.parametrize(
    "grid",
    [
        TokenGrid(3, 4, 5),
        TokenGrid(3, 4, 5, text_tokens=7),
        TokenGrid(3, 4, 5, text_tokens=7, text_first=True),
        TokenGrid(3, 4, 5, text_tokens=7, text_valid=2),
        TokenGrid(3, 4, 5, text_tokens=7, text_first=True, text_valid=0),
    ],
)
def test_a_grid_is_read_from_its_label(grid: TokenGrid) -> None:
    assert grid_of(problem(grid.label, grid.seq_len)) == grid


@pytest.mark.parametrize("label", ["3x4", "3x4x5x6", "0x4x5", "9of7+3x4x5", "3x4x5+", "mine"])
def test_a_foreign_label_is_no_grid(label: str) -> None:
    assert grid_of(problem(label, 60)) is None


def test_a_label_that_contradicts_the_length_is_no_grid() -> None:
    assert grid_of(problem("3x4x5", 61)) is None


def case(label: str, frames: int = 3) -> Record:
    """A case of a mask of the library; others keep a made-up fingerprint."""
    grid = TokenGrid(frames, 4, 5)
    name = "dense" if label == "mine" else label
    fingerprint = "f00d" if label == "mine" else load_mask(name).fingerprint
    where = replace(problem(grid.label, grid.seq_len), mask=fingerprint, frames=frames)
    return replace(made(label), case=f"{label}{frames}", problem=where, group=grid.label)


def test_masks_of_the_library_are_drawn_at_the_longest_length_that_is_quick() -> None:
    records = [case(label, f) for f in (3, 5, 2000) for label in ("dense", "radial", "mine", "sta")]
    titled = drawable(rows_of(records)[0])
    assert [title for title, _ in titled] == ["radial", "sta"]
    for title, table in titled:
        assert table == compile_mask(load_mask(title), TokenGrid(5, 4, 5))


def test_four_masks_at_most() -> None:
    labels = ("radial", "sta", "svg_spatial", "svg_temporal", "power")
    assert len(drawable(rows_of([case(label) for label in labels])[0])) == 4


def test_the_caption_names_what_is_shown_and_what_is_not(tmp_path: Path) -> None:
    drawn = draw_masks(rows_of([case("radial"), case("mine"), case("dense")])[0], tmp_path)
    assert drawn is not None
    path, caption = drawn
    assert path.read_bytes().startswith(b"\x89PNG")
    assert caption == ("Masks at 3×4×5 tokens: radial; queries down, keys across. Not drawn: mine.")


def test_nothing_to_draw(tmp_path: Path) -> None:
    for records in ([], [made()], [case("dense")], [case("mine")], [case("radial", 2000)]):
        assert draw_masks(rows_of(records)[0], tmp_path) is None
    assert not list(tmp_path.iterdir())
