from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radialbench import TokenGrid, compile_mask, load_mask, parse_mask
from radialbench.errors import SpecError
from radialbench.maskgen.language.expressions import name
from radialbench.maskgen.language.spec import MaskSpec, OrderRule
from radialbench.maskgen.language.tree import AllOf, AnyOf, BlockInput, Not, Rounded, TokenRule

GRID = TokenGrid(3, 2, 4)


def read(tmp_path: Path, text: str, file: str = "mask.yaml") -> MaskSpec:
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    return load_mask(path)


def error_of(tmp_path: Path, text: str) -> str:
    """The message without the folder in front."""
    with pytest.raises(SpecError) as error:
        read(tmp_path, text)
    return str(error.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mask: true", "mask.yaml:1:1: name: missing"),
        ("name: a", "mask.yaml:1:1: mask: missing"),
        ("", "mask.yaml: must be a mapping of keys to values, got nothing"),
        ("- 1", "mask.yaml:1:1: must be a mapping of keys to values, got a list"),
        ("name: [1]\nmask: true", "mask.yaml:1:1: name: must be text, got a list"),
        ("name: ''\nmask: true", "mask.yaml:1:1: name: must not be empty"),
        ("name: a\nmsk: true", "mask.yaml:2:1: unknown key 'msk'; did you mean 'mask'?"),
        (
            "name: a\nmask: dt < 1\nlets: {}",
            "mask.yaml:3:1: unknown key 'lets'; did you mean 'let'?",
        ),
        ("name: a\nmask: null", "mask.yaml:2:1: mask: must be an expression, got nothing"),
        (
            "name: a\nmask: 1",
            "mask.yaml:2:1: mask: '1' is a number, wanted is a truth value",
        ),
        (
            "name: a\nmask: qtt < 1",
            "mask.yaml:2:1: mask: unknown name 'qtt'; did you mean 'qt'?",
        ),
        (
            "name: a\nmask:\n  any:\n    - dt < 1\n    - dt <",
            "mask.yaml:5:7: mask.any[1]: invalid syntax: unfinished, at character 5:\n"
            "  dt <\n"
            "      ^",
        ),
        ("name: a\nmask: {any: []}", "mask.yaml:2:8: mask.any: must not be empty"),
        ("name: a\nmask: {any: true}", "mask.yaml:2:8: mask.any: must be a list, got True"),
        (
            "name: a\nmask: {any: [" + "true, " * 201 + "]}",
            "mask.yaml:2:8: mask.any: at most 200 entries, got more",
        ),
        (
            "name: a\nmask: {any: [true], all: [true]}",
            "mask.yaml:2:1: mask: a part has exactly one of any, all, not, rounded, table, use",
        ),
        ("name: a\nmask: {}", "mask.yaml:2:1: mask: a part has exactly one of any, all, not"),
        (
            "name: a\nmask: {roundd: 1}",
            "mask.yaml:2:8: mask: unknown key 'roundd'; did you mean 'rounded'?",
        ),
        (
            "name: a\nmask: {rounded: {of: true, keep: any}}",
            "mask.yaml:2:8: mask.rounded.block: missing",
        ),
        (
            "name: a\nmask: {rounded: {of: true, keep: some, block: 4}}",
            "mask.yaml:2:28: mask.rounded.keep: must be 'any', 'all' or 'centre', got 'some'",
        ),
        (
            "name: a\nmask: {rounded: {of: true, keep: {columns: 0.6, rows: '>1'}, block: 4}}",
            "mask.yaml:2:35: mask.rounded.keep.columns: a share is written like '>3/5' or '>=1/2'",
        ),
        (
            "name: a\nmask: {rounded: {of: true, keep: any, block: 4, per: frame}}",
            "mask.yaml:2:49: mask.rounded.per: must be 'sequence' or 'frame_pair', got 'frame'; "
            "did you mean 'frame_pair'?",
        ),
        (
            "name: a\nmask: {rounded: {of: true, keep: any, block: 4, overhang: no}}",
            "mask.yaml:2:49: mask.rounded.overhang: must be 'keep' or 'drop', got False",
        ),
        (
            "name: a\nmask: {rounded: {of: true, keep: any, block: dt}}",
            "mask.yaml:2:1: mask: 'dt' cannot stand here: 'dt' is a size, the same for all tokens",
        ),
        (
            "name: a\nmask: {table: {name: t}}",
            "mask.yaml:2:8: mask.table.block: missing",
        ),
        ("name: a\nmask: {use: radail}", "mask.yaml:2:8: mask.use: unknown mask 'radail'; did you"),
        (
            "name: a\nmask: {use: {name: radial, params: {decoy: 1}}}",
            "mask.yaml:2:8: mask.use: unknown parameter of radial 'decoy'; did you mean 'decay'?",
        ),
        (
            "name: a\nmask: {use: {name: radial, params: {decay: 0}}}",
            "mask.yaml:2:8: mask.use: radial.decay must be in (0, 16], got 0",
        ),
        (
            "name: a\nmask: {use: {name: radial, params: {decay: x}}}",
            "mask.yaml:2:37: mask.use.params.decay: must be a number, true or false, got 'x'",
        ),
        (
            "name: a\nmask: {use: sta}",
            "mask.yaml:2:8: mask.use: 'sta' has an order of its own and cannot be used in a mask",
        ),
        (
            "name: a\nmask: true\norder: rastr",
            "mask.yaml:3:1: order: must be 'raster', 'space_major' or 'hilbert', got 'rastr'; "
            "did you mean 'raster'?",
        ),
        (
            "name: a\nmask: true\norder: tiles",
            "mask.yaml:3:1: order: tiles have three sides: {tiles: [frames, rows, columns]}",
        ),
        (
            "name: a\nmask: true\norder: {tiles: [1, 2]}",
            "mask.yaml:3:1: order: tiles have three sides: [frames, rows, columns]",
        ),
        (
            "name: a\nmask: true\norder: {tiles: {size: [1, 2, 3]}}",
            "mask.yaml:3:9: order.tiles.shift: missing",
        ),
        (
            "name: a\nmask: true\norder: {tiles: {size: [1, 2, 3], shift: [1]}}",
            "mask.yaml:3:1: order: tiles are shifted by [frames, rows, columns]",
        ),
        (
            "name: a\nmask: true\norder: {tiles: {size: [1, 2, 3], shift: [0, qt, 0]}}",
            "mask.yaml:3:1: order: 'qt' cannot stand here: 'qt' is a size, the same for all",
        ),
        (
            "name: a\nmask: true\nparams:\n  x: {type: int}",
            "mask.yaml:4:3: params.x.default: missing",
        ),
        (
            "name: a\nmask: true\nparams:\n  x: {type: int, default: 5, max: 4}",
            "mask.yaml:4:3: params.x: x must be in (-inf, 4], got 5",
        ),
        (
            "name: a\nmask: true\nparams:\n  x: {type: int, default: 1, min: low}",
            "mask.yaml:4:30: params.x.min: must be a number, got 'low'",
        ),
        (
            "name: a\nmask: true\nparams:\n  x: {type: text, default: 1}",
            "mask.yaml:4:7: params.x.type: must be 'int', 'float' or 'bool', got 'text'",
        ),
        (
            "name: a\nmask: true\nparams:\n  dt: {type: int, default: 1}",
            "mask.yaml:4:3: params.dt: the name 'dt' is already taken",
        ),
        (
            "name: a\nmask: true\nlet:\n  x: dt\n  max: 2",
            "mask.yaml:5:3: let.max: the name 'max' is already taken",
        ),
        (
            "name: a\nmask: true\nparams: {preset: {type: int, default: 1}}",
            "params.preset: the name 'preset' is already taken",
        ),
        ("name: a\nmask: true\nlet: {true: dt}", "let.true: the name 'true' is already taken"),
        ("name: a\nmask: true\nlet: {and: dt}", "let.and: a name is a plain word, got 'and'"),
        ("name: a\nmask: true\nlet: {a b: dt}", "let.a b: a name is a plain word, got 'a b'"),
        ("name: a\nmask: true\nlet: {ﬁ: dt}", "let.ﬁ: a name is a plain word, got 'ﬁ'"),
        (
            "name: a\nmask: true\nlet:\n  x: later + 1\n  later: dt",
            "mask.yaml:4:3: let.x: unknown name 'later'; known:",
        ),
        (
            "name: a\nmask: true\npresets: {p: {decay: 1}}",
            "mask.yaml:3:11: presets.p: unknown parameter of a 'decay'; known: none.",
        ),
        (
            "name: a\nmask: true\nempty_rows: fill",
            "mask.yaml:3:1: empty_rows: must be 'error', 'keep' or 'own_block', got 'fill'",
        ),
        (
            "name: a\nmask: qtext",
            "mask.yaml:2:1: mask: 'qtext' cannot stand here: 'qtext' speaks of pairs of video",
        ),
        (
            "name: a\nmask: true\ntext: dt < 1",
            "mask.yaml:3:1: text: 'dt' cannot stand here: 'dt < 1' may use only qi, ki, di, qp,",
        ),
        ("name: a\nmask: !!python/none x", "mask.yaml:2:7: tags are not supported"),
        ("name: a\nname: b\nmask: true", "mask.yaml:2:1: key 'name' appears twice"),
    ],
)
def test_messages_say_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    found = error_of(tmp_path, text)
    assert found.startswith(message) or (message in found and found.startswith("mask.yaml:"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path, message in (
        (tmp_path / "none.yaml", "none.yaml: No such file or directory"),
        (f"{tmp_path}/", "Is a directory"),
        ("a\x00.yaml", "a path cannot hold NUL characters"),
        (tmp_path / "binary.yaml", "not a text file in UTF-8"),
    ):
        with pytest.raises(SpecError, match=f"cannot read .*{message}"):
            load_mask(path)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "mask.yaml").touch()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SpecError, match=r"cannot read .*mask\.yaml: Permission denied"):
        load_mask(tmp_path / "mask.yaml")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("radail", "unknown mask 'radail'; did you mean 'radial'?"),
        ("radial:wan", "unknown preset of radial 'wan'; known: none."),
        ("radial_blocks:wann", "unknown preset of radial_blocks 'wann'; did you mean 'wan'?"),
        ("", "unknown mask ''; known: block_causal, causal_chunks, dense"),
        ("x" * 5_000, f"unknown mask '{'x' * 80}'; known: "),
    ],
)
def test_unknown_names(word: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        load_mask(word)
    assert str(error.value).startswith(message)


def test_a_path_without_suffix_gets_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"unknown mask 'mine'; .* A path ends in .yaml\."):
        load_mask("mine")


USES = "name: outer\nmask: {any: [{use: %s}, dt == 0]}\nempty_rows: keep"


def test_use_of_a_file_beside(tmp_path: Path) -> None:
    read(
        tmp_path,
        "name: inner\nparams: {w: {type: int, default: 1}}\nlet: {near: ds <= w}\nmask: near",
        "inner.yaml",
    )
    spec = read(tmp_path, USES % "{name: inner, params: {w: 2}}")
    assert str(spec.to_yaml()).splitlines()[1] == "mask: ds <= 2 or dt == 0"


def test_use_of_the_library_when_no_file_is_beside(tmp_path: Path) -> None:
    spec = read(tmp_path, USES % "radial")
    assert "sink" not in spec.to_yaml()
    dense = compile_mask(spec, GRID, 8, 8).to_dense()
    radial = compile_mask(load_mask("radial"), GRID, 8, 8).to_dense()
    assert not (radial & ~dense).any()


def test_use_of_a_rounded_mask_fills_in_its_parameters(tmp_path: Path) -> None:
    spec = read(tmp_path, "name: a\nmask: {use: {name: radial_blocks, params: {block: 4}}}")
    used = compile_mask(spec, GRID, 8, 8).to_dense()
    itself = compile_mask(load_mask("radial_blocks", block=4), GRID, 8, 8).to_dense()
    np.testing.assert_array_equal(used, itself)


@pytest.mark.parametrize("word", ["../inner", "/etc/passwd", "inner.yaml", "a/b", "..", "", "a b"])
def test_use_reaches_no_other_folder(tmp_path: Path, word: str) -> None:
    message = f"a mask is used by its plain name, got {word!r}"
    assert message in error_of(tmp_path, USES % f"'{word}'")
    with pytest.raises(SpecError, match=message):
        parse_mask({"name": "a", "mask": {"use": word}})


def test_use_follows_no_link_out_of_its_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "inner.yaml").write_text("name: inner\nmask: true")
    (inside / "inner.yaml").symlink_to(outside / "inner.yaml")
    with pytest.raises(SpecError, match="inner.yaml is a link to a file outside its folder"):
        read(inside, USES % "inner")


def test_use_goes_one_step(tmp_path: Path) -> None:
    assert "'mask' uses itself" in error_of(tmp_path, USES % "mask")
    (tmp_path / "inner.yaml").write_text(USES % "mask")
    message = "inner.yaml:2:15: mask.any[0].use: inner.yaml is itself used and cannot use 'mask'"
    assert message in error_of(tmp_path, USES % "inner")


def test_an_error_in_a_used_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text("name: inner\nmask: dq < 1")
    message = "mask.yaml:2:15: mask.any[0].use: inner.yaml:2:1: mask: unknown name 'dq'"
    assert error_of(tmp_path, USES % "inner").startswith(message)


def test_every_slip_is_told_at_once(tmp_path: Path) -> None:
    text = "name: 3\nmask: dt <\nlet: {x: [1]}\nempty_rows: fill\npaper: 1\nabout: 2\ntext: (\n"
    lines = [line for line in error_of(tmp_path, text).splitlines() if line[0] != " "]
    assert [line.split(": ")[1] for line in lines[:-1]] == [
        "name",
        "paper",
        "about",
        "let.x",
        "mask",
    ]
    assert lines[-1] == "… and 2 more"


def test_parts_have_one_form() -> None:
    def mask_of(mask: Any) -> Any:
        return parse_mask({"name": "a", "mask": mask}).mask

    near, same = name("ds") < 3, name("dt").equals(0)
    table = {"table": {"name": "t", "block": 4}}
    given = BlockInput("t", mask_of(table).block)
    assert mask_of({"any": ["ds < 3", "dt == 0"]}) == TokenRule(near | same)
    assert mask_of({"all": ["ds < 3", "dt == 0"]}) == TokenRule(near & same)
    assert mask_of({"not": "ds < 3"}) == TokenRule(~near)
    assert mask_of({"any": ["ds < 3"]}) == TokenRule(near)
    assert mask_of({"any": [table]}) == given
    assert mask_of({"not": table}) == Not(given)
    assert mask_of({"any": ["ds < 3", "dt == 0", table, "ds < 3"]}) == AnyOf(
        (TokenRule(near | same), given, TokenRule(near))
    )
    assert mask_of({"all": [{"not": table}, {"any": ["dt == 0"]}]}) == AllOf(
        (Not(given), TokenRule(same))
    )
    # The same, built in Python.
    for built, written in (
        (AnyOf((TokenRule(near), TokenRule(same))), {"any": ["ds < 3", "dt == 0"]}),
        (Not(TokenRule(near)), {"not": "ds < 3"}),
        (AllOf((Not(given), AnyOf((TokenRule(same),)))), {"all": [{"not": table}, "dt == 0"]}),
    ):
        assert MaskSpec("a", built) == parse_mask({"name": "a", "mask": written})


def test_many_alternatives_do_not_nest_deep() -> None:
    spec = parse_mask({"name": "a", "mask": {"any": [f"di == {i}" for i in range(200)]}})
    dense = compile_mask(spec, TokenGrid(2, 4, 5), 16, 16).to_dense()
    assert dense.all()


def test_mappings_may_hold_what_python_has() -> None:
    spec = parse_mask(
        {
            "name": "a",
            "params": {"w": {"type": "float", "default": np.float64(2), "max": np.int64(4)}},
            "order": {"tiles": (2, np.int64(2), name("w"))},
            "mask": {"any": (name("ds") <= name("w"), True)},
        }
    )
    assert isinstance(spec.order, OrderRule)
    assert spec.values == {"w": 2.0}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (None, "mask: must be a mapping of keys to values, got nothing"),
        (5, "mask: must be a mapping of keys to values, got 5"),
        ({"name": "a"}, "mask 'a': mask: missing"),
        ({"name": "a", "mask": b"x"}, "mask 'a': mask: must be an expression, got b'x'"),
        ({"name": "a", "mask": {1, 2}}, "mask 'a': mask: must be an expression, got {1, 2}"),
        ({"name": "a", "mask": float("nan")}, "mask 'a': mask: unknown name 'nan'"),
        ({"name": "a", "mask": 10**5000}, "mask: mask: a whole number beyond ±2^63"),
        ({"name": "a", "let": {"x": [10**99]}}, "mask: let.x[0]: a whole number beyond ±2^63"),
    ],
    ids=range(8),
)
def test_mapping_errors(mapping: Any, message: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_mask(mapping)
    assert str(error.value).startswith(message)


def test_mappings_without_end() -> None:
    endless: dict[str, Any] = {"name": "a"}
    endless["mask"] = {"not": endless}
    with pytest.raises(SpecError, match="mask: mask: nested more than 30 deep"):
        parse_mask(endless)
    deep: Any = "true"
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(SpecError, match="mask: mask: nested more than 30 deep"):
        parse_mask({"name": "a", "mask": deep})


def test_all_of_a_rounded_part() -> None:
    keep = {"columns": ">3/5", "rows": ">=1/3"}
    mapping = {"block": 4, "per": "frame_pair", "overhang": "drop", "keep": keep, "of": "dt < 1"}
    mask = parse_mask({"name": "a", "mask": {"rounded": mapping}}).mask
    assert isinstance(mask, Rounded)
    assert (mask.per, mask.overhang, mask.keep.rule) == ("frame_pair", "drop", "share")
    assert (str(mask.keep.columns), str(mask.keep.rows)) == (">3/5", ">=1/3")
    assert (str(mask.of), str(mask.block)) == ("dt < 1", "4")
