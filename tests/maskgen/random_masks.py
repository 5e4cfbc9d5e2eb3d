"""Random grids, expressions and masks for property tests.

A generator of our own, seeded by hypothesis: it makes deeper and more even expressions than nested
strategies do, and thousands of them in a second.
"""

from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import settings

from radialbench.maskgen.grid import Segment, TokenGrid
from radialbench.maskgen.language.expressions import (
    DISTANCE,
    KEY,
    QUERY,
    Expr,
    call,
    constant,
    name,
)

GIVEN = settings(derandomize=True, deadline=None)
"""The same examples on every machine, however slow it is."""

BLOCKS = (1, 2, 3, 5, 7, 8, 16, 32, 33, 40, 64)
WHOLE = (0, 1, 2, 3, 4, 5, 7, 10, -1)
BROKEN = (0.5, 0.25, 1.5, 0.1, 1 / 3, 2.25)
DIVISORS = (1, 2, 3, 4, 7, 2.5, 0.5, -3)
COARSE = ("qt", "kt", "dt", "qy", "ky", "dy")
FINE = ("qs", "ks", "ds", "qx", "kx", "dx", "qi", "ki", "di", "qp", "kp", "dp")
GRID_NAMES = (
    "frames",
    "height",
    "width",
    "frame_tokens",
    "video_tokens",
    "video_start",
    "seq_len",
)
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
SHARES = (">3/5", ">1/3", ">0", ">=1/2", ">=1", ">=1/7", ">999/1000")
TEXT_RULES = (
    "not kpad",
    "true",
    "false",
    "qpad == kpad",
    "di <= 5 and not kpad",
    "ktext or dp % 3 == 0",
    "qp >= kp",
)
SEGMENT_RULES = (
    *TEXT_RULES,
    "qseg == kseg",
    "qseg == 'video' and not kpad",
    "kseg != 'video' and (qpad or di % 3 == 0)",
    "qseg == 'text' or di <= 7",
)


class Maker:
    """Makes random things, the same ones for the same seed.

    Expressions are defined for all tokens, unless `partial`; then some are guarded, others not.
    """

    def __init__(self, seed: int, *, partial: bool = False) -> None:
        self.random = Random(seed)
        self.pick = self.random.choice
        self.partial = partial

    def grid(self, *, text: bool = True) -> TokenGrid:
        """A small grid whose sides are multiples of nothing; half of them with text."""
        slots = self.pick([0, 0, 1, 3, 8]) if text else 0
        return TokenGrid(
            self.random.randint(1, 5),
            self.random.randint(1, 4),
            self.random.randint(1, 7),
            text_tokens=slots,
            text_valid=self.random.randint(0, slots),
            text_first=self.pick([True, False]),
        )

    def segments(self) -> TokenGrid:
        """A sequence of a video, other videos and flat tokens, in any order."""
        number = self.random.randint
        sides = [(number(1, 4), number(1, 3), number(1, 5)) for _ in range(2)]
        parts = [
            Segment("video", sides=sides[0]),
            *self.random.sample(
                [
                    Segment("reference", sides=sides[1]),
                    Segment("text", 5, valid=self.random.randint(0, 5)),
                    Segment("audio", 11, valid=self.random.randint(0, 11)),
                    Segment("registers", 2),
                ],
                self.random.randint(1, 4),
            ),
        ]
        self.random.shuffle(parts)
        return TokenGrid.of(*parts)

    def pairs(self, grid: TokenGrid) -> dict[str, str]:
        """Rules for some pairs of a grid's segments."""
        names = [segment.name for segment in grid.layout]
        words = [f"{self.pick(names)}-{self.pick(names)}" for _ in range(self.random.randint(0, 3))]
        return {word: str(self.truth(2)) for word in words if word != "video-video"}

    def queries(self, grid: TokenGrid) -> TokenGrid:
        """The grid with some of its frames as queries."""
        first, last = sorted(self.random.randrange(grid.frames) for _ in range(2))
        return replace(grid, query_frames=(first, last))

    def leaf(self) -> Expr:
        """A coordinate, most often; else a grid constant or a number."""
        kind = self.random.random()
        if kind < 0.6:
            return name(self.pick((*QUERY, *KEY, *DISTANCE)))
        return name(self.pick(GRID_NAMES)) if kind < 0.75 else constant(self.pick(WHOLE + BROKEN))

    def number(self, depth: int) -> Expr:
        """A number."""
        if depth <= 0:
            return self.leaf()
        if self.partial and self.random.random() < 0.5:
            condition, undefined = self.guarded(depth - 1)
            return call("where", condition, undefined, self.leaf())
        if self.random.random() < 0.25:
            return self.layered()
        a = self.number(depth - 1)
        match self.pick(("+", "-", "*", "/", "//", "%", "neg", "power", "two", "call", "join")):
            case "neg":
                return -a
            case "+":
                return a + self.number(depth - 1)
            case "-":
                return a - self.number(depth - 1)
            case "*":
                return a * self.leaf()
            case "/" | "//" | "%" as op:
                return Expr(op, (a, self.divisor(depth - 1)))
            case "power":
                return self.leaf() ** self.random.randint(0, 3)
            case "two":
                return 2 ** call("clamp", a, -3, 6)
            case "call":
                return self.rounded_off(a)
        b = self.number(depth - 1)
        if self.random.random() < 0.3:
            return call("where", self.truth(depth - 1), a, b)
        if self.random.random() < 0.2:
            return call("clamp", a, self.leaf(), self.leaf())
        return call(self.pick(("min", "max")), a, b)

    def divisor(self, depth: int) -> Expr:
        """A number that is never zero."""
        if self.random.random() < 0.6:
            return constant(self.pick(DIVISORS))
        return call("max", self.number(depth), 1)

    def guarded(self, depth: int) -> tuple[Expr, Expr]:
        """A condition, and a number that is defined where it holds; most often."""
        a, b = self.number(depth), self.pick((self.leaf(), self.leaf() - self.leaf()))
        condition, undefined = self.pick(
            (
                (b.differs(0), Expr(self.pick(("/", "//", "%")), (a, b))),
                (b > 0, call("log2", b)),
                (b >= 0, call("sqrt", b)),
                (b.differs(0), b ** (-1)),
            )
        )
        if self.random.random() < 0.3:
            condition = Expr(self.pick(COMPARISONS), (b, self.leaf()))
        return condition, undefined + 1 if self.random.random() < 0.3 else undefined

    def rounded_off(self, a: Expr) -> Expr:
        """A function of one number that does not grow evenly."""
        match self.pick(("abs", "floor", "ceil", "bit_length", "sqrt", "log2", "floor", "ceil")):
            case "sqrt":
                return call("sqrt", abs(a))
            case "log2":
                return call("log2", call("max", a, self.pick((1, 0.5))))
            case function:
                return call(function, a)

    def layered(self) -> Expr:
        """What varies inside a frame, shifted by what does not, and rounded or folded."""
        shift = name(self.pick(COARSE)) * self.pick((*BROKEN, 1, 2)) + self.pick(WHOLE)
        inner = name(self.pick(FINE)) * self.pick((*BROKEN, 1, 1, 1, 2))
        joined = self.pick(
            (
                inner + shift,
                inner - shift,
                shift - inner,
                inner * shift,
                call("min", inner, shift),
                call("max", inner, shift),
            )
        )
        if self.random.random() < 0.4:
            return Expr(self.pick(("//", "%")), (joined, constant(self.pick(DIVISORS))))
        return self.rounded_off(joined)

    def truth(self, depth: int) -> Expr:
        """A truth value."""
        if self.partial and self.random.random() < 0.7:
            condition, undefined = self.guarded(depth - 1)
            truth = Expr(self.pick(COMPARISONS), (undefined, self.leaf()))
            return self.pick((condition & truth, ~condition | truth))
        if depth <= 0 or self.random.random() < 0.4:
            sides = (self.number(depth), self.number(self.random.randint(0, max(0, depth - 1))))
            return Expr(self.pick(COMPARISONS), sides)
        a = self.truth(depth - 1)
        match self.pick(("not", "and", "or", "and", "or", "==", "where", "known")):
            case "not":
                return ~a
            case "and" | "or" | "==" as op:
                return Expr(op, (a, self.truth(depth - 1)))
            case "where":
                return call("where", a, self.truth(depth - 1), self.truth(depth - 1))
        return constant(self.pick([True, False]))

    def rounded(self, *, frame_pair: bool) -> dict[str, Any]:
        """A rounded part; only the raster order has whole frames to judge."""
        keep: Any = self.pick(("any", "all", "centre", "share"))
        if keep == "share":
            keep = {"columns": self.pick(SHARES), "rows": self.pick(SHARES)}
        return {
            "rounded": {
                "block": self.random.randint(1, 40),
                "per": self.pick(("sequence", "frame_pair")) if frame_pair else "sequence",
                "keep": keep,
                "overhang": self.pick(("keep", "drop")),
                "of": str(self.truth(self.random.randint(0, 2))),
            }
        }

    def node(self, depth: int, *, frame_pair: bool) -> Any:
        """A part of a mask as a YAML document holds it."""
        kind = self.random.random()
        if kind < 0.25:
            return self.rounded(frame_pair=frame_pair)
        if depth <= 0 or kind < 0.55:
            return str(self.truth(self.random.randint(0, 3)))
        if kind < 0.7:
            return {"not": self.node(depth - 1, frame_pair=frame_pair)}
        count = self.random.randint(1, 3)
        parts = [self.node(depth - 1, frame_pair=frame_pair) for _ in range(count)]
        return {self.pick(("any", "all")): parts}

    def order(self) -> Any:
        """An order as a YAML document holds it."""
        size = [self.random.randint(1, 3) for _ in range(3)]
        shift = [self.random.randrange(side) for side in size]
        shifted = {"tiles": {"size": size, "shift": shift}}
        return self.pick(("raster", "raster", "space_major", {"tiles": size}, shifted, "hilbert"))

    def mask(self, depth: int) -> dict[str, Any]:
        """A mask of any order, with any, all, not and rounded parts."""
        order = self.order()
        return {
            "name": "random",
            "order": order,
            "mask": self.node(depth, frame_pair=order == "raster"),
            "text": self.pick(TEXT_RULES),
            "empty_rows": self.pick(("keep", "keep", "own_block")),
        }
