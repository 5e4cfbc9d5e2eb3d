"""`radialbench worker`: a process that works for a `tune`."""

import shlex
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from radialbench.commands import FAILED, INTERRUPTED, console
from radialbench.commands.options import Quiet, parse_seconds
from radialbench.commands.progress import watch_tuning

if TYPE_CHECKING:
    from radialbench.autotune.jobs import TuningJob
    from radialbench.autotune.join import Work
    from radialbench.autotune.live import LiveEvaluator


def worker(
    storage: Annotated[
        str,
        typer.Option(
            help="That of the tune: postgresql://USER@HOST/NAME, grpc://HOST:PORT, sqlite:///PATH "
            "or journal:PATH. A password comes from PGPASSWORD or ~/.pgpass."
        ),
    ],
    wait: Annotated[
        float | None,
        typer.Option(
            parser=parse_seconds,
            metavar="TIME",
            show_default="10min",
            help="End after so long without anything to do (90, 2min, 1h).",
        ),
    ] = None,
    quiet: Quiet = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for every trial.")
    ] = False,
) -> None:
    """Join every search that a tune has open in a storage; any number may, on any hosts.

    All that a worker needs to know is in the storage, and the tune writes the records. Trials of a
    worker that dies are tried by others. A storage is for one GPU model and one set of versions.
    """
    from radialbench.autotune.storage import without_password
    from radialbench.suites.worker import WorkerError

    command = shlex.join(["radialbench", "worker", "--storage", without_password(storage)])
    try:
        with ExitStack() as stack, watch_tuning(console.errors, quiet=quiet) as watcher:
            from radialbench.autotune.join import WAIT_S, join
            from radialbench.autotune.live import LiveEvaluator, WorkerPool
            from radialbench.commands.tune import streamed

            pools: dict[str, WorkerPool] = {}

            def evaluator_of(job: "TuningJob") -> "LiveEvaluator":
                device = job.case.device
                if device not in pools:
                    pools[device] = stack.enter_context(WorkerPool(device, command))
                return LiveEvaluator(job.case, pools[device])

            on_event = streamed(watcher) if json else watcher or (lambda event: None)
            work = join(
                storage, evaluator_of, wait_s=WAIT_S if wait is None else wait, on_event=on_event
            )
    except KeyboardInterrupt:
        console.fail(f"stopped; others go on. Join again with: {command}", INTERRUPTED)
    except WorkerError as error:
        console.fail(f"{error}. Join again with: {command}", FAILED)
    _print_work(work, json=json)
    if work.failed and not work.trials:
        raise typer.Exit(FAILED)


def _print_work(work: "Work", *, json: bool) -> None:
    from radialbench.reports.text import plural

    if json:
        facts = {"event": "done", "trials": work.trials, "runoffs": work.runoffs}
        console.print_json_line({**facts, "failed": work.failed})
        return
    for name, reason in work.failed.items():
        console.say(f"{name}: {reason}")
    done = f"{plural(work.trials, 'trial')} and {plural(work.runoffs, 'runoff')}"
    console.say(f"{done}; the tune writes the records")
