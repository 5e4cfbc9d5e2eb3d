"""The parts of a mask: its parameters, and the tree of token rules, rounding and tables."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import groupby
from typing import Any, ClassVar, Union

from radialbench.errors import SpecError
from radialbench.maskgen.language.expressions import MAX_NUMBER, Expr, substitute
from radialbench.plain import plain

KINDS = ("int", "float", "bool")


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter and its value.

    Attributes:
        name: Name in the expressions.
        kind: `int`, `float` or `bool`.
        default: Value if no other is set.
        value: Current value.
        least: Smallest value allowed.
        above: Every value allowed is greater than this.
        most: Greatest value allowed.
        help: One line of help.
        search: Least and greatest value that a search tries; None to keep the value.
    """

    name: str
    kind: str
    default: float | bool
    value: float | bool
    least: float | None = None
    above: float | None = None
    most: float | None = None
    help: str = ""
    search: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SpecError(
                f"the type of {self.name} is one of {', '.join(KINDS)}, got {str(self.kind)[:40]!r}"
            )
        for word, bound in (("min", self.least), ("above", self.above), ("max", self.most)):
            if bound is not None and not abs(bound) <= MAX_NUMBER:
                raise SpecError(f"{word} must be a number in ±2^53")
        object.__setattr__(self, "default", self.check(self.default))
        object.__setattr__(self, "value", self.check(self.value))
        if self.search is not None:
            object.__setattr__(self, "search", self.check_search(*self.search))

    def check_search(self, low: float, high: float) -> tuple[float, float]:
        """Return the ends of a range of values of the parameter's type.

        Raises:
            SpecError: An end is no value of the parameter, or they do not rise.
        """
        if self.kind == "bool":
            raise SpecError(f"{self.name} is true or false, which has no range to search")
        low, high = self.check(low), self.check(high)
        if low > high:
            raise SpecError(f"the range of {self.name} to search rises, got {low:g} to {high:g}")
        return low, high

    @property
    def bounds(self) -> str:
        """The bounds as text, such as `(0, 16]`; empty if there are none."""
        if self.kind == "bool" or (self.least is self.above is self.most is None):
            return ""
        low = f"({self.above:g}" if self.above is not None else "(-inf"
        if self.least is not None:
            low = f"[{self.least:g}"
        return f"{low}, {self.most:g}]" if self.most is not None else f"{low}, inf)"

    def to_mapping(self) -> dict[str, Any]:
        """Return the parameter as the plain mapping of its YAML document."""
        entries: dict[str, Any] = {"type": self.kind, "default": self.default}
        if self.value != self.default:
            entries["value"] = self.value
        bounds = {"min": self.least, "above": self.above, "max": self.most}
        entries |= {word: bound for word, bound in bounds.items() if bound is not None}
        entries |= {"search": list(self.search)} if self.search else {}
        return entries | ({"help": self.help} if self.help else {})

    def check(self, value: object) -> float | bool:
        """Return a value of the parameter's type.

        Raises:
            SpecError: The value is of another type or out of bounds.
        """
        value = plain(value)
        if self.kind == "bool":
            if not isinstance(value, bool):
                raise SpecError(f"{self.name} must be true or false, got {_brief(value)}")
            return value
        whole = self.kind == "int"
        valid = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not valid or value != value:
            wanted = "a whole number" if whole else "a number"
            raise SpecError(f"{self.name} must be {wanted}, got {_brief(value)}")
        assert isinstance(value, (int, float))
        too_low = (self.least is not None and value < self.least) or (
            self.above is not None and value <= self.above
        )
        too_high = (self.most is not None and value > self.most) or abs(value) > MAX_NUMBER
        if too_low or too_high:
            given = _brief(value) if abs(value) > MAX_NUMBER else value
            raise SpecError(
                f"{self.name} must be in {self.bounds or '±2^53'}, got {given}"
                + (f" ({self.help})" if self.help else "")
            )
        return value if whole else float(value)


def _brief(value: object) -> str:
    # Python refuses to write very long whole numbers.
    if isinstance(value, (int, float)) and abs(value) > MAX_NUMBER:
        return "a number beyond ±2^53"
    return repr(str(value)[:40])


MAX_DEPTH = 40

MaskNode = Union["TokenRule", "AnyOf", "AllOf", "Not", "Rounded", "BlockInput"]


@dataclass(frozen=True, slots=True)
class TokenRule:
    """Token pairs for which an expression holds."""

    expression: Expr


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Pairs of at least one part."""

    parts: tuple[MaskNode, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Pairs of all parts."""

    parts: tuple[MaskNode, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Video pairs that the part leaves out."""

    part: MaskNode


@dataclass(frozen=True, slots=True)
class Share:
    """A bound on a share, such as `>3/5` or `>=1/2`."""

    PATTERN: ClassVar[str] = r"^\s*(>=?)\s*(\d{1,9}(?:\s*/\s*0*[1-9]\d{0,8})?)\s*$"

    bound: Fraction
    strict: bool

    def __str__(self) -> str:
        return f"{'>' if self.strict else '>='}{self.bound}"

    @classmethod
    def parse(cls, text: object) -> "Share":
        """Read `>3/5`, `>=1/2` or `>0`.

        Raises:
            SpecError: The text is none of these.
        """
        match = re.fullmatch(cls.PATTERN, str(text))
        if not match:
            raise SpecError(f"a share is written like '>3/5' or '>=1/2', got {str(text)[:40]!r}")
        return cls(Fraction(match[2].replace(" ", "")), match[1] == ">")


@dataclass(frozen=True, slots=True)
class KeepRule:
    """The rule that decides whether a block of a rounded mask is kept.

    Attributes:
        rule: `any` pair, `all` pairs, the pair of its `centre` tokens (start + ⌊size / 2⌋), or a
            `share` of its key columns.
        columns: For `share`: of the columns with any pair, this share must be dense.
        rows: For `share`: a column is dense if this share of the block's rows attends it. The
            rows are the block size, also where the block holds fewer tokens.
    """

    rule: str
    columns: Share | None = None
    rows: Share | None = None


@dataclass(frozen=True, slots=True)
class Rounded:
    """Whole blocks, decided from the token-level rule inside them.

    Attributes:
        of: The token-level rule.
        block: Tokens of a block's side; the grid of blocks starts at the sequence's first token.
        per: `sequence`: the rule is applied to a whole block. `frame_pair`: it is applied to the
            part of each pair of frames, and one part that is kept is enough.
        keep: The rule.
        overhang: For `frame_pair`, `drop` ignores the tokens of a frame that reach into one more
            block than ⌈frame_tokens / block⌉, as some published code does; `keep` does not.
    """

    of: Expr
    block: Expr
    per: str
    keep: KeepRule
    overhang: str = "keep"


@dataclass(frozen=True, slots=True)
class BlockInput:
    """Whole blocks listed in a table that is passed when the mask is compiled.

    Attributes:
        name: Name of the table among those passed.
        block: Tokens of a block's side; the grid of blocks starts at the sequence's first token.
    """

    name: str
    block: Expr


def leaves(node: MaskNode) -> Iterator[TokenRule | Rounded | BlockInput]:
    """Iterate over the parts of a tree that join no others."""
    match node:
        case AnyOf() | AllOf():
            for part in node.parts:
                yield from leaves(part)
        case Not():
            yield from leaves(node.part)
        case _:
            yield node


def expressions(node: MaskNode) -> list[Expr]:
    """Return the rules of a tree."""
    rules = [leaf for leaf in leaves(node) if not isinstance(leaf, BlockInput)]
    return [leaf.of if isinstance(leaf, Rounded) else leaf.expression for leaf in rules]


def block_sizes(node: MaskNode) -> list[Expr]:
    """Return the block sizes of a tree's rounded parts and tables."""
    return [leaf.block for leaf in leaves(node) if not isinstance(leaf, TokenRule)]


def joined(node: MaskNode, depth: int = 0) -> MaskNode:
    """Normalise a tree: neighbouring token-level rules become one expression.

    Raises:
        SpecError: A part is nested too deep, or joins nothing.
    """
    if depth > MAX_DEPTH:
        raise SpecError(f"parts are nested more than {MAX_DEPTH} deep")
    match node:
        case AnyOf() | AllOf():
            word = "or" if isinstance(node, AnyOf) else "and"
            parts = [joined(part, depth + 1) for part in node.parts]
            runs = groupby(parts, lambda part: isinstance(part, TokenRule))
            parts = [part for _, run in runs for part in _merged(word, list(run))]
            if not parts:
                raise SpecError("any and all join at least one part")
            return parts[0] if len(parts) == 1 else type(node)(tuple(parts))
        case Not():
            part = joined(node.part, depth + 1)
            return TokenRule(~part.expression) if isinstance(part, TokenRule) else Not(part)
    return node


def map_expressions(
    node: MaskNode, rule: Callable[[Expr], Expr], size: Callable[[Expr], Expr]
) -> MaskNode:
    """Apply functions to the rules and to the block sizes of a tree."""
    match node:
        case TokenRule():
            return TokenRule(rule(node.expression))
        case AnyOf() | AllOf():
            return type(node)(tuple(map_expressions(part, rule, size) for part in node.parts))
        case Not():
            return Not(map_expressions(node.part, rule, size))
        case Rounded():
            return replace(node, of=rule(node.of), block=size(node.block))
        case BlockInput():
            return replace(node, block=size(node.block))


def written_out(node: MaskNode, values: Mapping[str, Expr]) -> MaskNode:
    """Replace names by expressions in all of a tree."""
    filled = partial(substitute, values=values)
    return map_expressions(node, filled, filled)


def to_plain(node: MaskNode) -> Any:
    """Return a tree as the plain values of its YAML document."""
    match node:
        case TokenRule():
            return str(node.expression)
        case AnyOf():
            return {"any": [to_plain(part) for part in node.parts]}
        case AllOf():
            return {"all": [to_plain(part) for part in node.parts]}
        case Not():
            return {"not": to_plain(node.part)}
        case BlockInput():
            return {"table": {"name": node.name, "block": plain_size(node.block)}}
        case Rounded():
            rounded = {"block": plain_size(node.block), "per": node.per, "keep": _keep(node.keep)}
            if node.overhang != "keep":
                rounded["overhang"] = node.overhang
            return {"rounded": {**rounded, "of": str(node.of)}}


def plain_size(tree: Expr) -> int | str:
    """Return a size as a number, if it is one."""
    text = str(tree)
    return int(text) if text.isdigit() else text


def _keep(keep: KeepRule) -> Any:
    if keep.rule == "share":
        return {"columns": str(keep.columns), "rows": str(keep.rows)}
    return keep.rule


def _merged(word: str, run: list[MaskNode]) -> list[MaskNode]:
    trees = [part.expression for part in run if isinstance(part, TokenRule)]
    if not trees:
        return run
    while len(trees) > 1:
        # Pairwise, so that many parts do not nest deep.
        pairs = [Expr(word, (a, b)) for a, b in zip(trees[::2], trees[1::2], strict=False)]
        trees = pairs + trees[len(pairs) * 2 :]
    return [TokenRule(trees[0])]
