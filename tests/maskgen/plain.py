"""What an expression is for one pair of tokens, in plain Python: a second definition."""

import math
from collections.abc import Callable, Mapping

from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.expressions import Expr
from radialbench.maskgen.order import TokenOrder

Value = float | bool


def value(tree: Expr, names: Mapping[str, Value]) -> Value:
    """Compute an expression from the values of its names; only what is needed of it.

    What is undefined raises an ArithmeticError, a ValueError or, as a complex power, a TypeError.
    """
    if tree.op == "name":
        return names[str(tree.value)]
    if tree.op in ("number", "truth"):
        assert isinstance(tree.value, (float, bool))
        return tree.value
    match tree.op:
        case "and":
            return value(tree.args[0], names) and value(tree.args[1], names)
        case "or":
            return value(tree.args[0], names) or value(tree.args[1], names)
        case "where":
            return value(tree.args[1 if value(tree.args[0], names) else 2], names)
    found = operation(tree.op, [value(argument, names) for argument in tree.args])
    if not math.isfinite(found):
        raise OverflowError(tree.op)
    return found


def operation(op: str, args: list[Value]) -> Value:
    """Compute an operation that needs all its operands."""
    match op:
        case "+":
            return args[0] + args[1]
        case "-":
            return args[0] - args[1]
        case "*":
            return args[0] * args[1]
        case "/":
            return args[0] / args[1]
        case "//":
            return args[0] // args[1]
        case "%":
            return args[0] % args[1]
        case "**":
            return float(args[0] ** args[1])
        case "neg":
            return -args[0]
        case "<":
            return args[0] < args[1]
        case "<=":
            return args[0] <= args[1]
        case ">":
            return args[0] > args[1]
        case ">=":
            return args[0] >= args[1]
        case "==":
            return args[0] == args[1]
        case "!=":
            return args[0] != args[1]
        case "not":
            return not args[0]
        case "bit_length":
            return int(abs(args[0])).bit_length()
    functions: dict[str, Callable[..., float]] = {
        "abs": abs,
        "min": min,
        "max": max,
        "floor": math.floor,
        "ceil": math.ceil,
        "sqrt": math.sqrt,
        "log2": math.log2,
    }
    return float(functions[op](*args))


def tokens(grid: TokenGrid, order: TokenOrder) -> list[dict[str, Value]]:
    """Coordinates of each token, in the order; flat tokens stand at row 0 of frame 0."""
    raster: list[dict[str, Value]] = []
    for number, segment in enumerate(grid.layout):
        for place in range(segment.tokens):
            if segment.sides:
                t, s = divmod(place, segment.height * segment.width)
                y, x = divmod(s, segment.width)
            else:
                t, s, y, x = 0, place, 0, 0
            token: dict[str, Value] = {"t": t, "s": s, "y": y, "x": x, "i": len(raster)}
            flags = {"text": segment.name == "text", "pad": place >= segment.real}
            raster.append({**token, "seg": number, **flags})
    sources = order.source_index(grid).tolist()
    return [{**raster[source], "p": place} for place, source in enumerate(sources)]


def names_of(q: Mapping[str, Value], k: Mapping[str, Value], grid: TokenGrid) -> dict[str, Value]:
    """Everything an expression may mention, for one pair."""
    names: dict[str, Value] = {f"q{axis}": place for axis, place in q.items()}
    names |= {f"k{axis}": place for axis, place in k.items()}
    names |= {f"d{axis}": abs(q[axis] - k[axis]) for axis in "tyxsip"}
    return names | {
        "frames": grid.frames,
        "height": grid.height,
        "width": grid.width,
        "frame_tokens": grid.frame_tokens,
        "video_tokens": grid.video_tokens,
        "video_start": grid.video_start,
        "text_tokens": grid.text_tokens,
        "text_valid": grid.real_text,
        "seq_len": grid.seq_len,
        **{f"'{segment.name}'": number for number, segment in enumerate(grid.layout)},
    }
