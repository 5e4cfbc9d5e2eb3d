"""Pages that the site has and the repository does not: the reference of the command line.

MkDocs runs `on_files` when the site is built; the text comes from the parser alone.
"""

from collections.abc import Iterator
from typing import Any

from typer import Context
from typer.main import get_command

from radialbench.cli import app

COMMANDS_PAGE = "reference/commands.md"

INTRODUCTION = """\
# The command line

Made from the parser: what `radialbench VERB --help` shows. Every verb takes `--debug`, and exits
with 0 when done, 1 when the thing asked for failed, 2 on bad input, 70 on an error of radialbench,
130 when interrupted; `check` with 3 if inconclusive.
"""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to those of docs/."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, COMMANDS_PAGE, content=commands_page()))
    return files


def commands_page() -> str:
    """Return the reference of every verb, in the order of the help."""
    root: Any = get_command(app)
    context = Context(root, info_name="radialbench")
    sections = [
        section
        for name in root.list_commands(context)
        for section in _sections(root.get_command(context, name), name, context, level=2)
    ]
    return "\n".join([INTRODUCTION, *sections])


def _sections(command: Any, name: str, parent: Context, level: int) -> Iterator[str]:
    """Describe a command and those below it."""
    context = Context(command, info_name=name, parent=parent)
    words = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    records = (param.get_help_record(context) for param in command.params)
    rows = [_row(*record) for record in records if record]
    yield "\n".join(
        [
            f"{'#' * level} {context.command_path.removeprefix('radialbench ')}",
            "",
            f"```text\n{words}\n```",
            "",
            *([_escaped(command.help), ""] if command.help else []),
            *(["| what | meaning |", "| --- | --- |", *rows, ""] if rows else []),
        ]
    )
    for below in command.list_commands(context) if hasattr(command, "list_commands") else []:
        yield from _sections(command.get_command(context, below), below, context, level + 1)


def _row(names: str, text: str) -> str:
    """Return a row of the table: how it is written, and the help."""
    written = names.replace("|", "\\|")
    return f"| `{written}` | {_escaped(' '.join(text.split()))} |"


def _escaped(text: str) -> str:
    """Return text in which Markdown reads nothing as HTML, and no bar as the end of a cell."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
