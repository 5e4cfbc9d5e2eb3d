"""Where verbs print: people read `console` and `errors`, programs read `print_json`."""

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


def at_width(form: str, render: Callable[..., str]) -> Callable[[Any], str]:
    """Bind the form `terminal` to the width of the terminal; other forms stay as they are."""
    from radialbench.reports.text import terminal_width

    return partial(render, width=terminal_width()) if form == "terminal" else render


def print_table(
    headings: Sequence[str],
    body: Iterable[Sequence[object]],
    *,
    words: Collection[str],
    spare: Sequence[str] | None = None,
) -> None:
    """Print a table that is as wide as the terminal; see `terminal_table`."""
    from radialbench.reports.text import terminal_table, terminal_width

    width = terminal_width()
    text = terminal_table(headings, body, text_columns=words, width=width, spare=spare)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_json(facts: object) -> None:
    """Print facts as JSON, and nothing else, on standard output."""
    sys.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_json_line(facts: object) -> None:
    """Print facts as a line of JSON on standard output, at once."""
    sys.stdout.write(json.dumps(facts, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def fail(message: str, code: int = 1) -> NoReturn:
    """Print a message of one paragraph and exit.

    Args:
        message: What was wrong, what was given, where, and what to try.
        code: 1 if the thing asked for failed, 2 if the input was bad.
    """
    errors.print(f"radialbench: {message}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


def encoded(text: str) -> str:
    """Return text with a question mark for what the terminal cannot write."""
    return text.encode(console.encoding, "replace").decode(console.encoding)


def say(line: str) -> None:
    """Print text as it stands, as far as the terminal can write it."""
    console.print(encoded(line), markup=False, highlight=False, soft_wrap=True)
