"""Head plans: every head has one mask; files, mappings and Python give the same plan."""

from pathlib import Path

import pytest
import yaml

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import SpecError
from radialbench.maskgen.compiler import compile_heads
from radialbench.maskgen.language.heads import HeadGroup, HeadPlan
from radialbench.maskgen.library import is_head_plan, load_head_plan, parse_head_plan

SVG = HeadPlan(
    name="svg",
    groups=(
        HeadGroup((0, 1, 5), load_mask("svg_spatial", density=0.5)),
        HeadGroup((2, 3, 4), load_mask("svg_temporal")),
    ),
    about="Two kinds of head.",
)
WRITTEN = {
    "name": "svg",
    "about": "Two kinds of head.",
    "heads": {"2-4": "svg_temporal", "0,1,5": {"name": "svg_spatial", "params": {"density": 0.5}}},
}


def test_python_and_a_mapping_give_the_same_plan() -> None:
    assert parse_head_plan(WRITTEN) == SVG
    assert SVG.heads == 6
    assert [group.label for group in SVG.groups] == ["0-1,5", "2-4"]


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "svg.yaml"
    path.write_text(SVG.to_yaml())
    assert load_head_plan(path) == SVG
    assert is_head_plan(path)
    assert not is_head_plan(tmp_path / "none.yaml")


def test_a_mask_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "near.yaml").write_text("name: near\nmask: dt <= 1\n")
    (tmp_path / "plan.yaml").write_text("name: plan\nheads: {0-3: near.yaml, 4: dense}\n")
    plan = load_head_plan(tmp_path / "plan.yaml")
    assert [group.mask.name for group in plan.groups] == ["near", "dense"]


def test_tables_are_those_of_the_masks_and_equal_masks_share_one() -> None:
    grid = TokenGrid(5, 4, 6)
    plan = parse_head_plan({"name": "p", "heads": {"0": "radial", "1": "dense", "2": "radial"}})
    first, dense, last = compile_heads(plan, grid, 16, 32).tables
    assert first is last
    assert first == compile_mask(load_mask("radial"), grid, 16, 32)
    assert dense.density == 1


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ({"0-3": "radial", "5": "dense"}, "head 4 has no mask; heads are counted from 0"),
        ({"0-3": "radial", "3": "dense"}, r"head 3 has two masks, radial \(heads 0-3\) and dense"),
        ({}, "head 0 has no mask"),
        ({"0-": "radial"}, "heads.0-: heads are numbers and ranges such as '0-11,14', got '0-'"),
        ({"3-0": "radial"}, "a range of heads rises and ends below 4096, got '3-0'"),
        ({"0,0": "radial"}, "a head is named twice in '0,0'"),
        ({"0": "radail"}, "heads.0: unknown mask 'radail'; did you mean 'radial'?"),
        ({"0": {"name": "radial", "params": {"dekay": 1}}}, "did you mean 'decay'"),
        ({"0": {"name": "radial", "dekay": 1}}, "unknown key 'dekay'"),
        ({"0": {"params": {}}}, "heads.0.name: missing"),
        ({"0": 3}, "heads.0: must be a mapping of keys to values, got 3"),
        ({"0": "other.yaml"}, "masks of the library only, got 'other.yaml'"),
        ({"0": {"name": "inline", "mask": "dt <"}}, "mask: "),
    ],
)
def test_bad_plans(heads: object, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_head_plan({"name": "bad", "heads": heads})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: bad\nheads:\n  0-1: radial\n  1: dense\n", r"bad.yaml:2:1: heads: head 1 has two"),
        ("name: bad\nheads:\n  0: ../near.yaml\n", r"bad.yaml:3:3: .*masks in its own folder"),
        (
            "name: bad\nheads:\n  0:\n    name: x\n    mask: dz < 1\n",
            r"bad.yaml:5:5: heads.0.mask: unknown",
        ),
        ("heads: {0: radial}\n", r"bad.yaml:1:1: name: missing"),
        ("name: [", "bad.yaml:1:8: not YAML"),
    ],
)
def test_bad_files_say_where(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message):
        load_head_plan(path)


def test_empty_rows_of_a_group_and_errors_name_the_heads() -> None:
    plan = parse_head_plan(
        {"name": "p", "heads": {"0": {"name": "radial_blocks:wan", "empty_rows": "keep"}}}
    )
    assert plan.groups[0].mask.empty_rows == "keep"
    empty = parse_head_plan({"name": "p", "heads": {"0-2": {"name": "none", "mask": False}}})
    with pytest.raises(SpecError, match="heads 0-2: 24 of 24 tokens would attend nothing"):
        compile_heads(empty, TokenGrid(1, 4, 6))


def test_a_plan_is_plain_yaml() -> None:
    assert parse_head_plan(yaml.safe_load(SVG.to_yaml())) == SVG
