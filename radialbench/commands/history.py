"""`radialbench history`: how results changed over many runs."""

from pathlib import Path
from typing import Annotated

import typer

from radialbench.commands.console import errors, note, print_json
from radialbench.commands.options import Gate, Gates, NoiseFloor, parse_noise_floor
from radialbench.commands.progress import watch_work


def history(
    results: Annotated[
        list[Path], typer.Argument(help="Folders that runs wrote, or files of results.")
    ],
    keep_order: Annotated[
        bool,
        typer.Option("--keep-order", help="Keep this order; by default it is that of the commits."),
    ] = False,
    gate: Gate = None,
    gates: Gates = None,
    noise_floor: NoiseFloor = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="A page, .html, of all series; or a folder for a picture of each change.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON: every series.")] = False,
) -> None:
    """Find when each case and metric of the last results changed, over all of them.

    Exits with 0 whether something changed or not, and with 2 on bad input.
    """
    from radialbench.reports.check import history as over_runs
    from radialbench.reports.check.cohorts import by_machine_history
    from radialbench.reports.check.metrics import choose_gates
    from radialbench.reports.summary import whole_results
    from radialbench.reports.text import join_and, printable, terminal_width

    is_page = out is not None and out.suffix == ".html"
    chosen = choose_gates(gates, gate)
    with watch_work(errors, "reading results"):
        runs = [over_runs.run_of(*whole_results(path)) for path in results]
        if not keep_order:
            runs, reason = over_runs.in_commit_order(runs)
            if reason:
                note(f"in the order in which they were measured, as {reason}")
        floor = parse_noise_floor(noise_floor, [*runs[-1].records.values()])
        if is_page:
            machines, missing = by_machine_history(runs, chosen, noise_floor=floor)
            changes = next(iter(machines.values()))
        else:
            changes = over_runs.history(runs, chosen, noise_floor=floor)
    if out is not None and is_page:
        from radialbench.reports.page.history import write_history

        write_history(machines, missing, out)
        if others := [*machines][1:]:
            note(f"{out} has the results of {printable(join_and(others))}, too")
        for line in missing:
            note(printable(line))
    elif out is not None:
        from radialbench.reports.history_chart import write_pictures

        write_pictures(changes, out)
    if json:
        print_json(over_runs.history_document(changes))
    else:
        typer.echo(over_runs.history_text(changes, width=terminal_width()), nl=False)
