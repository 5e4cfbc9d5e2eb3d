"""Where verbs print: people read `console` and `errors`, programs read `print_json`."""

import json
import sys
from typing import NoReturn

from rich.console import Console

console = Console()
"""Standard output."""

errors = Console(stderr=True)
"""Standard error: progress and messages."""


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
