"""`radialbench pipeline`: whole calls of a model's transformer, with a mask and without."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialbench.commands.console import (
    errors,
    format_duration,
    note,
    note_if_busy,
    print_table,
    say,
)
from radialbench.commands.options import (
    Quiet,
    Settings,
    Size,
    names_of,
    parse_seconds,
)

if TYPE_CHECKING:
    from radialbench.integrations.blueprint import Blueprint
    from radialbench.integrations.needs import Needs

DEFAULT_OUT = Path("results/pipeline.jsonl")
SECONDS = 120.0


def pipeline(
    model: Annotated[
        str,
        typer.Argument(
            help="A model preset, which is built with random weights, or the folder of a pipeline "
            "or transformer, as diffusers saves them.",
            autocompletion=names_of("integrations.blueprint", "RELEASED"),
        ),
    ],
    size: Size = None,
    mask: Annotated[
        str,
        typer.Option("--mask", help="A mask of the library, or the file of a mask or head plan."),
    ] = "radial",
    settings: Settings = None,
    schedule: Annotated[
        Path | None, typer.Option(help="A schedule's file: masks by layer and step, instead.")
    ] = None,
    dense_steps: Annotated[int, typer.Option(min=0, help="First steps that are dense.")] = 0,
    dense_layers: Annotated[int, typer.Option(min=0, help="First layers that are dense.")] = 0,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="dense|KERNEL",
            help="Dense attention to compare with: `dense` for all that run here, or stock, flash, "
            "cudnn, fa3, fa4; repeatable.",
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="What computes the mask: hopper, triton or sdpa.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps; the model's usual number.")
    ] = None,
    calls: Annotated[
        int | None, typer.Option(min=1, max=9, help="Calls of a step; 2 with guidance.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where to run.")] = "auto",
    dtype: Annotated[
        str | None, typer.Option(help="Type of the weights; bfloat16 on a GPU, else float32.")
    ] = None,
    tiny: Annotated[
        bool | None,
        typer.Option(
            "--tiny/--full",
            help="A small model of the same class; without a GPU so by default, at a small size.",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Most samples of each call.")] = 30,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds", parser=parse_seconds, metavar="TIME", help="Time for samples (2min)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, latents and prompt.")] = 0,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File that the results are added to.")
    ] = DEFAULT_OUT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print memory and time, and stop.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Time a model's transformer with dense attention and with a mask, and what a video takes.

    Every result is compared with PyTorch's attention under the same token mask before it is timed.
    """
    from radialbench.commands.options import chosen_mask
    from radialbench.commands.progress import watch_work
    from radialbench.integrations.blueprint import sharpen, tiny_size
    from radialbench.integrations.models import kind_of
    from radialbench.integrations.needs import matmul_rate, needs_of
    from radialbench.integrations.pipeline import time_pipeline
    from radialbench.integrations.pipeline_plan import plan_pipeline
    from radialbench.kernels.arch import find_device
    from radialbench.kernels.checks import DTYPES
    from radialbench.maskgen.library import is_head_plan, load_head_plan
    from radialbench.records.store import append, write_errors
    from radialbench.reports.pipeline import COLUMNS, TEXT, call_rows, sentences

    device = find_device(device)
    dtype = dtype or ("bfloat16" if device == "cuda" else "float32")
    if dtype not in DTYPES:
        raise typer.BadParameter(f"--dtype is {', '.join(DTYPES)}, got {dtype[:40]!r}")
    folder = Path(model) if Path(model).is_dir() else None
    small = folder is None and (device == "cpu" if tiny is None else tiny)
    if tiny and folder is not None:
        raise typer.BadParameter("--tiny is for random weights, got a folder")
    what: dict[str, Any] = {"schedule": schedule}
    if schedule is None:
        chosen = load_head_plan(mask) if is_head_plan(mask) else chosen_mask(mask, settings, None)
        what = {"mask": chosen, "dense_steps": dense_steps, "dense_layers": dense_layers}
    elif settings or dense_steps or dense_layers or mask != "radial":
        raise typer.BadParameter("--schedule says itself which masks there are and what is dense")
    what |= {"backend": backend, "steps": steps, "calls": calls}
    whole, title = _blueprint(model, folder, tiny=False)
    outline = whole.outline(DTYPES[dtype])
    preset = kind_of(outline).model(outline)
    size = size or preset.example
    preset.grid(size)
    if dry_run:
        found = needs_of(plan_pipeline(outline, size=size, **what))
        _print_needs(
            f"{title} at {size}, {dtype}", found, device, matmul_rate(device, DTYPES[dtype])
        )
        return
    if small:
        whole, _ = _blueprint(model, None, tiny=True)
        if tiny is None:
            note(
                f"no GPU: a small {whole.title} at {tiny_size(preset)} stands for {title} at "
                f"{size}; --full builds it whole, --tiny keeps the size"
            )
            size = tiny_size(preset)
        title = f"small {title}"
    else:
        needs_of(plan_pipeline(outline, size=size, **what)).check_memory(device)
    out.parent.mkdir(parents=True, exist_ok=True)
    note_if_busy()
    transformer = whole.build(device, DTYPES[dtype], seed)
    if folder is None:
        sharpen(transformer)
    names = None if against is None or "dense" in against else against
    with watch_work(errors, f"timing {title}", quiet=quiet) as on_share:
        times = time_pipeline(
            transformer,
            size=size,
            **what,
            against=names,
            title=f"{title} at {size}",
            weights="random" if folder is None else folder.name,
            seed=seed,
            min_samples=min(6, samples),
            max_samples=samples,
            max_seconds=SECONDS if max_seconds is None else max_seconds,
            command=shlex.join(["radialbench", *sys.argv[1:]]),
            on_share=on_share,
        )
    with write_errors(out):
        for record in times.records:
            append(out, record)
    first, *others = sentences(times)
    say(first)
    print_table(COLUMNS, call_rows(times), text_columns=TEXT)
    for line in others:
        say(line)
    say(f"added to {out}")
    if any(one.timing is None for one in times.records):
        raise typer.Exit(1)


def _blueprint(model: str, folder: Path | None, *, tiny: bool) -> "tuple[Blueprint, str]":
    from radialbench.integrations.blueprint import Blueprint
    from radialbench.maskgen.grid import load_model

    if folder is not None:
        return Blueprint.of_folder(folder), folder.name
    return Blueprint.of_preset(model, tiny=tiny), load_model(model).title


def _print_needs(title: str, found: "Needs", device: str, rate: float) -> None:
    from radialbench.integrations.capture_size import amount
    from radialbench.integrations.needs import free_bytes

    free = free_bytes(device)
    room = "" if free is None else f" of {amount(free)} free"
    say(f"{title}: {amount(found.nbytes)} on the {device} device{room}: {found.label}")
    dense = next(iter(found.flops.values()))
    say(
        f"at the {rate / 1e12:,.3g} TFLOP/s of a matmul here, which attention does not reach: a "
        f"dense call at least {format_duration(dense / rate)}, a video's "
        f"{sum(found.steps.values())} steps of {found.calls} at least "
        f"{format_duration(found.video_flops(masked=False) / rate)} dense and "
        f"{format_duration(found.video_flops(masked=True) / rate)} with the mask, the measurement "
        f"at least {format_duration(found.measuring_flops(1) / rate)}"
    )
