"""The command line, run in the process of the tests."""

import sys
from math import inf

import pytest

from radialbench.cli import main

Capture = pytest.CaptureFixture[str]


class Cli:
    """Runs the command line in this process.

    Attributes:
        first: Words that come first on every line, such as a verb.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: Capture, *first: str) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        self.first = first
        # No test depends on how steady the machine is.
        monkeypatch.setattr("radialbench.reports.spread.WIDE", inf)

    def __call__(self, *words: object) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error."""
        line = ["radialbench", *self.first, *map(str, words)]
        self.monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as end:
            main()
        printed = self.capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err
