"""`radialbench mask`: list, show, compare and validate masks; `mask_search.py` searches them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialbench.commands import options
from radialbench.commands.console import (
    console,
    encoded,
    print_json,
    print_paragraph,
    print_table,
    say,
)
from radialbench.commands.mask_search import search
from radialbench.errors import SpecError
from radialbench.reports.text import fitted, plural, terminal_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from radialbench.maskgen.grid import TokenGrid
    from radialbench.maskgen.language.heads import HeadPlan
    from radialbench.maskgen.language.spec import MaskSpec
    from radialbench.maskgen.order import TokenOrder
    from radialbench.maskgen.table import BlockTable

app = typer.Typer(help="List, show, compare, validate and search masks.", no_args_is_help=True)

Image = Annotated[
    Path | None, typer.Option("--image", help="Also draw into this file, PNG or SVG by its name.")
]


WIDEST = 66
"""Columns of a picture; its lines are half as many."""


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the masks of the library, and those that installed packages add."""
    from radialbench.maskgen.describe import first_sentence, mask_facts
    from radialbench.maskgen.library import added_masks, load_mask, mask_names

    masks = [load_mask(name) for name in (*mask_names(), *added_masks())]
    if json:
        print_json([mask_facts(spec) for spec in masks])
        return
    for spec in masks:
        console.print(f"[bold]{spec.name}[/bold]", highlight=False)
        lines = [first_sentence(spec.about), spec.paper]
        lines += [_counted("parameter", [param.name for param in spec.params])]
        lines += [_counted("preset", [preset for preset, _ in spec.presets])]
        for line in filter(None, lines):
            print_paragraph(line)


@app.command()
def models(json: options.Json = False) -> None:
    """List the model presets."""
    from dataclasses import asdict

    from radialbench.maskgen.grid import load_model, model_names

    presets = [load_model(name) for name in model_names()]
    grids = [preset.grid(preset.example) for preset in presets]
    if json:
        both = zip(presets, grids, strict=True)
        print_json([{**asdict(preset), "grid": grid.label} for preset, grid in both])
        return
    print_table(
        ("model", "size", "grid", "tokens", "heads", "kv_heads", "head_dim", "layers"),
        [
            (
                *(preset.name, preset.example, grid.label, f"{grid.seq_len:,}"),
                *(preset.heads, preset.kv_heads or preset.heads, preset.head_dim, preset.layers),
            )
            for preset, grid in zip(presets, grids, strict=True)
        ],
        text_columns=("model", "size", "grid"),
    )


@app.command()
def show(
    mask: options.MaskName,
    model: options.ModelName = None,
    size: options.Size = None,
    grid: options.Grid = None,
    queries: options.Queries = None,
    set: options.Settings = None,
    table: options.Tables = None,
    empty_rows: options.EmptyRows = None,
    block_m: options.BlockM = 128,
    block_n: options.BlockN = 128,
    image: Image = None,
    json: options.Json = False,
) -> None:
    """Draw a mask, and print what it keeps and what it costs on a grid.

    A file with a head plan is shown group by group.
    """
    from radialbench.maskgen.describe import mask_facts, part_values, scene_facts, table_facts
    from radialbench.maskgen.picture import picture_kind, save_pictures

    if image is not None:
        picture_kind(image)
    where = options.scene(model, size, grid, queries)
    plan = _plan(mask, set, empty_rows, table)
    if plan is None:
        groups = [("", where.heads, options.chosen_mask(mask, set, empty_rows, table))]
    else:
        groups = [(group.label, len(group.heads), group.mask) for group in plan.groups]
    facts: list[dict[str, Any]] = []
    titled = []
    for label, heads, spec in groups:
        made, seconds = options.compiled(spec, where, block_m, block_n, label)
        costs = table_facts(made, heads, where.head_dim, seconds)
        fact = {"mask": mask_facts(spec), "table": costs, "parts": part_values(spec, where.grid)}
        facts.append({"heads": label, **fact} if plan else fact)
        titled.append((f"heads {label}: {spec.label}" if plan else spec.label, made))
    if image is not None:
        save_pictures(
            image, titled, caption=where.title, width_px=1000 if len(titled) == 1 else 1600
        )
    if json:
        inner = {"name": plan.name, "groups": facts} if plan else facts[0]
        print_json(
            {"scene": scene_facts(where.grid, where.model, where.size), **inner, **_drawn(image)}
        )
        return
    if plan is not None:
        model_heads = f"; {where.model.name} has {where.heads}" if where.model else ""
        say(f"head plan {plan.name}: {plan.heads} heads{model_heads}\n")
    for (_, _, spec), (title, made), fact in zip(groups, titled, facts, strict=True):
        _show_mask(spec, made, where, title, fact)
    if image is not None:
        say(f"drawn into {image}")


@app.command()
def diff(
    a: options.MaskName,
    b: options.MaskName,
    model: options.ModelName = None,
    size: options.Size = None,
    grid: options.Grid = None,
    queries: options.Queries = None,
    set_a: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of A; repeatable.")
    ] = None,
    set_b: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of B; repeatable.")
    ] = None,
    given_a: Annotated[
        list[str] | None,
        typer.Option("--table-a", metavar="NAME=FILE", help="A table of A; repeatable."),
    ] = None,
    given_b: Annotated[
        list[str] | None,
        typer.Option("--table-b", metavar="NAME=FILE", help="A table of B; repeatable."),
    ] = None,
    empty_rows: options.EmptyRows = None,
    block_m: options.BlockM = 128,
    block_n: options.BlockN = 128,
    image: Image = None,
    json: options.Json = False,
) -> None:
    """Count the pairs that one mask keeps and the other does not.

    Masks of different token orders are compared in the raster order.
    """
    from radialbench.maskgen.cells import difference_pairs
    from radialbench.maskgen.describe import mask_facts, scene_facts
    from radialbench.maskgen.order import TokenOrder
    from radialbench.maskgen.picture import SHARPEST, picture_kind, picture_side, save_difference

    if image is not None:
        picture_kind(image)
    where = options.scene(model, size, grid, queries)
    specs = (
        options.chosen_mask(a, set_a, empty_rows, given_a),
        options.chosen_mask(b, set_b, empty_rows, given_b),
    )
    table_a, table_b = (options.compiled(spec, where, block_m, block_n)[0] for spec in specs)
    side = picture_side(where.grid, _picture_room())
    # One count for both pictures: a cell of the terminal's is several whole cells of the file's.
    finer = 1 if image is None else max(1, min(SHARPEST, where.grid.q_len) // side)
    pairs = difference_pairs(table_a, table_b, side * finer)
    order = table_a.order if table_a.order == table_b.order else TokenOrder()
    names = (specs[0].label, specs[1].label)
    if image is not None:
        save_difference(image, pairs, names, where.grid, order, caption=where.title)
    if json:
        counts = [int(count) for count in pairs.sum(axis=(1, 2))]
        facts: dict[str, Any] = {
            "scene": scene_facts(where.grid, where.model, where.size),
            "order": str(order),
        }
        facts |= {"a": mask_facts(specs[0]), "b": mask_facts(specs[1])}
        facts |= dict(zip(("only_a", "only_b", "both"), counts, strict=True))
        all_pairs = where.grid.q_len * where.grid.seq_len
        print_json({**facts, "all_pairs": all_pairs, **_drawn(image)})
        return
    coarse = pairs.reshape(3, side, finer, side, finer).sum(axis=(2, 4))
    _show_difference(coarse, names, where, order)
    if image is not None:
        say(f"drawn into {image}")


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="A YAML file with a mask or a head plan.")],
    model: options.ModelName = None,
    size: options.Size = None,
    grid: options.Grid = None,
    queries: options.Queries = None,
    json: options.Json = False,
) -> None:
    """Validate a file, and compile it on small grids or on the one given.

    Errors have line and column.
    """
    from radialbench.maskgen.describe import mask_facts
    from radialbench.maskgen.identity import value_text
    from radialbench.maskgen.library import is_head_plan, load_head_plan, read_mask_file

    grids: Sequence[TokenGrid] = ()
    if model or size or grid or queries:
        grids = (options.scene(model, size, grid, queries).grid,)
    if is_head_plan(file):
        plan = load_head_plan(file)
        for group in plan.groups:
            _try_mask(file, group.mask, grids, f"heads {group.label}, {group.mask.label}: ")
        if json:
            groups = [{"heads": g.label, "mask": mask_facts(g.mask)} for g in plan.groups]
            print_json({"file": str(file), "name": plan.name, "groups": groups})
            return
        say(f"{file}: head plan {plan.name}, {plan.heads} heads")
        for group in plan.groups:
            say(f"  {group.label:<16} {group.mask.label}")
        return
    spec = read_mask_file(file)
    _try_mask(file, spec, grids)
    if json:
        print_json({"file": str(file), **mask_facts(spec)})
        return
    say(f"{file}: mask {spec.name}, order {spec.order.kind}, empty rows {spec.empty_rows}")
    for param in spec.params:
        bounds = f" in {param.bounds}" if param.bounds else ""
        kind = f"{param.kind}{bounds}, default {value_text(param.default)}"
        if param.search:
            kind += f", searched from {' to '.join(map(value_text, param.search))}"
        say(f"  {param.name:<16} {kind}  {param.help}")
    for preset, _ in spec.presets:
        say(f"  preset {preset}")
    for part, tree in spec.let:
        say(f"  {part:<16} = {tree}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of mask files and head plans, for editors."""
    from radialbench.maskgen.language.schema import json_schema

    print_json(json_schema())


app.command()(search)


def _try_mask(file: Path, spec: "MaskSpec", grids: "Sequence[TokenGrid]", heads: str = "") -> None:
    """Compile a mask on some grids; an error has its place in the file."""
    from radialbench.maskgen.document import read_document
    from radialbench.maskgen.language.spec import SpecErrorAt
    from radialbench.maskgen.validate import try_mask

    try:
        try_mask(spec, grids)
    except SpecErrorAt as error:
        path, reason = (("heads",), f"{heads}{error}") if heads else (error.path, error.reason)
        raise SpecError(read_document(file).message(path, reason)) from None


def _plan(
    mask: str, settings: list[str] | None, empty_rows: str | None, tables: list[str] | None
) -> "HeadPlan | None":
    from radialbench.maskgen.library import is_head_plan, load_head_plan

    if not mask.endswith((".yaml", ".yml")) or not is_head_plan(mask):
        return None
    if settings or empty_rows:
        raise SpecError(f"{mask} is a head plan: its masks have their parameters in the file")
    return load_head_plan(mask).with_tables(options.given_tables(tables))


def _drawn(image: Path | None) -> dict[str, str]:
    return {} if image is None else {"image": str(image)}


def _counted(noun: str, names: list[str]) -> str:
    return f"{plural(len(names), noun)}: {', '.join(names)}" if names else ""


def _show_mask(
    spec: "MaskSpec", table: "BlockTable", where: options.Scene, title: str, facts: dict[str, Any]
) -> None:
    """Draw a mask and print its facts, which hold `table` and `parts`."""
    from radialbench.maskgen import describe
    from radialbench.maskgen.picture import density_image, picture_side, terminal_picture

    side = picture_side(where.grid, _picture_room())
    console.print(title, style="bold", markup=False, highlight=False)
    paper = f"[{spec.paper}]" if spec.paper else ""
    for text in filter(None, (describe.first_sentence(spec.about), paper)):
        console.print(encoded(text), markup=False, highlight=False)
    say(where.title)
    ascii = _ascii_only()
    say(
        describe.framed(
            terminal_picture(density_image(table, side, side), plain=ascii), plain=ascii
        )
    )
    say(describe.scale_line(where.grid, side, table.order))
    lines = [
        *describe.cost_lines(facts["table"], where.model),
        *describe.part_lines(spec, facts["parts"]),
    ]
    width = max(len(heading) for heading, _ in lines)
    room, hang = terminal_width(), " " * (width + 2)
    for heading, line in lines:
        say(fitted(f"{heading:<{width}}  {line}", room, hang=hang))
    console.print()


def _show_difference(
    pairs: Any, names: tuple[str, str], where: options.Scene, order: "TokenOrder"
) -> None:
    """Draw and count pairs, [3, side, side]: only in A, only in B, in both."""
    from rich.text import Text

    from radialbench.maskgen.describe import framed, scale_line
    from radialbench.maskgen.picture import percent, terminal_difference

    say(where.title)
    picture = Text(encoded(framed(terminal_difference(pairs), plain=_ascii_only())))
    picture.highlight_regex("[aA]", "yellow")
    picture.highlight_regex("[bB]", "cyan")
    picture.highlight_regex("[xX]", "magenta")
    console.print(picture, soft_wrap=True)
    say(scale_line(where.grid, pairs.shape[1], order))
    say("A, B: kept by one mask only; X: by either; a, b, x: less than what both keep; ·: by both")
    total = where.grid.q_len * where.grid.seq_len
    counts = [int(count) for count in pairs.sum(axis=(1, 2))]
    headings = (f"only in A, {names[0]}", f"only in B, {names[1]}", "in both", "in neither")
    for heading, count in zip(headings, (*counts, total - sum(counts)), strict=True):
        say(f"{count:>19,}  {percent(count / total):>12}  {heading}")


def _picture_room() -> int:
    """Return how many columns a picture may have."""
    return max(8, min(WIDEST, console.width - 2))


def _ascii_only() -> bool:
    """Return whether the terminal writes ASCII only."""
    return not console.encoding.lower().startswith("utf")
