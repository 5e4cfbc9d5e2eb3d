from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench import TokenGrid, compile_mask, load_mask, parse_mask
from radialbench.errors import SpecError
from radialbench.maskgen.language.expressions import Expr, constant
from radialbench.maskgen.oracle import token_mask
from tests.maskgen.random_masks import BLOCKS, COMPARISONS, GIVEN, WHOLE, Maker

SIZES = (*BLOCKS, 96, 100, 128, 200, 256)
SEEDS = st.integers(0, 2**63)


def check(mapping: dict[str, Any], grid: TokenGrid, block_m: int, block_n: int) -> None:
    spec = parse_mask(mapping)
    dense = compile_mask(spec, grid, block_m, block_n).to_dense()
    wrong = int((dense != token_mask(spec, grid)).sum())
    assert not wrong, f"{wrong} pairs differ: {mapping} on {grid}, {block_m}×{block_n}"


@settings(GIVEN, max_examples=1500)
@given(seed=SEEDS, depth=st.integers(0, 2))
def test_table_is_the_oracle(seed: int, depth: int) -> None:
    """Random expressions joined by any, all, not and rounding, on ragged grids in any order."""
    make = Maker(seed)
    check(make.mask(depth), make.grid(), make.pick(SIZES), make.pick(SIZES))


@settings(GIVEN, max_examples=1000)
@given(seed=SEEDS)
def test_what_varies_inside_a_frame_beside_what_does_not(seed: int) -> None:
    """Such terms are where a compiler takes a value of the frame out of the inner loop."""
    make = Maker(seed)
    tree = Expr(make.pick(COMPARISONS), (make.layered(), constant(make.pick(WHOLE))))
    mapping = {"name": "layered", "mask": str(tree), "empty_rows": "keep", "order": make.order()}
    check(mapping, make.grid(), make.pick(BLOCKS), make.pick(BLOCKS))


@settings(GIVEN, max_examples=400)
@given(seed=SEEDS, depth=st.integers(0, 2))
def test_atoms_without_a_table(seed: int, depth: int) -> None:
    """Those of many combinations are evaluated pair by pair, in boxes that bounds leave open."""
    make = Maker(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("radialbench.maskgen.compiler.atoms.MAX_ENTRIES", 0)
        check(make.mask(depth), make.grid(), make.pick(SIZES), make.pick(SIZES))


@pytest.mark.parametrize("order", ["raster", "space_major", "hilbert"])
@pytest.mark.parametrize(
    "mask",
    [
        "(dt <= 1) != (ds <= 4)",
        "(qx <= kx) == (qt >= kt) or not (true != (ky < qy))",
        "ki <= qi and qs != ks",
        "dt <= 1 and (ds <= 4 or dt == 0) and (ds + dt <= 3 or qx == 2) and qx <= 5",
    ],
)
def test_joins_of_truth_values_and_of_parts_with_the_same_coordinates(
    mask: str, order: str
) -> None:
    mapping = {"name": "a", "mask": mask, "empty_rows": "keep", "order": order}
    check(mapping, TokenGrid(4, 5, 9), 16, 24)


@pytest.mark.parametrize("block", [8, 11, 16, 33, 64])
@pytest.mark.parametrize(
    "mask",
    [
        "floor(qt * 0.5 + ds) <= 3",
        "ceil(ds + kt / 4) % 2 == 0",
        "(qt / 2 + ds) // 1 <= 2",
        "(qt / 3 - ds) % 1 == 0",
        "bit_length(ds * 2**(-dt)) <= 2",
    ],
)
def test_fractions_that_are_whole_numbers_of_frames(mask: str, block: int) -> None:
    mapping = {"name": "fractions", "mask": mask, "empty_rows": "keep"}
    check(mapping, TokenGrid(5, 3, 11), block, block)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            "10 / dt > 1",
            "division by zero in '10 / dt' where dt = 0; guard it, e.g. with max(…, 1)",
        ),
        ("ds // (qt - 1) > 1", "division by zero in 'ds // (qt - 1)' where ds = 2, qt = 1"),
        ("ds % (2 - 2) == 0", "division by zero in 'ds % 0' where ds = 0; guard it, e.g. with"),
        ("log2(dt) > 1", "logarithm of zero or less in 'log2(dt)' where dt = 0"),
        ("sqrt(1 - dt) > 0", "square root of a negative number in 'sqrt(1 - dt)' where dt = 2"),
        ("(-1) ** (dt / 2) > 0", "a power that is too large or undefined in '(-1)**(dt / 2)'"),
        (
            "0 ** (0 - dt) > 0",
            "a power that is too large or undefined in '0**(0 - dt)' where dt = 2",
        ),
        ("di ** 400 > 0", "a power that is too large or undefined in 'di**400' where di = 42"),
        ("9 ** 9 ** 9 > dt", "a power that is too large or undefined in '9**387420489'"),
        ("1 / 0 > dt", "division by zero in '1 / 0'"),
        ("2 ** 1000 * 2 ** 1000 > dt", "the value is too large: '1.0715086071862673e+301 * 1.0"),
        (
            "2 ** 1000 * 2 ** (100 * dt) > 0",
            "the value is too large: '1.0715086071862673e+301 * 2**(100 * dt)' where dt = 2",
        ),
        (
            "1 / (qi + ki + qp + kp + qs + ks + qx - kx + qy - ky + qt - kt) > 0",
            "division by zero in '1 / (qi + ki + qp",
        ),
        (
            "largest_divisor(dt, 3) > 1",
            "largest_divisor() is for sizes, not for coordinates, in 'largest_divisor(dt, 3) > 1'",
        ),
        (
            "largest_divisor(2**50, 3) > dt",
            "divisors of something other than a whole number from 1 to 2^31",
        ),
        ("largest_divisor(width / 2, 3) > dt", "other than a whole number from 1 to 2^31"),
    ],
)
def test_undefined_operations(mask: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        compile_mask(parse_mask({"name": "a", "mask": mask}), TokenGrid(3, 4, 7))
    assert str(error.value).startswith(message) or message in str(error.value)


def test_undefined_text_rule() -> None:
    spec = parse_mask({"name": "a", "mask": "true", "text": "1 / di > 0"})
    with pytest.raises(SpecError, match="division by zero in '1 / di' where di = 0"):
        compile_mask(spec, TokenGrid(1, 2, 3, text_tokens=2))


@pytest.mark.parametrize("block", [0, -1, 1.5, True, "64", None, 8193])
def test_block_sizes_are_checked(block: Any) -> None:
    message = rf"block_[mn] must be a whole number from 1 to 8,192, got {block!r}"
    with pytest.raises(SpecError, match=message):
        compile_mask(load_mask("dense"), TokenGrid(1, 2, 3), block, 16)
    with pytest.raises(SpecError, match=message):
        compile_mask(load_mask("dense"), TokenGrid(1, 2, 3), 16, block)


GIVEN_MASK = parse_mask({"name": "a", "mask": {"table": {"name": "chosen", "block": 4}}})


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {},
            "needs the table 'chosen', bool [3, 3] (blocks of 4 tokens): give it as "
            "tables={'chosen': …} or --table chosen=FILE.npy, in a suite as tables beside the name",
        ),
        ({"chosn": 1}, "unknown table of a 'chosn'; did you mean 'chosen'?"),
        (
            {"chosen": np.ones((2, 3), np.bool_)},
            "table 'chosen' must be bool [3, 3] (blocks of 4 tokens), got bool [2, 3]",
        ),
        (
            {"chosen": np.ones((3, 3), np.int64)},
            "table 'chosen' must be bool [3, 3] (blocks of 4 tokens), got int64 [3, 3]; "
            "convert it with .astype(bool)",
        ),
    ],
)
def test_tables_are_checked(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        compile_mask(GIVEN_MASK, TokenGrid(1, 2, 5), tables=tables)
    assert str(error.value) == message


@settings(GIVEN, max_examples=60)
@given(seed=SEEDS)
def test_tables_join_a_mask(seed: int) -> None:
    make = Maker(seed)
    grid, block = make.grid(), make.random.randint(1, 20)
    count = -(-grid.seq_len // block)
    chosen = np.array([[make.pick([True, False]) for _ in range(count)] for _ in range(count)])
    table = {"table": {"name": "chosen", "block": block}}
    parts = [table, make.node(1, frame_pair=False)]
    mask = make.pick([{"any": parts}, {"all": parts}, {"not": {"any": parts}}])
    spec = parse_mask({"name": "a", "mask": mask, "order": make.order(), "empty_rows": "keep"})
    tables = {"chosen": chosen}
    dense = compile_mask(spec, grid, make.pick(BLOCKS), make.pick(BLOCKS), tables=tables).to_dense()
    np.testing.assert_array_equal(dense, token_mask(spec, grid, tables=tables))


def test_progress_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that does not fit is refused by what the first kinds of blocks show."""
    spec = parse_mask({"name": "a", "mask": "(qi * ki) % 1009 < 500", "empty_rows": "keep"})
    grid = TokenGrid(4, 16, 16)
    monkeypatch.setattr("radialbench.maskgen.compiler.rules.BATCH", 1)
    monkeypatch.setattr("radialbench.maskgen.compiler.rules.MAX_BITS", 16 * 16 * 100)
    shares: list[float] = []
    expected = compile_mask(spec, grid, 16, 16, progress=shares.append)
    assert len(shares) > 10 and shares == sorted(shares) and shares[0] >= 0 and shares[-1] < 1
    assert (expected.to_dense() == token_mask(spec, grid)).all()
    monkeypatch.setattr("radialbench.maskgen.compiler.rules.free_memory", lambda: 1 << 18)
    with pytest.raises(SpecError, match=r"about 4,\d\d\d different partial blocks .* smaller grid"):
        compile_mask(spec, grid, 16, 16)
