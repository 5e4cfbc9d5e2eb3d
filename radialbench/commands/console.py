"""Where verbs print: people read `say` and `note`, programs read `print_json`."""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

from rich.console import Console

console = Console()
"""Standard output."""

errors = Console(stderr=True)
"""Standard error: progress and messages."""


def encoded(text: str) -> str:
    """Return text with a question mark for what the terminal cannot write."""
    return text.encode(console.encoding, "replace").decode(console.encoding)


def say(text: str) -> None:
    """Print text unchanged, as far as the terminal can write it."""
    console.print(encoded(text), markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print text unchanged on standard error."""
    errors.print(text, markup=False, highlight=False, soft_wrap=True)


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
    sys.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_json_line(facts: object) -> None:
    """Print facts as a line of JSON on standard output, at once."""
    sys.stdout.write(json.dumps(facts, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


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
) -> None:
    """Print a table that is as wide as the terminal; see `terminal_table`."""
    from radialbench.reports.text import terminal_table, terminal_width

    say(
        terminal_table(
            headings, body, text_columns=text_columns, width=terminal_width(), spare=spare
        )
    )


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
