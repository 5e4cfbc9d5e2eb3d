"""Where operations are undefined, and where that matters: only where their value is needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench import TokenGrid, compile_mask, parse_mask
from radialbench.errors import SpecError
from radialbench.maskgen.compiler import domain
from radialbench.maskgen.compiler.bind import bind
from radialbench.maskgen.language.evaluate import bound
from radialbench.maskgen.language.tree import TokenRule
from radialbench.maskgen.oracle import token_mask
from radialbench.maskgen.order import TokenOrder
from tests.maskgen.plain import names_of, tokens, value
from tests.maskgen.random_masks import BLOCKS, GIVEN, Maker

GRID = TokenGrid(4, 5, 7)
UNDEFINED = (ArithmeticError, ValueError, TypeError)
SEEDS = st.integers(0, 2**63)


@settings(GIVEN, max_examples=500)
@given(seed=SEEDS, depth=st.integers(0, 3))
def test_a_rule_is_refused_exactly_if_python_fails_for_a_pair(seed: int, depth: int) -> None:
    make = Maker(seed, partial=True)
    grid = make.grid(text=False)
    mapping = {"name": "a", "mask": str(make.truth(depth)), "empty_rows": "keep"}
    spec = parse_mask(mapping)
    assert isinstance(spec.mask, TokenRule)
    places = tokens(grid, TokenOrder())
    try:
        rows = [[value(spec.mask.expression, names_of(q, k, grid)) for k in places] for q in places]
    except UNDEFINED:
        with pytest.raises(SpecError, match="guard it"):
            bind(spec, grid)
        return
    dense = token_mask(spec, grid)
    table = compile_mask(spec, grid, make.pick(BLOCKS), make.pick(BLOCKS))
    assert np.array_equal(table.to_dense(), dense)
    # Python's logarithms and powers can differ from NumPy's in the last bit.
    if not {"log2", "**"} & {node.op for node in spec.mask.expression.walk()}:
        assert np.array_equal(dense, np.array(rows, np.bool_))


@settings(GIVEN, max_examples=500)
@given(seed=SEEDS, depth=st.integers(0, 3))
def test_bounds_hold_where_a_branch_that_is_not_needed_is_undefined(seed: int, depth: int) -> None:
    """On random boxes of tokens: never means no pair, always means every pair."""
    make = Maker(seed, partial=True)
    grid = make.grid(text=False)
    spec = parse_mask({"name": "a", "mask": str(~make.truth(depth)), "empty_rows": "keep"})
    try:
        mask = bind(spec, grid).mask
    except SpecError:
        return
    assert isinstance(mask, TokenRule)
    dense = token_mask(spec, grid)
    places = tokens(grid, TokenOrder())
    for _ in range(8):
        q, k = (
            slice(first, first + make.random.randint(1, 12))
            for first in (make.random.randrange(grid.seq_len) for _ in "qk")
        )
        boxes: dict[str, tuple[float, float]] = {}
        for axis in "tyxsip":
            ends = [
                (min(at), max(at))
                for at in ([float(place[axis]) for place in places[side]] for side in (q, k))
            ]
            boxes |= {f"{side}{axis}": end for side, end in zip("qk", ends, strict=True)}
            boxes[f"r{axis}"] = ends[0][0] - ends[1][1], ends[0][1] - ends[1][0]
        low, high = bound(
            mask.expression,
            {word: (np.asarray(low), np.asarray(high)) for word, (low, high) in boxes.items()},
        )
        found = (float(low), float(high))
        assert found in ((0, 0), (1, 1), (0, 1))
        assert found == (0, 1) or (dense[q, k] == bool(low)).all(), (mask, boxes)


@pytest.mark.parametrize(
    "mask",
    [
        "kt != qt and dt % (kt - qt) == 0",
        "kt == qt or ds % (kt - qt) == 0",
        "not (kt != qt and not ds % (kt - qt) == 0)",
        "where(kt == qt, 1, ds / (kt - qt)) <= 1",
        "where(dt > 0, log2(dt), 5) <= 1",
        "qt >= kt and sqrt(qt - kt) < 1.5",
        "dt > 0 and dt ** -1 > 0.4 and ds < 9",
        "dy + dx > 0 and 10 / ds > 3",
        "di > 0 and 10 / (dy + dx + dt) > 3",
        "dp > 0 and 10 / di > 3",
        "qi != ki and 1 / (qi - ki) > 0.2",
        "dt > 0 and (dy > 0 and 1 / (dt * dy) > 0.2)",
        "frames > 4 and dt % (frames - 4) == 0 or dt < 2",
        "frames > 4 and 7 % (frames - 4) == 0 or dt < 2",
        "where(dt < 2, ds, 2 ** (2000 * (2 - dt) + dt)) < 4",
    ],
)
def test_a_guard_guards(mask: str) -> None:
    spec = parse_mask({"name": "a", "mask": mask, "empty_rows": "keep"})
    for grid in (GRID, TokenGrid(3, 4, 5, text_tokens=3, text_first=True)):
        dense = token_mask(spec, grid)
        assert dense.any() and not dense.all()
        for block in (5, 32):
            assert np.array_equal(compile_mask(spec, grid, block, block).to_dense(), dense)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("dt % (kt - qt) == 0", "division by zero in 'dt % (kt - qt)' where dt = 0, kt = 0, qt"),
        ("dt % (kt - qt) == 0 and kt != qt", "division by zero in 'dt % (kt - qt)' where dt = 0"),
        ("kt == qt and dt % (kt - qt) == 0", "division by zero in 'dt % (kt - qt)' where dt = 0"),
        ("kt != qt or dt % (kt - qt) == 0", "division by zero in 'dt % (kt - qt)' where dt = 0"),
        ("kt == qt or 1 / (dt - 2) > 0", "division by zero in '1 / (dt - 2)' where dt = 2"),
        ("where(dt > 0, 1, 1 / dt) < 1", "division by zero in '1 / dt' where dt = 0"),
        ("dt > 0 and 1 / dt < 1 or 1 / dt > 2", "division by zero in '1 / dt' where dt = 0"),
        ("1 / dt > 0 and false", "division by zero in '1 / dt' where dt = 0"),
        ("1 / dt > 0 or true", "division by zero in '1 / dt' where dt = 0"),
        ("dt // (kt - qt) % 1 == 0", "division by zero in 'dt // (kt - qt)' where dt = 0"),
        ("frames > 4 or 7 % (frames - 4) == 0", "division by zero in '7 % 0'"),
        ("ds > 0 and 1 / dx > 0", "division by zero in '1 / dx' where dx = 0"),
    ],
)
def test_what_a_guard_does_not_cover_is_refused(mask: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        bind(parse_mask({"name": "a", "mask": mask}), GRID)
    assert str(error.value).startswith(f"mask: {message}")


def test_a_guard_needs_no_time_that_grows_with_the_pairs() -> None:
    grid = TokenGrid(21, 45, 80)
    for mask in ("qi != ki and 1 / (qi - ki) > 0", "ds > 0 and 1 / (qs - ks) > 0"):
        bind(parse_mask({"name": "a", "mask": mask}), grid)


def test_what_takes_too_long_to_find_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse_mask({"name": "a", "mask": "1 / (3.5 - (qs * 5 + ks * 3) % 7) < 1"})
    bind(spec, GRID)
    monkeypatch.setattr(domain, "MAX_WORK", 1000)
    with pytest.raises(SpecError) as error:
        bind(spec, GRID)
    assert str(error.value) == (
        "mask: cannot tell whether '1 / (3.5 - (qs * 5 + ks * 3) % 7)' is defined for all tokens; "
        "guard it, e.g. with max(…, 1)"
    )


def test_rules_are_checked_for_their_own_tokens() -> None:
    """Pairs of video tokens do not reach into the text; flags of text belong to positions."""
    first = TokenGrid(2, 2, 3, text_tokens=2, text_first=True)
    bind(parse_mask({"name": "a", "mask": "1 / qi > 0 and 1 / qp > 0"}), first)
    last = TokenGrid(2, 2, 3, text_tokens=2, text_valid=1)
    text = "qtext and 1 / qi > 0 or not qtext and 1 / (qi - 12) > 0 or qpad and 1 / (qi - 12) > 0"
    bind(parse_mask({"name": "a", "mask": "true", "text": text}), last)
    for text, place in (
        ("1 / qi > 0", "qi = 0"),
        ("ktext and 1 / (ki - 12) > 0", "ki = 12"),
        ("kpad and 1 / (kp - 13) > 0", "kp = 13"),
    ):
        with pytest.raises(SpecError, match=f"^text: division by zero in .* where {place};"):
            bind(parse_mask({"name": "a", "mask": "true", "text": text}), last)


def test_positions_in_another_order_are_taken_for_independent() -> None:
    mapping = {"name": "a", "order": "space_major", "empty_rows": "keep"}
    spec = parse_mask({**mapping, "mask": "dp > 0 and 10 / dp > 3"})
    assert np.array_equal(compile_mask(spec, GRID, 16, 16).to_dense(), token_mask(spec, GRID))
    with pytest.raises(SpecError, match="division by zero in '10 / di' where di = 0"):
        bind(parse_mask({**mapping, "mask": "dp > 0 and 10 / di > 3"}), GRID)
