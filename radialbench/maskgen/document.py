"""YAML as plain values, read safely, with the line and column of every entry."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

MAX_CHARACTERS = 64_000
MAX_DEPTH = 30

Path = tuple[str | int, ...]
"""Keys and positions from the top of a document down to an entry."""


class DocumentError(Exception):
    """A document that cannot be read; the message names the source, line and column."""


@dataclass(frozen=True)
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
        """Where an entry stands, or its nearest parent: `file.yaml:3:7`."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.marks:
                line, column = self.marks[path[:length]]
                return f"{self.source}:{line}:{column}"
        return self.source


def read_document(path: FilePath) -> Document:
    """Read a YAML file.

    Raises:
        DocumentError: The file cannot be read or is not YAML of plain values.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise DocumentError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DocumentError(f"cannot read {path}: not a text file in UTF-8") from None
    return parse_document(text, str(path))


def parse_document(text: str, source: str) -> Document:
    """Read YAML text: no aliases, tags, repeated keys or very deep nesting.

    Raises:
        DocumentError: The text is too long or not YAML of plain values.
    """
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(f"{source}: longer than {MAX_CHARACTERS:,} characters")
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        marks: dict[Path, tuple[int, int]] = {}
        reader = _Reader(loader, source, marks)
        value = None if node is None else reader.read(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise DocumentError(f"{place}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise DocumentError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
    except (RecursionError, ValueError, OverflowError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise DocumentError(f"{source}: {reason}") from None
    finally:
        if loader is not None:
            loader.dispose()
    return Document(source, value, marks)


class _Reader:
    """Turns YAML nodes into plain values and notes where they stand."""

    def __init__(
        self, loader: yaml.SafeLoader, source: str, marks: dict[Path, tuple[int, int]]
    ) -> None:
        self.loader = loader
        self.source = source
        self.marks = marks
        self.seen: set[int] = set()

    def read(self, node: yaml.Node, path: Path) -> Any:
        if id(node) in self.seen:
            raise self.refuse(node, "aliases are not supported; write the value out")
        self.seen.add(id(node))
        if len(path) > MAX_DEPTH:
            raise self.refuse(node, f"nested more than {MAX_DEPTH} deep")
        self.marks[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, yaml.MappingNode):
            return dict(self.entries(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*path, place)) for place, child in enumerate(node.value)]
        return self.scalar(node)

    def entries(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        keys: set[str] = set()
        for key_node, child in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.refuse(key_node, "a key must be a word")
            key = str(key_node.value)
            if key in keys:
                raise self.refuse(key_node, f"key {key!r} appears twice")
            keys.add(key)
            value = self.read(child, (*path, key))
            self.marks[(*path, key)] = (
                key_node.start_mark.line + 1,
                key_node.start_mark.column + 1,
            )
            yield key, value

    def scalar(self, node: yaml.Node) -> Any:
        try:
            value = self.loader.construct_object(node)
        except (ValueError, OverflowError) as error:
            raise self.refuse(node, str(error)) from None
        return value if isinstance(value, (str, int, float, type(None))) else str(node.value)

    def refuse(self, node: yaml.Node, reason: str) -> DocumentError:
        mark = node.start_mark
        return DocumentError(f"{self.source}:{mark.line + 1}:{mark.column + 1}: {reason}")
