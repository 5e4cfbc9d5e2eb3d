"""Nothing that anybody writes may crash the parsers or keep them busy."""

import string
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench import TokenGrid, compile_mask, parse_mask
from radialbench.errors import RadialBenchError
from radialbench.maskgen.document import DocumentError, parse_document
from radialbench.maskgen.language.expressions import BUILT_IN, FUNCTIONS
from radialbench.maskgen.language.parser import parse
from radialbench.maskgen.language.schema import read_mask
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import FOLDER, load_mask
from tests.maskgen.random_masks import GIVEN, Maker

CALLS = 5_000_000
"""Calls and returns that anything may take, about a second of work: a count is the same on every
machine. The most that a text here takes is a third of it."""

ROUNDS = 20
TINY = TokenGrid(3, 2, 5, text_tokens=3, text_valid=2)
SEEDS = st.integers(0, 2**63)

PYTHON = (
    "lambda x: x",
    "__import__('os').system('true')",
    "[x for x in qt]",
    "(x := 1)",
    "f'{qt}'",
    "qt.__class__",
    "qt[0]",
    "max(*qt)",
    "max(qt, key=abs)",
    "1 if qt else 2",
    "yield",
    "await qt",
    "{}",
    "...",
    "'text'",
    "b'bytes'",
    "1j",
    "None",
)
OPERATORS = "+ - * / // % ** < <= > >= == != ( ) , . : ; [ ] { } = # @ & | ~ ^ << -> := $ ?"
KEYWORDS = "and or not in is if else for lambda true false None import def class await async"
NUMBERS = ("0", "1", "2", "0.5", "1e308", "1e999", "-1", "9" * 400, "0xffff", "1_000", "08", "1e")
ODD = ("δ", "ﬁ", "١", "\u200b", "\x00", "\ud800", "\ufeff", "\n", "\t", "\u2028", "🎥", "\\", "'")
WORDS = (*BUILT_IN, *FUNCTIONS, *OPERATORS.split(), *KEYWORDS.split(), *NUMBERS, *ODD, *PYTHON)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    10**9,
    2**63,
    10**400,
    0.5,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "true",
    "qt",
    "dt <= 1",
    "block",
    "raster",
    "tiles",
    "int",
    "float",
    "bool",
    "any",
    "all",
    "centre",
    ">1/2",
    ">=0/0",
    "radial",
    "../radial",
    "\x00",
    "\ud800",
    "x" * 20_000,
    [],
    {},
    b"bytes",
    (1, 2, 3),
    {1, 2},
    object(),
)
MASK_KEYS = "name paper about order params presets let mask text empty_rows"
NODE_KEYS = "any all not rounded table use tiles block per keep overhang of columns rows"
PARAM_KEYS = "type default value min above max help"
KEYS = (
    *f"{MASK_KEYS} {NODE_KEYS} {PARAM_KEYS}".split(),
    *("x", "reach", "", "true", "a b", "ﬁ", "__class__"),
)


@contextmanager
def quick(what: object) -> Iterator[None]:
    """The work may raise what is meant for people, and nothing else; and not take long."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += 1

    former = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    except RadialBenchError as error:
        assert str(error).strip()
    except Exception as error:
        pytest.fail(f"{type(error).__name__}: {error} from {str(what)[:2000]!r}")
    finally:
        sys.setprofile(former)
    assert calls < CALLS, f"{calls:,} calls and returns: {str(what)[:2000]!r}"


def use(spec: MaskSpec) -> None:
    """What is done with a mask that could be read."""
    assert parse_mask(spec.to_mapping()) == spec
    compile_mask(spec, TINY, 8, 16)


class Fuzzer(Maker):
    """Texts and documents that are nearly right, and some that are far from it."""

    def garbled(self, text: str, words: tuple[str, ...]) -> str:
        """A text with a few places cut, doubled, swapped or replaced."""
        for _ in range(self.random.randint(1, 4)):
            at, to = sorted(self.random.randint(0, len(text)) for _ in range(2))
            to = min(to, at + self.random.choice((1, 3, 10, 200)))
            match self.random.randint(0, 6):
                case 0:
                    text = text[:at] + text[to:]
                case 1:
                    text = text[:at] + self.pick(words) + text[to:]
                case 2:
                    text = text[:to] + text[at:]
                case 3:
                    text = text[:at] + text[at:to][::-1] + text[to:]
                case 4:
                    text = f"{text[:at]} {self.pick(words)} {text[at:]}"
                case 5:
                    text = text[:at] + chr(self.random.randint(0, 0x2FF)) + text[at:]
                case 6:
                    times = self.pick((2, 2, 5, 60, 3_000))
                    text = (text[:at] + text[at:to] * times + text[to:])[:70_000]
        return text

    def expression(self) -> str:
        """A text that may be an expression."""
        kind = self.random.random()
        if kind < 0.2:
            return " ".join(self.pick(WORDS) for _ in range(self.random.randint(1, 12)))
        if kind < 0.3:
            return "".join(self.pick(string.printable) for _ in range(self.random.randint(0, 40)))
        if kind < 0.35:
            return self.extreme()
        text = str(self.truth(self.random.randint(0, 3)))
        return text if kind < 0.55 else self.garbled(text, WORDS)

    def extreme(self) -> str:
        """A text that is long or deep."""
        times = self.pick((10, 70, 300, 900, 5_000))
        around, between = self.pick(
            (
                (("(", ")"), "dt"),
                (("-", ""), "dt"),
                (("not ", ""), "true"),
                (("abs(", ")"), "dt"),
                (("max(1, ", ")"), "dt"),
                (("2 ** ", ""), "dt"),
                (("dt + ", ""), "1"),
                (("dt < ", ""), "1"),
                (("true and ", ""), "true"),
                (("dt == 1 or ", ""), "true"),
                (("[", "]"), "1"),
                (("", ".x"), "dt"),
                (("", "()"), "dt"),
                (("9", ""), ""),
                ((" ", ""), "true"),
                (("f(", ""), ""),
                (("lambda: ", ""), "1"),
                (("1 if dt else ", ""), "1"),
            )
        )
        return around[0] * times + between + around[1] * times

    def value(self, depth: int) -> Any:
        """Something that may stand in a document."""
        kind = self.random.random()
        if kind < 0.25:
            return self.expression()[:9_000]
        if depth <= 0 or kind < 0.5:
            return self.pick(VALUES)
        if kind < 0.75:
            return {
                self.pick(KEYS): self.value(depth - 1) for _ in range(self.random.randint(0, 4))
            }
        return [self.value(depth - 1) for _ in range(self.random.randint(0, 4))]

    def changed(self, value: Any, chance: float) -> Any:
        """A document with some of its entries replaced, dropped or renamed."""
        if self.random.random() < chance:
            return self.value(2)
        if isinstance(value, dict):
            kept = {
                (self.pick(KEYS) if self.random.random() < chance / 2 else key): entry
                for key, entry in value.items()
                if self.random.random() > chance / 2
            }
            return {key: self.changed(entry, chance) for key, entry in kept.items()}
        if isinstance(value, list):
            return [self.changed(entry, chance) for entry in value]
        if isinstance(value, str) and self.random.random() < chance:
            return self.garbled(value, WORDS)[:12_000]
        return value


@cache
def library_texts() -> list[str]:
    return [file.read_text() for file in sorted(FOLDER.glob("*.yaml"))]


@pytest.mark.slow
@settings(GIVEN, max_examples=ROUNDS)
@given(seed=SEEDS)
def test_expressions(seed: int) -> None:
    fuzzer = Fuzzer(seed)
    read: Counter[bool] = Counter()
    for _ in range(300):
        text = fuzzer.expression()
        with quick(text):
            tree = parse(text)
            assert parse(str(tree)) is tree
            read[True] += 1
            use(parse_mask({"name": "fuzz", "mask": text, "empty_rows": "keep"}))
    assert 30 < read[True] < 270, "neither all refused nor all accepted"


@pytest.mark.slow
@settings(GIVEN, max_examples=ROUNDS)
@given(seed=SEEDS)
def test_documents_as_text(seed: int) -> None:
    fuzzer = Fuzzer(seed)
    for _ in range(60):
        text = fuzzer.garbled(
            fuzzer.pick(library_texts()), (*WORDS, *KEYS, "\n  ", "&a ", "*a", "!!")
        )
        with quick(text):
            try:
                document = parse_document(text, "fuzz.yaml")
            except DocumentError as error:
                assert str(error).startswith("fuzz.yaml")
                continue
            spec = read_mask(document, load_mask)
            assert parse_mask(yaml.safe_load(spec.to_yaml())) == spec
            use(spec)


@pytest.mark.slow
@settings(GIVEN, max_examples=ROUNDS)
@given(seed=SEEDS)
def test_documents_as_mappings(seed: int) -> None:
    fuzzer = Fuzzer(seed)
    documents = [yaml.safe_load(text) for text in library_texts()]
    for _ in range(140):
        if fuzzer.random.random() < 0.2:
            mapping = {**fuzzer.mask(2), fuzzer.pick(KEYS): fuzzer.value(4)}
        else:
            mapping = fuzzer.changed(fuzzer.pick(documents), fuzzer.pick((0.005, 0.02, 0.1)))
        with quick(mapping):
            use(parse_mask(mapping))
