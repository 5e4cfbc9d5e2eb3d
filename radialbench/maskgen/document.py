"""YAML files as plain values: safe reading and checks by a schema; errors have line and column."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails

from radialbench.errors import RadialBenchError, unknown
from radialbench.reading import check_regular

MAX_CHARACTERS = 64_000
MAX_DEPTH = 30
MAX_BRACKETS = 100
MAX_ENTRIES = 10_000
MAX_INTEGER = 2**63

MAX_SHOWN = 5
"""Most errors of a file that are shown; the rest is counted."""

Path = tuple[str | int, ...]
"""Keys and positions from the top of a document down to an entry."""

Model = TypeVar("Model", bound=BaseModel)

_REASONS = {
    "missing": "missing",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "string_pattern_mismatch": "must be letters, digits and _ . , : = + - without spaces",
}
"""Reasons by pydantic's type of error."""


_UNCLEAR = re.compile(
    r"[-+]?(0[0-9_]+(\.[0-9_]*)?([eE][-+]?[0-9]+)?|[0-9_]+(:[0-9]+)+(\.[0-9_]*)?)"
)
"""Numbers with leading zeros, which may be octal, and with colons, which are in base 60."""

_EXPONENT = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+")
"""Numbers with an exponent: without a dot, or without a sign, YAML takes them for text."""


class DocumentError(Exception):
    """A document that cannot be read; the message names the source, line and column."""


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed YAML document.

    Attributes:
        source: File name or description, for messages.
        value: Mappings, lists, strings, numbers, truth values and None.
        marks: Line and column (from 1) of each entry.
    """

    source: str
    value: Any
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def place(self, path: Path) -> str:
        """Return the place of an entry or of its nearest parent: `file.yaml:3:7`."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.marks:
                line, column = self.marks[path[:length]]
                return f"{self.source}:{line}:{column}"
        return self.source

    def message(self, path: Path, reason: str, *, top: str = "", at: Path | None = None) -> str:
        """Format an error as `file.yaml:3:7: cases[0].masks: the reason`.

        Args:
            path: The wrong entry.
            reason: Why it is wrong.
            top: Key to show for an error of the whole document.
            at: Entry of the line and column to show; by default the wrong one.
        """
        key = _key(path) or top
        return f"{self.place(at or path)}: {key}{': ' if key else ''}{reason}"


def _key(path: Path) -> str:
    """Write the way to an entry as `cases[0].masks`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")


def read_document(path: FilePath) -> Document:
    """Read a YAML file.

    Raises:
        DocumentError: The file cannot be read or is not YAML of plain values.
    """
    try:
        check_regular(path)
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise DocumentError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DocumentError(f"cannot read {path}: not a text file in UTF-8") from None
    except ValueError as error:  # A path with a null character.
        raise DocumentError(f"cannot read {str(path)!r}: {error}") from None
    return parse_document(text, str(path))


def parse_document(text: str, source: str) -> Document:
    """Read YAML text: no aliases, tags, repeated keys or very deep nesting.

    Numbers are those that people mean: `5e-1` is one, and `010` (8 to YAML) and `1:30` (90) are
    refused.

    Raises:
        DocumentError: The text is too long or not YAML of plain values.
    """
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(f"{source}: longer than {MAX_CHARACTERS:,} characters")
    loader = None
    try:
        _check_brackets(text)
        loader = _Loader(text)
        node = loader.get_single_node()
        reader = _Values(loader)
        value = None if node is None else reader.read(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        reason = error.problem or error.context
        reason = reason if isinstance(error, _Refused) else f"not YAML: {reason}"
        raise DocumentError(f"{place}: {reason}") from None
    except yaml.YAMLError as error:
        raise DocumentError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
    finally:
        if loader is not None:
            loader.dispose()
    return Document(source, value, reader.marks)


class Strict(BaseModel):
    """A mapping of a file: nothing is converted, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in value:
                if key not in known:
                    raise _UnknownKey(key, known)
        return value


class Or:
    """Adds a short form to the JSON Schema of a field."""

    def __init__(self, short: Callable[[JsonSchemaValue], JsonSchemaValue]) -> None:
        self.short = short

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        long = handler(schema)
        return {"anyOf": [self.short(long), long]}


def named(value: Any) -> Any:
    """Return a name as a mapping that holds it; leave other values."""
    return {"name": value} if isinstance(value, str) else value


@contextmanager
def located() -> Iterator[None]:
    """Turn radialbench errors into validation errors, so that pydantic adds their place."""
    try:
        yield
    except RadialBenchError as error:
        raise ValueError(str(error)) from None


def check_document(
    document: Document,
    model: type[Model],
    *,
    top: str = "",
    context: Mapping[str, Any] | None = None,
) -> Model:
    """Check a document by a schema.

    Args:
        document: The document.
        model: The schema; the tags of its unions are in brackets, so that they are no keys.
        top: Key to show for an error of the whole document.
        context: Context of the schema's validators.

    Raises:
        DocumentError: The document does not fit; a line for each error, at most `MAX_SHOWN`.
    """
    try:
        return model.model_validate(document.value, context=dict(context or {}))
    except ValidationError as error:
        details = error.errors(include_url=False)
    lines = [_message(document, detail, top) for detail in details[:MAX_SHOWN]]
    if len(details) > MAX_SHOWN:
        lines.append(f"… and {len(details) - MAX_SHOWN} more")
    raise DocumentError("\n".join(lines))


def brief(value: object) -> str:
    """Format a value for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _message(document: Document, detail: ErrorDetails, top: str) -> str:
    path = tuple(step for step in detail["loc"] if not re.fullmatch(r"\(\w+\)", str(step)))
    kind, given = detail["type"], detail["input"]
    at = path
    if kind == "value_error":
        error = detail["ctx"]["error"]
        reason = str(error)
        if isinstance(error, _UnknownKey):
            at = (*path, error.key)
    elif kind == "too_long":
        reason = f"at most {detail['ctx']['max_length']:,} entries, got more"
    else:
        reason = _REASONS.get(kind) or detail["msg"].replace("Input should", "must")
        if kind not in ("missing", "too_short", "string_too_short"):
            reason += f", got {brief(given)}"
        if kind == "literal_error":
            known = re.findall(r"'([^']+)'", detail["ctx"]["expected"])
            near = get_close_matches(str(given)[:80], known, n=1)
            reason += f"; did you mean {near[0]!r}?" if near else ""
    return document.message(path, reason, top=top, at=at)


class _UnknownKey(ValueError):
    """A mapping with a key that it does not have."""

    def __init__(self, key: str, known: list[str]) -> None:
        super().__init__(unknown("key", key, known))
        self.key = key


class _Refused(yaml.MarkedYAMLError):
    """YAML beyond plain values."""

    def __init__(self, reason: str, mark: yaml.Mark | None) -> None:
        super().__init__(problem=reason, problem_mark=mark)


def _check_brackets(text: str) -> None:
    """Refuse many open brackets: YAML's scanner takes a second for them."""
    depth = 0
    for at, bracket in enumerate(text):
        if bracket in "[{":
            depth += 1
            if depth > MAX_BRACKETS:
                line = text.count("\n", 0, at)
                mark = yaml.Mark("", at, line, at - text.rfind("\n", 0, at) - 1, None, 0)
                raise _Refused(f"more than {MAX_BRACKETS} brackets are open", mark)
        elif bracket in "]}":
            depth = max(0, depth - 1)


class _Loader(yaml.SafeLoader):
    """Refuses everything but plain values before anything is built from it."""

    depth = 0
    entries = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _Refused(
                "anchors and aliases are not supported; write the value out", event.start_mark
            )
        if event.tag is not None:
            raise _Refused("tags are not supported; write the value plainly", event.start_mark)
        if self.depth > MAX_DEPTH:
            raise _Refused(f"nested more than {MAX_DEPTH} deep", event.start_mark)
        if self.entries >= MAX_ENTRIES:
            raise _Refused(f"more than {MAX_ENTRIES:,} entries", event.start_mark)
        self.entries += 1
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Values:
    """Turns YAML nodes into plain values and records their places."""

    def __init__(self, loader: _Loader) -> None:
        self.loader = loader
        self.marks: dict[Path, tuple[int, int]] = {}

    def read(self, node: yaml.Node, path: Path) -> Any:
        self.mark(node, path)
        if isinstance(node, yaml.MappingNode):
            return dict(self.entries(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*path, place)) for place, child in enumerate(node.value)]
        return self.scalar(node, path)

    def entries(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        keys: set[str] = set()
        for key_node, child in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refused("a key must be a word", key_node.start_mark)
            key = str(key_node.value)
            if key in keys:
                raise _Refused(f"key {key[:80]!r} appears twice", key_node.start_mark)
            keys.add(key)
            value = self.read(child, (*path, key))
            self.mark(key_node, (*path, key))
            yield key, value

    def mark(self, node: yaml.Node, path: Path) -> None:
        self.marks[path] = (node.start_mark.line + 1, node.start_mark.column + 1)

    def scalar(self, node: yaml.Node, path: Path) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.style is None:
            if _UNCLEAR.fullmatch(node.value):
                where = f"{_key(path)}: " if path else ""
                raise _Refused(
                    f"{where}{node.value[:40]} is another number to YAML than it says; write a "
                    f"number without leading zeros and colons, or text as '{node.value[:40]}'",
                    node.start_mark,
                )
            if _EXPONENT.fullmatch(node.value):
                return float(node.value.replace("_", ""))
        if node.tag.rpartition(":")[2] not in ("int", "float", "bool", "null"):
            return str(node.value)
        try:
            value = self.loader.construct_object(node)
        except (ValueError, OverflowError):
            raise _Refused(f"not a number: {node.value[:40]!r}", node.start_mark) from None
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise _Refused("a whole number beyond ±2^63", node.start_mark)
        return value
