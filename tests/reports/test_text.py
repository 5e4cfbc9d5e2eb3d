"""Numbers, stored text and tables as they are written, for a terminal and as Markdown."""

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.reports.text import (
    escape,
    format_mib,
    format_percent,
    format_range,
    format_ratio,
    format_sig3,
    join_and,
    paragraph,
    printable,
    terminal_table,
    terminal_width,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.028, "0.0280"),
        (1.5e-7, "0.000000150"),
        (9.999, "10.00"),
        (0.00123456, "0.00123"),
        (0.2, "0.200"),
        (1.234, "1.23"),
        (78.94, "78.9"),
        (123.4, "123"),
        (12345.6, "12,346"),
        (-2.5, "-2.50"),
    ],
)
def test_three_figures(value: float, text: str) -> None:
    assert format_sig3(value) == text


@given(st.floats(1e-4, 1e12))
def test_three_figures_are_within_half_a_percent(value: float) -> None:
    assert abs(float(format_sig3(value).replace(",", "")) - value) <= 0.0051 * value


def test_units() -> None:
    assert format_percent(0.0936) == "9.4%"
    assert format_ratio(0.5) == "0.50×"
    assert format_ratio(12.34) == "12.3×"
    assert format_mib(3 << 19) == "1.50"
    assert format_range([9, 3, 5]) == "3–9"
    assert format_range([1500]) == "1,500"


def test_lists_read_as_sentences() -> None:
    assert [join_and(list("abc"[:count])) for count in range(4)] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


@given(st.text())
def test_plain_text_has_no_control_characters(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


HEADINGS = ("case", "ms", "IQR", "note")
BODY = [("radial(decay=0.5)/3x30x52", "1,234", "2%", "a"), ("dense", "5", "10%", "")]


def laid(width: int | None = None, **options: tuple[str, ...]) -> list[str]:
    return terminal_table(
        HEADINGS, BODY, text_columns=("case", "note"), width=width, **options
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
    assert terminal_table(("a", "b"), [], text_columns=()) == "a  b\n-  -"


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert "\x1b" not in terminal_table(("a",), [("\x1b[2J",)], text_columns=("a",))
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


def test_markdown_names_nobody_and_no_issue() -> None:
    assert escape("@name #1 GH-7 a@b") == "@\u2060name #\u20601 GH-\u20607 a@\u2060b"
    assert escape("@ # C#") == "@ # C#"
