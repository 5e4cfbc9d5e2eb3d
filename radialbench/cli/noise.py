"""`radialbench noise`: what two runs of the same code differ by on this machine."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radialbench.cli._options import seconds_of

if TYPE_CHECKING:
    from radialbench.suites.noise import RunRecords


def noise(
    suite: Annotated[str, typer.Argument(help="A shipped suite, or a YAML file.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File of the runs.", show_default="results/SUITE-noise.jsonl"
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option("--runs", min=2, max=1000, help="Runs that the file is to hold.")
    ] = 12,
    time_limit: Annotated[
        float | None,
        typer.Option(
            parser=seconds_of, metavar="TIME", help="Begin no run after this (90, 2min, 1h)."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """RunRecords a suite again and again, each run a process, and tell what two runs differ by.

    Runs that the file holds are kept: the same command goes on, and only tells where there are
    enough. `check --noise-floor FILE` takes what they differ by.
    """
    from radialbench.cli import FAILED, INTERRUPTED
    from radialbench.cli._console import console, errors, fail, print_json
    from radialbench.reports.check.noise import FEWEST
    from radialbench.suites.noise import RunFailedError, record_runs
    from radialbench.suites.read import load_suite

    name = load_suite(suite).name
    path = out or Path("results") / f"{name}-noise.jsonl"
    words = ["radialbench", "noise", suite, "-o", str(path), "--runs", str(runs)]

    def on_run(number: int, seconds: float) -> None:
        if not quiet:
            errors.print(f"run {number}/{runs}: {seconds:.1f} s", highlight=False)

    try:
        found = record_runs(suite, path, runs, time_limit=time_limit, on_run=on_run)
    except KeyboardInterrupt:
        fail(f"stopped; the runs that ended are kept. Go on with: {shlex.join(words)}", INTERRUPTED)
    except RunFailedError as error:
        fail(str(error), FAILED)
    if json:
        print_json(_facts(path, found))
        return
    lines = _lines(found) if len(found) >= FEWEST else []
    lines += [f"runs: {path}, {len(found)} of {found[0][0].environment.processor}"] if found else []
    if len(found) < runs:
        lines.append(f"the time was up; go on with: {shlex.join(words)}")
    elif not lines[1:]:
        lines.append(f"what runs differ by takes {FEWEST} of them: give --runs {FEWEST}")
    else:
        lines.append(f"check with it: radialbench check RESULTS --noise-floor {path}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _lines(found: "list[RunRecords]") -> list[str]:
    from tabulate import tabulate

    from radialbench.reports.check.noise import (
        COLUMNS,
        describe_noise,
        equal_codes,
        spread_cells,
        spreads,
    )

    spread = spreads(found)
    codes = equal_codes(found)
    counts = {"pass": codes.count(0), "fail": codes.count(1), "inconclusive": codes.count(3)}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    table = tabulate(map(spread_cells, spread), COLUMNS, tablefmt="simple", disable_numparse=True)
    return [
        table,
        f"two runs: {describe_noise(spread[-1], device=found[0][0].environment.device)}",
        f"checks of each run against each one before it in its sitting: {told or 'none'}",
    ]


def _facts(path: Path, found: "list[RunRecords]") -> dict[str, object]:
    from dataclasses import asdict

    from radialbench.reports.check.noise import FEWEST, equal_codes, spreads

    enough = len(found) >= FEWEST
    return {
        "file": str(path),
        "runs": len(found),
        "device": found[0][0].environment.processor if found else None,
        "spreads": [asdict(one) for one in spreads(found)] if enough else [],
        "exit_codes": equal_codes(found) if found else [],
    }
