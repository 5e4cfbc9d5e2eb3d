from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench import TokenGrid, compile_mask, parse_mask
from radialbench.errors import SpecError
from radialbench.maskgen.language.tree import Share
from radialbench.maskgen.oracle import token_mask
from tests.maskgen.random_masks import BLOCKS, GIVEN, SHARES, Maker

KEEPS: list[Any] = [
    "any",
    "all",
    "centre",
    *({"columns": s, "rows": t} for s, t in zip(SHARES, reversed(SHARES), strict=True)),
]


def mask_of(of: str, **rounded: Any) -> dict[str, Any]:
    return {"name": "a", "mask": {"rounded": {"of": of, **rounded}}, "empty_rows": "keep"}


def blocks_of(grid: TokenGrid, of: str, **rounded: Any) -> list[list[int]]:
    """The kept blocks of a rounded rule, as 0 and 1."""
    table = compile_mask(parse_mask(mask_of(of, **rounded)), grid, *[rounded["block"]] * 2)
    assert not table.partial.nnz
    kept: list[list[int]] = table.full_blocks().astype(int).tolist()
    return kept


@settings(GIVEN, max_examples=40)
@given(seed=st.integers(0, 2**63))
@pytest.mark.parametrize("per", ["sequence", "frame_pair"])
@pytest.mark.parametrize("overhang", ["keep", "drop"])
def test_kept_blocks_are_the_oracles(per: str, overhang: str, seed: int) -> None:
    make = Maker(seed)
    grid = make.grid()
    mapping = mask_of(
        str(make.truth(make.random.randint(0, 2))),
        block=make.random.randint(1, 40),
        per=per,
        overhang=overhang,
        keep=make.pick(KEEPS),
    )
    if per == "sequence":
        mapping["order"] = make.order()
    spec = parse_mask(mapping)
    dense = compile_mask(spec, grid, make.pick(BLOCKS), make.pick(BLOCKS)).to_dense()
    wrong = int((dense != token_mask(spec, grid)).sum())
    assert not wrong, f"{wrong} pairs differ: {mapping} on {grid}"


# Two frames of three tokens in blocks of two: the middle block is shared.
SHARED = TokenGrid(2, 1, 3)


@pytest.mark.parametrize(
    ("keep", "rounded", "kept"),
    [
        ("any", {}, [[1, 1, 0], [1, 1, 1], [0, 1, 1]]),
        ("all", {}, [[1, 0, 0], [0, 0, 0], [0, 0, 1]]),
        ("centre", {}, [[1, 0, 0], [0, 1, 1], [0, 1, 1]]),
        ("any", {"per": "frame_pair"}, [[1, 1, 0], [1, 1, 1], [0, 1, 1]]),
        # Each frame judges its own half of the middle block.
        ("all", {"per": "frame_pair"}, [[1, 1, 0], [1, 1, 1], [0, 1, 1]]),
        # Frame 0 has ⌈3 / 2⌉ = 2 blocks from its start, and so has frame 1, from the shared one.
        ("all", {"per": "frame_pair", "overhang": "drop"}, [[1, 1, 0], [1, 1, 1], [0, 1, 1]]),
    ],
)
def test_same_frame_attends(keep: str, rounded: dict[str, Any], kept: list[list[int]]) -> None:
    assert blocks_of(SHARED, "dt == 0", block=2, keep=keep, **rounded) == kept


def test_a_share_counts_touched_columns_and_rows_of_the_block() -> None:
    grid = TokenGrid(1, 1, 6)
    # Column 0 is attended by one of three rows, column 1 by two, column 2 by none.
    of = "ki == 1 and qi < 2 or ki == 0 and qi == 0"
    for rows, columns, on in (
        (">=1/3", ">=1", 1),  # Both touched columns have a third of the rows.
        (">1/3", ">=1", 0),  # Only one of the two has more.
        (">1/3", ">=1/2", 1),
        (">1/3", ">1/2", 0),
        (">2/3", ">=0", 1),  # None has, and a share of at least nothing is reached.
        (">2/3", ">0", 0),
    ):
        found = blocks_of(grid, of, block=3, keep={"columns": columns, "rows": rows})
        assert found == [[on, 0], [0, 0]], (rows, columns)


def test_rows_are_a_share_of_the_block_not_of_the_frame() -> None:
    """A frame of one token fills a quarter of a block of four: never more than a third."""
    shares = {"columns": ">3/5", "rows": ">1/3"}
    assert blocks_of(TokenGrid(1, 1, 1), "true", block=4, keep=shares) == [[0]]
    assert blocks_of(TokenGrid(1, 1, 2), "true", block=4, keep=shares) == [[1]]
    # Two frames of one token share a block; each pair of frames decides alone, pairs never add up.
    shared = TokenGrid(2, 1, 1)
    assert blocks_of(shared, "true", block=4, keep=shares, per="frame_pair") == [[0]]
    assert blocks_of(shared, "true", block=4, keep=shares, per="sequence") == [[1]]


def test_overhang_is_dropped_where_a_frame_reaches_into_one_more_block() -> None:
    # Frames of 4 tokens in blocks of 4, behind a text of 2: each frame straddles two blocks.
    grid = TokenGrid(2, 1, 4, text_tokens=2, text_first=True)
    rounded = {"block": 4, "keep": "any", "per": "frame_pair"}
    spec = parse_mask(mask_of("kt == 0 and qt == 0", **rounded, overhang="drop"))
    dense = compile_mask(spec, grid, 4, 4).to_dense()
    # Only block 0 is judged for frame 0; what it has in block 1 falls away.
    assert dense[2:4, 2:4].all()
    assert not dense[4:, 2:].any()
    kept = compile_mask(parse_mask(mask_of("kt == 0 and qt == 0", **rounded)), grid, 4, 4)
    assert kept.to_dense()[4:8, 2:8].all()


def test_a_block_larger_than_the_sequence() -> None:
    shares = {"columns": ">=1/2", "rows": ">=1/1000"}
    for block in (7, 1000, 2**31 - 1):
        for keep in ("any", "all", "centre", shares):
            spec = parse_mask(mask_of("true", block=block, keep=keep))
            dense = compile_mask(spec, TokenGrid(1, 2, 3), 4, 4).to_dense()
            few = keep == shares and block > 6_000
            assert dense.all() == (not few)


def test_blocks_may_be_too_large_to_judge() -> None:
    spec = parse_mask(mask_of("true", block=9_000, keep="all"))
    message = "rules are rounded to blocks of at most 8,192 tokens, got 9,000"
    with pytest.raises(SpecError, match=message):
        compile_mask(spec, TokenGrid(1, 1, 10_000))


def test_frames_are_whole_in_raster_order_only() -> None:
    mapping = mask_of("true", block=4, keep="any", per="frame_pair")
    message = "rounding per frame_pair needs the raster order, where frames are whole"
    with pytest.raises(SpecError, match=message):
        compile_mask(parse_mask({**mapping, "order": "space_major"}), TokenGrid(2, 2, 3))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (0, "mask: a block is a whole number of at least 1, got 0"),
        ("frames - 2", "mask: a block is a whole number of at least 1, got 'frames - 2' = 0"),
        ("width / 2", "mask: a block is a whole number of at least 1, got 'width / 2' = 1.5"),
        ("2**40", "mask: a block is a whole number of at least 1, got '2**40' = 1.09951e+12"),
    ],
)
def test_block_sizes_are_whole(block: Any, message: str) -> None:
    with pytest.raises(SpecError) as error:
        compile_mask(parse_mask(mask_of("true", block=block, keep="any")), TokenGrid(2, 2, 3))
    assert str(error.value) == message


@pytest.mark.parametrize("text", [">3/5", ">=1/2", ">0", " >= 2 / 4 ", ">007/9"])
def test_share_reads(text: str) -> None:
    share = Share.parse(text)
    assert Share.parse(str(share)) == share
    assert share.strict == (">=" not in text)


@pytest.mark.parametrize(
    "text", ["3/5", "<1/2", ">1/0", ">-1", ">0.5", ">1/2/3", "", ">" + "9" * 10, None, 0.5]
)
def test_share_errors(text: Any) -> None:
    with pytest.raises(SpecError) as error:
        Share.parse(text)
    assert str(error.value) == (
        f"a share is written like '>3/5' or '>=1/2', got {str(text)[:40]!r}"
    )


def test_bits_of_a_rounded_mask_do_not_depend_on_the_kernels_blocks() -> None:
    mapping = mask_of("ds <= 2 and dt <= 1", block=5, keep={"columns": ">3/5", "rows": ">1/3"})
    spec, grid = parse_mask(mapping), TokenGrid(4, 3, 5)
    expected = token_mask(spec, grid)
    for block_m in BLOCKS:
        for block_n in BLOCKS:
            dense = compile_mask(spec, grid, block_m, block_n).to_dense()
            np.testing.assert_array_equal(dense, expected)
