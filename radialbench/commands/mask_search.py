"""`radialbench mask search`: masks for the heads of a model that keep much and cost little."""

import shlex
import sys
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from radialbench.commands import INTERRUPTED
from radialbench.commands.console import errors, fail, print_json, say
from radialbench.commands.options import (
    BlockM,
    BlockN,
    Grid,
    Inputs,
    Json,
    ModelName,
    Quiet,
    Size,
    input_sources,
)
from radialbench.commands.progress import watch_work
from radialbench.reports.front import schedule_words
from radialbench.reports.text import format_percent, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from radialbench.fidelity.settings import Source
    from radialbench.masksearch.search import Searched, SearchSettings
    from radialbench.masksearch.space import Family
    from radialbench.records.front import FrontPoint

OUT = Path("results") / "masks"
FRONT = "front.jsonl"


def search(
    families: Annotated[
        list[str] | None,
        typer.Argument(
            help="Masks of the library, also with a preset (name:preset), or YAML files, whose "
            "parameters are searched.",
            show_default="radial sta svg_spatial svg_temporal neighborhood",
        ),
    ] = None,
    inputs: Inputs = None,
    model: ModelName = None,
    size: Size = None,
    grid: Grid = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="NAME=LOW..HIGH",
            help="Values of a parameter to search, such as radial.decay=0.1..4, instead of the "
            "range in the mask's file; one value fixes it; repeatable.",
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="head,layer,step",
            help="What masks may differ by; one mask for all heads by default.",
        ),
    ] = "",
    group: Annotated[
        list[str] | None,
        typer.Option(metavar="HEADS", help="Heads that share a mask, such as 0-5; repeatable."),
    ] = None,
    loss: Annotated[
        str,
        typer.Option(
            metavar="mass|error", help="What is to be small: mass not kept, or error of the output."
        ),
    ] = "mass",
    cost: Annotated[
        str | None,
        typer.Option(
            metavar="blocks|time",
            help="Executed blocks, or time of our kernels.",
            show_default="time on a GPU, else blocks",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of sampling.", show_default="up to the last of the inputs"),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Layers of the model.", show_default="up to the last of the inputs"
        ),
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Heads of the model.", show_default="up to the last of the inputs"
        ),
    ] = None,
    worst_head: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="LOSS",
            help="The most that any head may lose, such as 0.2 of its mass; heads that would lose "
            "more are dense.",
        ),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Name the cheapest plan that keeps this share of mass."),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, max=100_000, help="Masks to try, with those of earlier runs.")
    ] = 100,
    rows: Annotated[
        int, typer.Option(min=8, max=1 << 20, help="Query rows of each head to look at.")
    ] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the rows and of the search.")] = 0,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to compute.")] = "cpu",
    block_m: BlockM = 128,
    block_n: BlockN = 128,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where trials are kept: journal:PATH, sqlite:///PATH, postgresql://HOST/NAME.",
            show_default="a journal beside the front",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the front, its chart and head plans.")
    ] = OUT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be searched.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Search for the masks that keep most for their cost, and write them as head plans.

    Masks are tried on sampled query rows, and combined by head, layer and step; the first and last
    steps and the first layers that stay dense are part of the search. The same command goes on
    where an earlier one ended.
    """
    from radialbench.kernels.arch import find_device
    from radialbench.kernels.measure.environment import environment
    from radialbench.maskgen.language.heads import parse_heads
    from radialbench.masksearch.search import SearchSettings, search_masks
    from radialbench.masksearch.space import DEFAULT_FAMILIES, read_families
    from radialbench.records.codec import to_dict
    from radialbench.records.problem import KernelConfig

    if keep is not None and loss != "mass":
        raise typer.BadParameter("--keep is a share of the mass: use it with --loss mass")
    if keep is not None and not 0 < keep <= 1:
        raise typer.BadParameter(f"--keep is a share above 0 and at most 1, got {keep:g}")
    settings = SearchSettings(
        loss=loss,
        cost=cost,
        by=[word.strip() for word in by.split(",") if word.strip()],
        head_groups=[parse_heads(word) for word in group or ()],
        steps=steps,
        layers=layers,
        heads=heads,
        most_loss=worst_head,
        trials=trials,
        rows=rows,
        seed=seed,
        device=find_device(device),
        config=KernelConfig(block_m, block_n),
    )
    chosen = read_families(families or DEFAULT_FAMILIES, ranges or ())
    sources = input_sources(inputs, model, size, grid)
    if dry_run:
        _print_space(chosen, sources, settings, json=json)
        return
    command = shlex.join(["radialbench", *sys.argv[1:]])
    try:
        with watch_work(errors, "trying masks", quiet=quiet) as on_share:
            found = search_masks(
                sources,
                chosen,
                settings,
                environment(command, device=settings.device),
                storage=storage or f"journal:{out / 'trials.journal'}",
                on_share=on_share,
            )
    except KeyboardInterrupt:
        fail(f"stopped; finished trials are kept. Continue with: {command}", INTERRUPTED)
    _write(found, out, heads)
    if json:
        print_json([to_dict(point) for point in found.points])
        return
    _print(found, out, keep)


def _print_space(
    families: "Sequence[Family]",
    sources: "Sequence[Source]",
    settings: "SearchSettings",
    *,
    json: bool,
) -> None:
    """Print the families, and the groups and bytes of a search."""
    from radialbench.fidelity.sampled import SampledRows
    from radialbench.masksearch.groups import Positions, group_places

    sampled = SampledRows(sources, settings.rows, device=settings.device)
    groups = group_places(sampled.places, settings.by, settings.head_groups)
    positions = Positions.of(sampled.places, settings.steps, settings.layers)
    if json:
        listed = [
            {
                "family": family.word,
                "masks": family.size,
                "parameters": {axis.name: list(axis.values) for axis in family.axes},
            }
            for family in families
        ]
        facts = {"families": listed, "heads": len(sampled.places), "groups": len(groups)}
        facts |= {"steps": positions.steps, "layers": positions.layers}
        print_json(facts | {"bytes": sampled.nbytes, "held": sampled.holds})
        return
    for family in families:
        ranges = [f"{axis.name} {axis.values[0]:g} to {axis.values[-1]:g}" for axis in family.axes]
        listed_ranges = ", ".join(ranges) or "no parameter has a range: see --range"
        say(f"{family.word}: {plural(family.size, 'mask')}; {listed_ranges}")
    say(
        f"{plural(len(sources), 'file')} with {plural(len(sampled.places), 'head')} in all, "
        f"{plural(len(groups), 'group')} of heads; {plural(positions.steps, 'step')} and "
        f"{plural(positions.layers, 'layer')}"
    )
    held = "held in memory" if sampled.holds else "too many to hold: computed for every 8 masks"
    say(f"weights of the rows: {sampled.nbytes / 2**30:.2f} GiB, {held}")


def _write(found: "Searched", out: Path, heads: int | None) -> None:
    """Write the front, its chart and its plans; plans of a former front are removed."""
    from radialbench.maskgen.library import brief_yaml
    from radialbench.masksearch.plans import head_plans, schedule_yaml
    from radialbench.records.front import write_front
    from radialbench.reports.front_chart import Tried, pictures
    from radialbench.writing import write_files

    folder = out / "plans"
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        folder / f"{name}.yaml": brief_yaml(plan).encode()
        for point, masks in zip(found.points, found.plans, strict=True)
        for name, plan in head_plans(point, masks, found.groups, heads).items()
    }
    for point in found.points:
        if (text := schedule_yaml(point, found.groups, found.positions)) is not None:
            contents[folder / f"{point.number:02}-schedule.yaml"] = text.encode()
    tried = [
        Tried(trial.family, trial.cost, fmean(trial.losses[1]))
        for trial in found.trials
        if trial.cost is not None
    ]
    for kind, content in pictures(found.points, tried).items():
        contents[out / f"front.{kind}"] = content
    write_files(contents)
    for old in folder.glob("[0-9][0-9]*.yaml"):
        if old not in contents:
            old.unlink()
    write_front(out / FRONT, found.points)


def _print(found: "Searched", out: Path, keep: float | None) -> None:
    from radialbench.reports.front import HELP, describe_front, front_table
    from radialbench.reports.text import paragraph, terminal_width

    width = terminal_width()
    for line in describe_front(found.points):
        say(paragraph(line, width))
    say(front_table(found.points, width))
    say(paragraph(HELP, width))
    misfits = [trial for trial in found.trials if trial.reason]
    if misfits:
        one, count = misfits[0], plural(len(misfits), "mask")
        say(f"{count} did not fit the grid, as {one.mask.label}: {one.reason}")
    if keep is not None:
        say(_cheapest(found.points, keep, out))
    say(f"front: {out / FRONT}; chart: {out / 'front.png'}; head plans: {out / 'plans'}")


def _cheapest(points: "Sequence[FrontPoint]", keep: float, out: Path) -> str:
    """Name the cheapest plan that keeps a share, and how to run it; dense attention keeps all."""
    point = next(point for point in points if 1 - point.loss >= keep)
    worst = format_percent(1 - point.worst_loss)
    plan = (
        f"cheapest that keeps {format_percent(keep)}: plan {point.number:02}, at "
        f"{format_percent(point.cost)} of dense; its worst head keeps {worst}"
    )
    plans = out / "plans"
    if any(one.layer is not None or one.step is not None for one in point.masks):
        words = [f'schedule="{plans / f"{point.number:02}-schedule.yaml"}"']
    else:
        words = [f'mask="{plans / f"{point.number:02}.yaml"}"', *schedule_words(point.schedule)]
    return f"{plan}\nto run it: apply_radial(pipe, size=…, {', '.join(words)})"
