"""Progress of a run, of tuning or other work: a bar on a terminal, lines elsewhere."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from rich import progress
from rich.console import Console, RenderableType
from rich.table import Column
from rich.text import Text

from radialbench.reports.text import fitted, plural

if TYPE_CHECKING:
    from radialbench.autotune.run import JobEnded, JobProgress, TuningEvent
    from radialbench.records.result import Record
    from radialbench.suites.run import RunEvent

    RunWatcher = Callable[[RunEvent], None]
    TuningWatcher = Callable[[TuningEvent], None]


SHOWN_AFTER_S = 0.4
"""What ends sooner shows no bar."""

WIDE = 100
"""Columns of a terminal that has room for a long bar."""


class TimeLeft(progress.ProgressColumn):
    """Time left by the rate of all cases so far; falls while a case runs."""

    def render(self, task: progress.Task) -> Text:
        """Return the time left as text."""
        if not task.completed or not task.total:
            return Text("-:--:-- left")
        whole = task.fields["seconds"] * task.total / task.completed
        left = max(0, round(whole - (task.elapsed or 0)))
        return Text(f"{timedelta(seconds=left)} left")


@contextmanager
def watch_run(console: Console, *, quiet: bool) -> "Iterator[RunWatcher | None]":
    """Provide what shows the events of a run on a console; None if quiet."""
    from radialbench.suites.run import CaseStarted

    if quiet:
        yield None
        return
    columns = (
        progress.TaskProgressColumn(),
        TimeLeft(),
        progress.TextColumn("{task.fields[gpu]}"),
    )
    with _bar(console, *columns) as bar:
        task = bar.add_task("starting", total=None, count="", gpu="", seconds=0.0)

        def on_event(event: "RunEvent") -> None:
            if isinstance(event, CaseStarted):
                bar.update(
                    task,
                    total=event.work_total,
                    completed=event.work_done,
                    description=event.case.id,
                    count=f"{event.place}/{event.total}",
                )
            else:
                seconds = bar.tasks[0].elapsed
                gpu = gpu_state(event.record) or bar.tasks[0].fields["gpu"]
                bar.update(task, completed=event.work_done, seconds=seconds, gpu=gpu)
                _write(bar, case_line(event.place, event.total, event.record))

        yield on_event


@contextmanager
def watch_tuning(console: Console, *, quiet: bool) -> "Iterator[TuningWatcher | None]":
    """Provide what shows the events of tuning on a console; None if quiet."""
    if quiet:
        yield None
        return
    with _bar(console) as bar:
        row = bar.add_task("starting", total=None, count="")
        best: dict[int, object] = {}

        def on_event(event: "TuningEvent") -> None:
            # Not before the first event: the import takes seconds, in which the bar is to be seen.
            from radialbench.autotune.run import JobProgress

            if not isinstance(event, JobProgress):
                _write(bar, _job_line(event))
                return
            now, place = event.progress, f"{event.place}/{event.total}"
            bar.update(
                row,
                total=now.planned,
                completed=now.measured,
                count=place,
                description=f"{_search_state(event, terse=True)}, {event.job.name}",
            )
            if bar.disable and now.best is not None and now.best != best.get(event.place):
                best[event.place] = now.best
                _write(bar, f"[{place}] {event.job.name}  {_search_state(event)}")

        yield on_event


@contextmanager
def watch_work(
    console: Console, what: str, *, quiet: bool = False
) -> "Iterator[Callable[[float], None]]":
    """Provide what shows how much of some work is done; before its first call, that work is done.

    Nothing is shown where there is no terminal, in the first moments, or if quiet.
    """
    columns = (progress.TaskProgressColumn(), progress.TimeRemainingColumn())
    with _bar(console, *columns, kind=_LateBar) as bar:
        task = bar.add_task(what, total=None, visible=not quiet, count="")
        yield lambda share: bar.update(task, total=1.0, completed=share)


class _LateBar(progress.Progress):
    """A bar that nothing shows of work that ends soon."""

    def get_renderables(self) -> Iterable[RenderableType]:
        if any((task.elapsed or 0) > SHOWN_AFTER_S for task in self.tasks):
            yield from super().get_renderables()


def _bar(
    console: Console,
    *columns: progress.ProgressColumn,
    kind: type[progress.Progress] = progress.Progress,
) -> progress.Progress:
    """Return a bar for a terminal; elsewhere it is not shown, and only lines are written.

    Its columns stand between the count and the description, which ends where the terminal does.
    """
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return kind(
        progress.TextColumn("{task.fields[count]}"),
        progress.BarColumn(bar_width=24 if console.width >= WIDE else 8),
        *columns,
        progress.TextColumn("{task.description}", markup=False, table_column=rest),
        console=console,
        transient=True,
        expand=True,
        redirect_stdout=False,  # It would lead to standard error what is meant for a file.
        disable=not console.is_terminal,
    )


def _write(bar: progress.Progress, line: str) -> None:
    """Write a line; one that is longer than the terminal is broken behind its first part."""
    if not bar.disable and len(line) > bar.console.width:
        first, _, rest = line.partition("  ")
        line = f"{first}\n{fitted(rest, bar.console.width, indent='    ')}" if rest else first
    bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


def case_line(place: int, total: int, record: "Record") -> str:
    """Describe a case that ended in a line."""
    text = f"{record.status}: {record.reason}"
    if record.timing is not None:
        samples = plural(len(record.timing.samples_ms), "sample")
        text = f"{record.timing.median_ms:,.2f} ms ({samples})"
        text += "".join(f", {gpu}" for gpu in [gpu_state(record)] if gpu)
    return f"[{place}/{total}] {record.case}  {text}"


def gpu_state(record: "Record") -> str:
    """Describe the GPU's clock and temperature at the last sample, as far as they are known."""
    rounds = record.timing.rounds if record.timing else None
    if rounds is None:
        return ""
    clock = [f"{mhz:,.0f} MHz" for mhz in rounds.sm_mhz[-1:]]
    return " ".join([*clock, *(f"{degrees:.0f} °C" for degrees in rounds.temperature_c[-1:])])


def _search_state(event: "JobProgress", *, terse: bool = False) -> str:
    """Describe the best so far, how trials ended, and the time left."""
    from radialbench.autotune.space import format_config

    now = event.progress
    parts = [f"trial {now.measured}/{now.planned}"]
    if now.best is not None and now.best.ms is not None:
        config = "" if terse else f" with {format_config(now.best.config)}"
        parts.append(f"best {now.best.ms:.4g} ms{config}")
        if now.default is not None and now.default.ms is not None and now.default != now.best:
            parts.append(f"default {now.default.ms:.4g} ms")
    counts = asdict(now.outcomes)
    parts += [
        f"{counts[name]} {name.replace('_', ' ')}" for name in reversed(counts) if counts[name]
    ]
    if now.stage == "final":
        parts.append("the best few in turn")
    elif now.seconds_left is not None:
        parts.append(f"{timedelta(seconds=round(now.seconds_left))} left")
    return ", ".join(parts)


def _job_line(event: "JobEnded") -> str:
    """Describe the result of a search in a line."""
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
