import pytest

from radialbench.errors import SpecError
from radialbench.maskgen.language.parser import MAX_CHARACTERS, parse


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a < b <= c", "a < b and b <= c"),
        ("x and a < b < c", "x and (a < b and b < c)"),
        ("clamp(a, 1, 2)", "min(max(a, 1), 2)"),
        ("min(a, b, c)", "min(min(a, b), c)"),
        ("--5", "5"),
        ("- -a", "--a"),
        ("True or False", "true or false"),
        ("a\n  <\n\tb", "a < b"),
        ("1_000", "1000"),
        ("0x10", "16"),
        ("1e3", "1000"),
        ("((((a))))", "a"),
        ("not not a", "not not a"),
        ("ﬁ", "fi"),
        ("Δt + 1", "Δt + 1"),
    ],
)
def test_reads(text: str, same: str) -> None:
    assert str(parse(text)) == same
    assert parse(same) is parse(text)


WHITELIST = [
    ("__import__('os')", "this constant is not part of the language, at character 12"),
    ("__import__(1)", "unknown function '__import__'; known: abs, bit_length"),
    ("qt.__class__", "attribute access is not part of the language, at character 1"),
    ("(1).real", "attribute access"),
    ("qt[0]", "indexing"),
    ("lambda: 1", "a lambda"),
    ("[x for x in qt]", "a comprehension"),
    ("{x for x in qt}", "a comprehension"),
    ("{x: x for x in qt}", "a comprehension"),
    ("max(x for x in qt)", "a comprehension is not part of the language, at character 4"),
    ("1 if qt else 2", "`if … else` (use where(condition, then, otherwise))"),
    ("(x := 1)", "an assignment"),
    ("max(*qt)", "a starred argument"),
    ("max(qt, key=1)", "a call with keywords"),
    ("max(**qt)", "a call with keywords"),
    ("max(1)(2)", "a call with keywords or of something other than a function's name"),
    ("qt.max()", "a call with keywords or of something other than a function's name"),
    ("'text'", "this constant"),
    ("b'text'", "this constant"),
    ("f'{qt}'", "this constant"),
    ("None", "this constant"),
    ("...", "this constant"),
    ("1j", "this constant"),
    ("[1]", "this list"),
    ("(1, 2)", "this tuple"),
    ("{1}", "this set"),
    ("{1: 2}", "this dict"),
    ("qt @ 2", "this operator"),
    ("qt << 2", "this operator"),
    ("+qt", "this operator"),
    ("qt in 2", "`in` and `is`"),
    ("qt is 2", "`in` and `is`"),
    ("qt not in 2", "`in` and `is`"),
    ("qt; qt", "invalid syntax, at character 3"),
    ("import os", "invalid syntax"),
    ("(yield)", "this yield is not part of the language"),
    ("await qt", "this await is not part of the language"),
    ("qt +", "invalid syntax"),
    ("(qt", "'(' was never closed"),
    ("", "an expression is empty"),
    (" \n ", "an expression is empty"),
    ("qt\x00", "null bytes"),
    ("\ud800", "not an expression"),
    ("qt # comment", "an expression has no comments, at character 4"),
    ("dt < 1  # near\n or ds < 1", "an expression has no comments, at character 8"),
    ("9" * 5_000, "a number beyond ±2^53"),
    ("0x" + "f" * 5_000, "a number beyond ±2^53"),
    ("1e999", "a number beyond ±2^53"),
    ("-9007199254740993", "a number beyond ±2^53"),
    ("minn(1, 2)", "unknown function 'minn'; did you mean 'min'?, at character 1"),
    ("max(1, abs(1, 2))", "abs() takes 1 argument, got 2, at character 8"),
    ("max(1)", "max() takes at least 2 arguments, got 1, at character 1"),
]


@pytest.mark.parametrize(("text", "message"), WHITELIST, ids=[t[:30] for t, _ in WHITELIST])
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        parse(text)
    assert message in str(error.value)


HABITS = [
    ("dt =< 1", "=<", "`<=`", 4),
    ("dt => 1", "=>", "`>=`", 4),
    ("dt <= 1 && ds < 3", "&&", "`and`", 9),
    ("dt <= 1 & ds < 3", "&", "`and`", 9),
    ("(dt <= 1) & (ds < 3)", "&", "`and`", 11),
    ("dt <= 1 || ds < 3", "||", "`or`", 9),
    ("dt <= 1 | ds < 3", "|", "`or`", 9),
    ("(δ != 1) | (ds < 3)", "|", "`or`", 10),
    ("!(dt <= 1)", "!", "`not`", 1),
    ("dt != 1 and !ktext", "!", "`not`", 13),
    ("~(dt <= 1)", "~", "`not`", 1),
    ("dt <> 1", "<>", "`!=`", 4),
    ("dt = 1", "=", "`==`", 4),
    ("dt <= 1 and ds = 1", "=", "`==`", 16),
    ("dt === 1", "===", "`==`", 4),
    ("dt !== 1", "!==", "`!=`", 4),
    ("2 ^ dt < 8", "^", "`**` for a power, `!=` for an exclusive or", 3),
    ("dt < 1 ? ds < 3 : ds < 4", "?", "`where(condition, then, otherwise)`", 8),
]


@pytest.mark.parametrize(("text", "operator", "instead", "place"), HABITS)
def test_habits_of_other_languages(text: str, operator: str, instead: str, place: int) -> None:
    with pytest.raises(SpecError) as error:
        parse(text)
    assert str(error.value).startswith(
        f"`{operator}` is not part of the language: write {instead}, at character {place}:\n"
    )


def test_other_mistakes_keep_their_own_words() -> None:
    for text, message in (
        ("dt >= 1 and dt == 2 or or", "invalid syntax, at character 24"),
        ("(dt <= 1", "'(' was never closed"),
        ("(x := 1) and", "unfinished"),
    ):
        with pytest.raises(SpecError) as error:
            parse(text)
        assert message in str(error.value)


def test_a_message_points_at_the_place() -> None:
    with pytest.raises(SpecError) as error:
        parse("dt <= 1 or ds < 3 or ds < 4 and qt < kt.real or ds // 7 == 3 or qi > 12")
    assert str(error.value) == (
        "attribute access is not part of the language, at character 38:\n"
        "   or ds < 3 or ds < 4 and qt < kt.real or ds // 7 == 3 or qi \n"
        "                                ^"
    )
    with pytest.raises(SpecError) as error:
        parse("δδδ < 1 or δs.real")
    assert str(error.value) == (
        "attribute access is not part of the language, at character 12:\n"
        "  δδδ < 1 or δs.real\n"
        "             ^"
    )


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5_000,
        "(" * 5_000 + ")" * 5_000,
        "-" * 9_000 + "1",
        "not " * 2_400 + "a",
        "a**" * 3_000 + "a",
        "1" + "+1" * 4_000,
        "abs(" * 100 + "a" + ")" * 100,
        "lambda: " * 1_200 + "1",
        "1 if a else " * 800 + "1",
        "a" + ".b" * 4_000,
        "a" + "()" * 4_000,
        "[" * 9_000,
        "f'{" * 3_000,
    ],
    ids=lambda text: text[:12],
)
def test_deep_nesting(text: str) -> None:
    with pytest.raises(SpecError):
        parse(text)


def test_limits_say_what_to_do() -> None:
    with pytest.raises(SpecError) as error:
        parse("a" * (MAX_CHARACTERS + 1))
    assert str(error.value) == (
        "an expression has at most 10,000 characters, got 10,001; name its parts under `let`"
    )
    with pytest.raises(SpecError) as error:
        parse("1" + "+1" * 100)
    assert str(error.value).startswith(
        "nested more than 60 deep; name parts under `let`, at character 1:"
    )
    assert parse("1" + "+1" * 60).op == "+"
    assert parse(" or ".join(["dt < 1"] * 900)).op == "or"


def test_a_megabyte_is_refused_at_once() -> None:
    with pytest.raises(SpecError, match="got 1,000,000"):
        parse("a" * 1_000_000)
