"""From text of the mask language to expression trees, and the types of their parts.

A whitelist decides which syntax is read; nothing is ever run as Python.
"""

import ast
import re
import warnings
from collections.abc import Mapping
from functools import lru_cache

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.language.expressions import (
    COMPARISONS,
    CONSTANTS,
    MAX_NUMBER,
    NUMBER,
    SEGMENT,
    TRUTH,
    Expr,
    call,
    constant,
    extent,
    join,
    name,
    short,
    unparse,
)

MAX_CHARACTERS = 10_000
MAX_DEPTH = 60

_BINARY = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
_COMPARE = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_INSTEAD = {
    "=<": "`<=`",
    "=>": "`>=`",
    "===": "`==`",
    "!==": "`!=`",
    "<>": "`!=`",
    "&&": "`and`",
    "||": "`or`",
    "&": "`and`",
    "|": "`or`",
    "!": "`not`",
    "~": "`not`",
    "^": "`**` for a power, `!=` for an exclusive or",
    "?": "`where(condition, then, otherwise)`",
    "=": "`==`",
}
"""Operators of other languages, longest first, and what to write instead."""

_LANGUAGE = r"[<>=!]=(?![=<>])|:="
_FOREIGN = re.compile(f"{_LANGUAGE}|(?P<word>{'|'.join(map(re.escape, _INSTEAD))})")

_BITWISE: dict[type, str] = {ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.Invert: "~"}

_TITLES = {
    ast.Attribute: "attribute access",
    ast.Subscript: "indexing",
    ast.Lambda: "a lambda",
    ast.IfExp: "`if … else` (use where(condition, then, otherwise))",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.Constant: "this constant",
    ast.JoinedStr: "this constant",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a starred argument",
    ast.Call: "a call with keywords or of something other than a function's name",
    ast.BinOp: "this operator",
    ast.UnaryOp: "this operator",
}


def parse(text: str) -> Expr:
    """Read an expression.

    Names stay names: the mask that uses the expression defines them.

    Raises:
        SpecError: The text is not an expression of the language; the message shows the place.
    """
    if len(text) > MAX_CHARACTERS:
        raise SpecError(
            f"an expression has at most {MAX_CHARACTERS:,} characters, got {len(text):,}; "
            "name its parts under `let`"
        )
    source = " ".join(text.split())
    if not source:
        raise SpecError("an expression is empty")
    if "#" in source:
        # Python would drop the rest of the joined line as a comment.
        raise _error(source, source.index("#"), "an expression has no comments")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        for match in _FOREIGN.finditer(source):
            if match["word"]:
                raise _error(source, match.start(), _foreign(match["word"])) from None
        reason = "a number beyond ±2^53" if "digits" in error.msg else error.msg
        # Python gives no place, or one behind the end, for a missing end.
        if not error.offset or error.offset > len(source):
            raise _error(source, len(source), f"{reason}: unfinished") from None
        raise _error(source, error.offset - 1, reason) from None
    except (RecursionError, MemoryError):
        raise SpecError(f"an expression is nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:
        raise SpecError(f"not an expression: {error}") from None
    return _Parser(source).read(body, 0)


@lru_cache(maxsize=1024)
def check_readable(tree: Expr) -> None:
    """Check that an expression, written as text, reads back the same.

    Raises:
        SpecError: It is too long or too deep for a text, or has no text.
    """
    if extent(tree, {})[0] > MAX_CHARACTERS:
        raise SpecError(f"an expression has at most {MAX_CHARACTERS:,} characters")
    try:
        same = parse(unparse(tree)) is tree
    except (KeyError, ValueError):
        same = False
    if not same:
        raise SpecError(
            f"not an expression of the language: {tree.op!r} with {len(tree.args)} operands"
        )


def typecheck(tree: Expr, types: Mapping[str, str]) -> str:
    """Check the operands of an expression by the types of its names, and return its own type.

    Raises:
        SpecError: A name is unknown, or an operand is of the wrong type.
    """
    known: dict[Expr, str] = {}
    for node in tree.walk():
        known[node] = _type_of(node, [known[argument] for argument in node.args], types)
    return known[tree]


class _Parser:
    """Turns syntax nodes of Python into expressions; refuses what is not in the language."""

    def __init__(self, source: str) -> None:
        self.source = source

    def read(self, node: ast.expr, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            raise self.refusal(node, f"nested more than {MAX_DEPTH} deep; name parts under `let`")
        match node:
            case ast.Constant(value=bool() as value):
                return constant(value)
            case ast.Constant(value=int() | float() as value):
                return self.number(node, value)
            case ast.Name(id=word):
                return constant(CONSTANTS[word]) if word in CONSTANTS else name(word)
            case ast.UnaryOp(op=ast.Not()):
                return ~self.read(node.operand, depth + 1)
            case ast.UnaryOp(op=ast.USub()):
                return -self.read(node.operand, depth + 1)
            case ast.BinOp() if type(node.op) in _BINARY:
                return Expr(
                    _BINARY[type(node.op)],
                    (self.read(node.left, depth + 1), self.read(node.right, depth + 1)),
                )
            case ast.BoolOp():
                word = "and" if isinstance(node.op, ast.And) else "or"
                return join(word, [self.read(part, depth + 1) for part in node.values])
            case ast.Compare():
                return self.comparison(node, depth)
            case ast.Call(func=ast.Name(id=word), keywords=[]):
                arguments = [self.read(part, depth + 1) for part in node.args]
                try:
                    return call(word, *arguments)
                except SpecError as error:
                    raise self.refusal(node, str(error)) from None
        operator = getattr(node, "op", None)
        if type(operator) in _BITWISE:
            raise self.refusal(node, _foreign(_BITWISE[type(operator)]))
        title = _TITLES.get(type(node), f"this {type(node).__name__.lower()}")
        raise self.refusal(node, f"{title} is not part of the language")

    def number(self, node: ast.expr, value: float) -> Expr:
        if not abs(value) <= MAX_NUMBER:
            raise self.refusal(node, "a number beyond ±2^53")
        return constant(value)

    def comparison(self, node: ast.Compare, depth: int) -> Expr:
        operands = [self.operand(part, depth + 1) for part in (node.left, *node.comparators)]
        links = []
        for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
            if type(operator) not in _COMPARE:
                raise self.refusal(node, "`in` and `is` are not part of the language")
            links.append(Expr(_COMPARE[type(operator)], (left, right)))
        return join("and", links)

    def operand(self, node: ast.expr, depth: int) -> Expr:
        """Read what is compared: the name of a segment, in quotes, or an expression."""
        match node:
            case ast.Constant(value=str() as word) if re.fullmatch(r"[A-Za-z_]\w*", word):
                return name(f"'{word}'")
        return self.read(node, depth)

    def refusal(self, node: ast.expr, reason: str) -> SpecError:
        # ast counts bytes of UTF-8.
        source, start = self.source.encode(), node.col_offset
        if isinstance(node, ast.BinOp) and type(node.op) in _BITWISE:
            end = node.left.end_col_offset or 0
            start = source.index(_BITWISE[type(node.op)].encode(), end)
        return _error(self.source, len(source[:start].decode()), reason)


def _foreign(operator: str) -> str:
    return f"`{operator}` is not part of the language: write {_INSTEAD[operator]}"


def _error(source: str, offset: int, reason: str) -> SpecError:
    start = max(0, offset - 30)
    excerpt = source[start : offset + 30]
    marker = " " * (min(offset, len(source)) - start) + "^"
    return SpecError(f"{reason.rstrip('.')}, at character {offset + 1}:\n  {excerpt}\n  {marker}")


def _type_of(node: Expr, args: list[str], types: Mapping[str, str]) -> str:
    op = node.op
    if op == "name":
        if str(node.value)[0] == "'":
            return SEGMENT
        if node.value not in types:
            raise SpecError(unknown("name", node.value, types))
        return types[str(node.value)]
    if op in ("number", "truth"):
        return NUMBER if op == "number" else TRUTH
    if op in ("and", "or", "not"):
        return _checked(node, args, [TRUTH] * len(args), TRUTH)
    if op == "where":
        return _checked(node, args, [TRUTH, args[1], args[1]], args[1])
    if op in ("==", "!="):
        if SEGMENT in args and args[0] != args[1]:
            raise SpecError(
                f"a segment is compared with a name in quotes, such as qseg == 'text', got "
                f"'{short(node)}'"
            )
        return _checked(node, args, [args[0]] * 2, TRUTH)
    return _checked(node, args, [NUMBER] * len(args), TRUTH if op in COMPARISONS else NUMBER)


def _checked(node: Expr, got: list[str], wanted: list[str], result: str) -> str:
    for argument, has, needs in zip(node.args, got, wanted, strict=True):
        if has != needs:
            symbol = "-" if node.op == "neg" else node.op
            raise SpecError(
                f"{symbol!r} wants a {needs} but '{short(argument)}' is a {has}, in '{short(node)}'"
            )
    return result
