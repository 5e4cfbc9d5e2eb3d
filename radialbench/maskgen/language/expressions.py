"""Expressions of the mask language: trees over token coordinates, and the text they print as."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, cast
from weakref import WeakValueDictionary

from radialbench.errors import SpecError, unknown

AXES = ("t", "y", "x", "s", "i", "p")
"""Frame, row, column, place in the frame, position in the raster sequence, position in the
mask's own order."""

QUERY = tuple(f"q{axis}" for axis in AXES)
KEY = tuple(f"k{axis}" for axis in AXES)
DISTANCE = tuple(f"d{axis}" for axis in AXES)
RELATIVE = tuple(f"r{axis}" for axis in AXES)
"""Query minus key; only in masks bound to a grid, which express the distances by it."""

FLAGS = ("qtext", "ktext", "qpad", "kpad")
"""Whether the query or key is a text token, and whether it is padding."""

SEGMENTS = ("qseg", "kseg", *FLAGS)
"""The segment of the query or key, compared with quoted names; and the flags."""

GRID_CONSTANTS = (
    "frames",
    "height",
    "width",
    "frame_tokens",
    "video_tokens",
    "video_start",
    "text_tokens",
    "text_valid",
    "seq_len",
)
COORDINATES = (*QUERY, *KEY, *DISTANCE)
CONSTANTS = {"true": True, "false": False, "True": True, "False": False}
"""Truth values as text writes them."""

BUILT_IN = (*COORDINATES, *SEGMENTS, *GRID_CONSTANTS)

NUMBER, TRUTH, SEGMENT = "number", "truth value", "segment"
MAX_NUMBER = 2**53
"""Whole numbers up to this are exact; texts and parameters hold no others."""


ARITHMETIC = {"+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6, "**": 8}
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
FUNCTIONS: dict[str, tuple[int, int | None]] = {
    "abs": (1, 1),
    "min": (2, None),
    "max": (2, None),
    "clamp": (3, 3),
    "floor": (1, 1),
    "ceil": (1, 1),
    "sqrt": (1, 1),
    "log2": (1, 1),
    "bit_length": (1, 1),
    "where": (3, 3),
    "largest_divisor": (2, 2),
}
"""Least and greatest number of arguments of each function."""

_PRECEDENCE = {"or": 1, "and": 2, "not": 3, "neg": 7, **ARITHMETIC} | dict.fromkeys(COMPARISONS, 4)

_INTERNED: "WeakValueDictionary[tuple[object, ...], Expr]" = WeakValueDictionary()


def _operators(op: str) -> "tuple[Method, Method]":
    """Return the methods of a binary operator, for an expression on its left and on its right."""

    def left(self: "Expr", other: "Operand") -> "Expr":
        return Expr(op, (self, _node(other)))

    def right(self: "Expr", other: "Operand") -> "Expr":
        return Expr(op, (_node(other), self))

    return left, right


class Expr:
    """A node of an expression; equal nodes are the same object.

    Build one with Python's operators (`&`, `|` and `~` stand for and, or and not; `equals` and
    `differs` for == and !=), from names with `name("dt")`, or from text with `parse`.

    Attributes:
        op: `number`, `truth`, `name`, an operator's symbol, `neg`, or a function's name.
        args: Operands.
        value: The constant, or the name.
    """

    __slots__ = ("__weakref__", "args", "op", "value")
    op: str
    args: tuple["Expr", ...]
    value: float | bool | str | None

    def __new__(
        cls, op: str, args: tuple["Expr", ...] = (), value: float | bool | str | None = None
    ) -> "Expr":
        """Return the one node with this operator, these operands and this value."""
        key = (op, value, *map(id, args))
        node = _INTERNED.get(key)
        if node is None:
            node = super().__new__(cls)
            node.op, node.args, node.value = op, args, value
            _INTERNED[key] = node
        return node

    def __reduce__(self) -> tuple[type["Expr"], tuple[object, ...]]:
        return Expr, (self.op, self.args, self.value)

    def __repr__(self) -> str:
        return f"Expr({str(self)!r})"

    def __str__(self) -> str:
        return unparse(self)

    __add__, __radd__ = _operators("+")
    __sub__, __rsub__ = _operators("-")
    __mul__, __rmul__ = _operators("*")
    __truediv__, __rtruediv__ = _operators("/")
    __floordiv__, __rfloordiv__ = _operators("//")
    __mod__, __rmod__ = _operators("%")
    __pow__, __rpow__ = _operators("**")
    __lt__, __gt__ = _operators("<")[0], _operators(">")[0]
    __le__, __ge__ = _operators("<=")[0], _operators(">=")[0]
    __and__, __or__ = _operators("and")[0], _operators("or")[0]

    def __neg__(self) -> "Expr":
        if self.op == "number":
            return Expr("number", (), -cast(float, self.value))
        return Expr("neg", (self,))

    def __abs__(self) -> "Expr":
        return Expr("abs", (self,))

    def equals(self, other: "Operand") -> "Expr":
        """Compare for equal values."""
        return Expr("==", (self, _node(other)))

    def differs(self, other: "Operand") -> "Expr":
        """Compare for different values."""
        return Expr("!=", (self, _node(other)))

    def __invert__(self) -> "Expr":
        return Expr("not", (self,))

    def __bool__(self) -> bool:
        raise SpecError(
            f"an expression has no truth value in Python: ({self}); join expressions with &, | "
            "and ~, and compare with .equals and .differs"
        )

    def walk(self) -> Iterator["Expr"]:
        """Visit every distinct node once, operands first."""
        seen: set[Expr] = set()
        stack = [(self, False)]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                yield node
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack.extend((argument, False) for argument in node.args)

    def names(self) -> set[str]:
        """Return the names that the expression mentions."""
        return {str(node.value) for node in self.walk() if node.op == "name"}


Operand = Expr | float | bool
Method = Callable[[Expr, Operand], Expr]


def name(text: str) -> Expr:
    """Return the expression of a name: a coordinate, grid constant, parameter or part.

    The name of a segment has its quotes: `name("'audio'")`.
    """
    return Expr("name", (), text)


def constant(value: float | bool) -> Expr:
    """Return the expression of a number or truth value.

    Raises:
        SpecError: The number is infinite or nan.
    """
    if isinstance(value, bool):
        return Expr("truth", (), value)
    if not abs(value) <= sys.float_info.max:
        raise SpecError("a number must be finite")
    return Expr("number", (), float(value))


def call(function: str, *arguments: Operand) -> Expr:
    """Apply one of the language's functions, such as `call("max", name("dt"), 1)`.

    Raises:
        SpecError: The function is unknown or takes another number of arguments.
    """
    if function not in FUNCTIONS:
        raise SpecError(unknown("function", function, FUNCTIONS))
    least, most = FUNCTIONS[function]
    if len(arguments) < least or (most is not None and len(arguments) > most):
        wanted = f"{least}" if least == most else f"at least {least}"
        plural = "" if least == 1 else "s"
        raise SpecError(f"{function}() takes {wanted} argument{plural}, got {len(arguments)}")
    nodes = tuple(map(_node, arguments))
    if function in ("min", "max"):
        return join(function, nodes)
    if function == "clamp":
        return Expr("min", (Expr("max", (nodes[0], nodes[1])), nodes[2]))
    return Expr(function, nodes)


def join(op: str, parts: Iterable[Expr]) -> Expr:
    """Join expressions by a binary operator, from the left."""
    return reduce(lambda left, right: Expr(op, (left, right)), parts)


def substitute(tree: Expr, values: Mapping[str, Expr]) -> Expr:
    """Replace names by expressions."""
    done: dict[Expr, Expr] = {}
    for node in tree.walk():
        if node.op == "name":
            done[node] = values.get(str(node.value), node)
        elif node.op == "neg":
            done[node] = -done[node.args[0]]
        else:
            done[node] = Expr(node.op, tuple(done[a] for a in node.args), node.value)
    return done[tree]


def extent(tree: Expr, known: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Count the nodes and levels of an expression if its names had those in `known`, or 1 each."""
    done: dict[Expr, tuple[int, int]] = {}
    for node in tree.walk():
        if node.op == "name":
            done[node] = known.get(str(node.value), (1, 1))
        else:
            parts = [done[argument] for argument in node.args]
            done[node] = (
                1 + sum(nodes for nodes, _ in parts),
                1 + max((levels for _, levels in parts), default=0),
            )
    return done[tree]


def unparse(tree: Expr) -> str:
    """Write an expression as text that `parse` reads back to the same tree."""
    texts: dict[Expr, tuple[str, int]] = {}
    for node in tree.walk():
        texts[node] = _write(node, [texts[argument] for argument in node.args])
    return texts[tree][0]


def short(tree: Expr, length: int = 80) -> str:
    """Write an expression for a message, cut off if it is long."""
    text = unparse(tree)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _node(operand: Any) -> Expr:
    if isinstance(operand, Expr):
        return operand
    if isinstance(operand, (bool, int, float)):
        return constant(operand)
    raise SpecError(f"an expression is built from numbers and expressions, got {operand!r}")


def _write(node: Expr, args: list[tuple[str, int]]) -> tuple[str, int]:
    op = node.op
    if op == "name":
        return str(node.value), 9
    if op == "truth":
        return ("true" if node.value else "false"), 9
    if op == "number":
        value = cast(float, node.value)
        text = str(int(value)) if value == int(value) and abs(value) < 1e16 else repr(value)
        return text, (7 if text.startswith("-") else 9)
    if op in FUNCTIONS:
        return f"{op}({', '.join(text for text, _ in args)})", 9
    rank = _PRECEDENCE[op]
    if op in ("not", "neg"):
        sign = "not " if op == "not" else "-"
        return sign + _inside(args[0], rank), rank
    left, right = args
    tight_left = rank + (op == "**" or op in COMPARISONS)
    tight_right = rank + (op != "**")
    spaced = op if op == "**" else f" {op} "
    return _inside(left, tight_left) + spaced + _inside(right, tight_right), rank


def _inside(part: tuple[str, int], rank: int) -> str:
    return part[0] if part[1] >= rank else f"({part[0]})"
