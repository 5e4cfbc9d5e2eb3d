"""`radialbench decay`: how attention decays in time and space."""

from pathlib import Path
from typing import Annotated

import typer

from radialbench.commands.console import errors, print_json, say
from radialbench.commands.options import (
    Grid,
    Inputs,
    Json,
    ModelName,
    Quiet,
    Size,
    input_sources,
)
from radialbench.commands.progress import watch_work


def decay(
    masks: Annotated[
        list[str] | None,
        typer.Argument(
            help="Masks whose border is drawn in the image, as radial: of the library, also with a "
            "preset (name:preset), or YAML files.",
            show_default=False,
        ),
    ] = None,
    inputs: Inputs = None,
    model: ModelName = None,
    size: Size = None,
    grid: Grid = None,
    rows: Annotated[
        int, typer.Option(min=8, max=1 << 20, help="Query rows of each head to look at.")
    ] = 256,
    space: Annotated[
        str,
        typer.Option(
            metavar="steps|places",
            help="Distance in space: steps from row to row and column to column, or places in "
            "raster order.",
        ),
    ] = "steps",
    sink_frames: Annotated[
        int, typer.Option(min=0, help="First frames that the laws leave out.")
    ] = 1,
    image: Annotated[
        Path | None,
        typer.Option(
            "--image", help="Draw mass by distance into this file, PNG or SVG by its name."
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to compute.")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the rows that are looked at.")] = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure how attention decays with distance in time and space, head by head.

    Laws are fitted by likelihood and compared by rows that they were not fitted to.
    """
    from radialbench.fidelity.decay import measure_decay
    from radialbench.kernels.arch import find_device
    from radialbench.maskgen.library import load_mask
    from radialbench.maskgen.picture import picture_kind
    from radialbench.records.codec import to_dict
    from radialbench.reports.decay import (
        HELP,
        decay_table,
        describe_decay,
        form_table,
    )
    from radialbench.reports.text import paragraph, terminal_width
    from radialbench.writing import write_files

    kind = "" if image is None else picture_kind(image)
    chosen = [load_mask(name) for name in masks or ()]
    sources, where = input_sources(inputs, model, size, grid), find_device(device)
    with watch_work(errors, "looking at rows of attention", quiet=quiet) as on_share:
        found = measure_decay(
            sources,
            chosen,
            rows=rows,
            space=space,
            sink_frames=sink_frames,
            seed=seed,
            device=where,
            on_rows=lambda done, total: on_share(done / total),
        )
    if image is not None:
        from radialbench.reports.distance_chart import picture

        write_files({image: picture(found, kind)})
    if json:
        print_json(to_dict(found))
        return
    width = terminal_width()
    for line in describe_decay(found):
        say(paragraph(line, width))
    say(form_table(found, width))
    say(decay_table(found, width))
    say(paragraph(HELP.format(space=space), width))
    if image is not None:
        say(f"drawn into {image}")
