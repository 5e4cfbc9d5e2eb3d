"""`radialbench capture`: files of q, k and v of a transformer with local or random weights."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialbench.commands.console import errors, say
from radialbench.commands.options import Grid, Quiet, Size, parse_rows, scene
from radialbench.errors import IntegrationError

if TYPE_CHECKING:
    from radialbench.integrations.blueprint import Blueprint
    from radialbench.maskgen.grid import TokenGrid

RANDOM_GRID = "4x6x8"
NUMBERS = "N,N,…|all"


def capture(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of a transformer's weights, or of a pipeline with one, as diffusers "
            "saves them."
        ),
    ] = None,
    random: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A small model with random weights instead: wan, hunyuanvideo or mochi.",
        ),
    ] = None,
    size: Size = None,
    grid: Grid = None,
    layers: Annotated[str, typer.Option(metavar=NUMBERS, help="Layers, from 0.")] = "all",
    steps: Annotated[str, typer.Option(metavar=NUMBERS, help="Denoising steps, from 0.")] = "0",
    heads: Annotated[str, typer.Option(metavar=NUMBERS, help="Heads, from 0.")] = "all",
    rows: Annotated[
        str,
        typer.Option(metavar="NUMBER|all", help="Queries of each head; keys are always whole."),
    ] = "all",
    sampling_steps: Annotated[
        int, typer.Option(min=1, help="Denoising steps from noise to a video.")
    ] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Seed of latents, prompt and queries.")] = 0,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to compute.")] = "cpu",
    dtype: Annotated[
        str, typer.Option(help="Type of the weights and of what is captured.")
    ] = "bfloat16",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the files.")] = Path(
        "captured"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print how much would be written, and stop.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write q, k and v of a transformer's attention while it denoises random latents.

    A file a layer and step. Of a pipeline with a prompt, capture in Python.
    """
    from radialbench.commands.progress import watch_work
    from radialbench.integrations.capture import capture as capturing
    from radialbench.integrations.capture_size import Choice, check_there
    from radialbench.integrations.models import kind_of
    from radialbench.integrations.sampling import sample, shape_of, text_grid
    from radialbench.kernels.arch import find_device
    from radialbench.kernels.checks import DTYPES

    if dtype not in DTYPES:
        raise typer.BadParameter(f"--dtype is {', '.join(DTYPES)}, got {dtype[:40]!r}")
    blueprint, device = _blueprint(folder, random), find_device(device)
    if random and size is None:
        grid = grid or RANDOM_GRID
    choice = Choice(
        _numbers("--layers", layers),
        _numbers("--steps", steps) or tuple(range(sampling_steps)),
        _numbers("--heads", heads),
        parse_rows(rows),
        seed,
    )
    assert choice.steps is not None
    if choice.steps[-1] >= sampling_steps:
        raise typer.BadParameter(
            f"--steps end at {sampling_steps - 1} with --sampling-steps {sampling_steps}, got "
            f"{choice.steps[-1]}"
        )
    outline = blueprint.outline()
    count, shape = len(kind_of(outline).known_attentions(outline)), shape_of(outline, DTYPES[dtype])
    check_there("layer", choice.layers, count)
    tokens = text_grid(outline, _grid(outline, size, grid))
    total = choice.size(tokens, shape, len(choice.layers or range(count)) * len(choice.steps))
    weights = "random weights" if random else str(folder)
    say(
        f"{blueprint.title}, {weights}: grid {tokens.label}, {count} layers of {shape.heads} heads "
        f"of {shape.head_dim}"
    )
    say(f"{out}: {total.label}")
    if dry_run:
        total.check_space(out)
        return
    transformer = blueprint.build(device, DTYPES[dtype], seed)
    source = f"random {blueprint.title}" if random else None
    with (
        watch_work(errors, "sampling", quiet=quiet) as on_share,
        capturing(transformer, out, **asdict(choice), source=source) as captured,
    ):
        sample(
            transformer,
            tokens,
            steps=sampling_steps,
            stop=choice.steps[-1] + 1,
            seed=seed,
            on_share=on_share,
        )
    say(f"{len(captured.written)} written, {len(captured.kept)} kept as they were")


def _blueprint(folder: Path | None, random: str | None) -> "Blueprint":
    from radialbench.integrations.blueprint import Blueprint

    if random is not None and folder is None:
        return Blueprint.random(random)
    if folder is not None and random is None:
        return Blueprint.of_folder(folder)
    raise IntegrationError("give a folder of a transformer's weights, or a model with --random")


def _grid(transformer: Any, size: str | None, grid: str | None) -> "TokenGrid":
    from radialbench.integrations.models import kind_of

    if grid is not None:
        return scene(None, size, grid).grid
    model = kind_of(transformer).model(transformer)
    return model.grid(size or model.example)


def _numbers(option: str, text: str) -> tuple[int, ...] | None:
    if text == "all":
        return None
    words = text.split(",")
    if not all(word.isdecimal() and len(word) < 8 for word in words):
        raise typer.BadParameter(f"{option} is numbers such as 0,20,39, or all; got {text[:40]!r}")
    return tuple(map(int, words))
