"""`radialbench history`: how results changed over many runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radialbench.cli._options import Gate, Gates, NoiseFloor, noise_share

if TYPE_CHECKING:
    from radialbench.reports.check.history import History, Run


def history(
    results: Annotated[
        list[Path], typer.Argument(help="Folders that runs wrote, or files of results.")
    ],
    keep_order: Annotated[
        bool,
        typer.Option(
            "--keep-order", help="Take them in this order, not in that of their commits' times."
        ),
    ] = False,
    gate: Gate = None,
    gates: Gates = None,
    noise_floor: NoiseFloor = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for a picture, PNG and SVG, of each change."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON: every series.")] = False,
) -> None:
    """Find when each case and metric of the last results changed, over all of them.

    Exits with 0 whether something changed or not, and with 2 on bad input.
    """
    from radialbench.cli._console import errors, print_json
    from radialbench.reports.check.history import history, history_document, history_text, run_of
    from radialbench.reports.check.metrics import choose_gates
    from radialbench.reports.summary import whole_results
    from radialbench.reports.text import terminal_width

    asked = choose_gates(gates, gate)
    runs = [run_of(*whole_results(path)) for path in results]
    if not keep_order:
        runs, told = _in_order(runs)
        if told:
            errors.print(told, markup=False, highlight=False, soft_wrap=True)
    share = noise_share(noise_floor, [*runs[-1].records.values()])
    found = history(runs, asked, noise_floor=share)
    if out is not None:
        _draw(found, out)
    if json:
        print_json(history_document(found))
    else:
        typer.echo(history_text(found, width=terminal_width()), nl=False)


def _in_order(runs: "list[Run]") -> "tuple[list[Run], str]":
    """Sort by the time of the commits, or of measuring where git does not know one of them."""
    from datetime import datetime

    measured = sorted(runs, key=lambda run: datetime.fromisoformat(run.created))
    times = {run.commit: _commit_time(run.commit) for run in runs}
    known = {commit: time for commit, time in times.items() if time is not None}
    if unknown := [commit for commit in times if commit not in known]:
        why = f"git does not know commit {unknown[0]} here" if unknown[0] else "some name no commit"
        return measured, f"in the order in which they were measured, as {why}"
    # Results of one commit stay in the order in which they were measured.
    return sorted(measured, key=lambda run: known[run.commit]), ""


def _commit_time(commit: str | None) -> int | None:
    """Ask git for the time of a commit, in seconds; a + stands for changes that are not in it."""
    import re
    import subprocess

    if commit is None or not re.fullmatch(r"[0-9a-f]{4,40}\+?", commit):
        return None
    command = ["git", "show", "--no-patch", "--format=%ct", commit.rstrip("+"), "--"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return int(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _draw(found: "History", out: Path) -> None:
    from radialbench.errors import ReportError
    from radialbench.reports.history_chart import pictures

    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, png, svg in pictures(found):
            (out / f"{name}.png").write_bytes(png)
            (out / f"{name}.svg").write_bytes(svg)
    except OSError as error:
        raise ReportError(
            f"cannot write to {out}: {error.strerror or error}; choose another folder with --out"
        ) from None
