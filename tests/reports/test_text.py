import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.reports.text import (
    format_mib,
    format_percent,
    format_range,
    format_ratio,
    format_sig3,
    join_and,
    printable,
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
