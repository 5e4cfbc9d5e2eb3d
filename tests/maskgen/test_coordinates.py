import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench.maskgen.evaluate import bit_length, log2
from radialbench.maskgen.library import parse_mask
from radialbench.maskgen.order import Coordinates
from tests.maskgen.plain import tokens
from tests.maskgen.random_masks import GIVEN, Maker


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
