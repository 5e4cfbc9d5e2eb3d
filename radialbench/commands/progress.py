"""Progress of a run or of tuning: a bar on a terminal, lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING

from rich import progress
from rich.console import Console
from rich.text import Text

from radialbench.reports.text import plural

if TYPE_CHECKING:
    from radialbench.autotune.run import JobEnded, JobProgress, TuningEvent
    from radialbench.records.result import Record
    from radialbench.suites.run import RunEvent

    RunWatcher = Callable[[RunEvent], None]
    TuningWatcher = Callable[[TuningEvent], None]


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
        progress.TextColumn("{task.fields[count]}"),
        progress.BarColumn(bar_width=24),
        progress.TaskProgressColumn(),
        TimeLeft(),
        progress.TextColumn("{task.fields[gpu]}"),
        progress.TextColumn("{task.description}", markup=False),
    )
    with _bar(console, *columns) as bar:
        task = bar.add_task("", count="", gpu="", seconds=0.0)

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
    from radialbench.autotune.run import JobProgress

    if quiet:
        yield None
        return
    columns = (
        progress.TextColumn("{task.fields[place]}"),
        progress.BarColumn(bar_width=24),
        progress.TextColumn("{task.fields[state]}", markup=False),
        progress.TextColumn("{task.description}", markup=False),
    )
    with _bar(console, *columns) as bar:
        row = bar.add_task("", place="", state="")
        best: dict[int, object] = {}

        def on_event(event: "TuningEvent") -> None:
            if not isinstance(event, JobProgress):
                _write(bar, _job_line(event))
                return
            now, place = event.progress, f"{event.place}/{event.total}"
            bar.update(
                row,
                total=now.planned,
                completed=now.measured,
                place=place,
                state=_search_state(event, terse=True),
                description=event.job.name,
            )
            if bar.disable and now.best is not None and now.best != best.get(event.place):
                best[event.place] = now.best
                _write(bar, f"[{place}] {event.job.name}  {_search_state(event)}")

        yield on_event


@contextmanager
def watch_compiling(console: Console, what: str) -> "Iterator[Callable[[float], None]]":
    """Provide what shows the share of a mask that is compiled; nothing in the first second."""
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=24),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
    )
    start = perf_counter()
    with _bar(console, *columns) as bar:
        task = bar.add_task(f"compiling {what}", total=1.0, visible=False)

        def on_share(share: float) -> None:
            bar.update(task, completed=share, visible=perf_counter() - start > 1)

        yield on_share


@contextmanager
def watch_rows(
    console: Console, *, quiet: bool, what: str = "rows"
) -> Iterator[Callable[[int, int], None]]:
    """Provide what shows how many rows, or other things, are done."""
    columns = (
        progress.TextColumn(f"{{task.completed:,.0f}} of {{task.total:,.0f}} {what}"),
        progress.BarColumn(bar_width=24),
        progress.TimeRemainingColumn(),
    )
    with _bar(console, *columns) as bar:
        bar.disable |= quiet
        task = bar.add_task("", total=1)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _bar(console: Console, *columns: progress.ProgressColumn) -> progress.Progress:
    """Return a bar for a terminal; elsewhere it is not shown, and only lines are written."""
    return progress.Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    )


def _write(bar: progress.Progress, line: str) -> None:
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
