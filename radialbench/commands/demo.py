"""`radialbench demo`: a small run, told in six lines and one picture."""

from pathlib import Path
from typing import Annotated

import typer

from radialbench.commands import console
from radialbench.commands.options import Quiet
from radialbench.commands.progress import watch_work

SUITE, GPU_SUITE = "demo", "smoke_gpu"


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results and the page.")
    ] = Path("results/demo"),
    quiet: Quiet = False,
) -> None:
    """Measure masks beside dense attention here, and tell what came of it in six lines.

    On a CPU it takes under a minute on two cores; with a GPU it is the suite smoke_gpu. What is in
    the folder already is kept, and only what is missing runs.
    """
    from radialbench.commands.run import run
    from radialbench.kernels.measure.environment import gpus
    from radialbench.reports.files import PAGE, write_report
    from radialbench.reports.story import story
    from radialbench.reports.summary import load_summary
    from radialbench.reports.text import terminal_width

    cards, _ = gpus()
    run(GPU_SUITE if cards else SUITE, out, resume=True, quiet=quiet)
    with watch_work(console.errors, "drawing the page"):
        summary = load_summary(out)
        write_report(summary, out)
    typer.echo("\n" + story(summary, out / PAGE, width=terminal_width()), nl=False)
