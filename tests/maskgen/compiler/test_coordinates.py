"""What the compiler knows before it evaluates: extremes, periods, digits, patterns and cuts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.maskgen.compiler.atoms import Atom, Patterns
from radialbench.maskgen.compiler.coordinates import Coordinates, Extremes, periods
from radialbench.maskgen.compiler.sides import video_parts, whole_blocks
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.evaluate import evaluate
from radialbench.maskgen.language.parser import parse
from radialbench.maskgen.order import Coordinates as TokenCoordinates
from radialbench.maskgen.order import TokenOrder

NUMBERS = st.floats(-9, 9) | st.sampled_from([np.nan, np.inf, -np.inf])


@given(st.lists(NUMBERS, min_size=1, max_size=40), st.data())
def test_extremes_between_two_places(values: list[float], data: st.DataObject) -> None:
    last = data.draw(st.integers(0, len(values) - 1))
    first = data.draw(st.integers(0, last))
    low, high = Extremes(np.array(values)).between(np.array([first]), np.array([last]))
    part = np.array(values[first : last + 1])
    assert low[0] == np.where(np.isnan(part), -np.inf, part).min()
    assert high[0] == np.where(np.isnan(part), np.inf, part).max()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("(qs + ks) % 7 == 0", {"qs": 7, "ks": 7}),
        ("(qs * ks - 3) % 4 < (qs + 1) % 6", {"qs": 12, "ks": 4}),
        ("(qs + ks) % 7 == ks", {"qs": 7}),
        ("(qs + ks / 2) % 7 == 0", {}),
        ("(qs + ks) % 2.5 == 0", {}),
        ("abs(qs - 3) % 7 == 0", {}),
        ("(qs % 4 + ks) % 6 == 0", {"qs": 4}),
        ("(qs * qs * qs * qs) % 7 == ks % 3", {"ks": 3}),
    ],
)
def test_periods(rule: str, expected: dict[str, int]) -> None:
    """Of products that float64 does not hold exactly, the remainder does not repeat."""
    assert periods(parse(rule), {"qs": 2.0**14, "ks": 2.0**14}) == expected


@pytest.mark.parametrize("order", ["raster", "space_major", "tiles:2,3,2", "hilbert"])
@pytest.mark.parametrize("rule", ["rs + 3 * rt - ry > rx", "ri * 2 + rx > rs", "rp + rt > ri"])
def test_an_entry_is_the_pairs_truth(rule: str, order: str) -> None:
    """Whatever the digits are: a pair finds its truth at u[query] + v[key]."""
    at = TokenCoordinates(TokenGrid(3, 4, 5), TokenOrder.parse(order))
    side = whole_blocks(at, 8, 0, at.grid.seq_len)
    tree = parse(rule)
    atom = Atom(tree, Coordinates(side, side))
    u, v = atom.index
    values = {f"r{axis}": np.subtract.outer(at.axis(axis), at.axis(axis)) for axis in "tyxsip"}
    expected = evaluate(tree, values)
    assert (atom.table[np.add.outer(u, v)] == expected).all()


def test_patterns() -> None:
    at = TokenCoordinates(TokenGrid(2, 3, 8), TokenOrder())
    side = whole_blocks(at, 12, 0, at.grid.seq_len)
    found = Patterns.find(at.x, side)
    assert found.first.tolist() == [0, 4, 0, 4]
    assert found.of[0] == found.of[2] != found.of[1] == found.of[3]
    first = found.spans.first[found.of[0]]
    assert found.spans.count[found.of[0]] == 1
    assert (found.spans.low[first], found.spans.length[first]) == (0, 8)


def test_groups_are_frames_and_know_how_they_are_cut() -> None:
    at = TokenCoordinates(TokenGrid(6, 4, 25), TokenOrder())
    groups = whole_blocks(at, 8, 0, at.grid.seq_len).groups
    assert groups.start.tolist() == [0, 104, 200, 304, 400, 504]
    assert groups.count.tolist() == [13, 12, 13, 12, 13, 12]
    assert groups.cut[0] == groups.cut[2] == groups.cut[4] != groups.cut[1] == groups.cut[3]
    parts = video_parts(at, 8, by_frame=True, drop_overhang=False)
    assert parts.groups.start.tolist() == [0, 100, 200, 300, 400, 500]
    assert parts.groups.cut[0] != parts.groups.cut[1]


def test_strips_repeat_the_last_token_behind_a_piece() -> None:
    at = TokenCoordinates(TokenGrid(1, 1, 30), TokenOrder())
    strips = whole_blocks(at, 20, 0, 30).strips(8)
    assert strips.start.tolist() == [0, 8, 16, 20, 28, 29]
    assert strips.stop.tolist() == [8, 16, 20, 28, 30, 30]
    assert strips.extremes(at.x)[1].tolist() == [7, 15, 19, 27, 29, 29]
