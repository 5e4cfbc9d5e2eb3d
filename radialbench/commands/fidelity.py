"""`radialbench fidelity`: what masks keep of attention, and what they lose."""

import shlex
import sys
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
    any_mask,
    input_sources,
    parse_rows,
)
from radialbench.commands.progress import watch_work

DEFAULT_MASKS = ("radial", "sta", "svg_spatial", "svg_temporal", "neighborhood", "dense")


def fidelity(
    masks: Annotated[
        list[str] | None,
        typer.Argument(
            help="Masks of the library, also with a preset (name:preset), or YAML files of masks "
            "and head plans.",
            show_default=" ".join(DEFAULT_MASKS),
        ),
    ] = None,
    inputs: Inputs = None,
    model: ModelName = None,
    size: Size = None,
    grid: Grid = None,
    rows: Annotated[
        str, typer.Option(metavar="NUMBER|all", help="Rows of each head to look at.")
    ] = "256",
    backend: Annotated[
        str | None,
        typer.Option(
            help="A backend that computes all rows, such as hopper; the rows looked at then give "
            "its own error."
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to compute.")] = "cpu",
    bound: Annotated[
        float, typer.Option(min=0, max=1, help="Mass below which a row counts as one that loses.")
    ] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the rows that are looked at.")] = 0,
    block_m: BlockM = 128,
    block_n: BlockN = 128,
    by_head: Annotated[
        bool, typer.Option("--by-head", help="Print a table of the heads, too.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File of the records, a line of JSON each.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure how much attention mass masks keep, and the error of their output.

    Beside each mask stand other choices of as many blocks: the best there could be, those nearest
    in the sequence, and random ones. Without --inputs the tensors are synthetic: a trial run, which
    says nothing of a model.
    """
    from radialbench.records.codec import to_dict
    from radialbench.records.fidelity_record import write_fidelity
    from radialbench.records.problem import KernelConfig
    from radialbench.reports.fidelity import HELP, describe_inputs, fidelity_table, head_table
    from radialbench.reports.text import paragraph, terminal_width

    taken = parse_rows(rows)
    chosen = [any_mask(name) for name in masks or DEFAULT_MASKS]
    command = shlex.join(["radialbench", *sys.argv[1:]])
    with watch_work(errors, "looking at rows of attention", quiet=quiet) as on_share:
        # Imported here: they take longer than a terminal should be empty.
        from radialbench.fidelity.run import measure_fidelity
        from radialbench.fidelity.settings import How
        from radialbench.kernels.arch import find_device
        from radialbench.kernels.measure.environment import environment

        how = How(
            rows=taken,
            bound=bound,
            seed=seed,
            backend=backend,
            device=find_device(device),
            config=KernelConfig(block_m, block_n),
        )
        sources = input_sources(inputs, model, size, grid)
        records = measure_fidelity(
            sources,
            [(mask.identity, mask) for mask in chosen],
            how,
            environment(command, device=how.device),
            on_rows=lambda done, total: on_share(done / total),
        )
    if out is not None:
        write_fidelity(out, records)
    if json:
        print_json([to_dict(record) for record in records])
        return
    width = terminal_width()
    for line in describe_inputs(records):
        say(paragraph(line, width))
    say(fidelity_table(records, width))
    for record in records if by_head else ():
        say(f"\n{record.mask.label}\n{head_table(record, width)}")
    say(paragraph(HELP, width))
    if out is not None:
        say(f"records: {out}")
