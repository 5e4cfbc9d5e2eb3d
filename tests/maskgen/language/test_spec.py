from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from radialbench import TokenGrid, load_mask, parse_mask
from radialbench.errors import SpecError
from radialbench.maskgen.language.expressions import Expr, constant, name
from radialbench.maskgen.language.heads import HeadGroup, HeadPlan
from radialbench.maskgen.language.spec import (
    MAX_LEVELS,
    MaskSpec,
    OrderRule,
)
from radialbench.maskgen.language.tree import (
    AllOf,
    AnyOf,
    KeepRule,
    MaskNode,
    Not,
    Param,
    Rounded,
    Share,
    TokenRule,
)
from radialbench.maskgen.library import as_spec
from radialbench.maskgen.oracle import token_mask

BASE: dict[str, Any] = {
    "name": "base",
    "params": {
        "w": {"type": "int", "default": 2, "min": 0, "max": 9},
        "decay": {"type": "float", "default": 1, "above": 0},
        "on": {"type": "bool", "default": True},
    },
    "presets": {"wide": {"w": 9}, "off": {"on": False, "decay": 0.5}},
    "let": {"reach": "w * decay", "near": "ds <= reach"},
    "mask": "near or on and dt == 0",
}


def base(**changes: Any) -> MaskSpec:
    return parse_mask({**BASE, **changes})


def test_values_and_presets() -> None:
    spec = base()
    assert spec.values == {"w": 2, "decay": 1.0, "on": True}
    assert spec.with_params(w=3).values == {"w": 3, "decay": 1.0, "on": True}
    assert spec.with_preset("off").values == {"w": 2, "decay": 0.5, "on": False}
    assert spec.with_preset("off").with_preset("wide").values["decay"] == 0.5
    assert spec.with_params(w=2) == spec
    assert spec.values["w"] == 2


def test_label_tells_what_differs_from_the_defaults() -> None:
    spec = base()
    assert spec.label == "base"
    assert spec.with_params(w=3, decay=0.123456789, on=False).label == (
        "base(w=3, decay=0.123456789, on=false)"
    )
    assert spec.with_params(w=3).with_params(w=2).label == "base"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.with_params(v=1), "unknown parameter of base 'v'; known: decay, on, w."),
        (
            lambda s: s.with_params(dekay=1),
            "unknown parameter of base 'dekay'; did you mean 'decay'?",
        ),
        (lambda s: s.with_params(w=10), "base.w must be in [0, 9], got 10"),
        (lambda s: s.with_params(w=1.5), "base.w must be a whole number, got '1.5'"),
        (lambda s: s.with_params(on=1), "base.on must be true or false, got '1'"),
        (lambda s: s.with_preset("wid"), "unknown preset of base 'wid'; did you mean 'wide'?"),
        (lambda s: s.value("nea", TokenGrid(1, 1, 1)), "unknown part of base 'nea'; did you mean"),
        (lambda s: replace(s, name=""), "name: a mask has a name"),
        (lambda s: replace(s, empty_rows="no"), "empty_rows: unknown choice for empty_rows 'no'"),
        (lambda s: replace(s, let=(("w", name("dt")),)), "let.w: the name 'w' is already taken"),
        (
            lambda s: replace(s, mask=TokenRule(name("dt"))),
            "mask: 'dt' is a number, wanted is a truth",
        ),
        (lambda s: replace(s, mask=AnyOf(())), "mask: any and all join at least one part"),
        (lambda s: replace(s, text=name("dt") < 1), "text: 'dt' cannot stand here: 'dt < 1' may"),
        (lambda s: replace(s, order=OrderRule("tiles")), "tiles have three sides: [frames, rows"),
        (lambda s: replace(s, order=OrderRule("diagonal")), "unknown order 'diagonal'; known:"),
        (
            lambda s: replace(s, mask=TokenRule(Expr("sin", ()))),
            "mask: not an expression of the language",
        ),
    ],
)
def test_errors(change: Callable[[MaskSpec], object], message: str) -> None:
    with pytest.raises(SpecError) as error:
        change(base())
    assert str(error.value).startswith(message)


def test_a_part_that_breaks_a_rule_through_its_parts_is_found() -> None:
    with pytest.raises(SpecError, match="'dt' cannot stand here: 'close' may use only qi, ki"):
        base(let={"close": "dt < 1"}, mask="true", text="close")
    with pytest.raises(SpecError, match="mask: 'ds' cannot stand here: 'reach' is a size"):
        rounded = {"rounded": {"block": "reach", "keep": "any", "of": "true"}}
        base(let={"reach": "w + ds"}, mask=rounded)
    with pytest.raises(SpecError, match="order: 'qt' cannot stand here: 'qt' is a size, the same"):
        base(order={"tiles": [1, "qt", 2]})


def fingerprint(**changes: Any) -> str:
    return base(**changes).fingerprint


def test_the_fingerprint_does_not_change_with_names_and_help() -> None:
    same = base().fingerprint
    assert len(same) == 16
    params = {**BASE["params"], "unused": {"type": "int", "default": 1}}
    renamed = {
        "params": {
            "wide": {"type": "float", "default": 2, "help": "as wide as this"},
            "decay": BASE["params"]["decay"],
            "on": BASE["params"]["on"],
        },
        "presets": {},
        "let": {"far": "wide * decay"},
        "mask": "ds <= far or on and dt == 0",
    }
    changed: tuple[dict[str, Any], ...] = (
        {"name": "other", "about": "something", "paper": "somewhere"},
        {"params": params},
        {"let": {**BASE["let"], "unused": "dt + 1"}},
        {"presets": {}},
        {"mask": {"any": ["near", "on and dt == 0"]}},
        renamed,
    )
    for changes in changed:
        assert fingerprint(**changes) == same
    assert base().with_params(w=3).with_params(w=2).fingerprint == same


def test_the_fingerprint_changes_with_the_meaning() -> None:
    rounded = {"of": "dt == 0", "block": 8, "keep": "any"}
    found = [
        base().fingerprint,
        base().with_params(w=3).fingerprint,
        base().with_params(decay=0.5).fingerprint,
        base().with_params(on=False).fingerprint,
        fingerprint(let={**BASE["let"], "near": "ds < reach"}),
        fingerprint(text="true"),
        fingerprint(empty_rows="keep"),
        fingerprint(order="space_major"),
        fingerprint(order={"tiles": [1, 2, 3]}),
        fingerprint(order={"tiles": [1, 2, "w"]}),
        fingerprint(order={"tiles": [1, 2, "w + 2"]}),
        *(
            fingerprint(mask={"rounded": {**rounded, **change}})
            for change in (
                {},
                {"of": "dt < 2"},
                {"block": 16},
                {"keep": "all"},
                {"keep": "centre"},
                {"keep": {"columns": ">1/2", "rows": ">1/2"}},
                {"keep": {"columns": ">=1/2", "rows": ">1/2"}},
                {"per": "frame_pair"},
                {"overhang": "drop"},
            )
        ),
        fingerprint(mask={"table": {"name": "t", "block": 8}}),
        fingerprint(mask={"table": {"name": "u", "block": 8}}),
        fingerprint(mask={"not": {"table": {"name": "t", "block": 8}}}),
    ]
    # Tiles of [1, 2, w] with w = 2 + 1 - 1 are one of those said before.
    assert len(set(found)) == len(found)


def test_what_is_said_in_other_words_is_the_same() -> None:
    assert fingerprint(order={"tiles": [1, 2, "w"]}) == fingerprint(order={"tiles": [1, 2, 2]})


def round_trip(spec: MaskSpec) -> None:
    again = parse_mask(yaml.safe_load(spec.to_yaml()))
    assert again == spec
    assert again.fingerprint == spec.fingerprint
    assert again.to_yaml() == spec.to_yaml()


near, same = name("ds") <= 3, name("dt").equals(0)
ROUNDED = Rounded(
    near,
    constant(8),
    "frame_pair",
    KeepRule("share", Share.parse(">3/5"), Share.parse(">=1/3")),
    "drop",
)


@pytest.mark.parametrize(
    "mask",
    [
        TokenRule(near),
        Not(TokenRule(near)),
        AnyOf((TokenRule(near), TokenRule(same))),
        AnyOf((TokenRule(near), ROUNDED, TokenRule(same), TokenRule(near))),
        AllOf((Not(ROUNDED), AnyOf((ROUNDED, TokenRule(near))), Not(Not(ROUNDED)))),
        AnyOf((AnyOf((TokenRule(near), TokenRule(same))),)),
        AnyOf(tuple(TokenRule(name("di").equals(i)) for i in range(70))),
        Rounded(near, name("width") * 2, "sequence", KeepRule("centre")),
    ],
)
def test_masks_built_in_python_are_written_and_read(mask: MaskNode) -> None:
    round_trip(MaskSpec("built", mask))


def test_everything_of_a_mask_is_written_and_read() -> None:
    spec = MaskSpec(
        name="δ: yes",
        mask=AnyOf((TokenRule(near), ROUNDED)),
        order=OrderRule("tiles", (constant(1), name("side"), name("height"))),
        params=(
            Param("side", "int", 2, 3, least=1, most=9, help="tokens: 'of' a \"side\""),
            Param("no", "bool", False, True),
            Param("scale", "float", 1.5, 0.25, above=0.0),
        ),
        presets=(("on", (("side", 4), ("no", False))), ("n", (("scale", 2.0),))),
        let=(("y", name("dt") + 1), ("off", ~same)),
        text=~name("qpad") & ~name("kpad"),
        empty_rows="own_block",
        paper="arXiv 0000.00000\nand more",
        about="- not: a list\n\ttabs  and   spaces \u2028 end ",
    )
    round_trip(spec)
    round_trip(spec.with_preset("on").with_params(scale=0.1 + 0.2))


def test_the_file_is_readable() -> None:
    assert base(about="Near tokens.", empty_rows="keep").with_params(w=5).to_yaml() == (
        "name: base\n"
        "about: Near tokens.\n"
        "params:\n"
        "  w:\n"
        "    type: int\n"
        "    default: 2\n"
        "    value: 5\n"
        "    min: 0\n"
        "    max: 9\n"
        "  decay:\n"
        "    type: float\n"
        "    default: 1.0\n"
        "    above: 0\n"
        "  'on':\n"
        "    type: bool\n"
        "    default: true\n"
        "presets:\n"
        "  wide:\n"
        "    w: 9\n"
        "  'off':\n"
        "    'on': false\n"
        "    decay: 0.5\n"
        "let:\n"
        "  reach: w * decay\n"
        "  near: ds <= reach\n"
        "mask: near or on and dt == 0\n"
        "empty_rows: keep\n"
    )


def chain(parts: int, step: str) -> dict[str, str]:
    """Parts that each use the one before."""
    return {"a0": "dt + 1"} | {f"a{i}": step.format(f"a{i - 1}") for i in range(1, parts)}


def test_parts_may_not_grow_without_end() -> None:
    with pytest.raises(SpecError, match="the mask has more than 10,000 operations"):
        base(let=chain(150, "{0} * {0}"), mask="a149 > 0", presets={}, params={})
    with pytest.raises(SpecError, match=f"nested more than {MAX_LEVELS} deep"):
        base(let=chain(7, "-" * 50 + "{0}"), mask="a6 > 0", presets={}, params={})
    assert (
        base(let=chain(60, "{0} + 1"), mask="a59 > 0", presets={}, params={}).parts["a59"].op == "+"
    )


def test_a_tree_deeper_than_text_can_be_is_refused() -> None:
    deep = name("dt")
    for _ in range(80):
        deep = deep + 1
    with pytest.raises(SpecError, match="mask: nested more than 60 deep"):
        MaskSpec("deep", TokenRule(deep < 3))
    node: MaskNode = ROUNDED
    for _ in range(60):
        node = Not(node)
    with pytest.raises(SpecError, match="mask: parts are nested more than 40 deep"):
        MaskSpec("deep", node)


def test_a_mask_is_given_by_itself_its_name_or_its_path(tmp_path: Path) -> None:
    spec = load_mask("radial")
    assert as_spec(spec) is spec
    assert as_spec("radial") == spec
    assert as_spec("radial_blocks:wan") == load_mask("radial_blocks:wan")
    file = tmp_path / "own.yaml"
    file.write_text(spec.to_yaml(), encoding="utf-8")
    assert as_spec(file) == as_spec(str(file)) == spec
    assert token_mask("dense", TokenGrid(1, 2, 3)).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("radail", "unknown mask 'radail'; did you mean 'radial'?"),
        (
            HeadPlan("a", (HeadGroup((0,), load_mask("dense")),)),
            "a head plan has a mask for each group of heads: pass it to compile_heads",
        ),
        (
            {"name": "a", "mask": "true"},
            "a mask is a MaskSpec, a name such as 'radial', or the path of a YAML file, got dict; "
            "read a mapping with parse_mask",
        ),
        (None, "a mask is a MaskSpec, a name such as 'radial', or the path of a YAML file, got"),
    ],
)
def test_what_is_no_mask(given: Any, message: str) -> None:
    with pytest.raises(SpecError) as error:
        as_spec(given)
    assert str(error.value).startswith(message)
