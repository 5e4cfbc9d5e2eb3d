"""`radialbench run`: run a suite."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialbench.cli._options import seconds_of

if TYPE_CHECKING:
    from radialbench.cli._progress import Watcher
    from radialbench.suites.run import RunEvent, RunOutcome
    from radialbench.suites.schema import SuiteSpec


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
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="I/N", help="Only this share of the work; `merge` joins the results."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier run of the folder ended.")
    ] = False,
    time_limit: Annotated[
        float | None,
        typer.Option(
            parser=seconds_of,
            metavar="TIME",
            help="Begin no case after this (90, 2min, 1h); --resume goes on.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate the time and the memory it takes.")
    ] = False,
    in_process: Annotated[
        bool,
        typer.Option(
            "--in-process", help="Try cases in this process, for a debugger; a crash ends the run."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON whenever a case begins or ends.")
    ] = False,
) -> None:
    """Run a suite; each case is on the disk as soon as it ends."""
    from radialbench.cli import FAILED, INTERRUPTED
    from radialbench.cli._console import errors, fail
    from radialbench.cli._progress import watch
    from radialbench.records.store import WriteError
    from radialbench.suites.read import load_suite
    from radialbench.suites.run import run as run_suite
    from radialbench.suites.worker import WorkerError

    spec = load_suite(suite)
    folder = out or _folder(spec.name, shard)
    if dry_run:
        _forecast(spec, folder, json=json, resume=resume, filter=filter or (), shard=shard)
        return
    words = ["radialbench", "run", suite, "-o", str(folder)]
    words += [word for pattern in filter or () for word in ("-f", pattern)]
    words += ["--shard", shard] if shard is not None else []
    words += ["--time-limit", f"{time_limit:g}"] if time_limit is not None else []
    again = shlex.join([*words, "--resume"])
    try:
        with watch(errors, quiet=quiet) as shown:
            outcome = run_suite(
                spec,
                folder,
                resume=resume,
                filter=filter or (),
                shard=shard,
                time_limit=time_limit,
                in_process=in_process,
                command=again if resume else shlex.join(words),
                on_event=_streamed(shown) if json else shown,
            )
    except KeyboardInterrupt:
        fail(f"stopped; the cases that ended are kept. Go on with: {again}", INTERRUPTED)
    except (WriteError, WorkerError) as error:
        fail(f"{error}. Go on with: {again}", FAILED)
    _tell(spec, outcome, again, json=json)
    if not outcome.ok:
        raise typer.Exit(FAILED)


def _folder(name: str, shard: str | None) -> Path:
    """Give the folder of a suite's results, or of a shard's: two may run beside each other."""
    return Path("results") / (name if shard is None else f"{name}-{shard.replace('/', 'of')}")


def _forecast(spec: "SuiteSpec", folder: Path, *, json: bool, **options: Any) -> None:
    from radialbench.cli._console import print_json
    from radialbench.cli._forecast import forecast_facts, forecast_lines
    from radialbench.suites.estimate import estimate_run

    told = estimate_run(spec, folder, **options)
    if json:
        print_json(forecast_facts(spec.name, told))
        return
    for line in forecast_lines(spec.name, told):
        _say(line)


def _streamed(shown: "Watcher | None") -> "Watcher":
    """Print events as lines of JSON, and show them."""
    from radialbench.cli._console import print_json_line
    from radialbench.records.codec import to_dict
    from radialbench.suites.run import CaseStarted

    def on_event(event: "RunEvent") -> None:
        if shown is not None:
            shown(event)
        facts: dict[str, object] = {"place": event.place, "total": event.total}
        if isinstance(event, CaseStarted):
            print_json_line({"event": "begins", **facts, "case": event.case.id})
        else:
            print_json_line({"event": "ends", **facts, "record": to_dict(event.record)})

    return on_event


def _tell(spec: "SuiteSpec", outcome: "RunOutcome", again: str, *, json: bool) -> None:
    from radialbench.cli._console import print_json_line
    from radialbench.records.result import Status

    counts = {status.value: outcome.count(status) for status in Status if outcome.count(status)}
    if json:
        facts: dict[str, object] = {
            "event": "done",
            "suite": spec.name,
            "results": str(outcome.results),
            "counts": counts,
            "kept": outcome.kept,
            "again": outcome.again,
            "left": outcome.left,
            "skipped": list(outcome.skipped),
        }
        print_json_line(facts)
        return
    for line in outcome.skipped:
        _say(f"{outcome.results}: {line}; skipped")
    for reason, cases in _reasons(outcome).items():
        others = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        _say(f"{reason}: {cases[0]}{others}")
    told = [f"{count} {status}" for status, count in counts.items()]
    told += ["nothing left to run"] if not counts and not outcome.left else []
    told += [f"{outcome.left} not begun, as the time was up"] if outcome.left else []
    told += [f"{outcome.kept} kept from before"] if outcome.kept else []
    told += [f"{outcome.again} run again that had failed"] if outcome.again else []
    if outcome.records and not outcome.count(Status.OK):
        told.append("nothing was measured")
    _say(f"{spec.name}: {', '.join(told)}")
    _say(f"results: {outcome.results}")
    if outcome.left:
        _say(f"go on with: {again}")


def _reasons(outcome: "RunOutcome") -> dict[str, list[str]]:
    """Give why cases did not end well, with the cases of each reason."""
    reasons: dict[str, list[str]] = {}
    for record in outcome.records:
        if record.reason is not None:
            reasons.setdefault(f"{record.status}, {record.reason}", []).append(record.case)
    return reasons


def _say(line: str) -> None:
    from radialbench.cli._console import console

    console.print(line, markup=False, highlight=False, soft_wrap=True)
