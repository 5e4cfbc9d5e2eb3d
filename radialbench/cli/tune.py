"""`radialbench tune`: search for the fastest configurations of kernels."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialbench.cli._options import seconds_of

if TYPE_CHECKING:
    from radialbench.autotune.jobs import TuningJob
    from radialbench.autotune.live import WorkerPool
    from radialbench.autotune.run import JobEnded
    from radialbench.autotune.trials import Trial
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
        int | None,
        typer.Option(
            "--trials",
            min=1,
            help="Trials of a problem, at most.",
            show_default="40; all there are if exhaustive",
        ),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            parser=seconds_of,
            metavar="TIME",
            help="Begin no trial of a problem after this (90, 2min, 1h).",
        ),
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
    reuse_trials: Annotated[
        Path | None,
        typer.Option(
            "--reuse-trials", help="A sweep recorded here: its trials are not made again."
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            help="Add every trial to this sweep, for --replay; those it holds are not made again.",
        ),
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
    from radialbench.autotune.live import WorkerPool
    from radialbench.autotune.tuner import TRIALS
    from radialbench.errors import AutotuneError
    from radialbench.suites.plan import plan
    from radialbench.suites.read import load_suite

    most = trials or (sys.maxsize if sampler == "exhaustive" else TRIALS)
    search: dict[str, Any] = {
        "search": sampler, "trials": most, "seconds": time_limit, "seed": seed
    }  # fmt: skip
    if replay is not None:
        _replay(replay, filter or [], json=json, **search)
        return
    if record is not None and storage is not None:
        raise AutotuneError("trials are kept in a sweep (--record) or in a storage (--storage)")
    spec = load_suite(suite)
    cases = plan(spec, filter or [])
    if dry_run:
        jobs = _jobs(cases, spec.device, backend or [])
        _estimate(jobs, most, time_limit, _known(reuse_trials, record, jobs), json=json)
        return
    words = ["radialbench", "tune", suite, "-o", str(out)]
    words += [word for pattern in filter or [] for word in ("-f", pattern)]
    words += [word for name in backend or [] for word in ("-b", name)]
    if verify:
        with WorkerPool(spec.device, shlex.join([*words, "--verify"])) as pool:
            _verify(_jobs(cases, spec.device, backend or []), pool, out, json=json)
        return
    words += ["--sampler", sampler, "--seed", str(seed)]
    words += ["--trials", str(trials)] if trials is not None else []
    words += ["--time-limit", f"{time_limit:g}"] if time_limit is not None else []
    words += ["--storage", storage] if storage is not None else []
    words += ["--reuse-trials", str(reuse_trials)] if reuse_trials is not None else []
    words += ["--record", str(record)] if record is not None else []
    command = shlex.join(words)
    if record is None:
        storage = storage or f"journal:{out.with_suffix('.journal')}"
    with WorkerPool(spec.device, command) as pool:
        jobs = _jobs(cases, spec.device, backend or [])
        known = _known(reuse_trials, record, jobs)
        search |= {"known": known, "sweep": record, "storage": storage}
        _tune(jobs, pool, out, command, quiet=quiet, json=json, **search)


def _jobs(cases: "Iterable[Case]", device: str, backends: list[str]) -> "list[TuningJob]":
    """Find out what can be tuned here, with PyTorch, which takes seconds to import."""
    from radialbench.autotune.jobs import jobs_of, tunable_cases
    from radialbench.kernels.arch import find_device

    return jobs_of(tunable_cases(cases, find_device(device), backends))


def _tune(
    jobs: "list[TuningJob]",
    pool: "WorkerPool",
    out: Path,
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
                pool,
                out,
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


def _tell(jobs: "list[TuningJob]", ends: "list[JobEnded]", out: Path, *, json: bool) -> None:
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
                "left_out": {job.name: job.reason for job in jobs if job.candidates is None},
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
    from radialbench.autotune.run import JobProgress, TuneEvent
    from radialbench.cli._console import print_json_line
    from radialbench.records.codec import to_dict

    def on_event(event: TuneEvent) -> None:
        if shown is not None:
            shown(event)
        facts: dict[str, object] = {
            "place": event.place, "total": event.total, "problem": event.job.name
        }  # fmt: skip
        if not isinstance(event, JobProgress):
            record = None if event.record is None else to_dict(event.record)
            print_json_line({"event": "ends", **facts, "record": record, "reason": event.reason})
            return
        now = event.progress
        trial = None if now.trial is None else to_dict(now.trial)
        best = None if now.best is None else now.best.ms
        told = {"stage": now.stage, "measured": now.measured, "planned": now.planned}
        print_json_line({"event": "trial", **facts, **told, "trial": trial, "best_ms": best})

    return on_event


def _known(reused: Path | None, record: Path | None, jobs: "list[TuningJob]") -> "Known":
    """Read the trials that are not made again: of a sweep, and of the one that is recorded."""
    from radialbench.autotune.trials import current_trials, read_sweep
    from radialbench.errors import AutotuneError

    keys = [job.key for job in jobs]
    known = {} if reused is None else current_trials(read_sweep(reused), keys)
    if reused is not None and not known:
        raise AutotuneError(
            f"{reused} holds nothing of what is to be tuned on this device; name the suite and the "
            "device that were swept"
        )
    if record is not None and record.exists():
        for key, trials in current_trials(read_sweep(record), keys).items():
            done = {trial.config for trial in trials}
            others = [trial for trial in known.get(key, ()) if trial.config not in done]
            known[key] = [*trials, *others]
    return known


def _estimate(
    jobs: "list[TuningJob]", trials: int, seconds: float | None, known: "Known", *, json: bool
) -> None:
    from radialbench.autotune.jobs import estimate_tuning
    from radialbench.cli._console import print_json
    from radialbench.cli._forecast import lasting
    from radialbench.cli._tune_tables import estimate_table

    told = estimate_tuning(jobs, trials, seconds, known)
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
    _say(estimate_table([one for one in told if one.candidates]))
    _say(f"about {lasting(total)}, and some seconds to start; a GPU compiles meanwhile")


def _verify(jobs: "list[TuningJob]", pool: "WorkerPool", out: Path, *, json: bool) -> None:
    from radialbench.autotune.run import known_records, verify
    from radialbench.cli import FAILED
    from radialbench.cli._verdicts import tell_verdicts

    records = known_records(jobs, out)
    known = [records[job.key] for job in jobs if job.key in records]
    kept = sum(record.source == "default" for record in known)
    rest = f"{len(jobs) - len(known)} problems have no record, {kept} keep the default"
    if not tell_verdicts(verify(jobs, records, pool), rest, json=json):
        raise typer.Exit(FAILED)


def _replay(path: Path, patterns: list[str], *, json: bool, **search: Any) -> None:
    from statistics import median

    from radialbench.autotune.replay import replay_all
    from radialbench.autotune.trials import read_sweep
    from radialbench.cli._console import print_json_line
    from radialbench.cli._tune_tables import replayed_table
    from radialbench.records.codec import to_dict

    done = []
    for one in replay_all(read_sweep(path), patterns, **search):
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
    _say(replayed_table(done))
    regrets = [one.regret for one in done]
    _say(
        f"{len(done)} problems: {median(regrets):.2%} slower than the best at the median, "
        f"{max(regrets):.2%} at most"
    )


def _left_out(jobs: "list[TuningJob]") -> None:
    for job in jobs:
        if job.candidates is None:
            _say(f"{job.name} is left out: {job.reason}")


def _say(text: str) -> None:
    from radialbench.cli._console import console

    console.print(text, markup=False, highlight=False, soft_wrap=True)
