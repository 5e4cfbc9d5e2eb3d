"""Text of the mask language to expression trees, by whitelist: nothing is ever run as Python."""

import ast
import math
import warnings

from radialbench.errors import SpecError
from radialbench.maskgen.expr import FUNCTIONS, Expr, call, constant, name

MAX_CHARACTERS = 10_000
MAX_DEPTH = 60
MAX_NUMBER = 2**53

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
_CONSTANTS = {"true": True, "false": False, "True": True, "False": False}


def parse(text: str) -> Expr:
    """Read an expression.

    Names stay names: what they mean is known only where the expression is used.

    Raises:
        SpecError: The text is not an expression of the language; the message says where.
    """
    if len(text) > MAX_CHARACTERS:
        raise SpecError(
            f"an expression has at most {MAX_CHARACTERS:,} characters, got {len(text):,}; "
            "name its parts under `let`"
        )
    source = " ".join(text.split())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        raise _error(source, (error.offset or 1) - 1, error.msg) from None
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or "too deeply nested"
        raise SpecError(f"not an expression: {reason}") from None
    return _Reader(source).read(body, 0)


class _Reader:
    """Turns Python's syntax nodes into ours and refuses all others."""

    def __init__(self, source: str) -> None:
        self.source = source

    def read(self, node: ast.expr, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            raise _error(self.source, node.col_offset, f"nested more than {MAX_DEPTH} deep")
        match node:
            case ast.Constant(value=bool()):
                return constant(node.value)
            case ast.Constant(value=int() | float()):
                return self._number(node, node.value)
            case ast.Name():
                word = node.id
                return constant(_CONSTANTS[word]) if word in _CONSTANTS else name(word)
            case ast.UnaryOp(op=ast.Not()):
                return Expr("not", (self.read(node.operand, depth + 1),))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return self._number(node, -value)
            case ast.UnaryOp(op=ast.USub()):
                return Expr("neg", (self.read(node.operand, depth + 1),))
            case ast.BinOp() if type(node.op) in _BINARY:
                return Expr(
                    _BINARY[type(node.op)],
                    (self.read(node.left, depth + 1), self.read(node.right, depth + 1)),
                )
            case ast.BoolOp():
                word = "and" if isinstance(node.op, ast.And) else "or"
                return self._joined(word, [self.read(part, depth + 1) for part in node.values])
            case ast.Compare():
                return self._compare(node, depth)
            case ast.Call(func=ast.Name(), keywords=[]):
                return self._call(node, depth)
        raise _error(self.source, node.col_offset, f"{_title(node)} is not part of the language")

    def _number(self, node: ast.expr, value: float) -> Expr:
        if isinstance(value, bool) or not abs(value) <= MAX_NUMBER or math.isnan(value):
            raise _error(self.source, node.col_offset, "a number beyond ±2^53")
        return constant(value)

    def _joined(self, word: str, parts: list[Expr]) -> Expr:
        joined = parts[0]
        for part in parts[1:]:
            joined = Expr(word, (joined, part))
        return joined

    def _compare(self, node: ast.Compare, depth: int) -> Expr:
        operands = [self.read(part, depth + 1) for part in (node.left, *node.comparators)]
        links = []
        for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
            if type(operator) not in _COMPARE:
                raise _error(
                    self.source, node.col_offset, "`in` and `is` are not part of the language"
                )
            links.append(Expr(_COMPARE[type(operator)], (left, right)))
        return self._joined("and", links)

    def _call(self, node: ast.Call, depth: int) -> Expr:
        assert isinstance(node.func, ast.Name)
        try:
            return call(node.func.id, *(self.read(part, depth + 1) for part in node.args))
        except SpecError as error:
            if node.func.id in FUNCTIONS and " takes " not in str(error):
                raise
            raise _error(self.source, node.col_offset, str(error)) from None


def _title(node: ast.expr) -> str:
    titles = {
        ast.Attribute: "attribute access",
        ast.Subscript: "indexing",
        ast.Lambda: "a lambda",
        ast.IfExp: "`if … else` (use where(condition, then, otherwise))",
        ast.ListComp: "a comprehension",
        ast.GeneratorExp: "a comprehension",
        ast.Constant: "this constant",
        ast.Call: "a call with keywords or of something other than a function's name",
    }
    return titles.get(type(node), f"this {type(node).__name__.lower()}")


def _error(source: str, offset: int, reason: str) -> SpecError:
    # ast counts UTF-8 bytes; close enough to point at the place.
    start = max(0, offset - 30)
    excerpt = source[start : offset + 30]
    marker = " " * (min(offset, len(source)) - start) + "^"
    return SpecError(f"{reason}, at character {offset + 1}:\n  {excerpt}\n  {marker}")
