import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.reports.numbers import listed, mib, plain, share, span, three, times


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
    assert three(value) == text


@given(st.floats(1e-4, 1e12))
def test_three_figures_are_within_half_a_percent(value: float) -> None:
    assert abs(float(three(value).replace(",", "")) - value) <= 0.0051 * value


def test_units() -> None:
    assert share(0.0936) == "9.4%"
    assert times(0.5) == "0.50×"
    assert times(12.34) == "12.3×"
    assert mib(3 << 19) == "1.50"
    assert span([9, 3, 5]) == "3–9"
    assert span([1500]) == "1,500"


def test_lists_read_as_sentences() -> None:
    assert [listed(list("abc"[:count])) for count in range(4)] == ["", "a", "a and b", "a, b and c"]


@given(st.text())
def test_plain_text_has_no_control_characters(text: str) -> None:
    assert plain(text).isprintable()
    assert len(plain(text)) == len(text)
