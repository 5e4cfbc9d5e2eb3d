"""Progress of a run: a bar on a terminal, a line a case elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from radialbench.records.result import Record
    from radialbench.suites.run import RunEvent

Watcher = Callable[["RunEvent"], None]


class _TimeLeft(ProgressColumn):
    """Time left by the rate of all cases so far; runs down while a case runs."""

    def render(self, task: Task) -> Text:
        if not task.completed or not task.total:
            return Text("-:--:-- left")
        whole = task.fields["seconds"] * task.total / task.completed
        left = max(0, round(whole - (task.elapsed or 0)))
        return Text(f"{timedelta(seconds=left)} left")


@contextmanager
def watch(console: Console, *, quiet: bool) -> Iterator[Watcher | None]:
    """Give what a run should tell its events to.

    Args:
        console: Where progress goes.
        quiet: Show nothing.
    """
    if quiet:
        yield None
    elif console.is_terminal:
        with _bar(console) as progress:
            yield _on_bar(progress)
    else:
        yield _on_lines(console)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.fields[count]}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        _TimeLeft(),
        TextColumn("{task.fields[gpu]}"),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
    )


def _on_bar(progress: Progress) -> Watcher:
    from radialbench.suites.run import CaseStarted

    task = progress.add_task("", count="", gpu="", seconds=0.0)

    def on_event(event: "RunEvent") -> None:
        if isinstance(event, CaseStarted):
            progress.update(
                task,
                total=event.work_total,
                completed=event.work_done,
                description=event.case.id,
                count=f"{event.place}/{event.total}",
            )
        else:
            seconds = progress.tasks[0].elapsed
            gpu = _gpu(event.record) or progress.tasks[0].fields["gpu"]
            progress.update(task, completed=event.work_done, seconds=seconds, gpu=gpu)
            progress.console.print(
                _line(event.place, event.total, event.record), markup=False, highlight=False
            )

    return on_event


def _on_lines(console: Console) -> Watcher:
    from radialbench.suites.run import CaseEnded

    def on_event(event: "RunEvent") -> None:
        if isinstance(event, CaseEnded):
            line = _line(event.place, event.total, event.record)
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    return on_event


def _line(place: int, total: int, record: "Record") -> str:
    told = f"{record.status}: {record.reason}"
    if record.timing is not None:
        count = len(record.timing.samples_ms)
        told = f"{record.timing.median_ms:,.2f} ms ({count} sample{'s' * (count > 1)})"
        told += "".join(f", {gpu}" for gpu in [_gpu(record)] if gpu)
    return f"[{place}/{total}] {record.case}  {told}"


def _gpu(record: "Record") -> str:
    """Say how fast and how warm the GPU was beside the last sample, as far as that is known."""
    rounds = record.timing.rounds if record.timing else None
    if rounds is None:
        return ""
    clock = [f"{mhz:,.0f} MHz" for mhz in rounds.sm_mhz[-1:]]
    return " ".join([*clock, *(f"{degrees:.0f} °C" for degrees in rounds.temperature_c[-1:])])
