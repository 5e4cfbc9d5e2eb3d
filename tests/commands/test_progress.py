"""What a verb shows while it works: bars that fit the terminal, and words that are not broken."""

import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
from rich.console import Console

from radialbench.commands import progress
from radialbench.commands.console import sentences
from radialbench.commands.progress import watch_run, watch_work
from radialbench.records.result import Status
from radialbench.reports.text import terminal_table
from radialbench.suites.run import CaseEnded, CaseStarted
from tests.records.sample import RECORD
from tests.suites import small

LONG = "svg_temporal(density=0.25)/wan2.1-1.3b/257x30x52/h12d128bf16/compile"


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def lines(console: Console) -> list[str]:
    """Return every line and every state of a bar that was written."""
    assert isinstance(console.file, io.StringIO)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_run_fits_the_terminal(width: int) -> None:
    case = replace(small.case(), id=LONG)
    console = terminal(width)
    with watch_run(console, quiet=False) as watcher:
        assert watcher is not None
        watcher(CaseStarted(53, 174, 20.0, 1_000.0, case))
        watcher(CaseEnded(53, 174, 40.0, replace(RECORD, case=LONG)))
        failed = replace(
            RECORD,
            case=LONG,
            status=Status.FAILED,
            reason="the backend returned something else " * 8,
            timing=None,
            accuracy=None,
            memory=None,
        )
        watcher(CaseEnded(54, 174, 40.0, failed))
    shown = lines(console)
    assert max(map(len, shown)) <= width
    assert " ".join(line.strip() for line in shown).count("something else") >= 8
    assert any("53/174" in line and "left" in line and LONG[:12] in line for line in shown)
    assert LONG in "".join(shown)


def test_a_run_shows_that_it_starts() -> None:
    console = terminal(80)
    with watch_run(console, quiet=False):
        pass
    assert "starting" in lines(console)[0]


@pytest.mark.parametrize("width", [80, 140])
def test_work_is_shown_unless_it_ends_soon(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SHOWN_AFTER_S", 3600)
    with watch_work(soon := terminal(width), "compiling") as on_share:
        on_share(0.5)
    assert not lines(soon)
    monkeypatch.setattr(progress, "SHOWN_AFTER_S", -1)
    with watch_work(late := terminal(width), f"compiling {LONG * 2}") as on_share:
        on_share(0.5)
    shown = lines(late)
    assert "compiling svg_temporal" in shown[0]
    assert "50%" in shown[-1]
    assert max(map(len, shown)) <= width
    with watch_work(pipe := Console(file=io.StringIO()), "compiling"):
        pass
    assert not lines(pipe)


def test_sentences_are_broken_at_words_and_commands_stay_whole() -> None:
    command = "radialbench run smoke -o /a/folder/with/quite/a/long/name -f 5x30x52 --resume"
    text = f"radialbench: stopped; finished cases are kept. Continue with: {command}"
    assert sentences(text, None) == text
    assert sentences(text, 200) == text
    assert sentences(text, 60).splitlines() == [
        "radialbench: stopped; finished cases are kept. Continue",
        "  with:",
        command,
    ]
    assert max(map(len, sentences("some words " * 40, 80).splitlines())) <= 80


def test_ids_in_tables_are_whole_while_other_columns_can_go() -> None:
    names = {"text_columns": ("from", "case"), "spare": ("from",), "whole": ("case",)}
    body = [("1.0", "default", LONG)]
    shown = terminal_table(("seconds", "from", "case"), body, width=80, **names)
    assert f"    1.0  {LONG}" in shown.splitlines()
    assert shown.endswith("no room for: from")
    narrow = terminal_table(("seconds", "from", "case"), body, width=60, **names)
    assert max(map(len, narrow.splitlines())) <= 60


def test_events_go_where_standard_output_leads(tmp_path: Path) -> None:
    """A bar on the terminal takes nothing of what is written to a file."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    events = tmp_path / "events.jsonl"
    words = ["run", str(small.written(tmp_path)), "--json", "-o", str(tmp_path / "out")]
    with events.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "radialbench", *words, "-f", "dense/2x", "--in-process"],
            stdout=file,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm"},
        )
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:  # The other end is closed.
            pass
        assert process.wait(timeout=600) == 0
    os.close(ours)
    found = [json.loads(line)["event"] for line in events.read_text().splitlines()]
    assert (found[:2], found[-1]) == (["begins", "ends"], "done")
    assert b'"event"' not in shown
