"""Expression trees to text of the mask language."""

from typing import cast

from radialbench.maskgen.expr import ARITHMETIC, COMPARISONS, FUNCTIONS, Expr

_PRECEDENCE = {"or": 1, "and": 2, "not": 3, "neg": 7, **ARITHMETIC} | dict.fromkeys(COMPARISONS, 4)


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
