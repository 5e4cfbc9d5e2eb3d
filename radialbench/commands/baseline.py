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
) -> None:
    """Put results into a baseline, in place of those of the same case and device."""
    from radialbench.reports.check.baseline import update
    from radialbench.reports.check.metrics import cases_without_interval
    from radialbench.reports.summary import whole_results

    _, records = whole_results(current)
    replaced, new = update(out, records, reason=reason)
    typer.echo(f"baseline: {out}, {replaced} replaced, {new} new", err=is_output(out))
    if cases := cases_without_interval(records):
        note(
            f"checks cannot judge the times of {plural(len(cases), 'case')}, whose samples are too "
            f"few for an interval, which takes six: {first_few(cases, 3)}. Let the suite's "
            "protocol take more (min_samples, max_seconds)"
        )
