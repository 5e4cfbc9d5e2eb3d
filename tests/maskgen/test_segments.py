"""Sequences of named segments: videos and flat tokens, and rules for pairs of them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask, parse_mask
from radialbench.errors import GridError, SpecError
from radialbench.maskgen.grid import Segment
from radialbench.maskgen.language.expressions import name
from radialbench.maskgen.language.parser import parse
from radialbench.maskgen.oracle import token_mask
from radialbench.maskgen.order import Coordinates, TokenOrder
from radialbench.maskgen.validate import try_mask
from radialbench.records.codec import from_json, to_json
from tests.maskgen.plain import Value, names_of, tokens, value
from tests.maskgen.random_masks import BLOCKS, GIVEN, SEGMENT_RULES, Maker

DOCS = (Path(__file__).parents[2] / "docs" / "masks.md").read_text(encoding="utf-8")
SECTION = DOCS.partition("## Segments")[2].partition("\n## ")[0]
EXAMPLES = {
    document["name"]: document
    for document in map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL))
}
SEEDS = st.integers(0, 2**63)
Token = dict[str, Value]
GRID = TokenGrid.of(
    Segment("text", 6, valid=4),
    Segment("reference", sides=(1, 2, 3)),
    Segment("video", sides=(3, 4, 6)),
    Segment("audio", 12, valid=9),
)


def mask_for(make: Maker, grid: TokenGrid, depth: int = 1) -> dict[str, Any]:
    return make.mask(depth) | {"text": make.pick(SEGMENT_RULES), "pairs": make.pairs(grid)}


@settings(GIVEN, max_examples=500)
@given(seed=SEEDS, depth=st.integers(0, 2))
def test_table_is_the_oracle(seed: int, depth: int) -> None:
    make = Maker(seed)
    grid = make.segments()
    mapping = mask_for(make, grid, depth)
    spec = parse_mask(mapping)
    dense = compile_mask(spec, grid, make.pick(BLOCKS), make.pick(BLOCKS)).to_dense()
    wrong = int((dense != token_mask(spec, grid)).sum())
    assert not wrong, f"{wrong} pairs differ: {mapping} on {grid}"


@settings(GIVEN, max_examples=60)
@given(seed=SEEDS)
def test_oracle_is_the_definition(seed: int) -> None:
    """Each pair has the rule of its two segments, in coordinates of those."""
    make = Maker(seed)
    grid = make.segments()
    spec = parse_mask(
        {"name": "a", "mask": str(make.truth(1)), "order": make.order(), "empty_rows": "keep"}
        | {"text": make.pick(SEGMENT_RULES), "pairs": make.pairs(grid)}
    )
    dense = token_mask(spec, grid)
    rules = {(q, k): rule for q, k, rule in spec.pairs}
    rules["video", "video"] = parse(str(spec.to_mapping()["mask"]))
    names = [segment.name for segment in grid.layout]
    every = tokens(grid, spec.order_on(grid))
    for q in every[:: 1 + len(every) // 20]:
        for k in every[:: 1 + len(every) // 20]:
            pair = names[int(q["seg"])], names[int(k["seg"])]
            rule = rules.get(pair, spec.text)
            known = names_of(q, k, grid) | {"'text'": -1, **names_of(q, k, grid)}
            assert dense[int(q["p"]), int(k["p"])] == value(rule, known), (pair, str(rule))


def test_coordinates_of_segments() -> None:
    at = Coordinates(GRID, TokenOrder())
    assert GRID.starts == (0, 6, 12, 84) and GRID.seq_len == len(at.i) == 96
    assert at.seg.tolist() == [0] * 6 + [1] * 6 + [2] * 72 + [3] * 12
    assert at.s[:6].tolist() == at.s[6:12].tolist() == [0, 1, 2, 3, 4, 5]
    assert (at.t[6:12].max(), at.y[6:12].tolist(), at.x[11]) == (0, [0, 0, 0, 1, 1, 1], 2)
    assert (at.t[83], at.y[83], at.x[83], at.s[83]) == (2, 3, 5, 23)
    assert at.s[84:].tolist() == list(range(12)) and not (at.t + at.x + at.y)[84:].any()
    assert np.flatnonzero(at.text).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.flatnonzero(at.pad).tolist() == [4, 5, 93, 94, 95]


def test_an_order_moves_the_tokens_of_each_video() -> None:
    index = TokenOrder("space_major").source_index(GRID)
    assert index[:12].tolist() == list(range(12)) and index[84:].tolist() == list(range(84, 96))
    alone = TokenOrder("space_major").source_index(TokenGrid(3, 4, 6))
    assert (index[12:84] - 12).tolist() == alone.tolist()


def test_video_and_text_alone_are_the_short_form() -> None:
    video, text = Segment("video", sides=(3, 4, 6)), Segment("text", 6, valid=4)
    assert TokenGrid.of(video) == TokenGrid(3, 4, 6)
    assert TokenGrid.of(video, text) == TokenGrid(3, 4, 6, text_tokens=6, text_valid=4)
    first = TokenGrid.of(text, video)
    assert first == TokenGrid(3, 4, 6, text_tokens=6, text_valid=4, text_first=True)
    assert first.layout == (text, video) and first.starts == (0, 6)


def test_labels_and_stored_form(tmp_path: Path) -> None:
    assert GRID.label == "text=4of6+reference=1x2x3+video=3x4x6+audio=9of12"
    assert GRID.sweep_label == "text=4of6+reference=1x2x3+video=Fx4x6+audio=9of12"
    assert (GRID.text_tokens, GRID.real_text, GRID.text_first) == (6, 4, True)
    assert (GRID.video_start, GRID.text_start) == (12, 0)
    assert from_json(to_json(GRID).encode(), TokenGrid) == GRID
    assert "segments" not in repr(TokenGrid(3, 4, 6)) and "audio" in repr(GRID)
    table = compile_mask("radial", GRID, 16, 32)
    table.save(tmp_path / "table.npz")
    assert BlockTable.load(tmp_path / "table.npz") == table
    other = TokenGrid.of(*GRID.segments[:3], Segment("audio", 12, valid=10))
    assert compile_mask("radial", other, 16, 32) != table


def test_queries_are_frames_of_the_video() -> None:
    grid = TokenGrid.of(*GRID.segments, query_frames=(1, 2))
    assert (grid.query_start, grid.q_len, grid.label[-5:]) == (36, 48, " q1-2")
    table = compile_mask("radial", grid, 16, 16)
    np.testing.assert_array_equal(table.to_dense(), token_mask(load_mask("radial"), grid))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([Segment("text", 3)], "one segment is the video, of frames×rows×columns, and is named so"),
        ([Segment("video", 3)], "and is named so; got video=3"),
        (
            [Segment("video", sides=(1, 1, 1)), Segment("a", 1), Segment("a", 2)],
            "segments have names of their own, got video, a, a",
        ),
        (
            [Segment("video", sides=(1, 1, 1)), Segment("text", sides=(1, 2, 2))],
            "text is flat tokens, got 1x2x2",
        ),
    ],
)
def test_segments_that_are_no_sequence(parts: list[Segment], message: str) -> None:
    with pytest.raises(GridError, match=re.escape(message)):
        TokenGrid.of(*parts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a-b", 3), "the name of a segment is a plain word, got 'a-b'"),
        (("a", 0), "a: tokens must be a whole number of at least 1, got 0"),
        (("a", 3, None, 4), "a: valid must be at most tokens, got 4 of 3"),
        (("a", 0, (1, 2, 0)), "a: width must be a whole number of at least 1, got 0"),
        (("a", 0, (1, 2, 2), 3), "a: a video has all tokens of its frames, none is padding"),
    ],
)
def test_segments_that_are_none(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(GridError, match=re.escape(message)):
        Segment(*arguments)


@pytest.mark.parametrize("text", ["1x2", "a", "3of", "-1", "1.5"])
def test_sizes_that_are_none(text: str) -> None:
    message = "audio: a segment is frames×rows×columns of a video, such as 13x30x45, or tokens, "
    with pytest.raises(GridError, match=re.escape(message) + f".*got '{re.escape(text)}'"):
        Segment.parse("audio", text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"text": "qseg == 'audoi'"},
            "text: unknown segment 'audoi'; did you mean 'audio'?",
        ),
        ({"pairs": {"video-sound": "true"}}, "pairs.video-sound: unknown segment 'sound'; "),
        (
            {"pairs": {"video": "true"}},
            "a pair is the segment of the query and that of the key, such as video-audio, got",
        ),
        ({"pairs": {"video-video": "true"}}, "of tokens of the video have the rule under 'mask'"),
        ({"pairs": {"video-audio": "qt"}}, "'qt' is a number, wanted is a truth value"),
        ({"text": "qseg == 1"}, "a segment is compared with a name in quotes, such as qseg == 'te"),
        ({"text": "qseg < 'text'"}, "'<' wants a number but 'qseg' is a segment"),
        ({"text": "'text'"}, "this constant is not part of the language"),
        ({"text": "qseg == 'a b'"}, "this constant is not part of the language"),
        ({"mask": "qseg == 'video'"}, "speaks of pairs of video tokens only"),
        (
            {"pairs": {"audio-video": "10 % qs > 1"}},
            "pairs.audio-video: division by zero in '10 % qs' where qs = 0; guard it",
        ),
    ],
)
def test_rules_that_are_wrong(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        compile_mask(parse_mask({"name": "a", "mask": "dt <= 1"} | fields), GRID)


def test_a_rule_is_defined_where_it_is_used() -> None:
    """Frames of the video, where rows of flat tokens would all be 0."""
    mask = {"name": "a", "mask": "true", "pairs": {"video-reference": "24 % (qs + 1) <= ks"}}
    compile_mask(parse_mask(mask), GRID)
    spec = parse_mask({"name": "a", "mask": "true", "pairs": {"video-text": "qt <= ks"}})
    assert compile_mask(spec, TokenGrid(2, 2, 2)).density == 1


def test_empty_rows_are_named_by_segment() -> None:
    spec = parse_mask({"name": "a", "mask": "true", "text": "false"})
    with pytest.raises(SpecError, match=re.escape("the first is token 0 (text); choose")):
        compile_mask(spec, GRID)
    spec = parse_mask({"name": "a", "mask": "true", "text": "qseg != 'reference'"})
    message = "the first is token 6 (reference, frame 0, row 0, column 0); choose"
    with pytest.raises(SpecError, match=re.escape(message)):
        compile_mask(spec, GRID)


def test_pairs_are_part_of_a_mask() -> None:
    plain = {"name": "a", "mask": "dt <= 1"}
    spec = parse_mask(plain | {"pairs": {"video-audio": "ks <= 3", "audio - audio": "ds <= 2"}})
    assert spec.fingerprint != parse_mask(plain).fingerprint
    assert parse_mask(spec.to_mapping()) == spec
    assert spec.segments == {"video", "audio"}
    dense = parse_mask({"name": "a", "mask": "true", "pairs": {"video-text": "true"}})
    assert not dense.identity.dense
    assert str(name("qseg").equals(name("'text'"))) == "qseg == 'text'"
    assert parse('qseg == "text"') is parse("qseg == 'text'")


def test_masks_are_tried_with_the_segments_that_they_name() -> None:
    try_mask(parse_mask({"name": "a", "mask": "dt <= 1", "pairs": {"video-audio": "ks <= qt"}}))
    wrong = parse_mask({"name": "a", "mask": "dt <= 1", "pairs": {"video-audio": "ks % qt == 0"}})
    with pytest.raises(SpecError, match=re.escape("pairs.video-audio: division by zero")):
        try_mask(wrong)


def audio_video(pair: str, q: Token, k: Token) -> bool:
    match pair:
        case "video-video":
            return abs(q["t"] - k["t"]) <= 4 or abs(q["s"] - k["s"]) <= 100
        case "video-audio":
            return q["t"] * 8 - 16 <= k["s"] <= q["t"] * 8 + 16
        case "audio-video":
            return audio_video("video-audio", k, q)
        case "audio-audio":
            return abs(q["s"] - k["s"]) <= 64
    return not k["pad"]


def reference_target(pair: str, q: Token, k: Token) -> bool:
    match pair:
        case "video-video":
            return abs(q["t"] - k["t"]) <= 2 or abs(q["s"] - k["s"]) <= 200
        case "video-reference":
            return all(abs(q[axis] // 2 - k[axis]) <= 4 for axis in "yx")
        case "reference-video":
            return False
    return not k["pad"]


def registers(pair: str, q: Token, k: Token) -> bool:
    if pair == "video-video":
        return abs(q["t"] - k["t"]) <= 2
    return pair != "text-registers" and not k["pad"]


@pytest.mark.parametrize(
    ("meaning", "other"),
    [
        (audio_video, Segment("audio", 40)),
        (reference_target, Segment("reference", sides=(1, 5, 7))),
        (registers, Segment("registers", 4)),
    ],
    ids=list(EXAMPLES),
)
def test_the_documented_examples(meaning: Callable[..., bool], other: Segment) -> None:
    spec = parse_mask(EXAMPLES[meaning.__name__])
    text, video = Segment("text", 8, valid=5), Segment("video", sides=(5, 10, 14))
    for grid in (TokenGrid.of(text, other, video), TokenGrid.of(video, text, other)):
        names = [segment.name for segment in grid.layout]
        every = tokens(grid, TokenOrder())
        dense = compile_mask(spec, grid, 32, 16).to_dense()
        for q in every[::7]:
            for k in every[::3]:
                pair = f"{names[int(q['seg'])]}-{names[int(k['seg'])]}"
                assert dense[int(q["p"]), int(k["p"])] == meaning(pair, q, k), (pair, q, k)


def test_the_documented_grid() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)
    assert f"--grid {found['grid'].label}\n" in SECTION
    assert TokenGrid(13, 30, 52, text_tokens=128) == TokenGrid.of(
        Segment("video", sides=(13, 30, 52)), Segment("text", 128)
    )
