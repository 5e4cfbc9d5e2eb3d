from typing import Any

import numpy as np
import pytest

from radialbench import TokenGrid, load_mask, parse_mask
from radialbench.errors import SpecError
from radialbench.maskgen.compiler.bind import bind
from radialbench.maskgen.language.evaluate import fold, largest_divisor
from radialbench.maskgen.language.parser import parse
from radialbench.maskgen.language.tree import Rounded, TokenRule

GRID = TokenGrid(3, 4, 5, text_tokens=6, text_first=True, text_valid=2)


def bound(mask: str, grid: TokenGrid = GRID, **fields: Any) -> str:
    found = bind(parse_mask({"name": "a", "mask": mask, **fields}), grid).mask
    assert isinstance(found, TokenRule)
    return str(found.expression)


@pytest.mark.parametrize(
    ("mask", "left"),
    [
        ("dt < frames", "abs(rt) < 3"),
        ("qt - kt == 1", "rt == 1"),
        ("kt - qt == 1", "-rt == 1"),
        ("ds <= height * width", "abs(rs) <= 20"),
        ("qi < video_start + video_tokens", "qi < 66"),
        ("ki < seq_len - text_valid + text_tokens", "ki < 70"),
        ("floor(dt) <= ceil(ds + 1)", "abs(rt) <= abs(rs) + 1"),
        ("dt * 1 + 0 < 1 * ds / 1", "abs(rt) < abs(rs)"),
        ("0 + dt - 0 < ds // 1", "abs(rt) < abs(rs)"),
        ("ds % 1 == 0", "true"),
        ("floor(ds / 2) < 1", "floor(abs(rs) / 2) < 1"),
        ("floor(ds * 0.5) < 1", "floor(abs(rs) * 0.5) < 1"),
        ("ds / 2 // 1 < 1", "abs(rs) / 2 // 1 < 1"),
        ("true and dt < 1", "abs(rt) < 1"),
        ("false and dt < 1", "false"),
        ("dt < 1 or true", "true"),
        ("dt < 1 or false", "abs(rt) < 1"),
        ("where(frames == 3, dt, ds) < 1", "abs(rt) < 1"),
        ("where(frames == 2, dt, ds) < 1", "abs(rs) < 1"),
        ("not frames == 3", "false"),
        ("dt < 2**bit_length(frame_tokens)", "abs(rt) < 32"),
        ("dt < max(min(3, 4), 2) % 2 + 7 // 2 - 1 / 4", "abs(rt) < 3.75"),
        ("dt < log2(8) + sqrt(9) + abs(-2) + floor(1.5) + ceil(1.5)", "abs(rt) < 11"),
        ("dt < largest_divisor(frame_tokens, 9)", "abs(rt) < 5"),
    ],
)
def test_constants_are_computed_and_nothings_dropped(mask: str, left: str) -> None:
    assert bound(mask) == left


def test_parameters_and_parts_are_filled_in() -> None:
    mapping: dict[str, Any] = {
        "params": {"reach": {"type": "int", "default": 2}, "on": {"type": "bool", "default": True}},
        "let": {"twice": "reach * 2", "near": "dt <= twice"},
    }
    assert bound("near and on", **mapping) == "abs(rt) <= 4"


def test_own_block_means_the_first_block_size_of_the_mask() -> None:
    rounded = {"rounded": {"block": "width", "keep": "any", "of": "dt == 0"}}
    table = {"table": {"name": "t", "block": 7}}
    for mask, granularity in (
        ("true", 128),
        (rounded, 5),
        ({"any": ["true", {"not": table}, rounded]}, 7),
    ):
        assert bind(parse_mask({"name": "a", "mask": mask}), GRID).granularity == granularity
    found = bind(parse_mask({"name": "a", "mask": rounded}), GRID).mask
    assert isinstance(found, Rounded) and str(found.block) == "5"


def test_domains_are_checked_for_every_token_and_no_more() -> None:
    """A guard is needed only where the grid has such tokens."""
    assert bound("10 / (dt + 1) > 1")
    assert bound("10 / max(dt, 1) > 1")
    assert bound("10 / (dt - 3) > 1")  # There are 3 frames: dt is at most 2.
    assert bound("log2(3 - dt) > 1")
    assert bound("1 / (dt * 2 - 1) < 1")  # Never zero, though its bounds are on both sides of it.
    assert bound("1 / (qi % 3 - ki % 3 + 5) < 1")
    with pytest.raises(SpecError, match="division by zero"):
        bound("10 / (dt - 3) > 1", TokenGrid(4, 4, 5))


def test_fold_leaves_unknown_names() -> None:
    assert fold(parse("a + 1 * 2"), {}) is parse("a + 2")
    assert fold(parse("a + 1"), {"a": parse("2")}) is parse("3")


def test_largest_divisor() -> None:
    for number in (1, 2, 12, 97, 360, 3600, 1560, 257):
        for limit in (0, 0.5, 1, 2, 3.5, 12, 255, 256, 10_000):
            divisors = [d for d in range(1, number + 1) if number % d == 0 and d <= limit]
            found = largest_divisor(np.asarray(number), np.asarray(limit))
            assert found == max(divisors, default=1)


@pytest.mark.parametrize(
    ("part", "coordinates", "value"),
    [
        ("octave", {"dt": 5}, 2),
        ("octave", {"dt": 0}, 0),
        ("reach", {"dt": 1}, 20),
        ("reach", {"dt": 2}, 5),
        ("decay", {}, 0.5),
        ("sink_frames", {}, 1),
    ],
)
def test_value_of_a_part(part: str, coordinates: dict[str, float], value: float) -> None:
    assert load_mask("radial", decay=0.5).value(part, GRID, **coordinates) == value


@pytest.mark.parametrize(
    ("part", "coordinates", "message"),
    [
        ("octav", {}, "unknown part of radial 'octav'; did you mean 'octave'?"),
        ("octave", {}, "the value depends on dt: give them, such as dt=3"),
        ("octave", {"qtt": 3}, "unknown coordinate 'qtt'; did you mean 'qt'?"),
        ("octave", {"dt": float("inf")}, "a number must be finite"),
    ],
)
def test_value_errors(part: str, coordinates: dict[str, float], message: str) -> None:
    with pytest.raises(SpecError) as error:
        load_mask("radial").value(part, GRID, **coordinates)
    assert str(error.value) == message


def test_value_checks_the_domain_of_what_was_given() -> None:
    spec = parse_mask({"name": "a", "let": {"part": "1 / dt"}, "mask": "true"})
    with pytest.raises(SpecError, match="division by zero in '1 / 0'"):
        spec.value("part", GRID, dt=0)
    assert spec.value("part", GRID, dt=4) == 0.25
