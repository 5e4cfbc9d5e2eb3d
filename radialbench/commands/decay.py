"""`radialbench decay`: how attention decays in time and space, and radial masks that suit it."""

from pathlib import Path
from typing import Annotated

import typer

from radialbench.commands.console import errors, print_json, say
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


def decay(
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
    keep: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Propose a radial mask for each head that keeps this share of its mass, as 0.95.",
        ),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="File of the proposed masks, a head plan; with --keep.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to compute.")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the rows that are looked at.")] = 0,
    block_m: BlockM = 128,
    block_n: BlockN = 128,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure how attention decays with distance in time and space, head by head.

    Laws are fitted by likelihood and compared by rows that they were not fitted to.
    """
    from radialbench.fidelity.decay import measure_decay
    from radialbench.fidelity.propose import propose
    from radialbench.kernels.arch import find_device
    from radialbench.maskgen.library import brief_yaml
    from radialbench.records.codec import to_dict
    from radialbench.records.problem import KernelConfig
    from radialbench.reports.decay import (
        HELP,
        decay_table,
        describe_decay,
        form_table,
        proposal_table,
    )
    from radialbench.reports.text import paragraph, terminal_width
    from radialbench.writing import write_files

    if plan is not None and keep is None:
        raise typer.BadParameter("--plan is the file of what --keep proposes; give both")
    sources, where = input_sources(inputs, model, size, grid), find_device(device)
    with watch_work(errors, "looking at rows of attention", quiet=quiet) as on_share:
        found = measure_decay(
            sources,
            rows=rows,
            space=space,
            sink_frames=sink_frames,
            seed=seed,
            device=where,
            on_rows=lambda done, total: on_share(done / total),
        )
    proposal = None
    if keep is not None:
        with watch_work(errors, "comparing masks", quiet=quiet) as on_share:
            proposal = propose(
                sources,
                keep,
                config=KernelConfig(block_m, block_n),
                rows=rows,
                seed=seed,
                device=where,
                on_share=on_share,
            )
    if proposal and plan is not None:
        write_files({plan: brief_yaml(proposal.plan).encode()})
    if json:
        document = to_dict(found)
        if proposal:
            document["proposal"] = [to_dict(one) for one in proposal.heads]
        print_json(document)
        return
    width = terminal_width()
    for line in describe_decay(found):
        say(paragraph(line, width))
    say(form_table(found, width))
    say(decay_table(found, width))
    say(paragraph(HELP.format(space=space), width))
    if proposal:
        say(f"\nradial masks that keep {keep:.1%}, on rows that they were not chosen by")
        say(proposal_table(proposal.heads, width))
    if plan is not None:
        say(f"head plan: {plan}")
