"""MaskSpec: a named mask with its parameters, before it meets a grid."""

import hashlib
import keyword
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.expr import (
    BUILT_IN,
    CONSTANTS,
    COORDINATES,
    FUNCTIONS,
    GRID_CONSTANTS,
    NUMBER,
    SEGMENTS,
    TRUTH,
    Expr,
    constant,
    extent,
    name,
    substitute,
)
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.kinds import kind_of
from radialbench.maskgen.order import KINDS as ORDERS
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.params import Param
from radialbench.maskgen.parse import check_readable
from radialbench.maskgen.tree import (
    MaskNode,
    Pairs,
    block_sizes,
    expressions,
    joined,
    written_out,
)
from radialbench.maskgen.unparse import short

ARGUMENTS = ("self", "name_or_path", "preset", "empty_rows")
"""What `load_mask` and `with_params` call their own: no names for parameters, given beside them."""

EMPTY_ROWS = ("error", "keep", "own_block")
TEXT_COORDINATES = ("qi", "ki", "di", "qp", "kp", "dp", *SEGMENTS)
MAX_NODES = 10_000
MAX_LEVELS = 250
ALL_PAIRS = Pairs(constant(True))
DEFAULT_TEXT = Expr("not", (name("kpad"),))
"""Real text attends and is attended fully; padding is attended by nobody."""


@dataclass(frozen=True, slots=True)
class OrderRule:
    """The token order a mask asks for; the sides of a tile may be parameters."""

    kind: str = "raster"
    tile_thw: tuple[Expr, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ORDERS:
            raise SpecError(unknown("order", self.kind, ORDERS))
        if len(self.tile_thw) != (3 if self.kind == "tiles" else 0):
            raise SpecError("tiles have three sides: [frames, rows, columns]")


@dataclass(frozen=True)
class MaskSpec:
    """Which (query, key) pairs of a video attend, on any grid.

    Attributes:
        name: What people call it.
        mask: Rule for pairs of video tokens.
        order: Token order that suits the mask; the table's rows and columns follow it.
        params: Parameters with their values.
        presets: Named sets of parameter values.
        let: Named parts, each may use those before it.
        text: Rule for pairs in which at least one token is text.
        empty_rows: What to do if a token attends nothing: `error`, `keep` (its output is zero), or
            `own_block` (it attends the block it stands in).
        paper: Where the mask was published.
        about: What it does, and where published code differs.
        file: Name of the file it was read from; None for a mask of the library, or one made here.
            Says nothing of what it means: masks that differ in it alone are equal.

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
    file: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise SpecErrorAt(("name",), "a mask has a name")
        if self.empty_rows not in EMPTY_ROWS:
            raise SpecErrorAt(
                ("empty_rows",), unknown("choice for empty_rows", self.empty_rows, EMPTY_ROWS)
            )
        with _where("mask"):
            object.__setattr__(self, "mask", joined(self.mask))
        self._check_names()
        for word, preset in self.presets:
            with _where("presets", word):
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
        """Which mask it is, as what is compiled or measured of it says."""
        return MaskIdentity(
            name=self.name if self.file is None else PurePath(self.file).stem,
            fingerprint=self.fingerprint,
            definition=self.name,
            params=self.values,
            shown=tuple(param.name for param in self.params if param.value != param.default),
            empty_rows=self.empty_rows,
            dense=(written_out(self.mask, self.parts), self.text) == (ALL_PAIRS, DEFAULT_TEXT),
            file=self.file,
        )

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of what the mask means: rules, order and parameter values."""
        from radialbench.maskgen.writer import meaning

        return hashlib.blake2b(meaning(self).encode(), digest_size=8).hexdigest()

    @cached_property
    def parts(self) -> dict[str, Expr]:
        """Parameters as constants and named parts written out, by name."""
        known: dict[str, Expr] = {param.name: constant(param.value) for param in self.params}
        for word, tree in self.let:
            known[word] = substitute(tree, known)
        return known

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

    def value(self, part: str, grid: TokenGrid, **coordinates: float) -> float | bool:
        """Tell what a parameter or named part is on a grid.

        Args:
            part: Name under `let` or `params`.
            grid: Token layout.
            **coordinates: Values of the token coordinates it depends on, such as `dt=3`.

        Raises:
            SpecError: The part is unknown, or a coordinate it depends on is not given.
        """
        from radialbench.maskgen.bind import part_value

        if part not in self.parts:
            raise SpecError(unknown(f"part of {self.name}", part, self.parts))
        for word in coordinates:
            if word not in (*COORDINATES, *SEGMENTS):
                raise SpecError(unknown("coordinate", word, (*COORDINATES, *SEGMENTS)))
        return part_value(self.parts[part], grid, coordinates)

    def order_on(self, grid: TokenGrid) -> TokenOrder:
        """Tell the token order on a grid."""
        from radialbench.maskgen.bind import bind_order

        return bind_order(self, grid)

    def to_yaml(self) -> str:
        """Write the mask as a YAML document that `parse_mask` reads back equal."""
        from radialbench.maskgen.writer import to_yaml

        return to_yaml(self)

    def _repr_html_(self) -> str:
        from radialbench.maskgen.notebook import spec_html

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
                with _where(section, word):
                    if not plain or keyword.iskeyword(word):
                        raise SpecError(f"a name is a plain word, got {word[:40]!r}")
                    if word in taken:
                        raise SpecError(f"the name {word!r} is already taken")
                taken.add(word)

    def _check_size(self) -> None:
        """Refuse what cannot be written as text, or grows without end when it is written out."""
        known: dict[str, tuple[int, int]] = {}
        for word, tree in self.let:
            with _where("let", word):
                check_readable(tree)
            known[word] = extent(tree, known)
        trees = (*expressions(self.mask), *block_sizes(self.mask))
        for key, found in (("mask", trees), ("order", self.order.tile_thw), ("text", (self.text,))):
            with _where(key):
                for tree in found:
                    check_readable(tree)
        trees = (*trees, *self.order.tile_thw, self.text)
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
        kinds = dict.fromkeys((*COORDINATES, *GRID_CONSTANTS), NUMBER)
        kinds |= dict.fromkeys(SEGMENTS, TRUTH)
        kinds |= {p.name: TRUTH if p.kind == "bool" else NUMBER for p in self.params}
        for word, tree in self.let:
            with _where("let", word):
                kinds[word] = kind_of(tree, kinds)
        coordinates = set(COORDINATES) | set(SEGMENTS)
        with _where("mask"):
            for tree in expressions(self.mask):
                _wants(tree, TRUTH, kinds)
                self._only(tree, set(SEGMENTS), "speaks of pairs of video tokens only")
        for key, sizes in (("mask", block_sizes(self.mask)), ("order", self.order.tile_thw)):
            with _where(key):
                for tree in sizes:
                    _wants(tree, NUMBER, kinds)
                    self._only(tree, coordinates, "is a size, the same for all tokens")
        with _where("text"):
            _wants(self.text, TRUTH, kinds)
            self._only(
                self.text,
                coordinates - set(TEXT_COORDINATES),
                f"may use only {', '.join(TEXT_COORDINATES)}: text has no place in the video",
            )

    def _only(self, tree: Expr, forbidden: set[str], reason: str) -> None:
        used = substitute(tree, self.parts).names() & forbidden
        if used:
            raise SpecError(f"{sorted(used)[0]!r} cannot stand here: '{short(tree)}' {reason}")


class _where:
    """Adds the key of the file to an error's message."""

    def __init__(self, *path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SpecError):
            raise SpecErrorAt(self.path, str(error)) from None


class SpecErrorAt(SpecError):
    """A mask error with the key of the file it belongs to."""

    def __init__(self, path: tuple[str, ...], reason: str) -> None:
        super().__init__(f"{'.'.join(path)}: {reason}")
        self.path = path


def _wants(tree: Expr, kind: str, kinds: Mapping[str, str]) -> None:
    found = kind_of(tree, kinds)
    if found != kind:
        raise SpecError(f"'{short(tree)}' is a {found}, wanted is a {kind}")
