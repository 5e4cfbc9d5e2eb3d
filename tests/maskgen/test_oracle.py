import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench import TokenGrid, parse_mask
from radialbench.maskgen.language.expressions import Expr, constant
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.oracle import token_mask
from tests.maskgen.plain import names_of, tokens, value
from tests.maskgen.random_masks import COMPARISONS, GIVEN, WHOLE, Maker


def plain_mask(spec: MaskSpec, tree: Expr, grid: TokenGrid) -> np.ndarray:
    """Pair by pair: the expression for video, the text rule where a token is text."""
    places = tokens(grid, spec.order_on(grid))
    allowed = np.zeros((grid.seq_len, grid.seq_len), np.bool_)
    for q, at_q in enumerate(places):
        for k, at_k in enumerate(places):
            names = names_of(at_q, at_k, grid)
            rule = spec.text if at_q["text"] or at_k["text"] else tree
            allowed[q, k] = value(rule, names)
    return allowed


@settings(GIVEN, max_examples=120)
@given(seed=st.integers(0, 2**63), depth=st.integers(0, 3))
def test_expressions_mean_what_they_say(seed: int, depth: int) -> None:
    make = Maker(seed)
    tree = make.truth(depth)
    if make.random.random() < 0.3:
        tree = Expr(make.pick(COMPARISONS), (make.layered(), constant(make.pick(WHOLE))))
    grid = make.grid()
    mask = {"name": "random", "order": make.order(), "mask": str(tree), "empty_rows": "keep"}
    spec = parse_mask({**mask, "text": make.pick(("not kpad", "qpad == kpad", "di <= 5"))})
    wrong = int((token_mask(spec, grid) != plain_mask(spec, tree, grid)).sum())
    assert not wrong, f"{wrong} pairs differ: {tree} on {grid}, {spec.order}"
