"""`radialbench run`: run a suite."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialbench.commands import FAILED, INTERRUPTED, console, options
from radialbench.commands.console import is_terminal
from radialbench.commands.options import Filter, Quiet, Shard, Suite, time_limit_option
from radialbench.commands.progress import watch_run, watch_work
from radialbench.reports.text import first_few, plural

if TYPE_CHECKING:
    from radialbench.commands.progress import RunWatcher
    from radialbench.suites.estimate import Rate, RunEstimate
    from radialbench.suites.run import RunEvent, RunOutcome
    from radialbench.suites.schema import SuiteSpec


def run(
    suite: Suite = "smoke",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for results.jsonl.", show_default="results/SUITE"),
    ] = None,
    filter: Filter = None,
    shard: Shard = None,
    frames: options.Frames = None,
    heads: options.Heads = None,
    head_dim: options.HeadDim = None,
    batch: options.Batch = None,
    dtype: options.Dtype = None,
    backend: options.Backends = None,
    settings: options.MaskSettings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an earlier run of the folder.")
    ] = False,
    time_limit: Annotated[float | None, time_limit_option("case")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate the time and the memory it takes.")
    ] = False,
    in_process: Annotated[
        bool,
        typer.Option(
            "--in-process", help="Try cases in this process, for a debugger; a crash ends the run."
        ),
    ] = False,
    devices: Annotated[
        str | None,
        typer.Option(help="GPUs that share the run, a group of cases on each: all, or 0,1."),
    ] = None,
    quiet: Quiet = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON whenever a case starts or ends.")
    ] = False,
) -> None:
    """Run a suite; each case is on the disk as soon as it ends.

    After --time-limit or an interruption, --resume continues. Axes such as --frames stand in place
    of the suite's own in all of its cases.
    """
    from radialbench.errors import SuiteError
    from radialbench.records.store import WriteError
    from radialbench.suites.axes import read_axes
    from radialbench.suites.devices import find_devices
    from radialbench.suites.read import load_suite
    from radialbench.suites.run import run as run_suite
    from radialbench.suites.worker import WorkerError

    axes = read_axes(
        frames=frames,
        heads=heads,
        head_dim=head_dim,
        batch=batch,
        dtype=dtype,
        backend=backend,
        settings=settings,
    )
    spec = load_suite(suite, axes)
    # Two shards may run beside each other.
    name = spec.name if shard is None else f"{spec.name}-{shard.replace('/', 'of')}"
    folder = out or Path("results") / name
    choice: dict[str, Any] = {"resume": resume, "filter": filter or (), "shard": shard}
    if dry_run:
        with watch_work(console.errors, "estimating"):
            # Imported here: it takes longer than a terminal should be empty.
            from radialbench.suites.estimate import estimate_run

            estimate = estimate_run(spec, folder, **choice)
        _print_estimate(spec.name, estimate, json=json)
        return
    several = () if devices is None else find_devices(devices)
    if several and (in_process or spec.device == "cpu"):
        raise SuiteError(
            "--devices has a process for every GPU, so it goes neither with --in-process nor with "
            "a suite for the CPU"
        )
    console.note_if_busy()
    words = ["radialbench", "run", suite, "-o", str(folder)]
    words += [word for pattern in filter or () for word in ("-f", pattern)]
    words += axes.words
    words += ["--shard", shard] if shard is not None else []
    words += ["--time-limit", f"{time_limit:g}"] if time_limit is not None else []
    words += ["--devices", devices] if devices is not None else []
    again = shlex.join([*words, "--resume"])
    try:
        with watch_run(console.errors, quiet=quiet or (json and is_terminal())) as watcher:
            outcome = run_suite(
                spec,
                folder,
                **choice,
                time_limit=time_limit,
                in_process=in_process,
                devices=several,
                command=again if resume else shlex.join(words),
                on_event=_streamed(watcher) if json else watcher,
            )
    except KeyboardInterrupt:
        console.fail(f"stopped; finished cases are kept. Continue with: {again}", INTERRUPTED)
    except (WriteError, WorkerError) as error:
        console.fail(f"{error}. Continue with: {again}", FAILED)
    _print_outcome(spec, outcome, again, json=json)
    if not outcome.ok:
        raise typer.Exit(FAILED)


def _streamed(watcher: "RunWatcher | None") -> "RunWatcher":
    """Print events as lines of JSON, and show them."""
    from radialbench.records.codec import to_dict
    from radialbench.suites.run import CaseStarted

    def on_event(event: "RunEvent") -> None:
        if watcher is not None:
            watcher(event)
        facts: dict[str, object] = {"place": event.place, "total": event.total}
        if isinstance(event, CaseStarted):
            console.print_json_line({"event": "begins", **facts, "case": event.case.id})
        else:
            console.print_json_line({"event": "ends", **facts, "record": to_dict(event.record)})

    return on_event


def _print_outcome(spec: "SuiteSpec", outcome: "RunOutcome", again: str, *, json: bool) -> None:
    from radialbench.records.result import Status
    from radialbench.reports.spread import spread_note

    name = spec.name
    counts = {status.value: outcome.count(status) for status in Status if outcome.count(status)}
    if json:
        facts: dict[str, object] = {"event": "done", "suite": name}
        facts |= {"results": str(outcome.results), "counts": counts, "kept": outcome.kept}
        facts |= {"again": outcome.again, "left": outcome.left}
        facts |= {"spread": asdict(outcome.spread)} if outcome.spread is not None else {}
        console.print_json_line({**facts, "skipped": list(outcome.skipped)})
        return
    for line in outcome.skipped:
        console.say(f"{outcome.results}: {line}; skipped")
    reasons: dict[str, list[str]] = {}
    for record in outcome.records:
        if record.reason is not None:
            reasons.setdefault(f"{record.status}, {record.reason}", []).append(record.case)
    for reason, cases in reasons.items():
        others = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        console.say(f"{reason}: {cases[0]}{others}")
    if short := _stopped_early(spec, outcome):
        console.say(
            f"max_seconds ended the sampling of {plural(len(short), 'case')} before min_samples: "
            f"{first_few(short, 1)}; for more, raise max_seconds in the suite's protocol"
        )
    if wide := spread_note(outcome.records):
        console.say(wide)
    if outcome.spread is not None:
        times = ", ".join(f"{name} {ms:.4g} ms" for name, ms in outcome.spread.ms.items())
        console.say(
            f"GPUs differ by {outcome.spread.share:.1%} on {outcome.spread.case}: {times}; compare "
            "cases of a group, which one GPU measured"
        )
    parts = [f"{count} {status}" for status, count in counts.items()]
    parts += ["nothing left to run"] if not counts and not outcome.left else []
    parts += [f"{outcome.left} not started within the time limit"] if outcome.left else []
    parts += [f"{outcome.kept} kept from before"] if outcome.kept else []
    parts += [f"{outcome.again} run again that had failed"] if outcome.again else []
    if outcome.records and not outcome.count(Status.OK):
        parts.append("nothing was measured")
    console.say(f"{name}: {', '.join(parts)}\nresults: {outcome.results}")
    if outcome.left:
        console.say(f"continue with: {again}")


def _stopped_early(spec: "SuiteSpec", outcome: "RunOutcome") -> list[str]:
    """Return the cases for whose `min_samples` there was no time."""
    from radialbench.suites.plan import plan

    least = {case.id: case.protocol.min_samples for case in plan(spec)}
    return [
        one.case
        for one in outcome.records
        if one.timing and one.timing.stopped == "time"
        if len(one.timing.samples_ms) < least[one.case]
    ]


def _print_estimate(name: str, estimate: "RunEstimate", *, json: bool) -> None:
    from radialbench.suites.estimate import METHOD

    if json:
        cases = [
            {
                "case": one.case.id,
                "seconds": one.seconds,
                "bytes": one.nbytes,
                "config": asdict(one.case.config),
                "config_source": one.case.config_source,
                "config_reason": one.case.config_reason,
            }
            for one in estimate.estimates
        ]
        facts = {"suite": name, "seconds": estimate.seconds, "bytes": estimate.nbytes}
        facts |= {"free_bytes": estimate.free_bytes, "missing": estimate.missing}
        facts |= {"as_dense": estimate.as_dense, "rates": list(map(asdict, estimate.rates))}
        console.print_json({**facts, "method": METHOD, "cases": cases})
        return
    console.print_table(
        ("seconds", "GiB", "configuration", "case"),
        [
            (
                f"{one.seconds:,.1f}",
                f"{one.nbytes / 2**30:.2f}",
                one.case.config_source,
                one.case.id,
            )
            for one in estimate.estimates
        ],
        text_columns=("configuration", "case"),
        spare=("configuration",),
        whole=("case",),
    )
    free = ""
    if estimate.free_bytes is not None:
        free = f" of {estimate.free_bytes / 2**30:,.1f} free"
    console.say(
        f"{name}: {len(estimate.estimates)} cases, at most "
        f"{console.format_duration(estimate.seconds)}, "
        f"up to {estimate.nbytes / 2**30:,.2f} GiB{free}"
    )
    console.say(METHOD)
    if estimate.rates:
        console.say(f"Rates: {', '.join(map(_rate, estimate.rates))}.")
    if estimate.as_dense:
        console.say(f"{estimate.as_dense} tables took too long to compile and count as dense.")
    if estimate.missing:
        console.say(
            f"This machine has no {estimate.missing} device: here the cases of attention would be "
            "unsupported; the figures are for a default one."
        )


def _rate(rate: "Rate") -> str:
    source = f"median of {plural(rate.records, 'record')}" if rate.records else "default"
    return f"{rate.backend} {rate.flops_per_s / 1e9:,.0f} GFLOP/s ({source})"
