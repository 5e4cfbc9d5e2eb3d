"""Progress of tuning: a bar on a terminal, a line for each better configuration elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

if TYPE_CHECKING:
    from radialbench.autotune.run import JobEnded, JobProgress, TuneEvent

Watcher = Callable[["TuneEvent"], None]


@contextmanager
def watch_tuning(console: Console, *, quiet: bool) -> Iterator[Watcher | None]:
    """Give what tuning should tell its events to.

    Args:
        console: Where progress goes.
        quiet: Show nothing.
    """
    if quiet:
        yield None
    elif console.is_terminal:
        columns = (
            TextColumn("{task.fields[place]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
            TextColumn("{task.description}", markup=False),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            yield _on_bar(bar, bar.add_task("", place="", state=""))
    else:
        yield _on_lines(console)


def _on_bar(bar: Progress, row: TaskID) -> Watcher:
    from radialbench.autotune.run import JobProgress

    def on_event(event: "TuneEvent") -> None:
        if isinstance(event, JobProgress):
            bar.update(
                row,
                total=event.progress.planned,
                completed=event.progress.measured,
                place=f"{event.place}/{event.total}",
                state=_state(event, terse=True),
                description=event.job.name,
            )
        else:
            bar.console.print(ended_line(event), markup=False, highlight=False)

    return on_event


def _on_lines(console: Console) -> Watcher:
    from radialbench.autotune.run import JobProgress

    best: dict[int, object] = {}

    def on_event(event: "TuneEvent") -> None:
        if isinstance(event, JobProgress):
            now = event.progress.best
            if now is None or now == best.get(event.place):
                return
            best[event.place] = now
            line = f"[{event.place}/{event.total}] {event.job.name}  {_state(event)}"
        else:
            line = ended_line(event)
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return on_event


def _state(event: "JobProgress", *, terse: bool = False) -> str:
    """Say what is best so far, how the trials ended, and how long the others take."""
    from radialbench.autotune.space import format_config

    now = event.progress
    told = [f"trial {now.measured}/{now.planned}"]
    if now.best is not None and now.best.ms is not None:
        how = "" if terse else f" with {format_config(now.best.config)}"
        told.append(f"best {now.best.ms:.4g} ms{how}")
        if now.default is not None and now.default.ms is not None and now.default != now.best:
            told.append(f"default {now.default.ms:.4g} ms")
    counts = asdict(now.outcomes)
    told += [
        f"{counts[name]} {name.replace('_', ' ')}" for name in reversed(counts) if counts[name]
    ]
    if now.stage == "final":
        told.append("the best few in turn")
    elif now.seconds_left is not None:
        told.append(f"{timedelta(seconds=round(now.seconds_left))} left")
    return ", ".join(told)


def ended_line(event: "JobEnded") -> str:
    """Say in a line what came of a search."""
    from radialbench.autotune.space import format_config
    from radialbench.autotune.tuner import format_ms

    head = f"[{event.place}/{event.total}] {event.job.name}  "
    if event.tuned is None:
        return f"{head}stopped: {event.reason}"
    decision = event.tuned.decision
    if decision.source == "default":
        return f"{head}{format_ms(decision.ms)}, the default stays: {decision.reason}"
    return (
        f"{head}{format_ms(decision.ms)} with {format_config(decision.config)}, "
        f"{decision.ratio:.3f} times as fast as the default"
    )
