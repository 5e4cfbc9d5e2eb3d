"""Parts of a Markdown file that are made from records, between marks that name them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from radialbench.errors import RecordError
from radialbench.records.codec import from_json
from radialbench.records.result import Environment

T = TypeVar("T")


class Measured(Protocol):
    """A record of something measured, whatever it was."""

    @property
    def environment(self) -> Environment:
        """Where it ran."""

    @property
    def created(self) -> str:
        """When, in ISO 8601."""


def filled(text: str, parts: Mapping[str, str], *, maker: str) -> str:
    """Put parts between their marks.

    Args:
        text: The file's text.
        parts: What stands between `<!-- name: made by maker -->` and `<!-- /name -->`, by name.
        maker: The script that makes them.

    Raises:
        SystemExit: A mark is missing, or there twice.
    """
    for name, part in parts.items():
        begin, end = f"<!-- {name}: made by {maker} -->\n", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"no part {name!r} of {maker}")
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}{part}\n{end}{after}"
    return text


def rewrite(page: Path, written: Callable[[str], str], *, check: bool) -> int:
    """Write a page anew.

    Args:
        page: The file.
        written: Gives its new text.
        check: Only compare.

    Returns:
        1 if it is compared and differs, else 0.
    """
    text = page.read_text(encoding="utf-8")
    new = written(text)
    if check:
        return int(new != text)
    page.write_text(new, encoding="utf-8")
    return 0


def read_lines(path: Path, kind: type[T]) -> tuple[T, ...]:
    """Read a file of records, a line of JSON each.

    Raises:
        RecordError: A line is none; the message has its number.
    """
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            found.append(from_json(line, kind))
        except RecordError as error:
            raise RecordError(f"{path}:{number}: {error}") from None
    return tuple(found)


def told(record: Measured) -> str:
    """Say where records come from, and when."""
    return f"{described(record.environment)}; {record.created[:10]}."


def described(here: Environment) -> str:
    """Say where something was measured, and by which command."""
    machine = f"{here.cpu}, {here.cores} cores, {here.memory_bytes / 2**30:.0f} GiB"
    if here.device != "cpu":
        machine = f"{here.device}; {machine}"
    versions = ", ".join(f"{name} {version}" for name, version in here.versions.items())
    command = here.command.split(" -o ")[0]
    return f"{machine}; Python {here.python}, {versions}; `{command}`"
