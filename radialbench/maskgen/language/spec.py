"""MaskSpec: a named mask with its parameters."""

import hashlib
import json
import keyword
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

import yaml

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.evaluate import fold, fold_size, fold_value
from radialbench.maskgen.language.expressions import (
    BUILT_IN,
    CONSTANTS,
    COORDINATES,
    FLAGS,
    FUNCTIONS,
    GRID_CONSTANTS,
    NUMBER,
    SEGMENT,
    SEGMENTS,
    TRUTH,
    Expr,
    constant,
    extent,
    name,
    short,
    substitute,
)
from radialbench.maskgen.language.given import GivenTable, find_blocks
from radialbench.maskgen.language.parser import check_readable, typecheck
from radialbench.maskgen.language.tree import (
    BlockInput,
    MaskNode,
    Param,
    TokenRule,
    block_sizes,
    expressions,
    joined,
    leaves,
    plain_size,
    to_plain,
    written_out,
)
from radialbench.maskgen.order import ORDERS, TokenOrder

ARGUMENTS = ("self", "name_or_path", "preset", "empty_rows")
"""Arguments of `load_mask` and `with_params`: no parameter may have one of these names."""

EMPTY_ROWS = ("error", "keep", "own_block")

TEXT_COORDINATES = ("qi", "ki", "di", "qp", "kp", "dp", *SEGMENTS)

PAIR = r"^\s*([A-Za-z_]\w*)\s*-\s*([A-Za-z_]\w*)\s*$"
"""Pattern of two names of segments."""

MAX_NODES = 10_000

MAX_LEVELS = 250

ALL_PAIRS = TokenRule(constant(True))

DEFAULT_TEXT = Expr("not", (name("kpad"),))
"""Real text attends and is attended fully; no token attends padding."""


@dataclass(frozen=True, slots=True)
class OrderRule:
    """The token order of a mask; sides and shifts of tiles may be parameters."""

    kind: str = "raster"
    tile_thw: tuple[Expr, ...] = ()
    shift_thw: tuple[Expr, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ORDERS:
            raise SpecError(unknown("order", self.kind, ORDERS))
        if len(self.tile_thw) != (3 if self.kind == "tiles" else 0):
            raise SpecError("tiles have three sides: [frames, rows, columns]")
        if len(self.shift_thw) not in (0, len(self.tile_thw)):
            raise SpecError("tiles are shifted by [frames, rows, columns]")

    @property
    def sizes(self) -> tuple[Expr, ...]:
        """Sides and shifts."""
        return (*self.tile_thw, *self.shift_thw)

    def map_sizes(self, function: Callable[[Expr], Expr]) -> "OrderRule":
        """Apply a function to sides and shifts."""
        tiles, shift = (tuple(map(function, part)) for part in (self.tile_thw, self.shift_thw))
        return OrderRule(self.kind, tiles, shift)

    def to_plain(self) -> Any:
        """Write the rule as the plain value of its YAML document."""
        size, shift = ([*map(plain_size, part)] for part in (self.tile_thw, self.shift_thw))
        if not size:
            return self.kind
        return {"tiles": {"size": size, "shift": shift} if shift else size}


@dataclass(frozen=True)
class MaskSpec:
    """Which (query, key) pairs of a video attend, on any grid.

    Attributes:
        name: Name for people.
        mask: Rule for pairs of tokens of the video.
        order: Token order that suits the mask; the table's rows and columns follow it.
        params: Parameters with their values.
        presets: Named sets of parameter values.
        let: Named parts, each may use those before it.
        text: Rule for all pairs without another one: those with text.
        pairs: Rules for pairs of a query of one segment and a key of another, or of the same: the
            names of both, and the rule.
        empty_rows: What to do if a token attends nothing: `error`, `keep` (its output is zero), or
            `own_block` (it attends the block it stands in).
        paper: Where the mask was published.
        about: What it does, and where published code differs.
        tables: The block tables that were given to it.
        file: Name of the file it was read from; None for a mask of the library, or one made in
            Python. Masks that differ only in this are equal.

    Raises:
        SpecError: A name is unknown or taken, or a rule is not a truth value.
    """

    name: str
    mask: MaskNode
    order: OrderRule = OrderRule()
    params: tuple[Param, ...] = ()
    presets: tuple[tuple[str, tuple[tuple[str, float | bool], ...]], ...] = ()
    let: tuple[tuple[str, Expr], ...] = ()
    text: Expr = DEFAULT_TEXT
    empty_rows: str = "error"
    paper: str = ""
    about: str = ""
    pairs: tuple[tuple[str, str, Expr], ...] = ()
    tables: tuple[GivenTable, ...] = ()
    file: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise SpecErrorAt(("name",), "a mask has a name")
        if self.empty_rows not in EMPTY_ROWS:
            raise SpecErrorAt(
                ("empty_rows",), unknown("choice for empty_rows", self.empty_rows, EMPTY_ROWS)
            )
        with at_key("mask"):
            object.__setattr__(self, "mask", joined(self.mask))
        self._check_names()
        for word, preset in self.presets:
            with at_key("presets", word):
                self._changed(dict(preset))
        self._check_size()
        self._check_rules()

    @property
    def values(self) -> dict[str, float | bool]:
        """The parameters' values by name."""
        return {param.name: param.value for param in self.params}

    @property
    def label(self) -> str:
        """The name, or its file's, with the parameters that differ from their defaults."""
        return self.identity.label

    @cached_property
    def identity(self) -> MaskIdentity:
        """The identity that tables and records of the mask store."""
        changed = (param.name for param in self.params if param.value != param.default)
        sources = {table.name: table.source for table in self.tables}
        return MaskIdentity(
            name=self.name if self.file is None else PurePath(self.file).stem,
            fingerprint=self.fingerprint,
            definition=self.name,
            params=self.values | sources,
            shown=(*changed, *sources),
            empty_rows=self.empty_rows,
            dense=(written_out(self.mask, self.parts), self.text, self.pairs)
            == (ALL_PAIRS, DEFAULT_TEXT, ()),
            file=self.file,
        )

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of what the mask means: rules, order, parameter values, given tables."""
        order = self.order.map_sizes(lambda side: substitute(side, self.parts))
        meaning = {
            "order": order.to_plain(),
            "mask": to_plain(written_out(self.mask, self.parts)),
            "text": str(substitute(self.text, self.parts)),
            "empty_rows": self.empty_rows,
        }
        if self.pairs:
            meaning["pairs"] = sorted(
                (q, k, str(substitute(rule, self.parts))) for q, k, rule in self.pairs
            )
        if self.tables:
            meaning["tables"] = sorted((table.name, table.digest) for table in self.tables)
        return hashlib.blake2b(json.dumps(meaning).encode(), digest_size=8).hexdigest()

    @cached_property
    def parts(self) -> dict[str, Expr]:
        """Parameters as constants and named parts written out, by name."""
        known: dict[str, Expr] = {param.name: constant(param.value) for param in self.params}
        for word, tree in self.let:
            known[word] = substitute(tree, known)
        return known

    @cached_property
    def segments(self) -> set[str]:
        """The names of segments that the rules mention."""
        trees = (*self.parts.values(), *expressions(self.mask), self.text)
        trees += tuple(rule for _, _, rule in self.pairs)
        quoted = {word[1:-1] for tree in trees for word in tree.names() if word[0] == "'"}
        return quoted.union(*((q, k) for q, k, _ in self.pairs))

    def with_params(self, **params: float | bool) -> "MaskSpec":
        """Copy the mask with other parameter values.

        Raises:
            SpecError: A parameter is unknown or its value is not allowed.
        """
        changed = self._changed(params)
        return self if changed == self.params else replace(self, params=changed)

    def with_preset(self, preset: str) -> "MaskSpec":
        """Copy the mask with a preset's parameter values.

        Raises:
            SpecError: There is no such preset.
        """
        known = dict(self.presets)
        if preset not in known:
            raise SpecError(unknown(f"preset of {self.name}", preset, known))
        return self.with_params(**dict(known[preset]))

    @property
    def permuted(self) -> bool:
        """Whether its tables have another token order than raster."""
        return self.order.kind != "raster"

    @property
    def table_names(self) -> list[str]:
        """Names of the block tables that the mask needs when it is compiled."""
        inputs = [leaf for leaf in leaves(self.mask) if isinstance(leaf, BlockInput)]
        return list(dict.fromkeys(leaf.name for leaf in inputs))

    def with_tables(self, tables: Mapping[str, Any]) -> "MaskSpec":
        """Copy the mask with block tables given by name, beside those that it has.

        Args:
            tables: Arrays, or what `read_tables` returns: [blocks, blocks] booleans over the whole
                sequence in the mask's order, in blocks of the size the mask states.

        Raises:
            SpecError: The mask has no table of a name.
        """
        known = {table.name: table for table in self.tables}
        for word, table in tables.items():
            if word not in self.table_names:
                raise SpecError(unknown(f"table of {self.name}", word, self.table_names))
            given = isinstance(table, GivenTable)
            known[word] = table if given else GivenTable.of(word, table)
        return replace(self, tables=tuple(known.values())) if tables else self

    def check_tables(self, grid: TokenGrid) -> None:
        """Check that the block tables that were given to the mask fit a grid.

        Raises:
            SpecError: One is missing or has another shape or type, or a block is no whole number.
        """
        known = {table.name: table for table in self.tables}
        for leaf in leaves(self.mask):
            if isinstance(leaf, BlockInput):
                block = fold_size(leaf.block, self.names_on(grid), "a block")
                find_blocks(known, leaf.name, grid.seq_len, block)

    def names_on(self, grid: TokenGrid) -> dict[str, Expr]:
        """Return the parameters, named parts and constants of a grid, by name."""
        constants = _constants(grid)
        return {word: fold(tree, constants) for word, tree in self.parts.items()} | constants

    def value(self, part: str, grid: TokenGrid, **coordinates: float) -> float | bool:
        """Compute a parameter or named part on a grid.

        The coordinates are those that the part depends on, such as `dt=3`.

        Raises:
            SpecError: The part is unknown, a coordinate it depends on is not given, or the value
                is undefined.
        """
        if part not in self.parts:
            raise SpecError(unknown(f"part of {self.name}", part, self.parts))
        known = (*COORDINATES, *SEGMENTS)
        for word in coordinates:
            if word not in known:
                raise SpecError(unknown("coordinate", word, known))
        tree = self.parts[part]
        missing = sorted((tree.names() & set(known)) - set(coordinates))
        if missing:
            raise SpecError(f"the value depends on {', '.join(missing)}: give them, such as dt=3")
        given = {word: constant(value) for word, value in coordinates.items()}
        return fold_value(tree, _constants(grid) | given)

    def order_on(self, grid: TokenGrid) -> TokenOrder:
        """Return the token order on a grid."""
        if not self.order.tile_thw:
            return TokenOrder(self.order.kind)
        names = self.names_on(grid)
        t, h, w = (fold_size(side, names, "a tile's side") for side in self.order.tile_thw)
        shift = [fold_size(side, names, "a shift", 0) for side in self.order.shift_thw] or [0] * 3
        return TokenOrder(self.order.kind, (t, h, w), (shift[0], shift[1], shift[2]))

    def to_mapping(self) -> dict[str, Any]:
        """Write the mask as the plain mapping of its YAML document."""
        document: dict[str, Any] = {"name": self.name}
        document |= {key: getattr(self, key) for key in ("paper", "about") if getattr(self, key)}
        if self.order != OrderRule():
            document["order"] = self.order.to_plain()
        if self.params:
            document["params"] = {param.name: param.to_mapping() for param in self.params}
        if self.presets:
            document["presets"] = {word: dict(values) for word, values in self.presets}
        if self.let:
            document["let"] = {word: str(tree) for word, tree in self.let}
        document["mask"] = to_plain(self.mask)
        if self.text is not DEFAULT_TEXT:
            document["text"] = str(self.text)
        if self.pairs:
            document["pairs"] = {f"{q}-{k}": str(rule) for q, k, rule in self.pairs}
        if self.empty_rows != "error":
            document["empty_rows"] = self.empty_rows
        return document

    def to_yaml(self) -> str:
        """Write the mask as a YAML document that `parse_mask` reads back equal."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False, allow_unicode=True, width=100)

    def _repr_html_(self) -> str:
        from radialbench.maskgen.describe import spec_html

        return spec_html(self)

    def _changed(self, values: Mapping[str, float | bool]) -> tuple[Param, ...]:
        known = {param.name: param for param in self.params}
        for word, value in values.items():
            if word not in known:
                raise SpecError(unknown(f"parameter of {self.name}", word, known))
            try:
                known[word] = replace(known[word], value=known[word].check(value))
            except SpecError as error:
                raise SpecError(f"{self.name}.{error}") from None
        return tuple(known.values())

    def _check_names(self) -> None:
        taken = {*BUILT_IN, *FUNCTIONS, *CONSTANTS, *ARGUMENTS}
        sections = (("params", [p.name for p in self.params]), ("let", [w for w, _ in self.let]))
        for section, words in sections:
            for word in words:
                # Python's parser, which reads expressions, sees words in this form only.
                plain = word.isidentifier() and unicodedata.normalize("NFKC", word) == word
                with at_key(section, word):
                    if not plain or keyword.iskeyword(word):
                        raise SpecError(f"a name is a plain word, got {word[:40]!r}")
                    if word in taken:
                        raise SpecError(f"the name {word!r} is already taken")
                taken.add(word)

    def _check_size(self) -> None:
        """Refuse expressions that text cannot hold, or that are too large with parts filled in."""
        known: dict[str, tuple[int, int]] = {}
        for word, tree in self.let:
            with at_key("let", word):
                check_readable(tree)
            known[word] = extent(tree, known)
        trees = (*expressions(self.mask), *block_sizes(self.mask))
        rules = (self.text, *(rule for _, _, rule in self.pairs))
        for key, own in (("mask", trees), ("order", self.order.sizes), ("text", rules)):
            with at_key(key):
                for tree in own:
                    check_readable(tree)
        trees = (*trees, *self.order.sizes, *rules)
        extents = [*known.values(), *(extent(tree, known) for tree in trees)]
        if sum(nodes for nodes, _ in extents) > MAX_NODES:
            raise SpecError(
                f"with its parts filled in, the mask has more than {MAX_NODES:,} operations"
            )
        if max(levels for _, levels in extents) > MAX_LEVELS:
            raise SpecError(
                f"with its parts filled in, the mask is nested more than {MAX_LEVELS} deep; "
                "state alternatives as a list under any or all"
            )

    def _check_rules(self) -> None:
        types = dict.fromkeys((*COORDINATES, *GRID_CONSTANTS), NUMBER)
        types |= dict.fromkeys(FLAGS, TRUTH) | dict.fromkeys(("qseg", "kseg"), SEGMENT)
        types |= {p.name: TRUTH if p.kind == "bool" else NUMBER for p in self.params}
        for word, tree in self.let:
            with at_key("let", word):
                types[word] = typecheck(tree, types)
        coordinates = set(COORDINATES) | set(SEGMENTS)
        with at_key("mask"):
            for tree in expressions(self.mask):
                _require(tree, TRUTH, types)
                self._refuse(tree, set(SEGMENTS), "speaks of pairs of video tokens only")
        for key, sizes in (("mask", block_sizes(self.mask)), ("order", self.order.sizes)):
            with at_key(key):
                for tree in sizes:
                    _require(tree, NUMBER, types)
                    self._refuse(tree, coordinates, "is a size, the same for all tokens")
        with at_key("text"):
            _require(self.text, TRUTH, types)
            self._refuse(
                self.text,
                coordinates - set(TEXT_COORDINATES),
                f"may use only {', '.join(TEXT_COORDINATES)}: text has no place in the video",
            )

        for q, k, tree in self.pairs:
            with at_key("pairs", f"{q}-{k}"):
                _require(tree, TRUTH, types)
                if (q, k) == ("video", "video"):
                    raise SpecError("pairs of tokens of the video have the rule under 'mask'")

    def _refuse(self, tree: Expr, forbidden: set[str], reason: str) -> None:
        used = substitute(tree, self.parts).names() & forbidden
        if used:
            raise SpecError(f"{sorted(used)[0]!r} cannot stand here: '{short(tree)}' {reason}")


@contextmanager
def at_key(*path: str | int) -> Iterator[None]:
    """Add the key of the file to the message of an error.

    Raises:
        SpecErrorAt: A SpecError was raised inside.
    """
    try:
        yield
    except SpecErrorAt as error:
        raise SpecErrorAt((*path, *error.path), error.reason) from None
    except SpecError as error:
        raise SpecErrorAt(path, str(error)) from None


class SpecErrorAt(SpecError):
    """A mask error at a key of its file."""

    def __init__(self, path: tuple[str | int, ...], reason: str) -> None:
        super().__init__(f"{'.'.join(map(str, path))}: {reason}")
        self.path = path
        self.reason = reason


def _require(tree: Expr, wanted: str, types: Mapping[str, str]) -> None:
    kind = typecheck(tree, types)
    if kind != wanted:
        raise SpecError(f"'{short(tree)}' is a {kind}, wanted is a {wanted}")


def _constants(grid: TokenGrid) -> dict[str, Expr]:
    values = {word: getattr(grid, word) for word in GRID_CONSTANTS}
    values |= {"text_valid": grid.real_text}
    values |= {f"'{name}'": grid.segment_number(name) for name in ("text", *_names(grid))}
    return {word: constant(value) for word, value in values.items()}


def _names(grid: TokenGrid) -> list[str]:
    return [segment.name for segment in grid.layout]


def check_segments(tree: Expr, grid: TokenGrid) -> None:
    """Refuse a rule, bound to a grid, with names of segments that are not there.

    Raises:
        SpecError: It has one.
    """
    for word in sorted(tree.names()):
        if word[0] == "'":
            raise SpecError(unknown("segment", word[1:-1], _names(grid)))


def parse_pair(word: str) -> tuple[str, str]:
    """Read the names of two segments, of the query and of the key, such as `video-audio`.

    Raises:
        SpecError: The text is no such pair.
    """
    match = re.fullmatch(PAIR, word)
    if not match:
        raise SpecError(
            f"a pair is the segment of the query and that of the key, such as video-audio, got "
            f"{word[:40]!r}"
        )
    return match[1], match[2]
