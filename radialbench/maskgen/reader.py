"""YAML documents and plain mappings to MaskSpec."""

from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, NoReturn

import numpy as np

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.document import (
    MAX_DEPTH,
    MAX_INTEGER,
    Document,
    DocumentError,
    Path,
    read_document,
)
from radialbench.maskgen.expr import Expr
from radialbench.maskgen.params import Param
from radialbench.maskgen.parse import parse
from radialbench.maskgen.spec import DEFAULT_TEXT, MaskSpec, OrderRule, SpecErrorAt
from radialbench.maskgen.tree import (
    AllOf,
    AnyOf,
    Given,
    Keep,
    MaskNode,
    Not,
    Pairs,
    Rounded,
    Share,
    written_out,
)

KEYS = (
    "name",
    "paper",
    "about",
    "order",
    "params",
    "presets",
    "let",
    "mask",
    "text",
    "empty_rows",
)
PARAM_KEYS = ("type", "default", "value", "min", "above", "max", "help")
NODE_KEYS = ("any", "all", "not", "rounded", "table", "use")
MAX_PARTS = 200

Lookup = Callable[[str], MaskSpec]
"""Finds the mask that a `use` names."""


def parse_mask(mapping: Mapping[str, Any]) -> MaskSpec:
    """Read a mask from the mapping that its YAML document would hold.

    A `use` names a mask of the library.

    Raises:
        SpecError: The mapping is not a mask; the message names the key.
    """
    plain = _plain(mapping)
    title = plain.get("name") if isinstance(plain, dict) else None
    source = f"mask {title[:80]!r}" if isinstance(title, str) else "mask"
    return read_mask(Document(source, plain), _from_library)


def read_mask_file(path: FilePath) -> MaskSpec:
    """Read a mask from a YAML file; a `use` names a file beside it, or a mask of the library.

    Raises:
        SpecError: The file is not a mask; the message has line and column.
    """

    def beside(word: str) -> MaskSpec:
        _check_plain(word)
        other = path.parent / f"{word}.yaml"
        if not other.is_file():
            return _from_library(word)
        if other.resolve() == path.resolve():
            raise SpecError(f"{word!r} uses itself")
        if other.resolve().parent != path.parent.resolve():
            raise SpecError(f"{other} is a link to a file outside its folder")
        return _no_use(other)

    return read_mask(_document(path), beside)


def read_mask(document: Document, use: Lookup) -> MaskSpec:
    """Read a mask from a parsed document."""
    return _Reader(document, use).mask()


def _document(path: FilePath) -> Document:
    try:
        return read_document(path)
    except DocumentError as error:
        raise SpecError(str(error)) from None


def _from_library(word: str) -> MaskSpec:
    from radialbench.maskgen.library import load_mask

    _check_plain(word)
    return load_mask(word)


def _check_plain(word: str) -> None:
    # No folders, no suffixes: a mask reaches no file but those beside it.
    if not word.replace("_", "").isalnum():
        raise SpecError(f"a mask is used by its plain name, got {word[:40]!r}")


def _no_use(path: FilePath) -> MaskSpec:
    def refuse(word: str) -> NoReturn:
        raise SpecError(f"{path.name} is itself used and cannot use {word!r}")

    return read_mask(_document(path), refuse)


class _Reader:
    def __init__(self, document: Document, use: Lookup) -> None:
        self.document = document
        self.use = use

    def mask(self) -> MaskSpec:
        top = self.mapping(self.document.value, (), KEYS, required=("name", "mask"))
        try:
            return MaskSpec(
                name=self.text(top["name"], ("name",)),
                mask=self.node(top["mask"], ("mask",)),
                order=self.order(top.get("order", "raster")),
                params=self.params(top.get("params", {})),
                presets=self.presets(top.get("presets", {})),
                let=self.let(top.get("let", {})),
                text=self.expression(top["text"], ("text",)) if "text" in top else DEFAULT_TEXT,
                empty_rows=self.text(top.get("empty_rows", "error"), ("empty_rows",)),
                paper=self.text(top.get("paper", ""), ("paper",)),
                about=self.text(top.get("about", ""), ("about",)),
            )
        except SpecErrorAt as error:
            self.fail(str(error), error.path)
        except _Placed:
            raise
        except SpecError as error:
            self.fail(str(error), ())

    def node(self, value: Any, path: Path) -> MaskNode:
        if not isinstance(value, dict):
            return Pairs(self.expression(value, path))
        entries = self.mapping(value, path, NODE_KEYS)
        if len(entries) != 1:
            self.fail(f"a part has exactly one of {', '.join(NODE_KEYS)}", path)
        ((key, inner),) = entries.items()
        below = (*path, key)
        match key:
            case "any" | "all":
                items = enumerate(self.items(inner, below))
                parts = tuple(self.node(item, (*below, place)) for place, item in items)
                return AnyOf(parts) if key == "any" else AllOf(parts)
            case "not":
                return Not(self.node(inner, below))
            case "rounded":
                return self.rounded(inner, below)
            case "table":
                table = self.mapping(inner, below, ("name", "block"), required=("name", "block"))
                word = self.text(table["name"], (*below, "name"))
                return Given(word, self.expression(table["block"], (*below, "block")))
        return self.used(inner, below)

    def rounded(self, value: Any, path: Path) -> Rounded:
        keys = ("block", "per", "keep", "overhang", "of")
        entries = self.mapping(value, path, keys, required=("block", "keep", "of"))
        return Rounded(
            of=self.expression(entries["of"], (*path, "of")),
            block=self.expression(entries["block"], (*path, "block")),
            per=self.choice(
                entries.get("per", "sequence"), ("sequence", "frame_pair"), (*path, "per")
            ),
            keep=self.keep(entries["keep"], (*path, "keep")),
            overhang=self.choice(
                entries.get("overhang", "keep"), ("keep", "drop"), (*path, "overhang")
            ),
        )

    def keep(self, value: Any, path: Path) -> Keep:
        if not isinstance(value, dict):
            return Keep(self.choice(value, ("any", "all", "centre"), path))
        shares = self.mapping(value, path, ("columns", "rows"), required=("columns", "rows"))
        try:
            return Keep("share", Share.parse(shares["columns"]), Share.parse(shares["rows"]))
        except SpecError as error:
            self.fail(str(error), path)

    def used(self, value: Any, path: Path) -> MaskNode:
        """Write a used mask's rule out, with its parameters and parts filled in."""
        entries = {"name": value} if isinstance(value, str) else value
        entries = self.mapping(entries, path, ("name", "params"), required=("name",))
        try:
            spec = self.use(self.text(entries["name"], path))
            spec = spec.with_params(**self.scalars(entries.get("params", {}), path))
        except _Placed:
            raise
        except SpecError as error:
            self.fail(str(error), path)
        if spec.order != OrderRule():
            self.fail(f"{spec.name!r} has an order of its own and cannot be used in a mask", path)
        return written_out(spec.mask, spec.parts)

    def order(self, value: Any) -> OrderRule:
        path: Path = ("order",)
        try:
            if isinstance(value, dict):
                tiles = self.mapping(value, path, ("tiles",), required=("tiles",))["tiles"]
                sides = self.items(tiles, (*path, "tiles"))
                return OrderRule("tiles", tuple(self.expression(side, path) for side in sides))
            return OrderRule(self.text(value, path))
        except _Placed:
            raise
        except SpecError as error:
            self.fail(str(error), path)

    def params(self, value: Any) -> tuple[Param, ...]:
        entries = self.mapping(value, ("params",))
        return tuple(self.param(word, entry) for word, entry in entries.items())

    def param(self, word: str, value: Any) -> Param:
        path: Path = ("params", word)
        entry = self.mapping(value, path, PARAM_KEYS, required=("type", "default"))
        for bound in ("min", "above", "max"):
            if not _is_number(entry.get(bound, 0)):
                self.fail(f"{bound} must be a number", (*path, bound))
        try:
            return Param(
                name=word,
                kind=self.text(entry["type"], path),
                default=entry["default"],
                value=entry.get("value", entry["default"]),
                least=entry.get("min"),
                above=entry.get("above"),
                most=entry.get("max"),
                help=self.text(entry.get("help", ""), path),
            )
        except _Placed:
            raise
        except SpecError as error:
            self.fail(str(error), path)

    def presets(self, value: Any) -> tuple[tuple[str, tuple[tuple[str, float | bool], ...]], ...]:
        entries = self.mapping(value, ("presets",))
        return tuple(
            (word, tuple(self.scalars(preset, ("presets", word)).items()))
            for word, preset in entries.items()
        )

    def let(self, value: Any) -> tuple[tuple[str, Expr], ...]:
        entries = self.mapping(value, ("let",))
        return tuple((word, self.expression(text, ("let", word))) for word, text in entries.items())

    def expression(self, value: Any, path: Path) -> Expr:
        if isinstance(value, (bool, int, float)):
            value = str(value)
        try:
            return parse(self.text(value, path))
        except _Placed:
            raise
        except SpecError as error:
            self.fail(str(error), path)

    def mapping(
        self,
        value: Any,
        path: Path,
        known: tuple[str, ...] | None = None,
        required: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.fail(f"expected keys and values, got {_shown(value)}", path)
        if len(value) > MAX_PARTS:
            self.fail(f"more than {MAX_PARTS} entries", path)
        for key in value:
            if known is not None and key not in known:
                self.fail(unknown("key", key, known), (*path, key))
        for key in required:
            if key not in value:
                self.fail(f"the key {key!r} is missing", path)
        return value

    def items(self, value: Any, path: Path) -> list[Any]:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_PARTS:
            self.fail(f"expected a list of 1 to {MAX_PARTS} parts, got {_shown(value)}", path)
        return value

    def scalars(self, value: Any, path: Path) -> dict[str, float | bool]:
        entries = self.mapping(value, path)
        for key, entry in entries.items():
            if not isinstance(entry, (bool, int, float)):
                self.fail(f"expected a number, true or false, got {_shown(entry)}", (*path, key))
        return entries

    def text(self, value: Any, path: Path) -> str:
        if not isinstance(value, str):
            self.fail(f"expected text, got {_shown(value)}", path)
        return value

    def choice(self, value: Any, known: tuple[str, ...], path: Path) -> str:
        if value not in known:
            self.fail(unknown("choice", value, known), path)
        return str(value)

    def fail(self, reason: str, path: Path) -> NoReturn:
        key = ".".join(map(str, path))
        place = self.document.place(path)
        prefix = "" if not key or reason.startswith(f"{key}:") else f"{key}: "
        raise _Placed(f"{place}: {prefix}{reason}")


class _Placed(SpecError):
    """An error whose message already says where."""


def _plain(value: Any, path: Path = ()) -> Any:
    """Turn what Python has for a document into what YAML gives for it."""
    if len(path) > MAX_DEPTH:
        raise SpecError(f"mask: {path[0]}: nested more than {MAX_DEPTH} deep")
    if isinstance(value, Expr):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, (*path, str(key))) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, (*path, place)) for place, entry in enumerate(value)]
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise SpecError(f"mask: {'.'.join(map(str, path))}: a whole number beyond ±2^63")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
