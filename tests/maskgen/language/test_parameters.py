from typing import Any

import pytest

from radialbench.errors import SpecError
from radialbench.maskgen.identity import value_text
from radialbench.maskgen.language.tree import Param


def param(kind: str = "float", default: Any = 1, **fields: Any) -> Param:
    return Param(name="decay", kind=kind, default=default, value=default, **fields)


@pytest.mark.parametrize(
    ("fields", "bounds"),
    [
        ({}, ""),
        ({"least": 0}, "[0, inf)"),
        ({"above": 0}, "(0, inf)"),
        ({"most": 4}, "(-inf, 4]"),
        ({"above": 0, "most": 4}, "(0, 4]"),
        ({"least": -0.5, "most": 1_000_000}, "[-0.5, 1e+06]"),
    ],
)
def test_bounds(fields: dict[str, Any], bounds: str) -> None:
    assert param(**fields).bounds == bounds


@pytest.mark.parametrize(
    ("kind", "fields", "value", "message"),
    [
        ("float", {"above": 0, "most": 4}, 0, "decay must be in (0, 4], got 0"),
        ("float", {"above": 0, "most": 4}, 4.5, "decay must be in (0, 4], got 4.5"),
        ("float", {"least": 0, "help": "width"}, -1, "decay must be in [0, inf), got -1 (width)"),
        ("float", {}, "1", "decay must be a number, got '1'"),
        ("float", {}, True, "decay must be a number, got 'True'"),
        ("float", {}, None, "decay must be a number, got 'None'"),
        ("float", {}, float("nan"), "decay must be a number, got 'nan'"),
        ("float", {}, float("inf"), "decay must be in ±2^53, got a number beyond ±2^53"),
        ("float", {}, 10**400, "decay must be in ±2^53, got a number beyond ±2^53"),
        ("float", {"most": 4}, 2**60, "decay must be in (-inf, 4], got a number beyond ±2^53"),
        ("bool", {}, 2**60, "decay must be true or false, got a number beyond ±2^53"),
        ("int", {}, 1.0, "decay must be a whole number, got '1.0'"),
        ("int", {}, False, "decay must be a whole number, got 'False'"),
        ("int", {"least": 1}, 0, "decay must be in [1, inf), got 0"),
        ("int", {}, 2**53 + 1, "decay must be in ±2^53, got a number beyond ±2^53"),
        ("bool", {}, 1, "decay must be true or false, got '1'"),
        ("bool", {}, "true", "decay must be true or false, got 'true'"),
        ("float", {}, "x" * 100, f"decay must be a number, got '{'x' * 40}'"),
    ],
)
def test_values_are_checked(kind: str, fields: dict[str, Any], value: Any, message: str) -> None:
    good = param(kind, default=kind == "bool" or 1, **fields)
    with pytest.raises(SpecError) as error:
        good.check(value)
    assert str(error.value) == message


def test_a_number_too_long_to_write() -> None:
    with pytest.raises(SpecError, match="got a number beyond"):
        param("int").check(10**5000)


def test_values_get_the_parameters_type() -> None:
    assert repr(param("float").check(2)) == "2.0"
    assert repr(param("int").check(2)) == "2"
    assert (repr(param("float").value), repr(param("float").default)) == ("1.0", "1.0")
    assert param("bool", default=True).check(False) is False


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("text", {}, "the type of decay is one of int, float, bool, got 'text'"),
        ("float", {"least": 2}, "decay must be in [2, inf), got 1"),
        ("float", {"least": float("nan")}, "min must be a number in ±2^53"),
        ("float", {"above": float("-inf")}, "above must be a number in ±2^53"),
        ("float", {"most": 10**400}, "max must be a number in ±2^53"),
    ],
)
def test_parameters_are_checked(kind: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        param(kind, **fields)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("float", 0.5, "0.5"),
        ("float", 2.0, "2"),
        ("float", 0.1234567890123, "0.1234567890123"),
        ("int", 4_194_304, "4194304"),
        ("int", 1_000_001, "1000001"),
        ("bool", True, "true"),
    ],
)
def test_text_of_a_value(kind: str, value: Any, text: str) -> None:
    """Two values never have one text: labels are made from it."""
    assert value_text(param(kind, default=value).value) == text
