"""Tables for terminals: as wide as there is room, and nothing lost without one."""

import os
import sys

import pytest

from radialbench.reports.terminal_tables import paragraph, terminal_table, terminal_width

HEADINGS = ("case", "ms", "IQR", "note")
BODY = [("radial(decay=0.5)/3x30x52", "1,234", "2%", "a"), ("dense", "5", "10%", "")]


def laid(width: int | None = None, **options: tuple[str, ...]) -> list[str]:
    return terminal_table(
        HEADINGS, BODY, words=("case", "note"), width=width, **options
    ).splitlines()


def test_words_stand_left_and_numbers_right() -> None:
    assert laid() == [
        "case                          ms  IQR  note",
        "-------------------------  -----  ---  ----",
        "radial(decay=0.5)/3x30x52  1,234   2%  a",
        "dense                          5  10%",
    ]
    assert laid(43) == laid()


def test_words_are_folded_first_as_little_as_will_do() -> None:
    assert laid(38) == [
        "case                     ms  IQR  note",
        "--------------------  -----  ---  ----",
        "radial(decay=0.5)/3x  1,234   2%  a",
        "30x52",
        "dense                     5  10%",
    ]


def test_then_columns_are_left_out_and_named() -> None:
    assert laid(33) == [
        "case                      ms  IQR",
        "---------------------  -----  ---",
        "radial(decay=0.5)/3x3  1,234   2%",
        "0x52",
        "dense                      5  10%",
        "no room for: note",
    ]
    assert laid(33, spare=("IQR", "note"))[-1] == "no room for: IQR"


@pytest.mark.parametrize("width", range(15, 60))
def test_no_line_is_longer_than_the_terminal_and_numbers_are_whole(width: int) -> None:
    lines = laid(width)
    assert max(map(len, lines)) <= width
    assert "1,234" in lines[2]


def test_a_table_without_rows() -> None:
    assert terminal_table(("a", "b"), [], words=()) == "a  b\n-  -"


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert "\x1b" not in terminal_table(("a",), [("\x1b[2J",)], words=("a",))
    assert "\x1b" not in paragraph("\x1b[2J")


def test_paragraphs_are_no_wider_than_is_easy_to_read() -> None:
    words = "word " * 100
    assert max(map(len, paragraph(words, 300).splitlines())) <= 100
    assert max(map(len, paragraph(words, 50, indent="  ").splitlines())) <= 50
    assert paragraph("one two", 5, indent="> ") == "> one\n>   two"


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert terminal_width() is None
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setitem(os.environ, "COLUMNS", "72")
    assert terminal_width() == 72
