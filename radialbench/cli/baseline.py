"""`radialbench baseline`: what checks compare with."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Keep what checks compare with.")


@app.callback()
def _baseline() -> None:
    """Keep what checks compare with."""


@app.command()
def update(
    current: Annotated[Path, typer.Argument(help="A run's folder, or its results.jsonl.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The baseline, a file of JSON lines for git.")
    ],
    reason: Annotated[str, typer.Option(help="Why these are the measure from now on; stored.")],
) -> None:
    """Put results into a baseline, in place of those of the same case and device."""
    from radialbench.reports.check.baseline import update
    from radialbench.reports.summary import whole_results

    _, records = whole_results(current)
    replaced, new = update(out, records, reason=reason)
    typer.echo(f"baseline: {out}, {replaced} replaced, {new} new")
