"""The command line: its verbs, each imported when it is used or its help is shown."""

import signal
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from radialbench import __version__
from radialbench.commands import BAD_INPUT, FAILED, INTERNAL_ERROR, INTERRUPTED
from radialbench.errors import RadialBenchError, unknown

VERBS = (
    *("demo", "mask", "suite", "run", "pipeline", "tune", "worker", "capture", "fidelity", "decay"),
    *("export", "noise", "merge", "report", "check", "baseline", "history", "doctor"),
)
"""Modules of `commands`: each has an `app` (a group of commands) or a function of its own name."""


class _Verbs(TyperGroup):
    """Finds the commands of `VERBS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _command(cmd_name) if cmd_name in VERBS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(unknown("verb", args[0], VERBS))
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="radialbench",
    cls=_Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"radialbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error; works after a verb too."),
    ] = False,
) -> None:
    """Sparse attention masks for video diffusion: state, compile, measure, report.

    Exits with 0 when done, 1 when the thing asked for failed, 2 on bad input.
    """


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input, 70 an unexpected error."""
    given = sys.argv[1:]
    args = [arg for arg in given if arg != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        # A terminal in Latin-1, or a path that is no UTF-8, must not end what prints.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup ignores the second.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    try:
        app(args=args, prog_name="radialbench")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if len(args) < len(given):
            raise
        _explain(error)


def _interrupt(number: int, frame: object) -> None:
    """End as Ctrl-C does, which cleans up; a second signal must not stop that."""
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _explain(error: Exception) -> None:
    from radialbench.commands.console import fail

    if isinstance(error, RadialBenchError):
        fail(str(error), BAD_INPUT)
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:
            fail(error.strerror, FAILED)
        fail(f"{error.filename}: {error.strerror}", BAD_INPUT)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    fail(
        f"unexpected error, {text}. Please report it with the command and what it prints when "
        "--debug is added.",
        INTERNAL_ERROR,
    )


def _command(verb: str) -> Any:
    module = import_module(f"radialbench.commands.{verb}")
    root = typer.Typer(add_completion=False)
    if hasattr(module, "app"):
        root.add_typer(module.app, name=verb)
        return get_command(root).commands[verb]  # type: ignore[attr-defined]
    root.command(verb)(getattr(module, verb))
    return get_command(root)
