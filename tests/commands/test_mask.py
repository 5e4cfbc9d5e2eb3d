"""`radialbench mask`: the same facts for people and programs, and errors that help."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.commands.console import console
from radialbench.maskgen.cells import difference_pairs
from radialbench.maskgen.grid import Segment, load_model, model_names
from radialbench.maskgen.language.expressions import (
    COORDINATES,
    FUNCTIONS,
    GRID_CONSTANTS,
    SEGMENTS,
)
from radialbench.maskgen.language.schema import MaskFile
from radialbench.maskgen.language.spec import EMPTY_ROWS
from radialbench.maskgen.library import FOLDER, mask_names
from radialbench.maskgen.order import ORDERS
from tests.commands.line import Capture, Cli
from tests.suites.json_schema import errors
from tests.test_import import HEAVY, HELP, loaded

DOCS = Path(__file__).parents[2] / "docs" / "masks.md"
SMALL = ("--grid", "4x5x6", "--block-m", "16", "--block-n", "16")
GRID = TokenGrid(4, 5, 6)
MINE = """\
name: mine
about: A token attends its own frame. Other frames only at its own place.
params:
  reach: {type: int, default: 0, min: 0, help: frames attended whole}
let:
  near: dt <= reach
  span: reach * frame_tokens
mask: near or ds == 0
"""
PLAN = """\
name: halves
heads:
  0-1,3: {name: radial, params: {decay: 0.5}}
  2: svg_temporal
"""


class MaskCli(Cli):
    """Runs `radialbench mask …` in this process."""

    def run(self, *arguments: object, code: int = 0) -> tuple[str, str]:
        found, out, err = self(*arguments)
        assert found == code, err
        return out, err

    def text(self, *arguments: object) -> str:
        out, err = self.run(*arguments)
        assert not err
        return out

    def facts(self, *arguments: object) -> Any:
        return json.loads(self.text(*arguments, "--json"))

    def refused(self, *arguments: object) -> str:
        out, err = self.run(*arguments, code=2)
        assert not out
        assert err.startswith("radialbench: ")
        assert err.count("\n") == 1
        return err.removeprefix("radialbench: ").rstrip("\n")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> MaskCli:
    return MaskCli(monkeypatch, capsys, "mask")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(MINE, encoding="utf-8")
    return file


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN, encoding="utf-8")
    return file


@pytest.mark.parametrize("command", [[], ["show"], ["diff"]])
def test_help_is_light(command: list[str]) -> None:
    assert not loaded(HELP.format(arguments=["mask", *command, "--help"])) & HEAVY


def test_list(cli: MaskCli) -> None:
    facts = cli.facts("list")
    assert [fact["name"] for fact in facts] == mask_names()
    radial = facts[mask_names().index("radial")]
    assert radial["paper"] == "arXiv 2506.19852, Eq. 4"
    assert [param["name"] for param in radial["params"]] == ["decay", "sink_frames"]
    assert radial["params"][0]["bounds"] == "(0, 16]"
    lines = cli.text("list").splitlines()
    assert [line for line in lines if not line.startswith(" ")] == mask_names()
    at = lines.index("radial_published")
    assert lines[at + 1 : at + 4] == [
        "  The authors' rule before it is rounded to blocks.",
        "  arXiv 2506.19852; authors' implementation, per token",
        "  4 parameters: decay, block, sink_frames, half_neighbours",
    ]


def test_models(cli: MaskCli) -> None:
    facts = cli.facts("models")
    assert [fact["name"] for fact in facts] == model_names()
    for fact, line in zip(facts, cli.text("models").splitlines()[2:], strict=True):
        model = load_model(fact["name"])
        grid = model.grid(model.example)
        assert fact["grid"] == grid.label
        assert fact["vae"] == list(model.vae)
        heads = model.heads, model.kv_heads or model.heads
        sizes = [f"{grid.seq_len:,}", *map(str, (*heads, model.head_dim, model.layers))]
        assert line.split() == [model.name, model.example, grid.label, *sizes]


def test_show_tells_the_table_s_facts(cli: MaskCli) -> None:
    facts = cli.facts("show", "radial", *SMALL, "--set", "decay=0.5")
    table = compile_mask(load_mask("radial", decay=0.5), GRID, 16, 16)
    printed = facts["table"]
    assert printed["pairs"] == table.pairs
    assert printed["density"] == table.density
    assert printed["block_density"] == table.block_density
    assert (printed["full"], printed["partial"]) == (table.full.nnz, table.partial.nnz)
    assert printed["bitmaps"] == len(table.bitmaps)
    assert printed["table_bytes"] == table.nbytes
    assert printed["fingerprint"] == table.fingerprint
    assert printed["flops"] == table.flops(1, 128)
    assert printed["dense_flops"] == 4 * 128 * 120**2
    assert printed["executed_flops"] == 4 * 128 * 256 * table.nnz
    assert printed["compile_seconds"] > 0
    assert facts["mask"]["params"][0]["value"] == 0.5
    assert facts["scene"]["grid"] == "4x5x6"
    assert facts["parts"]["reach"] == {"0-1": 30, "2-3": 7.5}


def test_show_draws_and_counts(cli: MaskCli) -> None:
    lines = cli.text("show", "radial", *SMALL).splitlines()
    table = compile_mask(load_mask("radial"), GRID, 16, 16)
    picture = [line for line in lines if line.startswith("│")]
    assert len(picture) == 32
    assert {len(line) for line in picture} == {66}
    # The sink: all attend the first frame.
    assert all(line[1:17] == "█" * 16 for line in picture)
    words = {line.split("  ")[0]: line.split("  ", 1)[-1].strip() for line in lines if "  " in line}
    assert words["pairs"].startswith(f"{table.pairs:,} of 14,400: ")
    assert words["blocks"].startswith(f"{table.nnz} of 64: ")
    assert words["reach"] == "by frame distance 0–1: 30, 2–3: 15"
    assert words["dense"].startswith("7.37 MFLOPs, ")
    assert "one layer, 1 head of 128" in words["attention"]


def test_show_knows_a_usual_video(cli: MaskCli) -> None:
    facts = cli.facts("show", "dense")
    assert facts["scene"]["model"] == "wan2.1-1.3b"
    assert facts["scene"]["size"] == "832x480x81"
    assert facts["table"]["dense_flops"] == facts["table"]["flops"] == 4 * 12 * 128 * 32760**2
    text = cli.text("show", "dense", "--model", "wan2.1-14b")
    assert "Wan2.1 14B at 1280×720×81: 21×45×80 video tokens, 75,600 in all" in text
    assert "0.117 PFLOPs in one of 40 layers, 40 heads of 128" in text


def test_show_takes_a_model_and_a_size(cli: MaskCli) -> None:
    facts = cli.facts("show", "sta", "--model", "cogvideox-5b", "--size", "320×160×9")
    assert facts["scene"]["grid"] == "226+3x10x20"
    assert facts["scene"]["text_first"] is True
    assert facts["table"]["order"] == "tiles:6,8,8"
    assert (facts["table"]["heads"], facts["table"]["head_dim"]) == (48, 64)
    facts = cli.facts("show", "sta", "--size", "160x160x5")
    assert (facts["scene"]["model"], facts["scene"]["grid"]) == ("wan2.1-1.3b", "2x10x10")


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("3x4x5", TokenGrid(3, 4, 5)),
        ("3×4×5+7", TokenGrid(3, 4, 5, text_tokens=7)),
        ("3x4x5+6of7", TokenGrid(3, 4, 5, text_tokens=7, text_valid=6)),
        ("7+3x4x5", TokenGrid(3, 4, 5, text_tokens=7, text_first=True)),
        ("6of7+3x4x5", TokenGrid(3, 4, 5, text_tokens=7, text_valid=6, text_first=True)),
        (
            "text=4of6+reference=1x2x3+video=3x4x5+audio=9",
            TokenGrid.of(
                Segment("text", 6, valid=4),
                Segment("reference", sides=(1, 2, 3)),
                Segment("video", sides=(3, 4, 5)),
                Segment("audio", 9),
            ),
        ),
        ("3x4x5 q1-2", TokenGrid(3, 4, 5, query_frames=(1, 2))),
        ("7+3x4x5 q0-2", TokenGrid(3, 4, 5, text_tokens=7, text_first=True, query_frames=(0, 2))),
    ],
)
def test_grids_are_read_as_they_are_written(cli: MaskCli, text: str, grid: TokenGrid) -> None:
    facts = cli.facts("show", "radial", "--grid", text)
    assert facts["scene"]["grid"] == grid.label == text.replace("×", "x")
    assert facts["table"]["fingerprint"] == compile_mask(load_mask("radial"), grid).fingerprint


def test_queries_are_frames_of_a_grid_or_a_model(cli: MaskCli, tmp_path: Path) -> None:
    facts = cli.facts("show", "causal_chunks", "--size", "160x160x29", "--queries", "6-7")
    assert (facts["scene"]["grid"], facts["scene"]["query_frames"]) == ("8x10x10 q6-7", [6, 7])
    assert (facts["table"]["seq_len"], facts["table"]["q_len"]) == (800, 200)
    text = cli.text(
        "show", "causal_chunks", *SMALL, "--queries", "2-3", "--image", tmp_path / "a.svg"
    )
    assert "4×5×6 video tokens, 120 in all; queries: frames 2–3, 60 tokens" in text
    assert "of 7,200: " in text
    shown = cli.facts("diff", "dense", "causal_chunks", *SMALL, "--queries", "2-3")
    assert (shown["all_pairs"], shown["only_b"]) == (7200, 0)
    image = tmp_path / "b.png"
    cli.text("diff", "dense", "causal_chunks", *SMALL, "--queries", "2-3", "--image", image)
    assert image.exists()
    cli.text("validate", FOLDER / "causal_chunks.yaml", "--queries", "2-3")


def test_show_fits_the_terminal(cli: MaskCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 30)
    lines = cli.text("show", "radial", "--grid", "7x9x9").splitlines()
    assert [len(line) for line in lines if line.startswith("│")] == [30] * 14


def test_an_ascii_terminal_gets_ascii(cli: MaskCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(console), "encoding", "ascii")
    for command in (("show", "radial"), ("diff", "radial", "harmonic")):
        assert cli.text(*command, *SMALL).isascii()


def test_a_file_of_one_s_own(cli: MaskCli, mine: Path) -> None:
    facts = cli.facts("show", mine, *SMALL, "--set", "reach=2")
    assert facts["parts"] == {"near": {"0-2": True, "3": False}, "span": 60}
    assert (
        facts["table"]["fingerprint"]
        == compile_mask(load_mask(mine, reach=2), GRID, 16, 16).fingerprint
    )
    text = cli.text("show", mine, *SMALL, "--set", "reach=2")
    assert text.startswith("mine(reach=2)\nA token attends its own frame.\n4×5×6 video tokens")
    (line,) = [line for line in text.splitlines() if line.startswith("reach ")]
    assert line.split(maxsplit=1)[1] == "2 (default 0)  frames attended whole"


def test_a_head_plan_is_shown_group_by_group(cli: MaskCli, plan: Path, tmp_path: Path) -> None:
    png = tmp_path / "plan.png"
    facts = cli.facts("show", plan, *SMALL, "--image", png)
    assert facts["name"] == "halves"
    assert [group["heads"] for group in facts["groups"]] == ["0-1,3", "2"]
    assert [group["table"]["heads"] for group in facts["groups"]] == [3, 1]
    assert [group["table"]["order"] for group in facts["groups"]] == ["raster", "space_major"]
    assert png.stat().st_size > 1000
    text = cli.text("show", plan, "--model", "wan2.1-1.3b", "--size", "64x64x9")
    assert text.startswith("head plan halves: 4 heads; wan2.1-1.3b has 12\n")
    assert "\nheads 0-1,3: radial(decay=0.5)\n" in text
    assert "\nheads 2: svg_temporal\n" in text
    printed = cli.refused("show", plan, "--set", "decay=1")
    assert "is a head plan: its masks have their parameters in the file" in printed


@pytest.mark.parametrize("name", ["mask.png", "mask.svg"])
def test_show_draws_a_file(cli: MaskCli, name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    assert cli.text("show", "sta", *SMALL, "--image", file).endswith(f"drawn into {file}\n")
    assert file.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    assert cli.facts("show", "sta", *SMALL, "--image", file)["image"] == str(file)


@pytest.mark.parametrize("b", ["radial", "sta"])
def test_diff_counts_exactly(cli: MaskCli, b: str, tmp_path: Path) -> None:
    png = tmp_path / "diff.png"
    options = ("--set-a", "decay=0.5", "--set-b", "sink_frames=0" if b == "radial" else "tile_t=2")
    facts = cli.facts("diff", "radial", b, *SMALL, *options, "--image", png)
    spec = load_mask(b, sink_frames=0) if b == "radial" else load_mask(b, tile_t=2)
    table_a = compile_mask(load_mask("radial", decay=0.5), GRID, 16, 16)
    table_b = compile_mask(spec, GRID, 16, 16)
    only_a, only_b, both = difference_pairs(table_a, table_b, 1).ravel().tolist()
    assert (facts["only_a"], facts["only_b"], facts["both"]) == (only_a, only_b, both)
    assert only_a + both == table_a.pairs
    assert only_b + both == table_b.pairs
    assert facts["all_pairs"] == 120**2
    assert facts["order"] == "raster"
    assert png.read_bytes().startswith(b"\x89PNG")
    lines = cli.text("diff", "radial", b, *SMALL, *options).splitlines()
    counts = [only_a, only_b, both, 120**2 - only_a - only_b - both]
    assert [line.split()[0] for line in lines[-4:]] == [f"{count:,}" for count in counts]
    assert lines[-4].endswith("only in A, radial(decay=0.5)")
    picture = [line[1:-1] for line in lines if line.startswith("│")]
    assert len(picture) == 32
    assert "B" in "".join(picture)


def test_the_pictures_of_a_diff_agree(cli: MaskCli, tmp_path: Path) -> None:
    options = ("diff", "radial", "radial_published", "--grid", "3x13x17")
    alone = cli.text(*options)
    drawn = cli.text(*options, "--image", tmp_path / "diff.png")
    assert drawn == f"{alone}drawn into {tmp_path / 'diff.png'}\n"


def test_diff_of_one_order_keeps_it(cli: MaskCli) -> None:
    facts = cli.facts("diff", "sta", "sta", *SMALL, "--set-b", "window_w=1")
    assert facts["order"] == "tiles:6,8,8"


def test_check(cli: MaskCli, mine: Path, plan: Path) -> None:
    text = cli.text("validate", mine)
    assert text.splitlines()[0] == f"{mine}: mask mine, order raster, empty rows error"
    assert "int in [0, inf), default 0  frames attended whole" in text
    assert "near             = dt <= reach" in text
    facts = cli.facts("validate", mine)
    assert facts["file"] == str(mine)
    assert facts["let"] == {"near": "dt <= reach", "span": "reach * frame_tokens"}
    assert [param["name"] for param in facts["params"]] == ["reach"]
    assert cli.text("validate", plan).splitlines() == [
        f"{plan}: head plan halves, 4 heads",
        "  0-1,3            radial(decay=0.5)",
        "  2                svg_temporal",
    ]
    assert [group["heads"] for group in cli.facts("validate", plan)["groups"]] == ["0-1,3", "2"]


def test_schema_is_of_masks_and_head_plans(cli: MaskCli) -> None:
    schema = json.loads(cli.text("schema"))
    for text in (MINE, PLAN):
        document = yaml.safe_load(text)
        assert errors(schema, document) == []
        assert errors(schema, document | {"nme": "x"})


def test_validate_compiles_with_all_blocks_of_a_table(cli: MaskCli, tmp_path: Path) -> None:
    file = tmp_path / "unknown_table.yaml"
    file.write_text("name: x\nmask:\n  table: {name: given_later, block: 64}\n", encoding="utf-8")
    assert cli.text("validate", file).startswith(f"{file}: mask x, ")


@pytest.fixture
def chosen(tmp_path: Path) -> Path:
    file = tmp_path / "chosen.yaml"
    mask = {"table": {"name": "chosen", "block": 40}}
    file.write_text(yaml.safe_dump({"name": "x", "mask": mask}), encoding="utf-8")
    np.save(tmp_path / "all.npy", np.ones((3, 3), np.bool_))
    np.save(tmp_path / "own.npy", np.eye(3, dtype=np.bool_))
    return file


def test_tables_of_files_are_shown_and_compared(cli: MaskCli, chosen: Path) -> None:
    every, own = (f"chosen={chosen.with_name(name)}" for name in ("all.npy", "own.npy"))
    assert cli.facts("show", chosen, *SMALL, "--table", every)["table"]["pairs"] == 120**2
    assert cli.text("show", chosen, *SMALL, "--table", own).startswith("chosen(chosen=")
    facts = cli.facts("diff", chosen, chosen, *SMALL, "--table-a", every, "--table-b", own)
    assert (facts["only_a"], facts["only_b"], facts["both"]) == (9600, 0, 4800)


def test_tables_of_a_head_plan_are_shown(cli: MaskCli, chosen: Path) -> None:
    plan = chosen.with_name("plan.yaml")
    plan.write_text("name: p\nheads: {0: dense, 1: chosen.yaml}\n", encoding="utf-8")
    own = f"chosen={chosen.with_name('own.npy')}"
    groups = cli.facts("show", plan, *SMALL, "--table", own)["groups"]
    assert [group["table"]["pairs"] for group in groups] == [120**2, 4800]


def test_tables_that_do_not_fit_are_refused(cli: MaskCli, chosen: Path) -> None:
    own = f"chosen={chosen.with_name('own.npy')}"
    wanted = "must be bool [5, 5] (blocks of 40 tokens), got bool [3, 3]"
    assert wanted in cli.refused("show", chosen, "--grid", "4x5x10", "--table", own)
    assert "a table is set as name=file" in cli.refused("show", chosen, *SMALL, "--table", "x")
    assert "needs the table 'chosen', bool [3, 3]" in cli.refused("show", chosen, *SMALL)


@pytest.mark.parametrize("name", mask_names())
def test_every_mask_of_the_library_validates(cli: MaskCli, name: str) -> None:
    cli.text("validate", FOLDER / f"{name}.yaml")


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (
            "name: x\nmask: kt == qt or dt % (kt - qt - 1) == 0\n",
            "2:1: mask: division by zero in 'dt % (kt - qt - 1)' where dt = 1, kt = 5, qt = 4; "
            "guard it, e.g. with max(…, 1) (on a grid of 9x12x16 tokens)",
        ),
        (
            "name: x\n\nmask: kt > qt\n",
            "3:1: mask: 192 of 1,728 tokens would attend nothing on 9x12x16, the first is token "
            "1536 (frame 8, row 0, column 0); choose empty_rows: own_block",
        ),
        (
            "name: x\ntext: 1 / (qi - 0) > 0\nmask: true\n",
            "2:1: text: division by zero in '1 / qi' where qi = 0",
        ),
        (
            "name: x\nmask: {rounded: {block: frames - 9, keep: any, of: true}}\n",
            "2:1: mask: a block is a whole number of at least 1, got 'frames - 9' = 0",
        ),
        (
            "name: x\nmask: true\norder: {tiles: [1, width / 3, 1]}\n",
            "3:1: order: a tile's side is a whole number of at least 1, got 'width / 3' = 5.33333",
        ),
        (
            "name: x\nheads: {0: radial, 1: {name: none, mask: qt > kt}}\n",
            "2:1: heads: heads 1, none: mask: 192 of 1,728 tokens would attend nothing",
        ),
    ],
)
def test_validate_places_what_does_not_compile(
    cli: MaskCli, document: str, error: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(document, encoding="utf-8")
    assert cli.refused("validate", file).startswith(f"{file}:{error}")


def test_validate_on_a_grid(cli: MaskCli, tmp_path: Path) -> None:
    file = tmp_path / "twelve.yaml"
    file.write_text("name: x\nmask: 1 / (frames - 12) < 1\n", encoding="utf-8")
    cli.text("validate", file)
    printed = cli.refused("validate", file, "--grid", "12x3x4")
    assert printed.startswith(f"{file}:2:1: mask: division by zero in '1 / 0'")
    assert printed.endswith("(on a grid of 12x3x4 tokens)")


@pytest.mark.parametrize(
    ("document", "place", "printed"),
    [
        ("name: x\nmask: dt <= rech\n", "2:1", "mask: unknown name 'rech'"),
        ("name: x\nmsk: true\n", "2:1", "unknown key 'msk'; did you mean 'mask'?"),
        ("name: x\nlet:\n  a: ds <=\nmask: a\n", "3:3", "let.a:"),
        ("name: [\n", "2:1", "not YAML"),
        ("name: x\nheads: {0: radail}\n", "2:9", "did you mean 'radial'?"),
        ("name: x\nheads: {1: radial}\n", "2:1", "head 0 has no mask"),
    ],
)
@pytest.mark.parametrize("command", ["validate", "show"])
def test_a_bad_file_is_placed(
    cli: MaskCli, command: str, document: str, place: str, printed: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(document, encoding="utf-8")
    _, error = cli.run(command, file, code=2)
    assert error.startswith(f"radialbench: {file}:{place}: ")
    assert printed in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["show", "radail"], "unknown mask 'radail'; did you mean 'radial'?"),
        (["show", "radial:wan"], "unknown preset of radial 'wan'; known: none."),
        (["show", "radial", "--set", "decay"], "a parameter is set as name=value, got 'decay'"),
        (
            ["show", "radial", "--set", "dekay=1"],
            "unknown parameter of radial 'dekay'; did you mean",
        ),
        (["show", "radial", "--set", "decay=x"], "radial.decay must be a number, got 'x'"),
        (["show", "radial", "--set", "decay=nan"], "radial.decay must be a number, got 'nan'"),
        (["show", "radial", "--set", "decay=0"], "radial.decay must be in (0, 16], got 0"),
        (
            ["show", "radial", "--set", "sink_frames=1.5"],
            "radial.sink_frames must be a whole number, got '1.5'",
        ),
        (
            ["show", "sta", "--set", "exact_even=1"],
            "sta.exact_even must be true or false, got '1'",
        ),
        (
            ["show", "radial", "--set", "decay=1", "--set", "decay=2"],
            "the parameter 'decay' is set twice",
        ),
        (["show", "radial", "--empty-rows", "kep"], "empty_rows: unknown choice for"),
        (["show", "radial", "--model", "wan"], "unknown model 'wan'; "),
        (
            ["show", "radial", "--model", "mochi-1", "--size", "848x480x160"],
            "mochi-1 cannot make 848x480x160: frames 160 must be 1 more than a multiple of 6",
        ),
        (["show", "radial", "--grid", "21x45"], "a grid is frames×rows×columns in tokens, such as"),
        (["show", "radial", "--grid", "7+3x4x5+7"], "a grid is frames×rows×columns in tokens"),
        (
            ["show", "radial", "--grid", "0x4x5"],
            "frames must be a whole number of at least 1, got 0",
        ),
        (
            ["show", "radial", "--grid", "3x4x5", "--size", "64x64x9"],
            "a grid is given in tokens (--grid), or by --model and --size, not both",
        ),
        (
            ["show", "radial", "--grid", "3x4x5", "--image", "a.gif"],
            "a picture is a .png or .svg file",
        ),
        (
            ["show", "radial", "--grid", "3x4x5", "--image", "/no/such/folder/a.png"],
            "cannot write /no/such/folder/a.png: No such file or directory",
        ),
        (
            ["show", "radial_blocks", "--grid", "8x22x40"],
            "radial_blocks: 128 of 7,040 tokens would attend nothing on 8x22x40, the first is "
            "token 1664 (frame 1, row 19, column 24); choose empty_rows: own_block",
        ),
        (
            ["show", "radial_or_table", "--grid", "3x4x5"],
            "radial_or_table: needs the table 'selected'",
        ),
        (
            ["diff", "radial", "sta", "--grid", "99x40x40"],
            "the masks have different token orders (raster, tiles:6,8,8): they are compared pair "
            "by pair, which is done up to 150,000 tokens, and 99x40x40 has 158,400; take a smaller",
        ),
        (
            ["show", "radial", "--grid", "text=7+audio=3"],
            "one segment is the video, of frames×rows×columns, and is named so; got text, audio",
        ),
        (
            ["show", "radial", "--grid", "video=3x4x5+audio=3x4"],
            "audio: a segment is frames×rows×columns of a video, such as 13x30x45, or tokens, such",
        ),
        (
            ["show", "radial", "--grid", "3x4x5", "--queries", "2-3"],
            "queries are frames from 0 to 2, the first not after the last, got 2-3",
        ),
        (
            ["show", "radial", "--grid", "3x4x5", "--queries", "0-1,1-2"],
            "queries are one range of frames, first-last, such as 12-15, got '0-1,1-2'",
        ),
        (
            ["show", "svg_temporal", "--grid", "3x4x5", "--queries", "1-2"],
            "svg_temporal: queries are neighbours in the order of tokens, but in the order space",
        ),
        (["validate", "/no/such/mask.yaml"], "cannot read /no/such/mask.yaml: No such file or"),
    ],
)
def test_bad_input(cli: MaskCli, arguments: list[str], printed: str) -> None:
    assert cli.refused(*arguments).startswith(printed)


def test_empty_rows_can_be_settled(cli: MaskCli) -> None:
    for choice in ("keep", "own_block"):
        facts = cli.facts("show", "radial_blocks", "--grid", "8x22x40", "--empty-rows", choice)
        spec = load_mask("radial_blocks", empty_rows=choice)
        assert facts["table"]["pairs"] == compile_mask(spec, TokenGrid(8, 22, 40)).pairs


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["show", "radial", "--block-m", "0"], ["diff", "sta"]],
)
def test_bad_usage(cli: MaskCli, arguments: list[str]) -> None:
    _, err = cli.run(*arguments, code=2)
    assert "Usage: radialbench mask" in err


def test_names_complete(cli: MaskCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_RADIALBENCH_COMPLETE", "complete_bash")
    for typed, found in (
        ("mask show radial_b", {"radial_blocks"}),
        ("mask diff sta pow", {"power"}),
    ):
        monkeypatch.setenv("COMP_WORDS", f"radialbench {typed}")
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
        assert set(cli.text().split()) == found


def test_no_picture_is_left_out_of_a_picture(cli: MaskCli) -> None:
    facts = cli.facts("show", "power", *SMALL, "--set", "block=4")
    text = cli.text("show", "power", *SMALL, "--set", "block=4")
    picture = [line[1:-1] for line in text.splitlines() if line.startswith("│")]
    blank = np.mean([glyph == " " for line in picture for glyph in line])
    assert 0 < blank <= 1 - facts["table"]["density"]


def documented(language: str) -> list[str]:
    text = DOCS.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_the_documented_files_are_valid(cli: MaskCli, tmp_path: Path) -> None:
    documents = documented("yaml")
    assert len(documents) == 16
    for document in documents:
        file = tmp_path / "documented.yaml"
        file.write_text(document, encoding="utf-8")
        cli.text("validate", file)


@pytest.mark.slow
def test_the_documented_commands_run(
    cli: MaskCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keyframes.yaml").write_text(documented("yaml")[0], encoding="utf-8")
    lines = [line.partition("#")[0].split() for line in "".join(documented("sh")).splitlines()]
    assert len(lines) == 12
    printed = [cli.text(*line[2:]) for line in lines if line[:2] == ["radialbench", "mask"]]
    assert len(printed) == len(lines)
    (shown,) = [text for text in printed if text.startswith("keyframes\n")]
    for fact in documented("text")[0].splitlines():
        assert f"\n{fact}\n" in shown


def test_the_documented_error_is_printed(
    cli: MaskCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    slip = documented("yaml")[0].replace("kt == 0", "kyy == 0")
    (tmp_path / "keyframes.yaml").write_text(slip, encoding="utf-8")
    assert f"radialbench: {cli.refused('validate', 'keyframes.yaml')}\n" == documented("text")[1]


def test_the_documentation_names_everything() -> None:
    text = DOCS.read_text(encoding="utf-8")
    words = (*COORDINATES, *SEGMENTS, *GRID_CONSTANTS, *MaskFile.model_fields, *ORDERS, *EMPTY_ROWS)
    missing = [word for word in words if f"`{word}" not in text and f" {word}" not in text]
    missing += [word for word in FUNCTIONS if f"`{word}(" not in text]
    missing += [name for name in mask_names() if f"| `{name}` |" not in text]
    assert not missing
    listed = re.findall(r"^\| `(\w+)` \| .* \| .*\|$", text.partition("## The library")[2], re.M)
    assert sorted(listed) == mask_names()
