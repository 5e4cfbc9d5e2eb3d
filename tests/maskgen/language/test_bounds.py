from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from radialbench.maskgen.compiler.bind import bind
from radialbench.maskgen.language.evaluate import Interval, bound, bound_nodes, evaluate
from radialbench.maskgen.language.expressions import AXES, FUNCTIONS
from radialbench.maskgen.language.parser import parse
from radialbench.maskgen.language.tree import TokenRule
from radialbench.maskgen.library import parse_mask
from tests.maskgen.plain import tokens
from tests.maskgen.random_masks import GIVEN, Maker


def box(low: float, high: float) -> Interval:
    return np.asarray(low, np.float64), np.asarray(high, np.float64)


@settings(GIVEN, max_examples=400)
@given(seed=st.integers(0, 2**63), depth=st.integers(0, 4))
def test_bounds_never_contradict_the_oracle(seed: int, depth: int) -> None:
    """On random boxes of tokens: never means no pair, always means every pair."""
    make = Maker(seed)
    grid = make.grid(text=False)
    spec = parse_mask({"name": "a", "order": make.order(), "mask": str(make.truth(depth))})
    mask = bind(spec, grid).mask
    assert isinstance(mask, TokenRule)
    places = tokens(grid, spec.order_on(grid))
    for _ in range(4):
        sides = {}
        for side in "qk":
            first = make.random.randrange(grid.seq_len)
            sides[side] = places[first : first + make.random.randint(1, grid.seq_len)]
        values: dict[str, NDArray[np.float64]] = {}
        for axis in AXES:
            q, k = (np.array([token[axis] for token in sides[side]], np.float64) for side in "qk")
            values |= {f"q{axis}": q[:, None], f"k{axis}": k[None, :]}
            values[f"r{axis}"] = q[:, None] - k[None, :]
        boxes = {word: (array.min(), array.max()) for word, array in values.items()}
        bounds = bound_nodes(mask.expression, boxes)
        for node, (low, high) in bounds.items():
            exact = np.asarray(evaluate(node, values), np.float64)
            assert low <= exact.min() and exact.max() <= high, f"{node} in {boxes}"


NUMBERS = (-3.5, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    "op", ["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">="]
)
def test_bounds_hold_the_values_inside(op: str) -> None:
    """All boxes with corners from a few numbers; undefined results are anybody's guess."""
    tree = parse(f"qt {op} kt")
    for low, high in product(NUMBERS, repeat=2):
        for other_low, other_high in product(NUMBERS, repeat=2):
            if low > high or other_low > other_high:
                continue
            found = bound(tree, {"qt": box(low, high), "kt": box(other_low, other_high)})
            inside = np.array([n for n in NUMBERS if low <= n <= high])
            other = np.array([n for n in NUMBERS if other_low <= n <= other_high])
            exact = evaluate(tree, {"qt": inside[:, None], "kt": other[None, :]}).astype(np.float64)
            exact = exact[np.isfinite(exact)]
            assert (found[0] <= exact).all() and (exact <= found[1]).all(), (low, high, other_low)


ONE = [f for f, (least, most) in FUNCTIONS.items() if (least, most) == (1, 1)] + ["-"]


@pytest.mark.parametrize("function", ONE)
def test_functions_of_one_number(function: str) -> None:
    tree = parse(f"{function}(qt)")
    for low, high in product(NUMBERS, repeat=2):
        if low <= high:
            found = bound(tree, {"qt": box(low, high)})
            exact = evaluate(tree, {"qt": np.array([n for n in NUMBERS if low <= n <= high])})
            exact = exact[np.isfinite(exact)]
            assert (found[0] <= exact).all() and (exact <= found[1]).all()


@pytest.mark.parametrize(
    ("text", "low", "high", "found"),
    [
        ("qt < 3", 0, 2, (1, 1)),
        ("qt < 3", 3, 9, (0, 0)),
        ("qt < 3", 2, 3, (0, 1)),
        ("qt == 2", 2, 2, (1, 1)),
        ("qt == 2", 3, 4, (0, 0)),
        ("qt != 2", 3, 4, (1, 1)),
        ("not qt < 3", 0, 2, (0, 0)),
        ("qt < 3 and qt < 9", 0, 2, (1, 1)),
        ("qt < 3 or qt < 9", 4, 8, (1, 1)),
        ("qt // 4", 4, 7, (1, 1)),
        ("qt % 4", 4, 6, (0, 2)),
        ("qt % 4", 3, 5, (0, 4)),
        ("qt % (qt + 9)", 2, 3, (2, 3)),
        ("qt * qt", 2, 3, (4, 9)),
        ("abs(qt - 3)", 1, 4, (0, 2)),
        ("bit_length(qt)", 4, 7, (3, 3)),
        ("floor(log2(qt))", 4, 7, (2, 2)),
        ("1 / qt", 0, 2, (-np.inf, np.inf)),
        ("bit_length(1 / qt)", 0, 2, (0, np.inf)),
        ("log2(1 / qt)", 0, 2, (-np.inf, np.inf)),
        ("1 / qt - 1 / qt < 0", 0, 2, (0, 1)),
        ("1 / qt - 1 / qt != 0", 0, 2, (0, 1)),
        ("where(qt < 3, 1, 5)", 0, 2, (1, 1)),
        ("where(qt < 3, 1, 5)", 0, 4, (1, 5)),
    ],
)
def test_bounds_are_tight_where_it_matters(
    text: str, low: float, high: float, found: tuple[float, float]
) -> None:
    """Loose bounds are right but cost time: these are what masks are made of."""
    tight = bound(parse(text), {"qt": box(low, high)})
    assert tuple(map(float, tight)) == found
