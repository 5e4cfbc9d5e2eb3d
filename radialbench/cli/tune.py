"""`radialbench tune`: search for the fastest configurations of kernels."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from radialbench.autotune.evaluator import Trial
    from radialbench.autotune.live import Rig
    from radialbench.autotune.run import Ended, Job
    from radialbench.cli._tune_progress import Watcher
    from radialbench.records.tuning import TuningKey
    from radialbench.suites.plan import Case

    Known = dict[TuningKey, list[Trial]]

OUT = Path("results") / "tuning" / "records.jsonl"


def tune(
    suite: Annotated[
        str, typer.Argument(help="A shipped suite, or a YAML file: the problems to tune.")
    ] = "smoke",
    filter: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", "-f", help="Part of the case ids, or a pattern with *; repeatable."
        ),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option("--backend", "-b", help="What to tune, instead of the suite's; repeatable."),
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(
            "--sampler", help="tpe, random, exhaustive, or a sampler of Optuna's by its name."
        ),
    ] = "tpe",
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Trials of a problem, at most.")
    ] = 40,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0, help="Begin no trial of a problem after this time."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the search.")] = 0,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            help="Where trials are kept: journal:PATH, sqlite:///PATH, postgresql://HOST/NAME.",
            show_default="a journal beside the records",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File of records; those of other problems stay.")
    ] = OUT,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay", help="No GPU: search what a recorded sweep holds, and keep nothing."
        ),
    ] = None,
    from_sweep: Annotated[
        Path | None,
        typer.Option("--from-sweep", help="A sweep recorded here: its trials are not made again."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Measure records beside the default again, own and shipped."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only tell what there is to try, and how long it takes."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for every trial and record.")
    ] = False,
) -> None:
    """Search for the fastest configuration of each kernel on each problem of a suite."""
    search: dict[str, Any] = {
        "search": sampler, "trials": trials, "seconds": seconds, "seed": seed
    }  # fmt: skip
    if replay is not None:
        _rehearse(replay, filter or [], json=json, **search)
        return
    from radialbench.autotune.live import Rig
    from radialbench.suites.plan import plan
    from radialbench.suites.read import load_suite

    spec = load_suite(suite)
    cases = plan(spec, filter or [])
    if dry_run:
        jobs = _jobs(cases, spec.device, backend or [])
        _forecast(jobs, trials, seconds, _known(from_sweep, jobs), json=json)
        return
    words = ["radialbench", "tune", suite, "-o", str(out)]
    words += [word for pattern in filter or [] for word in ("-f", pattern)]
    words += [word for name in backend or [] for word in ("-b", name)]
    if verify:
        with Rig(spec.device, shlex.join([*words, "--verify"])) as rig:
            _verify(_jobs(cases, spec.device, backend or []), rig, out, json=json)
        return
    words += ["--sampler", sampler, "--trials", str(trials), "--seed", str(seed)]
    words += ["--seconds", f"{seconds:g}"] if seconds is not None else []
    words += ["--storage", storage] if storage is not None else []
    words += ["--from-sweep", str(from_sweep)] if from_sweep is not None else []
    command = shlex.join(words)
    storage = storage or f"journal:{out.with_suffix('.journal')}"
    with Rig(spec.device, command) as rig:
        jobs = _jobs(cases, spec.device, backend or [])
        _tune(jobs, rig, out, storage, command,
              quiet=quiet, json=json, known=_known(from_sweep, jobs), **search)  # fmt: skip


def _jobs(cases: "Iterable[Case]", device: str, backends: list[str]) -> "list[Job]":
    """Find out what can be tuned here, with PyTorch, which takes seconds to import."""
    from radialbench.autotune.run import jobs_of
    from radialbench.autotune.tasks import tasks_of
    from radialbench.kernels.arch import find_device

    return jobs_of(tasks_of(cases, find_device(device), backends))


def _tune(
    jobs: "list[Job]",
    rig: "Rig",
    out: Path,
    storage: str,
    command: str,
    *,
    quiet: bool,
    json: bool,
    **search: Any,
) -> None:
    from radialbench.autotune.run import run
    from radialbench.cli import FAILED, INTERRUPTED
    from radialbench.cli._console import errors, fail
    from radialbench.cli._tune_progress import watch_tuning
    from radialbench.records.store import WriteError
    from radialbench.suites.worker import WorkerError

    try:
        with watch_tuning(errors, quiet=quiet) as shown:
            ends = run(
                jobs,
                rig,
                out,
                storage=storage,
                on_event=_streamed(shown) if json else shown or (lambda event: None),
                **search,
            )
    except KeyboardInterrupt:
        fail(f"stopped; the trials that ended are kept. Go on with: {command}", INTERRUPTED)
    except (WriteError, WorkerError) as error:
        fail(f"{error}. Go on with: {command}", FAILED)
    _tell(jobs, ends, out, json=json)
    if any(end.tuned is None for end in ends):
        raise typer.Exit(FAILED)


def _tell(jobs: "list[Job]", ends: "list[Ended]", out: Path, *, json: bool) -> None:
    from radialbench.cli._console import print_json_line
    from radialbench.cli._tune_tables import tuned_table

    found = [end.record for end in ends if end.record is not None]
    gains = sum(record.source == "tuned" for record in found)
    if json:
        print_json_line(
            {
                "event": "done",
                "records": str(out),
                "tuned": gains,
                "default": len(found) - gains,
                "stopped": len(ends) - len(found),
                "left_out": {job.name: job.reason for job in jobs if job.among is None},
            }
        )
        return
    _left_out(jobs)
    if found:
        _say(tuned_table(ends))
    for end in ends:
        if end.tuned is None:
            _say(f"{end.job.name}: {end.reason}")
    _say(f"{gains} of {len(ends)} problems run faster than with the default")
    _say(f"records: {out}; they are used where RADIALBENCH_CONFIGS names that file")


def _streamed(shown: "Watcher | None") -> "Watcher":
    """Print events as lines of JSON, and show them."""
    from radialbench.autotune.run import Event, Moved
    from radialbench.cli._console import print_json_line
    from radialbench.records.codec import to_dict

    def on_event(event: Event) -> None:
        if shown is not None:
            shown(event)
        facts: dict[str, object] = {
            "place": event.place, "total": event.total, "problem": event.job.name
        }  # fmt: skip
        if not isinstance(event, Moved):
            record = None if event.record is None else to_dict(event.record)
            print_json_line({"event": "ends", **facts, "record": record, "reason": event.reason})
            return
        now = event.progress
        trial = None if now.trial is None else to_dict(now.trial)
        best = None if now.best is None else now.best.ms
        told = {"stage": now.stage, "measured": now.measured, "planned": now.planned}
        print_json_line({"event": "trial", **facts, **told, "trial": trial, "best_ms": best})

    return on_event


def _known(path: Path | None, jobs: "list[Job]") -> "Known":
    from radialbench.autotune.sweep import current_trials, read_sweep

    if path is None:
        return {}
    return current_trials(read_sweep(path), [job.key for job in jobs])


def _forecast(
    jobs: "list[Job]", trials: int, seconds: float | None, known: "Known", *, json: bool
) -> None:
    from radialbench.autotune.forecast import forecast
    from radialbench.cli._console import print_json
    from radialbench.cli._forecast import lasting
    from radialbench.cli._tune_tables import forecast_table

    told = forecast(jobs, trials, seconds, known)
    total = sum(one.seconds for one in told)
    if json:
        rows = [
            {
                "problem": one.job.name,
                "candidates": one.candidates,
                "rejected": one.rejections,
                "trials": one.trials,
                "seconds": one.seconds,
            }
            for one in told
        ]
        print_json({"seconds": total, "problems": rows})
        return
    _left_out(jobs)
    _say(forecast_table([one for one in told if one.candidates]))
    _say(f"about {lasting(total)}, and some seconds to start; a GPU compiles meanwhile")


def _verify(jobs: "list[Job]", rig: "Rig", out: Path, *, json: bool) -> None:
    from radialbench.autotune.run import known_records
    from radialbench.autotune.verify import verify
    from radialbench.cli import FAILED
    from radialbench.cli._verdicts import tell_verdicts

    records = known_records(jobs, out)
    known = [records[job.key] for job in jobs if job.key in records]
    kept = sum(record.source == "default" for record in known)
    rest = f"{len(jobs) - len(known)} problems have no record, {kept} keep the default"
    if not tell_verdicts(verify(jobs, records, rig), rest, json=json):
        raise typer.Exit(FAILED)


def _rehearse(path: Path, patterns: list[str], *, json: bool, **search: Any) -> None:
    from statistics import median

    from radialbench.autotune.rehearse import rehearse
    from radialbench.autotune.sweep import read_sweep
    from radialbench.cli._console import print_json_line
    from radialbench.cli._tune_tables import rehearsed_table
    from radialbench.records.codec import to_dict

    done = []
    for one in rehearse(read_sweep(path), patterns, **search):
        done.append(one)
        if json:
            print_json_line(
                {
                    "problem": one.name,
                    "key": to_dict(one.key),
                    "config": to_dict(one.tuned.decision.config),
                    "source": one.tuned.decision.source,
                    "measured": one.share,
                    "regret": one.regret,
                }
            )
    if json:
        return
    _say(rehearsed_table(done))
    regrets = [one.regret for one in done]
    _say(
        f"{len(done)} problems: {median(regrets):.2%} slower than the best at the median, "
        f"{max(regrets):.2%} at most"
    )


def _left_out(jobs: "list[Job]") -> None:
    for job in jobs:
        if job.among is None:
            _say(f"{job.name} is left out: {job.reason}")


def _say(text: str) -> None:
    from radialbench.cli._console import console

    console.print(text, markup=False, highlight=False, soft_wrap=True)
