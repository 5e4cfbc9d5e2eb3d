"""`radialbench noise`: how much two runs of the same code differ on this machine."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radialbench.commands import FAILED, INTERRUPTED
from radialbench.commands.console import errors, fail, note, note_if_busy, print_json, say
from radialbench.commands.options import Json, Quiet, Suite, time_limit_option
from radialbench.commands.progress import watch_work

if TYPE_CHECKING:
    from radialbench.suites.noise import RunRecords


def noise(
    suite: Suite,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File of the runs.", show_default="results/SUITE-noise.jsonl"
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option(min=2, max=1000, help="Runs that the file should hold.")
    ] = 12,
    time_limit: Annotated[float | None, time_limit_option("run")] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Run a suite many times, each run in a process, and report how much two runs differ.

    Runs that the file holds are kept: the same command continues, and only reports if the file has
    enough of them. `check --noise-floor FILE` uses the result.
    """
    from radialbench.reports.check.noise import MIN_RUNS, equal_codes, spreads
    from radialbench.suites.noise import RunFailedError, record_runs
    from radialbench.suites.read import load_suite

    path = out or Path("results") / f"{load_suite(suite).name}-noise.jsonl"
    command = shlex.join(["radialbench", "noise", suite, "-o", str(path), "--runs", str(runs)])

    note_if_busy()
    try:
        with watch_work(errors, f"{runs} runs of {suite}, one after the other") as on_share:

            def on_run(number: int, seconds: float) -> None:
                on_share(number / runs)
                if not quiet:
                    note(f"run {number}/{runs}: {seconds:.1f} s")

            kept = record_runs(suite, path, runs, time_limit=time_limit, on_run=on_run)
    except KeyboardInterrupt:
        fail(f"stopped; finished runs are kept. Continue with: {command}", INTERRUPTED)
    except RunFailedError as error:
        fail(str(error), FAILED)
    enough = len(kept) >= MIN_RUNS
    if json:
        facts = {"file": str(path), "runs": len(kept)}
        facts |= {"device": kept[0][0].environment.processor if kept else None}
        facts |= {"spreads": [asdict(one) for one in spreads(kept)] if enough else []}
        print_json(facts | {"exit_codes": equal_codes(kept) if kept else []})
        return
    lines = _lines(kept) if enough else []
    lines += [f"runs: {path}, {len(kept)} of {kept[0][0].environment.processor}"] if kept else []
    if len(kept) < runs:
        lines.append(f"the time limit was reached; continue with: {command}")
    elif not enough:
        lines.append(f"differences between runs need {MIN_RUNS} of them: give --runs {MIN_RUNS}")
    else:
        lines.append(f"check with it: radialbench check RESULTS --noise-floor {path}")
    say("\n".join(lines))


def _lines(runs: "list[RunRecords]") -> list[str]:
    from tabulate import tabulate

    from radialbench.reports.check import noise as differences

    found, codes = differences.spreads(runs), differences.equal_codes(runs)
    counts = {"pass": codes.count(0), "fail": codes.count(1), "inconclusive": codes.count(3)}
    outcomes = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    cells, headings = map(differences.spread_cells, found), differences.COLUMNS
    table = tabulate(cells, headings, tablefmt="simple", disable_numparse=True)
    return [
        table,
        f"two runs: {differences.describe_noise(found[-1], device=runs[0][0].environment.device)}",
        f"checks of each run against each one before it in its sitting: {outcomes or 'none'}",
    ]
