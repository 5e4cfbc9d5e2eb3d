import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench import TokenGrid, compile_mask, parse_mask
from radialbench.errors import SpecError
from radialbench.maskgen.oracle import token_mask
from tests.maskgen.random_masks import BLOCKS, GIVEN, Maker

GRID = TokenGrid(2, 3, 4)


def test_the_error_names_the_first_token_and_the_choices() -> None:
    spec = parse_mask({"name": "a", "mask": "qi < 17 and dt == 0"})
    with pytest.raises(SpecError) as error:
        compile_mask(spec, GRID)
    assert str(error.value) == (
        "7 of 24 tokens would attend nothing on 2x3x4, the first is token 17 (frame 1, row 1, "
        "column 1); choose empty_rows: own_block (it attends the 128-token block it stands in), "
        "keep (its output is zero), or another size"
    )


def test_tokens_are_named_by_raster_position_in_any_order() -> None:
    spec = parse_mask({"name": "a", "mask": "qi != 17", "order": "space_major"})
    with pytest.raises(SpecError, match=r"the first is token 17 \(frame 1, row 1, column 1\)"):
        compile_mask(spec, GRID)


def test_text_has_no_frame() -> None:
    spec = parse_mask({"name": "a", "mask": "true", "text": "false"})
    grid = TokenGrid(1, 2, 3, text_tokens=2, text_first=True)
    with pytest.raises(SpecError, match=r"2 of 8 tokens .* 2\+1x2x3, .* token 0 \(text\); "):
        compile_mask(spec, grid)


def test_padding_may_attend_nothing() -> None:
    spec = parse_mask({"name": "a", "mask": "true", "text": "not kpad and not qpad"})
    grid = TokenGrid(1, 2, 3, text_tokens=4, text_valid=1)
    table = compile_mask(spec, grid, 4, 4)
    assert not table.to_dense()[7:].any()
    np.testing.assert_array_equal(table.to_dense(), token_mask(spec, grid))


def test_the_error_says_which_block_own_block_means() -> None:
    rounded = {"rounded": {"block": 5, "keep": "all", "of": "qi > 4"}}
    spec = parse_mask({"name": "a", "mask": rounded})
    with pytest.raises(SpecError, match="it attends the 5-token block it stands in"):
        compile_mask(spec, GRID)


def test_keep_leaves_rows_empty() -> None:
    spec = parse_mask({"name": "a", "mask": "qi % 2 == 0", "empty_rows": "keep"})
    dense = compile_mask(spec, GRID, 16, 16).to_dense()
    assert dense[::2].all()
    assert not dense[1::2].any()


def test_own_block_is_of_the_masks_block_not_the_kernels() -> None:
    rounded = {"rounded": {"block": 5, "keep": "all", "of": "qi >= 10"}}
    spec = parse_mask({"name": "a", "mask": rounded, "empty_rows": "own_block"})
    for block in (3, 16, 64):
        dense = compile_mask(spec, GRID, block, block).to_dense()
        assert dense[:5, :5].all()
        assert not dense[:5, 5:].any()
        assert dense[5:10, 5:10].all()
        assert dense[10:].all()


@settings(GIVEN, max_examples=150)
@given(seed=st.integers(0, 2**63))
def test_own_block_is_the_oracles(seed: int) -> None:
    make = Maker(seed)
    grid = make.grid()
    hit = f"(qi + ki) % {make.random.randint(2, 9)} == {make.random.randint(0, 3)}"
    mapping = {
        "name": "a",
        "order": make.order(),
        "mask": {"all": [hit, make.node(1, frame_pair=False)]},
        "text": make.pick(("not kpad", "false", "qpad == kpad", "ktext and not kpad")),
        "empty_rows": "own_block",
    }
    spec = parse_mask(mapping)
    dense = compile_mask(spec, grid, make.pick(BLOCKS), make.pick(BLOCKS)).to_dense()
    np.testing.assert_array_equal(dense, token_mask(spec, grid))
    assert dense[~_padding(grid)].any(axis=1).all()


def _padding(grid: TokenGrid) -> np.ndarray:
    padding = np.zeros(grid.seq_len, np.bool_)
    end = grid.text_start + grid.text_tokens
    padding[grid.text_start + grid.real_text : end] = True
    return padding


@settings(GIVEN, max_examples=150)
@given(seed=st.integers(0, 2**63))
def test_an_error_is_raised_exactly_if_a_row_is_empty(seed: int) -> None:
    make = Maker(seed)
    grid = make.grid()
    hit = f"(qs * 3 + ki) % {make.random.randint(2, 30)} < {make.random.randint(1, 4)}"
    mapping = {"name": "a", "order": make.order(), "mask": hit}
    kept = token_mask(parse_mask({**mapping, "empty_rows": "keep"}), grid)
    empty = ~kept.any(axis=1) & ~_padding(grid)
    spec = parse_mask(mapping)
    if empty.any():
        with pytest.raises(SpecError, match=f"{empty.sum()} of {grid.seq_len} tokens would"):
            compile_mask(spec, grid, make.pick(BLOCKS), make.pick(BLOCKS))
        with pytest.raises(SpecError, match=f"position {empty.argmax()} attends nothing"):
            token_mask(spec, grid)
    else:
        table = compile_mask(spec, grid, make.pick(BLOCKS), make.pick(BLOCKS))
        np.testing.assert_array_equal(table.to_dense(), kept)
