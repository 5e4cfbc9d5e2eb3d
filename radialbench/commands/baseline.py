"""`radialbench baseline`: the results that checks compare with."""

from pathlib import Path
from typing import Annotated

import typer

from radialbench.commands.console import note
from radialbench.commands.options import ResultsPath
from radialbench.reports.text import first_few, plural
from radialbench.writing import is_output

app = typer.Typer(no_args_is_help=True, help="Keep the results that checks compare with.")


@app.callback()
def _baseline() -> None:
    """Keep the results that checks compare with."""


@app.command()
def update(
    current: ResultsPath,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The baseline, a file of JSON lines for git.")
    ],
    reason: Annotated[str, typer.Option(help="Why results are compared with these now; stored.")],
    rolling: Annotated[
        int,
        typer.Option(
            metavar="RUNS", min=1, max=100, help="Keep the samples of the last runs of each case."
        ),
    ] = 1,
) -> None:
    """Put results into a baseline, in place of those of the same case and device.

    With --rolling K it holds the last K runs that were put in: those of one machine, with the same
    versions and settings. Several runs tell a change from what runs differ by.
    """
    from radialbench.reports.check.baseline import update
    from radialbench.reports.check.metrics import cases_without_interval
    from radialbench.reports.summary import whole_results

    _, records = whole_results(current)
    done = update(out, records, reason=reason, runs=rolling)
    joined = f" ({done.joined} with runs before)" if rolling > 1 else ""
    text = f"baseline: {out}, {done.replaced} replaced{joined}, {done.new} new"
    typer.echo(text, err=is_output(out))
    if cases := cases_without_interval(records):
        note(
            f"checks cannot judge the times of {plural(len(cases), 'case')}, whose samples are too "
            f"few for an interval, which takes six: {first_few(cases, 3)}. Let the suite's "
            "protocol take more (min_samples, max_seconds)"
        )
