"""Where verbs print: people read `say` and `note`, programs read `print_json`."""

import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

from rich.console import Console

from radialbench import machine

console = Console()
"""Standard output."""

errors = Console(stderr=True)
"""Standard error: progress and messages."""


def encoded(text: str, encoding: str = "") -> str:
    """Return text without what a terminal would obey, and `?` for what it cannot write."""
    from radialbench.reports.text import printable

    encoding = encoding or console.encoding
    shown = "\n".join(map(printable, text.split("\n")))
    return shown.encode(encoding, "replace").decode(encoding)


def say(text: str) -> None:
    """Print sentences, as `encoded` and `sentences` return them."""
    say_whole(sentences(text, _width(console)))


def say_whole(text: str) -> None:
    """Print text whose lines are never broken, as `encoded` returns it."""
    console.print(encoded(text), markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print sentences on standard error, as `encoded` and `sentences` return them."""
    shown = encoded(sentences(text, _width(errors)), errors.encoding)
    errors.print(shown, markup=False, highlight=False, soft_wrap=True)


def note_if_busy() -> None:
    """Note on a terminal that other work takes cores from what is about to be timed."""
    load = machine.load()
    if errors.is_terminal and load is not None and load > machine.BUSY:
        note(
            f"this machine is busy: {load:.1f} processes ran or waited for each core over the last "
            "minute, so that times will vary"
        )


def sentences(text: str, width: int | None) -> str:
    """Break lines at words, as `reports.text.fitted` does.

    A command behind a colon stays whole, on a line of its own, so that it can be copied.
    """
    from radialbench.reports.text import fitted

    lines = []
    for line in text.split("\n"):
        if width is not None and len(line) > width:
            line, *commands = re.split(r"(?<=:) (?=radialbench )", line, maxsplit=1)
            lines += [fitted(line, width), *commands]
        else:
            lines.append(line)
    return "\n".join(lines)


def is_terminal() -> bool:
    """Return whether standard output is a terminal, which a bar would share with it."""
    return sys.stdout.isatty()


def _width(to: Console) -> int | None:
    return to.width if to.file.isatty() else None


def fail(message: str, code: int = 1) -> NoReturn:
    """Print a message of one paragraph and exit.

    Args:
        message: What was wrong, what was given, where, and what to try.
        code: 1 if the thing asked for failed, 2 if the input was bad.
    """
    note(f"radialbench: {message}")
    sys.exit(code)


def print_json(facts: object) -> None:
    """Print facts as JSON, and nothing else, on standard output."""
    sys.stdout.write(_json(facts, indent=2) + "\n")


def print_json_line(facts: object) -> None:
    """Print facts as a line of JSON on standard output, at once."""
    sys.stdout.write(_json(facts) + "\n")
    sys.stdout.flush()


def _json(facts: object, indent: int | None = None) -> str:
    """Write JSON, with escapes for what standard output cannot write."""
    text = json.dumps(facts, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(console.encoding)
    except UnicodeEncodeError:
        return json.dumps(facts, indent=indent, allow_nan=False)
    return text


def print_paragraph(text: str) -> None:
    """Print text that is indented, and broken at the width of the terminal."""
    from radialbench.reports.text import paragraph

    say(paragraph(text, console.width, indent="  ", hang=""))


def print_table(
    headings: Sequence[str],
    body: Iterable[Sequence[object]],
    *,
    text_columns: Collection[str],
    spare: Sequence[str] | None = None,
    whole: Collection[str] = (),
) -> None:
    """Print a table that is as wide as the terminal; see `terminal_table`."""
    from radialbench.reports.text import terminal_table, terminal_width

    columns: dict[str, Any] = {"text_columns": text_columns, "spare": spare, "whole": whole}
    say_whole(terminal_table(headings, body, width=terminal_width(), **columns))


def at_width(format: str, render: Callable[..., str]) -> Callable[[Any], str]:
    """Bind the format `terminal` to the width of the terminal; others stay as they are."""
    from radialbench.reports.text import terminal_width

    return partial(render, width=terminal_width()) if format == "terminal" else render


def format_duration(seconds: float) -> str:
    """Format a time, such as `1 h 5 min` or `12 s`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
