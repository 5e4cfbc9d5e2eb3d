"""`radialbench run`: run a suite."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from radialbench.suites.run import Outcome
    from radialbench.suites.spec import SuiteSpec


def run(
    suite: Annotated[str, typer.Argument(help="A shipped suite, or a YAML file.")] = "smoke",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for results.jsonl.", show_default="results/SUITE"),
    ] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", "-f", help="Part of the case ids, or a pattern with *; repeatable."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier run of the folder ended.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Run a suite; each case is on the disk as soon as it ends."""
    from radialbench.cli import FAILED, INTERRUPTED
    from radialbench.cli._console import errors, fail
    from radialbench.cli._progress import watch
    from radialbench.records.store import WriteError
    from radialbench.suites.read import load_suite
    from radialbench.suites.run import run as run_suite

    spec = load_suite(suite)
    folder = out or Path("results") / spec.name
    words = ["radialbench", "run", suite, "-o", str(folder)]
    words += [word for pattern in filter or () for word in ("-f", pattern)]
    again = shlex.join([*words, "--resume"])
    try:
        with watch(errors, quiet=quiet) as on_event:
            outcome = run_suite(
                spec,
                folder,
                resume=resume,
                filter=filter or (),
                command=again if resume else shlex.join(words),
                on_event=on_event,
            )
    except KeyboardInterrupt:
        fail(f"stopped; the cases that ended are kept. Go on with: {again}", INTERRUPTED)
    except WriteError as error:
        fail(f"{error}. Go on with: {again}", FAILED)
    _tell(spec, outcome, json=json)
    if not outcome.sound:
        raise typer.Exit(FAILED)


def _tell(spec: "SuiteSpec", outcome: "Outcome", *, json: bool) -> None:
    from radialbench.cli._console import print_json
    from radialbench.records.codec import to_dict
    from radialbench.records.result import Status

    counts = {status.value: outcome.count(status) for status in Status if outcome.count(status)}
    if json:
        facts: dict[str, object] = {
            "suite": spec.name,
            "results": str(outcome.results),
            "counts": counts,
            "kept": outcome.kept,
            "again": outcome.again,
            "skipped": list(outcome.skipped),
            "records": [to_dict(record) for record in outcome.records],
        }
        print_json(facts)
        return
    for line in outcome.skipped:
        _say(f"{outcome.results}: {line}; skipped")
    for reason, cases in _reasons(outcome).items():
        others = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        _say(f"{reason}: {cases[0]}{others}")
    told = [f"{count} {status}" for status, count in counts.items()] or ["nothing left to run"]
    told += [f"{outcome.kept} kept from before"] if outcome.kept else []
    told += [f"{outcome.again} run again that had failed"] if outcome.again else []
    if outcome.records and not outcome.count(Status.OK):
        told.append("nothing was measured")
    _say(f"{spec.name}: {', '.join(told)}")
    _say(f"results: {outcome.results}")


def _reasons(outcome: "Outcome") -> dict[str, list[str]]:
    """Give why cases did not end well, with the cases of each reason."""
    reasons: dict[str, list[str]] = {}
    for record in outcome.records:
        if record.reason is not None:
            reasons.setdefault(f"{record.status}, {record.reason}", []).append(record.case)
    return reasons


def _say(line: str) -> None:
    from radialbench.cli._console import console

    console.print(line, markup=False, highlight=False, soft_wrap=True)
