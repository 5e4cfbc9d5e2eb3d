"""`radialbench report`: tables, charts and a page of a run's results."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from radialbench.commands import options
from radialbench.commands.console import at_width, errors
from radialbench.commands.progress import watch_work
from radialbench.errors import ReportError

OTHER_FILES = (".txt", ".md", ".csv", ".json", ".jsonl", ".png", ".svg", ".pdf", ".htm", ".xlsx")
"""Endings of files that --out does not write alone, and that no folder is meant to have."""


def report(
    path: options.ResultsPath,
    out: Annotated[
        Path | None,
        typer.Option(
            *("--out", "-o"),
            help="Folder for the files, or one file: .html for the page, .parquet for the table.",
            show_default="beside results",
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Results to check these against: a run's folder, or a file of results."),
    ] = None,
    gate: options.Gate = None,
    gates: options.Gates = None,
    noise_floor: options.NoiseFloor = None,
    across_versions: options.AcrossVersions = False,
    across_machines: options.AcrossMachines = False,
    format: Annotated[
        str | None,
        typer.Option(help="Print terminal, markdown, csv, json or html only, and write no files."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print tables, break-even lengths and growth, and write them with charts as files.

    The files are report.html, which needs none of the others, report.md, report.csv, and pictures
    as PNG and SVG. With --baseline they show what `radialbench check` decides with these options.
    """
    from radialbench.records.store import paused_collector
    from radialbench.reports.check.verdict import mark_unrepeated
    from radialbench.reports.files import PAGE, write_page, write_parquet, write_report
    from radialbench.reports.formats import load_format
    from radialbench.reports.story import story
    from radialbench.reports.summary import load_summary, results_file
    from radialbench.reports.text import terminal_width

    if json and format not in (None, "json"):
        raise ReportError(f"--json and --format {format} are two formats; choose one")
    only = "json" if json else format
    render = at_width(only or "terminal", load_format(only or "terminal"))
    if only and out:
        raise ReportError(f"--out is for files, and --format {only} prints only; leave one out")
    if out and out.suffix in OTHER_FILES and not out.exists():
        raise ReportError(
            f"--out {out} is no folder, and only .html and .parquet are written alone; give "
            "a folder for all, or print one with --format (markdown, csv, json) into the file"
        )
    of_check: dict[str, object] = {"--gate": gate, "--gates": gates, "--noise-floor": noise_floor}
    of_check |= {"--across-versions": across_versions, "--across-machines": across_machines}
    if baseline is None and (given := [name for name, value in of_check.items() if value]):
        raise ReportError(f"{given[0]} is for a check; give what to compare with as --baseline")
    across = {"across_versions": across_versions, "across_machines": across_machines}
    compare = options.checker(gate, gates, noise_floor, **across)
    with paused_collector(), watch_work(errors, "reading results, and drawing charts"):
        summary = load_summary(path, baseline, check=compare)
        if summary.check:
            summary = replace(summary, check=mark_unrepeated(summary.check))
        written = ""
        if out and out.suffix == ".parquet":
            write_parquet(summary, out)
        elif out and out.suffix == ".html":
            write_page(summary, out)
            written = f"\nreport: {out}\n"
        elif not only:
            text, *others = write_report(summary, out or results_file(path).parent)
            written = f"\nreport: {text}, with {len(others)} files beside it\n"
            if summary.timed:
                told = story(summary, text.with_name(PAGE), width=terminal_width())
                written += f"\nIn short\n\n{told}"
        shown = render(summary)
    if out and out.suffix == ".parquet":
        shown = f"{len(summary.rows):,} cases: {out}\n"
    typer.echo(shown + written, nl=False)
