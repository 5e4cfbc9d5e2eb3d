"""`radialbench tune`: search for the fastest configurations of kernels."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialbench.commands import FAILED, INTERRUPTED, console
from radialbench.commands.options import Filter, Quiet, Suite, time_limit_option
from radialbench.commands.progress import watch_tuning, watch_work

if TYPE_CHECKING:
    from radialbench.autotune.jobs import TuningEstimate, TuningJob
    from radialbench.autotune.run import JobEnded, Verification
    from radialbench.autotune.trials import Trial
    from radialbench.autotune.tuner import Tuned
    from radialbench.commands.progress import TuningWatcher
    from radialbench.records.tuning import TuningKey
    from radialbench.suites.plan import Case
    from radialbench.suites.schema import SuiteSpec

    Known = dict[TuningKey, list[Trial]]

OUT = Path("results") / "tuning" / "records.jsonl"

TEXT_COLUMNS = (
    *("problem", "configuration", "at an edge", "mattered", "rejected", "gain now", "verdict"),
)
SPARE = (
    *("mattered", "at an edge", "gain when tuned", "rejected", "default ms", "candidates"),
    *("best ms", "configuration"),
)
"""Columns that a narrow terminal leaves out, in this order."""

HEADINGS = ("default ms", "best ms", "gain", "configuration", "at an edge", "mattered")


def tune(
    suite: Suite = "smoke",
    filter: Filter = None,
    backend: Annotated[
        list[str] | None,
        typer.Option("--backend", "-b", help="What to tune, instead of the suite's; repeatable."),
    ] = None,
    direction: Annotated[
        str | None,
        typer.Option(
            help="forward, or backward to tune gradients.", show_default="that of each case"
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="tpe, random, exhaustive, or a sampler of Optuna's by its name.")
    ] = "tpe",
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trials of a problem, at most.",
            show_default="40; all there are if exhaustive",
        ),
    ] = None,
    time_limit: Annotated[float | None, time_limit_option("trial of a problem")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where trials are kept, for any number of workers: journal:PATH, sqlite:///PATH, "
            "postgresql://USER@HOST/NAME, grpc://HOST:PORT.",
            show_default="a journal beside the records",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File of records; those of other problems stay.")
    ] = OUT,
    replay: Annotated[
        Path | None, typer.Option(help="No GPU: search a recorded sweep, and keep nothing.")
    ] = None,
    reuse_trials: Annotated[
        Path | None, typer.Option(help="A sweep recorded here: its trials are not repeated.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Add every trial to this sweep, for --replay; those it holds are not repeated."
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Measure records beside the default again, own and shipped."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only report the candidates, and estimate the time."),
    ] = False,
    quiet: Quiet = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for every trial and record.")
    ] = False,
) -> None:
    """Search for the fastest configuration of each kernel on each problem of a suite."""
    from radialbench.errors import AutotuneError

    if direction not in (None, "forward", "backward"):
        raise AutotuneError(f"--direction is forward or backward, got {direction!r}")
    if record is not None and storage is not None:
        raise AutotuneError("trials are kept in a sweep (--record) or in a storage (--storage)")
    if dry_run and replay is None:
        with watch_work(console.errors, "estimating"):
            spec, cases = _planned(suite, filter)
            # Imported here: it takes longer than a terminal should be empty.
            from radialbench.autotune.jobs import estimate_tuning

            jobs, missing = _likely_jobs(cases, spec.device, backend or [], direction)
            known = _known(reuse_trials, record, jobs)
            estimates = estimate_tuning(jobs, _most(trials, sampler), time_limit, known)
        _print_estimates(estimates, missing, json=json)
        return
    from radialbench.autotune.live import WorkerPool

    limit = _most(trials, sampler)
    search: dict[str, Any] = {
        "search": sampler, "trials": limit, "seconds": time_limit, "seed": seed
    }  # fmt: skip
    if replay is not None:
        _replay(replay, filter or [], json=json, **search)
        return
    spec, cases = _planned(suite, filter)
    console.note_if_busy()
    words = ["radialbench", "tune", suite, "-o", str(out)]
    words += [word for pattern in filter or [] for word in ("-f", pattern)]
    words += [word for name in backend or [] for word in ("-b", name)]
    words += ["--direction", direction] if direction else []
    if verify:
        again = shlex.join([*words, "--verify"])
        with watch_work(console.errors, "measuring again"), WorkerPool(spec.device, again) as pool:
            from radialbench.autotune.run import known_records
            from radialbench.autotune.run import verify as verify_records

            jobs = _jobs(cases, spec.device, backend or [], direction)
            records = known_records(jobs, out)
            verdicts = collect_verdicts(verify_records(jobs, records, pool), json=json)
        found = [records[job.key] for job in jobs if job.key in records]
        kept = sum(record.source == "default" for record in found)
        rest = f"{len(jobs) - len(found)} problems have no record, {kept} keep the default"
        if not print_verdicts(verdicts, rest, json=json):
            raise typer.Exit(FAILED)
        return
    words += ["--sampler", sampler, "--seed", str(seed)]
    words += ["--trials", str(trials)] if trials is not None else []
    words += ["--time-limit", f"{time_limit:g}"] if time_limit is not None else []
    if storage is not None:
        from radialbench.autotune.storage import without_password

        words += ["--storage", without_password(storage)]
    words += ["--reuse-trials", str(reuse_trials)] if reuse_trials is not None else []
    words += ["--record", str(record)] if record is not None else []
    command = shlex.join(words)
    if record is None:
        storage = storage or f"journal:{out.with_suffix('.journal')}"
    from radialbench.records.store import WriteError
    from radialbench.suites.worker import WorkerError

    quiet = quiet or (json and console.is_terminal())
    try:
        with (
            watch_tuning(console.errors, quiet=quiet) as watcher,
            WorkerPool(spec.device, command) as pool,
        ):
            from radialbench.autotune.run import run

            jobs = _jobs(cases, spec.device, backend or [], direction)
            search |= {"known": _known(reuse_trials, record, jobs)}
            search |= {"sweep": record, "storage": storage}
            search["on_event"] = streamed(watcher) if json else watcher or (lambda event: None)
            ends = run(jobs, pool, out, **search)
    except KeyboardInterrupt:
        console.fail(f"stopped; finished trials are kept. Continue with: {command}", INTERRUPTED)
    except (WriteError, WorkerError) as error:
        console.fail(f"{error}. Continue with: {command}", FAILED)
    _print_ends(jobs, ends, out, json=json)
    if any(end.tuned is None for end in ends):
        raise typer.Exit(FAILED)


def _planned(suite: str, patterns: list[str] | None) -> "tuple[SuiteSpec, tuple[Case, ...]]":
    from radialbench.suites.plan import plan
    from radialbench.suites.read import load_suite

    spec = load_suite(suite)
    return spec, plan(spec, patterns or [])


def _most(trials: int | None, sampler: str) -> int:
    """Return the trials of a problem at most."""
    from radialbench.autotune.tuner import TRIALS

    return trials or (sys.maxsize if sampler == "exhaustive" else TRIALS)


def collect_verdicts(verdicts: "Iterable[Verification]", *, json: bool) -> "list[Verification]":
    """Collect verdicts as they come, and print a line of JSON for each if that is asked for."""
    from radialbench.records.codec import to_dict

    done = []
    for one in verdicts:
        done.append(one)
        if json:
            now = None if one.now is None else to_dict(one.now)
            facts = {"problem": one.job.name, "verdict": one.state, "reason": one.reason}
            console.print_json_line({**facts, "record": to_dict(one.record), "now": now})
    return done


def print_verdicts(done: "Sequence[Verification]", rest: str, *, json: bool) -> bool:
    """Print a table of verdicts, unless they were printed as JSON.

    Args:
        done: Of records that were measured again.
        rest: Describes the records that were not measured.
        json: Whether to print nothing.

    Returns:
        Whether all are sound.
    """
    from radialbench.autotune.space import format_config

    sound = sum(one.ok for one in done)
    if not json:
        if done:
            rows = [
                (
                    one.job.name,
                    format_config(one.record.config),
                    f"{one.record.ratio:.3f}",
                    one.reason if one.now is None else f"{one.now:.3f}",
                    one.state,
                )
                for one in done
            ]
            headings = ("problem", "configuration", "gain when tuned", "gain now", "verdict")
            _print_table(headings, rows)
        console.say(f"{len(done)} measured again, {sound} of them sound; {rest}")
    return sound == len(done)


def _jobs(
    cases: "Iterable[Case]", device: str, backends: list[str], direction: str | None
) -> "list[TuningJob]":
    """Return what can be tuned here; imports PyTorch, which takes seconds."""
    from radialbench.autotune.jobs import jobs_of, tunable_cases
    from radialbench.kernels.arch import find_device

    return jobs_of(tunable_cases(cases, find_device(device), backends, direction=direction))


def _likely_jobs(
    cases: "Iterable[Case]", device: str, backends: list[str], direction: str | None
) -> "tuple[list[TuningJob], str | None]":
    """Return what can be tuned, also on a device that this machine lacks, which is named."""
    from radialbench.autotune.jobs import absent_jobs, tunable_cases
    from radialbench.errors import BackendError

    try:
        return _jobs(cases, device, backends, direction), None
    except BackendError:
        return absent_jobs(tunable_cases(cases, device, backends, direction=direction)), device


def _print_ends(jobs: "list[TuningJob]", ends: "list[JobEnded]", out: Path, *, json: bool) -> None:
    records = [end.record for end in ends if end.record is not None]
    gains = sum(record.source == "tuned" for record in records)
    if json:
        facts = {"event": "done", "records": str(out), "tuned": gains}
        facts |= {"default": len(records) - gains, "stopped": len(ends) - len(records)}
        left_out = {job.name: job.reason for job in jobs if job.candidates is None}
        console.print_json_line({**facts, "left_out": left_out})
        return
    _print_left_out(jobs)
    if records:
        rows = [(end.job.name, *_cells(end.tuned)) for end in ends if end.tuned is not None]
        _print_table(("problem", *HEADINGS), rows)
    for end in ends:
        if end.tuned is None:
            console.say(f"{end.job.name}: {end.reason}")
    console.say(f"{gains} of {len(ends)} problems run faster than with the default")
    console.say(f"records: {out}; {_use_of(out)}")


def _use_of(out: Path) -> str:
    """Describe whether launches and suites use the records of a file, or how to make them."""
    from radialbench.kernels.tuned import VARIABLE, user_folder

    if out.absolute().parent == user_folder():
        return f"they are used where {VARIABLE} is not set"
    return f"they are used if {VARIABLE} names that file, or if it is moved to {user_folder()}"


def streamed(watcher: "TuningWatcher | None") -> "TuningWatcher":
    """Print events as lines of JSON, and show them."""
    from radialbench.autotune.run import JobProgress, TuningEvent
    from radialbench.records.codec import to_dict

    def on_event(event: TuningEvent) -> None:
        if watcher is not None:
            watcher(event)
        facts: dict[str, object] = {
            "place": event.place, "total": event.total, "problem": event.job.name
        }  # fmt: skip
        if not isinstance(event, JobProgress):
            record = None if event.record is None else to_dict(event.record)
            console.print_json_line(
                {"event": "ends", **facts, "record": record, "reason": event.reason}
            )
            return
        now = event.progress
        facts |= {"stage": now.stage, "measured": now.measured, "planned": now.planned}
        trial = None if now.trial is None else to_dict(now.trial)
        best = None if now.best is None else now.best.ms
        console.print_json_line({"event": "trial", **facts, "trial": trial, "best_ms": best})

    return on_event


def _known(reused: Path | None, record: Path | None, jobs: "list[TuningJob]") -> "Known":
    """Read the trials that are not repeated: of a sweep, and of the one that is recorded."""
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


def _print_estimates(
    estimates: "Sequence[TuningEstimate]", missing: str | None, *, json: bool
) -> None:
    total = sum(one.seconds for one in estimates)
    if json:
        rows = [
            {
                "problem": one.job.name,
                "candidates": one.candidates,
                "rejected": one.rejections,
                "trials": one.trials,
                "seconds": one.seconds,
            }
            for one in estimates
        ]
        console.print_json({"seconds": total, "missing": missing, "problems": rows})
        return
    _print_left_out([one.job for one in estimates])
    body = [
        (
            one.job.name,
            one.candidates,
            ", ".join(f"{count} by {kind}" for kind, count in one.rejections.items()),
            one.trials,
            f"{one.seconds:,.0f} s",
        )
        for one in estimates
        if one.candidates
    ]
    _print_table(("problem", "candidates", "rejected", "trials", "about"), body)
    about = console.format_duration(total)
    console.say(f"about {about}, and some seconds to start; a GPU compiles meanwhile")
    if missing:
        console.say(
            f"This machine has no {missing} device: the candidates are all that the kernels have, "
            "of which a GPU rejects some, and the time is for a default one."
        )


def _replay(path: Path, patterns: list[str], *, json: bool, **search: Any) -> None:
    from statistics import median

    from radialbench.autotune.replay import replay_all
    from radialbench.autotune.trials import read_sweep
    from radialbench.records.codec import to_dict

    done = []
    with watch_work(console.errors, f"searching {path}"):
        for one in replay_all(read_sweep(path), patterns, **search):
            done.append(one)
            if json:
                decision = one.tuned.decision
                facts = {"problem": one.name, "key": to_dict(one.key)}
                facts |= {"config": to_dict(decision.config), "source": decision.source}
                console.print_json_line({**facts, "measured": one.share, "regret": one.regret})
    if json:
        return
    rows = [(one.name, *_cells(one.tuned), f"{one.share:.0%}", f"{one.regret:.2%}") for one in done]
    _print_table(("problem", *HEADINGS, "measured", "regret"), rows)
    regrets = [one.regret for one in done]
    console.say(
        f"{len(done)} problems: {median(regrets):.2%} slower than the best at the median, "
        f"{max(regrets):.2%} at most"
    )


def _print_left_out(jobs: "list[TuningJob]") -> None:
    for job in jobs:
        if job.candidates is None:
            console.say(f"{job.name} is left out: {job.reason}")


def _cells(tuned: "Tuned") -> tuple[str, ...]:
    from radialbench.autotune.space import format_config

    decision = tuned.decision
    stays = decision.source == "default"
    shares = [
        f"{_short(name)} {share:.0%}" for name, share in tuned.importance.items() if share >= 0.05
    ]
    return (
        f"{decision.default_ms.value:.4g}",
        f"{decision.ms.value:.4g}",
        "none" if stays else f"{decision.ratio:.3f}",
        format_config(decision.config),
        ", ".join(map(_short, tuned.edges)),
        ", ".join(shares),
    )


def _short(axis: str) -> str:
    return axis.removeprefix("gradients.")


def _print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    columns: dict[str, Any] = {"text_columns": TEXT_COLUMNS, "spare": SPARE}
    console.print_table(headings, rows, **columns, whole=("problem",))
