"""What a verb prints is text: nothing that a terminal obeys, and what it can write."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from radialbench.commands import console
from radialbench.commands.console import encoded

ESCAPE = """\
name: escape
about: "\\e]0;title\\a near frames é"
mask: dt <= 1
"""


@pytest.mark.parametrize("words", [["show", "--grid", "3x4x5"], ["validate"], ["show", "--json"]])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "gbk", "shift-jis", "ascii"])
def test_no_mask_speaks_to_the_terminal(tmp_path: Path, words: list[str], encoding: str) -> None:
    file = tmp_path / "escape.yaml"
    file.write_text(ESCAPE, encoding="utf-8")
    verb, *options = words
    done = subprocess.run(
        [sys.executable, "-m", "radialbench", "mask", verb, str(file), *options],
        env={"PYTHONIOENCODING": encoding, "PYTHONPATH": ":".join(sys.path), "COLUMNS": "100"},
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.decode(encoding) + done.stderr.decode(encoding)
    assert not {"\x1b", "\x07"} & set(printed)
    if "--json" in options:
        assert json.loads(printed)["mask"]["name"] == "escape"


def test_errors_are_text_too(tmp_path: Path) -> None:
    name = b"no\xff\x1b[31m.yaml".decode(errors="surrogateescape")
    done = subprocess.run(
        [sys.executable, "-m", "radialbench", "mask", "show", name],
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 2, done.stderr
    assert b"\x1b" not in done.stderr


def test_lines_stay_lines() -> None:
    assert encoded("a\nb\x1b[2J\udcffé", "ascii") == "a\nb?[2J??"


@pytest.mark.parametrize(
    ("load", "terminal", "shown"),
    [(3.86, True, True), (3.86, False, False), (0.1, True, False), (None, True, False)],
)
def test_a_busy_machine_is_noted_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    load: float | None,
    terminal: bool,
    shown: bool,
) -> None:
    monkeypatch.setattr("radialbench.machine.load", lambda: load)
    monkeypatch.setattr(console.errors, "_force_terminal", terminal)
    console.note_if_busy()
    said = capsys.readouterr().err
    assert ("busy: 3.9 processes ran or waited for each core" in said) == shown
