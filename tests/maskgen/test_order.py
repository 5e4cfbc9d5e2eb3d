from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench import TokenGrid, load_mask, parse_mask
from radialbench.errors import SpecError
from radialbench.maskgen.language.evaluate import bit_length, log2
from radialbench.maskgen.order import Coordinates, TokenOrder
from tests.maskgen.plain import tokens
from tests.maskgen.random_masks import GIVEN, Maker

RAGGED = TokenGrid(3, 4, 5)


def brute_force(order: TokenOrder, grid: TokenGrid) -> list[int]:
    """Sort the video's tokens by what the order compares first; leave the text where it is."""

    def key(token: int) -> tuple[int, ...]:
        t, place = divmod(token, grid.frame_tokens)
        y, x = divmod(place, grid.width)
        if order.kind == "space_major":
            return place, t
        if order.kind == "tiles":
            sides = zip((t, y, x), order.shift_thw, order.tile_thw, strict=True)
            return *((at - shift) // side for at, shift, side in sides), t, y, x
        return (token,)

    video = [grid.video_start + t for t in sorted(range(grid.video_tokens), key=key)]
    text = [grid.text_start + slot for slot in range(grid.text_tokens)]
    return text + video if grid.text_first else video + text


@settings(GIVEN, max_examples=150)
@given(seed=st.integers(0, 2**63))
def test_orders_are_permutations_by_definition(seed: int) -> None:
    make = Maker(seed)
    grid = make.grid()
    tile_t, tile_h, tile_w = (make.random.randint(1, 6) for _ in range(3))
    shift_t, shift_h, shift_w = (make.random.randrange(side) for side in (tile_t, tile_h, tile_w))
    for order in (
        TokenOrder(),
        TokenOrder("space_major"),
        TokenOrder("tiles", (tile_t, tile_h, tile_w)),
        TokenOrder("tiles", (tile_t, tile_h, tile_w), (shift_t, shift_h, shift_w)),
    ):
        found = order.source_index(grid)
        assert found.dtype == np.int64
        assert found.tolist() == brute_force(order, grid)
        assert TokenOrder.parse(str(order)) == order


def test_tiles_at_a_ragged_edge_are_short() -> None:
    index = TokenOrder("tiles", (2, 3, 4)).source_index(TokenGrid(3, 4, 5))
    # First tile: two frames, three rows, four columns.
    first = [t * 20 + y * 5 + x for t in range(2) for y in range(3) for x in range(4)]
    assert index[:24].tolist() == first
    # Second: what is left of those rows, one column wide.
    assert index[24:30].tolist() == [4, 9, 14, 24, 29, 34]


def test_shifted_tiles_are_short_at_both_ends() -> None:
    order = TokenOrder("tiles", (2, 3, 4), (1, 2, 3))
    assert [edges.tolist() for edges in order.tile_edges(RAGGED)] == [
        [0, 1, 3],
        [0, 2, 4],
        [0, 3, 5],
    ]
    index = order.source_index(RAGGED)
    # First tile: one frame, two rows, three columns.
    assert index[:6].tolist() == [0, 1, 2, 5, 6, 7]
    assert index[6:10].tolist() == [3, 4, 8, 9]


@settings(GIVEN, max_examples=200)
@given(seed=st.integers(0, 2**63), most=st.sampled_from([4, 9, 16]))
def test_a_hilbert_curve_steps_from_neighbour_to_neighbour(seed: int, most: int) -> None:
    make = Maker(seed)
    t, h, w = (make.random.randint(1, most) for _ in range(3))
    grid = TokenGrid(t, h, w, text_tokens=make.pick([0, 5]), text_first=make.pick([True, False]))
    order = TokenOrder.parse("hilbert")
    index = order.source_index(grid)
    assert sorted(index.tolist()) == list(range(grid.seq_len))
    at = Coordinates(grid, order)
    assert at.text.tolist() == Coordinates(grid, TokenOrder()).text.tolist()
    places = np.stack([at.t, at.y, at.x])[:, ~at.text]
    steps = np.abs(np.diff(places, axis=1))
    assert steps.max(initial=0) <= 1
    if all(side % 2 == 0 for side in (t, h, w)):
        assert (steps.sum(axis=0) == 1).all()


def test_a_hilbert_curve_keeps_near_what_is_near() -> None:
    """Blocks of the curve are boxes about as long as wide."""
    grid = TokenGrid(16, 32, 32)
    at = Coordinates(grid, TokenOrder("hilbert"))
    for axis in "tyx":
        blocks = at.axis(axis).reshape(-1, 64)
        assert (np.ptp(blocks, axis=1) < 8).all()


def test_one_tile_or_one_frame_is_raster() -> None:
    raster = TokenOrder().source_index(RAGGED).tolist()
    assert TokenOrder("tiles", (9, 9, 9)).source_index(RAGGED).tolist() == raster
    assert TokenOrder("tiles", (1, 9, 9)).source_index(RAGGED).tolist() == raster
    one = TokenGrid(1, 4, 5)
    assert TokenOrder("space_major").source_index(one).tolist() == list(range(20))


def test_the_index_is_shared_and_cannot_be_changed() -> None:
    index = TokenOrder("space_major").source_index(RAGGED)
    assert index is TokenOrder("space_major").source_index(RAGGED)
    with pytest.raises(ValueError, match="read-only"):
        index[0] = 1


def test_sides_of_a_tile_may_be_parameters_and_grid_constants() -> None:
    spec = parse_mask(
        {
            "name": "a",
            "order": {"tiles": ["side", "ceil(height / 2)", 3]},
            "params": {"side": {"type": "int", "default": 2}},
            "mask": "true",
        }
    )
    assert spec.order_on(RAGGED) == TokenOrder("tiles", (2, 2, 3))
    assert spec.with_params(side=7).order_on(RAGGED) == TokenOrder("tiles", (7, 2, 3))
    with pytest.raises(
        SpecError, match="a tile's side is a whole number of at least 1, got 'side' = 0"
    ):
        spec.with_params(side=0).order_on(RAGGED)
    assert str(load_mask("sta").order_on(RAGGED)) == "tiles:6,8,8"
    shifted = {"size": [2, "2 * half", "2 * half"], "shift": [0, "half", "half"]}
    spec = parse_mask(
        {
            "name": "a",
            "order": {"tiles": shifted},
            "params": {"half": {"type": "int", "default": 4}},
            "mask": "true",
        }
    )
    assert str(spec.order_on(RAGGED)) == "tiles:2,8,8+0,4,4"
    assert spec.to_mapping()["order"] == {"tiles": shifted}
    assert parse_mask(spec.to_mapping()) == spec
    assert spec.fingerprint != spec.with_params(half=3).fingerprint
    shifted["shift"] = [0, "4 - half", 0]
    spec = parse_mask(spec.to_mapping() | {"order": {"tiles": shifted}})
    with pytest.raises(
        SpecError, match="a shift is a whole number of at least 0, got '4 - half' = -1"
    ):
        spec.with_params(half=5).order_on(RAGGED)
    assert str(load_mask("radial").order_on(RAGGED)) == "raster"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TokenOrder("morton"),
            "order must be one of raster, space_major, tiles, hilbert, got 'morton'",
        ),
        (lambda: TokenOrder("tiles"), "a tile has three sides of at least 1 token, got (0, 0, 0)"),
        (
            lambda: TokenOrder("raster", (1, 1, 1)),
            "a tile has three sides of at least 1 token, got (1, 1, 1)",
        ),
        (
            lambda: TokenOrder.parse("tiles:1,2"),
            "order must be one of raster, space_major, tiles, hilbert, got 'tiles:1,2'",
        ),
        (
            lambda: TokenOrder.parse("tiles:0,2,2"),
            "a tile has three sides of at least 1 token, got (0, 2, 2)",
        ),
        (
            lambda: TokenOrder.parse("tiles:2,8,8+2,0,0"),
            "tiles of (2, 8, 8) are shifted by at least 0 tokens and less than their sides, got "
            "(2, 0, 0)",
        ),
        (
            lambda: TokenOrder("hilbert", shift_thw=(1, 1, 1)),
            "tiles of (0, 0, 0) are shifted by at least 0 tokens and less than their sides, got "
            "(1, 1, 1)",
        ),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(SpecError) as error:
        make()
    assert str(error.value) == message


@settings(GIVEN, max_examples=150)
@given(seed=st.integers(0, 2**63))
def test_every_token_stands_where_it_should(seed: int) -> None:
    make = Maker(seed)
    grid = make.grid()
    order = parse_mask({"name": "a", "mask": "true", "order": make.order()}).order_on(grid)
    at = Coordinates(grid, order)
    places = tokens(grid, order)
    for axis in "tyxsip":
        assert at.axis(axis).tolist() == [token[axis] for token in places], axis
    assert at.text.tolist() == [token["text"] for token in places]
    assert at.pad.tolist() == [token["pad"] for token in places]


def test_whole_numbers_are_exact() -> None:
    """What block masks are made of may not be off by a rounding, on any machine."""
    powers = np.arange(-60, 61)
    values = 2.0**powers
    assert log2(values).tolist() == powers.tolist()
    assert np.power(2.0, powers.astype(np.float64)).tolist() == values.tolist()
    whole = [0, 1, 2, 3, 4, 7, 8, 127, 128, 3600, 2**31 - 1, 2**31, 2**52 - 1, 2**52, 2**53]
    found = bit_length(np.array([float(number) for number in whole]))
    assert found.tolist() == [number.bit_length() for number in whole]
    assert bit_length(np.array([-4.0, 0.99, 1.5, -0.5])).tolist() == [3, 0, 1, 0]
