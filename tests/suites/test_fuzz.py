"""Whatever stands in a suite file, it is read or refused with an error of ours."""

import random
import re

import pytest

from radialbench.errors import SuiteError
from radialbench.suites.plan import plan
from radialbench.suites.read import LIBRARY, parse_suite, suite_names

DOCUMENTS = 100
SEEDS = range(10)

VALUES = (
    *("0", "-1", "1.5", "1e400", "-0.0", ".inf", ".nan", "null", "true", "~", "''", "[]", "{}"),
    *("[[]]", "{a: b}", "2147483647", "99999999999999999999", "0x10", "1_000", "2024-01-01"),
    *("!!int x", "!!python/none", "&a b", "*a", "<<: *a", "'", '"', "|", ">", "%", "@", "`"),
    *("\x00", "\u2028", "\ud7ff", "\ufeff", "\t", "...", "---", "? x", ": ", "- ", "#"),
    *("radial", "cpu", "compile", "name", "masks", "1280x720x81", "999999x999999x999999"),
    *("__import__('os')", "../../etc/passwd", "/dev/zero", "radial.yaml", "x" * 5000),
)


def mutated(text: str, dice: random.Random) -> str:
    """Change a text in one to four places."""
    for _ in range(dice.randint(1, 4)):
        text = dice.choice((_characters, _word, _word, _lines, _indent))(text, dice)
    return text


def _characters(text: str, dice: random.Random) -> str:
    start = dice.randrange(len(text) + 1)
    stop = min(len(text), start + dice.choice((0, 1, 1, 5, 40)))
    return text[:start] + dice.choice((*VALUES, chr(dice.randrange(0xD800)), "")) + text[stop:]


def _word(text: str, dice: random.Random) -> str:
    words = list(re.finditer(r"[\w.:-]+", text))
    if not words:
        return text
    word = dice.choice(words)
    other = dice.choice((*VALUES, dice.choice(words)[0], word[0][:-1], word[0] * 2))
    return text[: word.start()] + other + text[word.end() :]


def _lines(text: str, dice: random.Random) -> str:
    lines = text.splitlines() or [""]
    one, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    match dice.randrange(4):
        case 0:
            del lines[one]
        case 1:
            lines.insert(one, lines[other])
        case 2:
            lines[one], lines[other] = lines[other], lines[one]
        case _:
            lines[one:other] *= 2
    return "\n".join(lines)


def _indent(text: str, dice: random.Random) -> str:
    lines = text.splitlines() or [""]
    place = dice.randrange(len(lines))
    lines[place] = dice.choice((" ", "  ", "", "- ")) + lines[place].lstrip(
        dice.choice((" ", " -"))
    )
    return "\n".join(lines)


@pytest.mark.parametrize("seed", SEEDS)
def test_mutations_of_shipped_suites(seed: int) -> None:
    dice = random.Random(seed)
    texts = [(LIBRARY / f"{name}.yaml").read_text(encoding="utf-8") for name in suite_names()]
    texts.append("extends: mochi\ninclude: [hunyuan, peers]\nprotocol: {warmups: 2}\n")
    refused = 0
    for _ in range(DOCUMENTS):
        text = mutated(dice.choice(texts), dice)
        try:
            plan(parse_suite(text))
        except SuiteError as error:
            refused += 1
            assert str(error).strip()
    assert DOCUMENTS / 3 < refused < DOCUMENTS
