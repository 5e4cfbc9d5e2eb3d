"""What every verb shares: help, exit codes, and errors of one paragraph."""

import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from rich.console import Console

from radialbench import __version__, cli
from radialbench.errors import TableError

Capture = pytest.CaptureFixture[str]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["radialbench", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def app(**options: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)


def test_help_lists_every_verb(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert run(monkeypatch, "--help") == 0
    printed = capsys.readouterr().out
    assert all(f" {verb} " in printed for verb in cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert run(monkeypatch, verb, "--help") == 0
    assert f"radialbench {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [(), ("run",), ("mask", "show"), ("export", "table"), ("export",)]
)
def test_help_has_a_short_form(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert run(monkeypatch, *words, "-h") == 0
    short = capsys.readouterr().out
    assert run(monkeypatch, *words, "--help") == 0
    assert short == capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 100, 140])
@pytest.mark.parametrize(
    "words", [("doctor",), ("mask", "list"), ("suite", "list"), ("suite", "plan", "wan")]
)
def test_lines_fit_the_terminal(
    words: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("radialbench.reports.text.terminal_width", lambda: columns)
    monkeypatch.setattr("radialbench.commands.console.console", Console(width=columns))
    monkeypatch.setattr(sys, "argv", ["radialbench", *words])
    with pytest.raises(SystemExit):
        cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines and max(map(len, lines)) <= columns
    assert not [line for line in lines if line.endswith(" ")]


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"radialbench {__version__}\n"


def test_the_installed_command_is_this_one() -> None:
    (script,) = entry_points(group="console_scripts", name="radialbench")
    assert script.load() is cli.main


def test_an_unknown_verb(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert run(monkeypatch, "doctro") == 2
    captured = capsys.readouterr()
    assert "unknown verb 'doctro'; did you mean 'doctor'?" in captured.err
    assert not captured.out


def test_an_unknown_option(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert run(monkeypatch, "doctor", "--jsno") == 2
    assert "--jsno" in capsys.readouterr().err


def test_a_foreseen_error_is_one_paragraph(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    raising(monkeypatch, TableError("table [x] is torn " + "and long " * 40))
    assert run(monkeypatch, "doctor") == 2
    captured = capsys.readouterr()
    assert captured.err == "radialbench: table [x] is torn " + "and long " * 40 + "\n"
    assert not captured.out


def test_a_file_error_names_the_file(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    raising(monkeypatch, PermissionError(13, "Permission denied", "/no/such/out.png"))
    assert run(monkeypatch, "doctor") == 2
    assert capsys.readouterr().err == "radialbench: /no/such/out.png: Permission denied\n"


def test_a_full_disk_is_not_our_fault(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    raising(monkeypatch, OSError(28, "No space left on device"))
    assert run(monkeypatch, "doctor") == 1
    assert capsys.readouterr().err == "radialbench: No space left on device\n"


def test_a_reader_that_left_is_no_error() -> None:
    command = f"{sys.executable} -m radialbench doctor --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{", "")


@pytest.mark.parametrize(
    ("error", "text"), [(KeyError("heads"), "KeyError: 'heads'"), (MemoryError(), "MemoryError")]
)
def test_an_unforeseen_error_asks_for_a_report(
    error: Exception, text: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    raising(monkeypatch, error)
    assert run(monkeypatch, "doctor") == 70
    printed = capsys.readouterr().err
    assert printed.startswith(f"radialbench: unexpected error, {text}. Please report it")
    assert "Traceback" not in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--debug", "doctor"], ["doctor", "--debug"]])
def test_debug_lets_the_error_through(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, TableError("torn"))
    monkeypatch.setattr(sys, "argv", ["radialbench", *arguments])
    with pytest.raises(TableError, match="torn"):
        cli.main()


def test_debug_changes_nothing_else(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert run(monkeypatch, "doctor", "--json", "--debug") == 0
    assert json.loads(capsys.readouterr().out)["radialbench"] == __version__


def test_control_c(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    assert run(monkeypatch, "doctor") == 130
    assert not capsys.readouterr().err


def test_completion(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("_RADIALBENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "radialbench do")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run(monkeypatch) == 0
    assert capsys.readouterr().out.split() == ["doctor"]
