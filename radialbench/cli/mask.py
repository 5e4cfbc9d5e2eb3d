"""`radialbench mask`: list, show, compare and check masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialbench.cli._options import (
    BlockM,
    BlockN,
    EmptyRows,
    Grid,
    Json,
    MaskName,
    ModelName,
    Settings,
    Size,
)

if TYPE_CHECKING:
    from radialbench.maskgen.heads import HeadPlan

app = typer.Typer(help="List, show, compare and check masks.", no_args_is_help=True)

Png = Annotated[
    Path | None, typer.Option("--png", help="Also draw into this file, PNG or SVG by its name.")
]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the masks of the library."""
    from rich.padding import Padding

    from radialbench.cli._console import console, print_json
    from radialbench.cli._mask_facts import first_sentence, mask_facts
    from radialbench.maskgen.library import load_mask, mask_names

    masks = [load_mask(name) for name in mask_names()]
    if json:
        print_json([mask_facts(spec) for spec in masks])
        return
    for spec in masks:
        console.print(f"[bold]{spec.name}[/bold]", highlight=False)
        words = [first_sentence(spec.about), spec.paper]
        words += [_counted(spec.params, "parameter", [param.name for param in spec.params])]
        words += [_counted(spec.presets, "preset", [preset for preset, _ in spec.presets])]
        for word in filter(None, words):
            console.print(Padding(word, (0, 0, 0, 2), expand=False), markup=False, highlight=False)


@app.command()
def models(json: Json = False) -> None:
    """List the model presets."""
    from dataclasses import asdict

    from radialbench.cli._console import print_json, print_table
    from radialbench.maskgen.models import load_model, model_names

    presets = [load_model(name) for name in model_names()]
    if json:
        facts = [
            {**asdict(preset), "grid": preset.grid(preset.example).label} for preset in presets
        ]
        print_json(facts)
        return
    grids = [preset.grid(preset.example) for preset in presets]
    print_table(
        ("model", "size", "grid", "tokens", "heads", "head_dim", "layers"),
        [
            (
                *(preset.name, preset.example, grid.label, f"{grid.seq_len:,}"),
                *(preset.heads, preset.head_dim, preset.layers),
            )
            for preset, grid in zip(presets, grids, strict=True)
        ],
        words=("model", "size", "grid"),
    )


@app.command()
def show(
    mask: MaskName,
    model: ModelName = None,
    size: Size = None,
    grid: Grid = None,
    set: Settings = None,
    empty_rows: EmptyRows = None,
    block_m: BlockM = 128,
    block_n: BlockN = 128,
    png: Png = None,
    json: Json = False,
) -> None:
    """Draw a mask, and tell what it keeps and what it costs on a grid.

    A file with a head plan is shown group by group.
    """
    from radialbench.cli._console import print_json
    from radialbench.cli._mask_facts import mask_facts, part_values, scene_facts, table_facts
    from radialbench.cli._mask_show import say, show_mask
    from radialbench.cli._options import chosen_mask, compiled, scene
    from radialbench.maskgen.picture import picture_kind, save_pictures

    if png is not None:
        picture_kind(png)
    where = scene(model, size, grid)
    plan = _plan(mask, set, empty_rows)
    if plan is None:
        groups = [("", where.heads, chosen_mask(mask, set, empty_rows))]
    else:
        groups = [(group.label, len(group.heads), group.mask) for group in plan.groups]
    facts, titled = [], []
    for label, heads, spec in groups:
        table, seconds = compiled(spec, where, block_m, block_n, label)
        fact: dict[str, Any] = {"heads": label} if plan else {}
        fact |= {"mask": mask_facts(spec), "table": table_facts(table, where, heads, seconds)}
        facts.append({**fact, "parts": part_values(spec, where)})
        titled.append((f"heads {label}: {spec.label}" if plan else spec.label, table))
    if png is not None:
        save_pictures(png, titled, caption=where.title, width_px=1000 if len(titled) == 1 else 1600)
    if json:
        inner = {"name": plan.name, "groups": facts} if plan else facts[0]
        print_json({"scene": scene_facts(where), **inner, **_drawn(png)})
        return
    if plan is not None:
        model_heads = f"; {where.model.name} has {where.heads}" if where.model else ""
        say(f"head plan {plan.name}: {plan.heads} heads{model_heads}\n")
    for (_, _, spec), (title, table), fact in zip(groups, titled, facts, strict=True):
        show_mask(spec, table, where, title, fact)
    if png is not None:
        say(f"drawn into {png}")


@app.command()
def diff(
    a: MaskName,
    b: MaskName,
    model: ModelName = None,
    size: Size = None,
    grid: Grid = None,
    set_a: Annotated[
        list[str] | None,
        typer.Option("--set-a", metavar="NAME=VALUE", help="A parameter of A; repeatable."),
    ] = None,
    set_b: Annotated[
        list[str] | None,
        typer.Option("--set-b", metavar="NAME=VALUE", help="A parameter of B; repeatable."),
    ] = None,
    empty_rows: EmptyRows = None,
    block_m: BlockM = 128,
    block_n: BlockN = 128,
    png: Png = None,
    json: Json = False,
) -> None:
    """Tell which pairs one mask keeps and the other does not.

    Masks of different token orders are compared in the raster order.
    """
    from radialbench.cli._console import print_json
    from radialbench.cli._mask_facts import mask_facts, scene_facts
    from radialbench.cli._mask_show import picture_room, say, show_difference
    from radialbench.cli._options import chosen_mask, compiled, scene
    from radialbench.maskgen.cells import difference_pairs
    from radialbench.maskgen.order import TokenOrder
    from radialbench.maskgen.picture import SHARPEST, picture_kind, picture_side, save_difference

    if png is not None:
        picture_kind(png)
    where = scene(model, size, grid)
    specs = chosen_mask(a, set_a, empty_rows), chosen_mask(b, set_b, empty_rows)
    table_a, table_b = (compiled(spec, where, block_m, block_n)[0] for spec in specs)
    side = picture_side(where.grid, picture_room())
    # One count serves both pictures: the cells of the terminal's are whole cells of the file's.
    finer = 1 if png is None else max(1, min(SHARPEST, where.grid.seq_len) // side)
    pairs = difference_pairs(table_a, table_b, side * finer)
    order = table_a.order if table_a.order == table_b.order else TokenOrder()
    names = (specs[0].label, specs[1].label)
    if png is not None:
        save_difference(png, pairs, names, where.grid, order, caption=where.title)
    if json:
        counts = [int(count) for count in pairs.sum(axis=(1, 2))]
        facts: dict[str, Any] = {"scene": scene_facts(where), "order": str(order)}
        facts |= {"a": mask_facts(specs[0]), "b": mask_facts(specs[1])}
        facts |= dict(zip(("only_a", "only_b", "both"), counts, strict=True))
        print_json({**facts, "all_pairs": where.grid.seq_len**2, **_drawn(png)})
        return
    coarse = pairs.reshape(3, side, finer, side, finer).sum(axis=(2, 4))
    show_difference(coarse, names, where, order)
    if png is not None:
        say(f"drawn into {png}")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A YAML file with a mask or a head plan.")],
    json: Json = False,
) -> None:
    """Check a file without compiling it; errors have line and column."""
    from radialbench.cli._console import print_json
    from radialbench.cli._mask_facts import mask_facts, written
    from radialbench.cli._mask_show import say
    from radialbench.maskgen.heads import is_head_plan, load_head_plan
    from radialbench.maskgen.reader import read_mask_file

    if is_head_plan(file):
        plan = load_head_plan(file)
        if json:
            groups = [{"heads": g.label, "mask": mask_facts(g.mask)} for g in plan.groups]
            print_json({"file": str(file), "name": plan.name, "groups": groups})
            return
        say(f"{file}: head plan {plan.name}, {plan.heads} heads")
        for group in plan.groups:
            say(f"  {group.label:<16} {group.mask.label}")
        return
    spec = read_mask_file(file)
    if json:
        print_json({"file": str(file), **mask_facts(spec)})
        return
    say(f"{file}: mask {spec.name}, order {spec.order.kind}, empty rows {spec.empty_rows}")
    for param in spec.params:
        bounds = f" in {param.bounds}" if param.bounds else ""
        kind = f"{param.kind}{bounds}, default {written(param.default)}"
        say(f"  {param.name:<16} {kind}  {param.help}")
    for preset, _ in spec.presets:
        say(f"  preset {preset}")
    for part, tree in spec.let:
        say(f"  {part:<16} = {tree}")


def _plan(mask: str, settings: list[str] | None, empty_rows: str | None) -> "HeadPlan | None":
    from radialbench.errors import SpecError
    from radialbench.maskgen.heads import is_head_plan, load_head_plan

    if not mask.endswith((".yaml", ".yml")) or not is_head_plan(mask):
        return None
    if settings or empty_rows:
        raise SpecError(f"{mask} is a head plan: its masks have their parameters in the file")
    return load_head_plan(mask)


def _drawn(png: Path | None) -> dict[str, str]:
    return {} if png is None else {"png": str(png)}


def _counted(things: tuple[Any, ...], word: str, names: list[str]) -> str:
    if not things:
        return ""
    return f"{len(things)} {word}{'s' * (len(things) > 1)}: {', '.join(names)}"
