"""YAML documents and plain mappings to MaskSpec."""

from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, NoReturn

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.document import Document, DocumentError, Path, read_document
from radialbench.maskgen.expr import Expr, substitute
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
    from radialbench.maskgen.library import load_mask

    return read_mask(Document("mask", _plain(mapping)), load_mask)


def read_mask_file(path: FilePath) -> MaskSpec:
    """Read a mask from a YAML file; a `use` names a file beside it, or a mask of the library.

    Raises:
        SpecError: The file is not a mask; the message has line and column.
    """
    from radialbench.maskgen.library import load_mask

    def beside(word: str) -> MaskSpec:
        if not word.replace("_", "").isalnum():
            raise SpecError(f"a mask is used by its plain name, got {word[:40]!r}")
        other = path.parent / f"{word}.yaml"
        if other.is_file() and other.resolve() == path.resolve():
            raise SpecError(f"{word!r} uses itself")
        return _no_use(other) if other.is_file() else load_mask(word)

    return read_mask(_document(path), beside)


def read_mask(document: Document, use: Lookup) -> MaskSpec:
    """Read a mask from a parsed document."""
    return _Reader(document, use).mask()


def _document(path: FilePath) -> Document:
    try:
        return read_document(path)
    except DocumentError as error:
        raise SpecError(str(error)) from None


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
            self.fail(str(error), tuple(error.key.split(".")))
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
                parts = self.items(inner, below)
                return _joined(key, [self.node(p, (*below, i)) for i, p in enumerate(parts)])
            case "not":
                part = self.node(inner, below)
                return Pairs(Expr("not", (part.expression,))) if isinstance(part, Pairs) else (
                    Not(part)
                )
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
            per=self.choice(entries.get("per", "sequence"), ("sequence", "frame_pair"), path),
            keep=self.keep(entries["keep"], (*path, "keep")),
            overhang=self.choice(entries.get("overhang", "keep"), ("keep", "drop"), path),
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
        return _written_out(spec.mask, spec.parts)

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
            if isinstance(entry.get(bound, 0), (str, bool, list, dict, type(None))):
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
        return tuple(
            (word, self.expression(text, ("let", word))) for word, text in entries.items()
        )

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


def _joined(key: str, parts: list[MaskNode]) -> MaskNode:
    """Join parts; neighbouring token-level rules become one expression."""
    word = "or" if key == "any" else "and"
    joined: list[MaskNode] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, Pairs) and isinstance(last, Pairs):
            joined[-1] = Pairs(Expr(word, (last.expression, part.expression)))
        else:
            joined.append(part)
    if len(joined) == 1:
        return joined[0]
    return AnyOf(tuple(joined)) if key == "any" else AllOf(tuple(joined))


def _written_out(node: MaskNode, parts: Mapping[str, Expr]) -> MaskNode:
    match node:
        case Pairs():
            return Pairs(substitute(node.expression, parts))
        case AnyOf():
            return AnyOf(tuple(_written_out(part, parts) for part in node.parts))
        case AllOf():
            return AllOf(tuple(_written_out(part, parts) for part in node.parts))
        case Not():
            return Not(_written_out(node.part, parts))
        case Rounded():
            of, block = substitute(node.of, parts), substitute(node.block, parts)
            return Rounded(of, block, node.per, node.keep, node.overhang)
        case Given():
            return Given(node.name, substitute(node.block, parts))


def _plain(value: Any) -> Any:
    if isinstance(value, Expr):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


