"""The contents of a mask's blocks, found on a GPU by the rule as a Triton kernel.

Every pair of blocks is evaluated, or in long sequences one pair of each kind of groups of blocks
with equal contents (`maskgen/compiler/rules.py`). The kernel is written from the rule's expression,
in float64 and without fused operations, so that its truth is NumPy's to the bit. Parts of one
coordinate, such as a power of a distance, are computed by NumPy and looked up.
"""

import linecache
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.maskgen.compiler.blocks import hash_weights
from radialbench.maskgen.compiler.coordinates import Coordinates
from radialbench.maskgen.compiler.rules import Contents, Rule
from radialbench.maskgen.language.expressions import COMPARISONS, Expr

Int64 = NDArray[np.int64]

OPERATIONS = {
    **{op: f"({{}} {op} {{}})" for op in ("+", "-", "*", "/", *COMPARISONS)},
    "and": "({} & {})",
    "or": "({} | {})",
    "not": "(({}) == 0)",
    "neg": "(-{})",
    "abs": "tl.abs({})",
    "floor": "tl.floor({})",
    "ceil": "tl.ceil({})",
    "sqrt": "tl.sqrt({})",
    "where": "tl.where({}, {}, {})",
    "min": "_least({}, {})",
    "max": "_greatest({}, {})",
    "%": "_mod({}, {})",
    "//": "_floor_divide({}, {})",
}
"""The operators as Triton writes them; rules with others on several coordinates are for the CPU."""

TRUTH, WHOLE, REAL = "tl.int1", "tl.int32", "tl.float64"
"""Types of a rule's parts. Whole numbers that fit are int32: a GPU has half as many units for
float64, and an eighth for converting to it."""

MOST_WHOLE = 2**31 - 1
"""Greatest absolute value of a part that is int32."""

KEEPS_WHOLE: dict[str, Callable[..., float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a + b,
    "*": lambda a, b: a * b,
    "neg": lambda a: a,
    "abs": lambda a: a,
    "min": max,
    "max": max,
    "where": lambda _, a, b: max(a, b),
    "%": lambda a, b: b,
}
"""Operators whose value is whole if their arguments are, with a bound of its absolute value."""

AT_ONCE, WARPS = 1, 1
"""Bits of a word that a thread evaluates at once, and warps of a block. Keys are read once for the
queries that a thread has."""

LEAST = -(2**63)

MAX_BYTES = 1 << 30
"""Bytes of bits that are held at once: half a million blocks of 128×128. If all pairs of blocks
have no more, all are evaluated: finding equal ones first would take longer."""


@triton.jit
def _least(a, b):  # type: ignore[no-untyped-def]
    return tl.where(a != a, a, tl.where((b != b) | (b < a), b, a))


@triton.jit
def _greatest(a, b):  # type: ignore[no-untyped-def]
    return tl.where(a != a, a, tl.where((b != b) | (b > a), b, a))


@triton.jit
def _mod(a, b):  # type: ignore[no-untyped-def]
    # For whole numbers the divisor is not 0.
    rest = a % b
    return tl.where((rest != 0) & ((b < 0) != (rest < 0)), rest + b, rest)


@triton.jit
def _floor_divide(a, b):  # type: ignore[no-untyped-def]
    # As NumPy: the quotient of what is left without the remainder, rounded to the nearest number.
    rest = a % b
    quotient = (a - rest) / b
    quotient = tl.where((rest != 0) & ((b < 0) != (rest < 0)), quotient - 1.0, quotient)
    whole = tl.floor(quotient)
    whole = tl.where(quotient - whole > 0.5, whole + 1.0, whole)
    return tl.where(b == 0, a / b, whole)


SOURCE = """
@triton.jit
def kernel(
    out, counts, hashes, weights, pairs, q_start, q_stop, k_start, k_stop, {arguments}
    STRIDE: tl.constexpr, SIZE_Q: tl.constexpr, ROWS: tl.constexpr, WORDS: tl.constexpr,
    AT_ONCE: tl.constexpr,
):
    pair = tl.load(pairs + tl.program_id(0))
    row, column = pair // STRIDE, pair % STRIDE
    row_start, row_stop = tl.load(q_start + row), tl.load(q_stop + row)
    query = tl.minimum(row_start + tl.arange(0, ROWS)[:, None, None], row_stop - 1)
{queries}
    k_first = tl.load(k_start + column)
    start = k_first + tl.arange(0, WORDS)[None, :, None] * 32
    bits = tl.zeros([ROWS, WORDS], tl.int32)
    for begin in range(0, 32, AT_ONCE):
        bit = begin + tl.arange(0, AT_ONCE)[None, None, :]
        key = start + bit
{keys}
        bits |= tl.sum(tl.where({rule}, 1, 0) << bit, axis=2)
    place = tl.arange(0, ROWS)[:, None]
    word = tl.arange(0, WORDS)[None, :]
    keys = tl.minimum(tl.maximum(tl.load(k_stop + column) - k_first - word * 32, 0), 32)
    # All ones where a word is full: a shift by 32 is undefined.
    bits &= tl.where(keys < 32, (1 << (keys & 31)) - 1, -1)
    bits = tl.where(row_start + place < row_stop, bits, 0)
    at = place * WORDS + word
    stored = place < SIZE_Q
    tl.store(out + tl.program_id(0).to(tl.int64) * SIZE_Q * WORDS + at, bits, mask=stored)
    weight = tl.load(weights + at, mask=stored, other=0)
    hashed = tl.sum((bits.to(tl.int64) & 0xFFFFFFFF) * weight)
    tl.store(hashes + tl.program_id(0), hashed)
    tl.store(counts + tl.program_id(0), tl.sum(_ones(bits)))
"""


@triton.jit
def _ones(bits):  # type: ignore[no-untyped-def]
    bits -= (bits >> 1) & 0x55555555
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F
    bits += bits >> 8
    return (bits + (bits >> 16)) & 0x3F


def contents(
    rule: Expr, known: Coordinates, progress: Callable[[float], None] = lambda share: None
) -> Contents:
    """Find the contents of all pairs of pieces on the current GPU, as the CPU finds them.

    A rule with a power or logarithm of several coordinates is evaluated on the CPU.

    Raises:
        SpecError: There is no CUDA GPU. Triton's interpreter needs none.
    """
    if not torch.cuda.is_available() and not triton.knobs.runtime.interpret:
        raise SpecError("device 'cuda': PyTorch finds no GPU here; 'cpu' makes the same table")
    parts = Rule(rule, known, progress)
    if any(node.args and node.op not in OPERATIONS for node in parts.rule.walk()):
        return parts.contents()
    return _Launch(parts, "cuda" if torch.cuda.is_available() else "cpu").contents()


class _Launch:
    def __init__(self, parts: Rule, device: str) -> None:
        self.parts, self.device = parts, device
        known = parts.known
        self.q, self.k = known.sides["q"], known.sides["k"]
        self.words = max(1, triton.next_power_of_2(-(-self.k.size // 32)))
        writer = _Writer(known)
        self.kernel = _compiled(writer.source(parts.rule))
        self.arrays = [self.tensor(array) for array in writer.arrays]
        width = -(-self.k.size // 32)
        weights = hash_weights(self.q.size * width).view(np.int64).reshape(-1, width)
        # Words behind a block's are 0.
        self.weights = self.tensor(np.pad(weights, [(0, 0), (0, self.words - width)]))
        self.sides = [
            self.tensor(part.astype(np.int32))
            for side in (self.q, self.k)
            for part in (side.start, side.stop)
        ]

    def tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def launch(self, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Evaluate pairs of pieces: the bits of each, how many are set, and a hash of them."""
        count = len(pairs)
        bits = torch.empty((count, self.q.size, self.words), dtype=torch.int32, device=self.device)
        counts = torch.empty(count, dtype=torch.int32, device=self.device)
        hashes = torch.empty(count, dtype=torch.int64, device=self.device)
        if count:
            self.kernel[(count,)](
                bits,
                counts,
                hashes,
                self.weights,
                pairs,
                *self.sides,
                *self.arrays,
                STRIDE=len(self.k),
                SIZE_Q=self.q.size,
                ROWS=triton.next_power_of_2(self.q.size),
                WORDS=self.words,
                AT_ONCE=32 if triton.knobs.runtime.interpret else AT_ONCE,
                enable_fp_fusion=False,
                num_warps=WARPS,
            )
        return bits, counts, hashes

    def contents(self) -> Contents:
        """Evaluate all pairs of pieces, or those that differ and copy them."""
        count = len(self.q) * len(self.k)
        if count * self.q.size * self.words * 4 > MAX_BYTES:
            return self.copied()
        pairs = torch.arange(count, device=self.device)
        content, different = self.evaluated(pairs, torch.ones_like(pairs, dtype=torch.bool))
        some = torch.nonzero(content >= 0).ravel()
        return self.found(some, content[some], different)

    def found(
        self, pairs: torch.Tensor, content: torch.Tensor, different: "_Different"
    ) -> Contents:
        """Bring pairs of pieces with their contents to the CPU."""
        q, k = pairs // len(self.k), pairs % len(self.k)
        bits = different.bits[..., : -(-self.k.size // 32)].contiguous().cpu().numpy()
        return Contents(
            q=_host(q),
            k=_host(k),
            content=_host(content),
            bits=bits.view(np.uint32),
            pairs=_host(different.counts),
            distinct=different.distinct,
        )

    def copied(self) -> Contents:
        """Evaluate the pairs of pieces of one pair of groups of each kind, and copy them."""
        groups = self.parts.groups(np.arange(len(self.q.groups)))
        sample = groups.sample
        (q, q_count), (k, k_count) = (
            (self.tensor(side.groups.pointer), self.tensor(side.groups.count))
            for side in (self.q, self.k)
        )
        q_group, k_group = self.tensor(groups.q[sample]), self.tensor(groups.k[sample])
        kind, place = _ranges(q_count[q_group] * k_count[k_group])
        below, right = place // k_count[k_group][kind], place % k_count[k_group][kind]
        rows, columns = q[q_group][kind] + below, k[k_group][kind] + right
        content, different = self.evaluated(
            rows * len(self.k) + columns, self.tensor(groups.matters[self.parts.rule])[kind]
        )
        some = torch.nonzero(content >= 0).ravel()
        kind, below, right, content = kind[some], below[some], right[some], content[some]
        # The pairs of groups of a kind have equal contents.
        count = torch.bincount(kind, minlength=len(sample))
        of_pair = self.tensor(groups.kind)
        pair, entry = _ranges(count[of_pair])
        entry += (count.cumsum(0) - count)[of_pair][pair]
        rows = q[self.tensor(groups.q)][pair] + below[entry]
        columns = k[self.tensor(groups.k)][pair] + right[entry]
        pairs, order = torch.sort(rows * len(self.k) + columns)
        return self.found(pairs, content[entry[order]], different)

    def evaluated(
        self, pairs: torch.Tensor, matters: torch.Tensor
    ) -> tuple[torch.Tensor, "_Different"]:
        """Find the contents of pairs of pieces, -1 where empty, and the different ones.

        Args:
            pairs: [pairs] number of each pair: piece of queries · pieces of keys + piece of keys.
            matters: [pairs] whether the rule's value differs; elsewhere it holds.
        """
        lengths = [self.tensor(side.lengths) for side in (self.q, self.k)]
        areas = lengths[0][pairs // len(self.k)] * lengths[1][pairs % len(self.k)]
        content = torch.full_like(pairs, -1)
        full = ~matters
        stored: list[_Different] = []
        number = 0
        step = max(1, MAX_BYTES // (self.q.size * self.words * 4))
        for part in torch.nonzero(matters).ravel().split(step):
            bits, counts, hashes = self.launch(pairs[part])
            full[part] = counts == areas[part]
            partial = torch.nonzero((counts > 0) & ~full[part]).ravel()
            different, kind = _different(bits, counts, hashes, partial)
            content[part[partial]] = kind + number
            stored.append(different)
            number += len(different.bits)
        distinct = len(stored) <= 1 and all(one.distinct for one in stored)
        whole = torch.nonzero(full).ravel()
        rectangles, kind = self.rectangles(pairs[whole])
        content[whole] = kind + number
        stored.append(rectangles)
        bits = torch.cat([one.bits for one in stored])
        return content, _Different(bits, torch.cat([one.counts for one in stored]), distinct)

    def rectangles(self, pairs: torch.Tensor) -> tuple["_Different", torch.Tensor]:
        """Return the different contents of full pairs, and each pair's place among them."""
        rows, columns = (
            self.tensor(side.lengths)[index]
            for side, index in ((self.q, pairs // len(self.k)), (self.k, pairs % len(self.k)))
        )
        below = self.k.size + 1
        sides, content = torch.unique(rows * below + columns, return_inverse=True)
        rows, columns = (side[:, None, None] for side in (sides // below, sides % below))
        place = torch.arange(self.q.size, device=self.device)
        key = torch.arange(self.words * 32, device=self.device)
        inside = (place[:, None] < rows) & (key < columns)
        truth = inside.reshape(len(sides), self.q.size, self.words, 32).int()
        bits = (truth << torch.arange(32, device=self.device)).sum(3).int()
        return _Different(bits, (rows * columns).ravel(), True), content


@dataclass(frozen=True)
class _Different:
    """Contents of pairs of pieces, each once if they are distinct.

    Attributes:
        bits: [contents, size of q, words] int32.
        counts: [contents] how many bits are set.
        distinct: Whether no two are equal.
    """

    bits: torch.Tensor
    counts: torch.Tensor
    distinct: bool


def _host(values: torch.Tensor) -> NDArray[Any]:
    """Copy values to the CPU, by memory that PyTorch keeps for such copies: ten times as fast."""
    if not values.is_cuda:
        return values.numpy()
    copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return copy.copy_(values).numpy()


def _different(
    bits: torch.Tensor, counts: torch.Tensor, hashes: torch.Tensor, some: torch.Tensor
) -> tuple[_Different, torch.Tensor]:
    """Return the different contents of some pairs, and each one's place among them."""
    # In the order of the hashes without sign, which is the table's.
    values, kind = torch.unique(hashes[some] ^ LEAST, return_inverse=True)
    first = torch.full_like(values, len(hashes)).scatter_reduce(0, kind, some, "amin")
    different, chosen = bits[first], bits[some]
    if not torch.equal(chosen, different[kind]):
        # Different bits have one hash: all are kept.
        every = torch.arange(len(some), device=bits.device)
        return _Different(chosen, counts[some].long(), False), every
    return _Different(different, counts[first].long(), True), kind


def _ranges(count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `count[j]` numbers from 0 on, for every j: each one's j, and itself."""
    owner = torch.repeat_interleave(count)
    return owner, torch.arange(len(owner), device=count.device) - (count.cumsum(0) - count)[owner]


@dataclass(frozen=True)
class _Part:
    """A part of a rule, as Triton's text.

    Attributes:
        text: The text.
        type: `TRUTH`, `WHOLE` or `REAL`.
        most: Bound of its absolute value, if it is whole.
        constant: Whether it is a number of the rule.
    """

    text: str
    type: str
    most: float = 1
    constant: bool = False

    def as_truth(self) -> str:
        return self.text if self.type == TRUTH else f"({self.text} != 0)"

    def to(self, type: str) -> str:
        return self.text if self.type == type else f"{self.text}.to({type})"


class _Writer:
    """Writes a rule as the source of a kernel, and collects the arrays that it reads."""

    def __init__(self, known: Coordinates) -> None:
        self.known = known
        self.arrays: list[NDArray[Any]] = []
        self.lines: dict[str, list[str]] = {"q": [], "k": []}
        self.parts: dict[str, _Part] = {}
        self.places: dict[str, str] = {}

    def source(self, rule: Expr) -> str:
        """Return the source of the kernel; its arguments are `arrays` in order."""
        parts: dict[Expr, _Part] = {}
        steps: list[str] = []
        for node in rule.walk():
            parts[node] = self.written(node, [parts[argument] for argument in node.args])
            if node.args:
                word = f"v{len(steps)}"
                steps.append(f"{word} = {parts[node].text}")
                parts[node] = replace(parts[node], text=word)
        return SOURCE.format(
            arguments="".join(f"a{place}, " for place in range(len(self.arrays))),
            queries="\n".join(" " * 4 + line for line in self.lines["q"]),
            keys="\n".join(" " * 8 + line for line in self.lines["k"] + steps),
            rule=parts[rule].as_truth(),
        )

    def written(self, node: Expr, args: list[_Part]) -> _Part:
        """Return a node as text of its arguments' texts."""
        if node.op == "name":
            return self.name(str(node.value))
        if node.op in ("number", "truth"):
            value = float(node.value or 0)
            if value.is_integer() and abs(value) <= MOST_WHOLE:
                return _Part(f"tl.full((1, 1, 1), {int(value)}, {WHOLE})", WHOLE, abs(value), True)
            return _Part(f"tl.full((1, 1, 1), {value!r}, {REAL})", REAL, constant=True)
        return self.joined(node.op, args)

    def joined(self, op: str, args: list[_Part]) -> _Part:
        form = OPERATIONS[op].format
        if op in ("and", "or"):
            return _Part(form(*(part.as_truth() for part in args)), TRUTH)
        if op == "not":
            return _Part(form(args[0].text), TRUTH)
        chosen = args[:1] if op == "where" else []
        numbers = args[len(chosen) :]
        whole = all(part.type != REAL for part in numbers)
        most = KEEPS_WHOLE[op](*(part.most for part in args)) if op in KEEPS_WHOLE else inf
        if op == "%":
            whole = whole and numbers[1].constant and most > 0
        type = WHOLE if whole and (op in COMPARISONS or most <= MOST_WHOLE) else REAL
        text = form(*(part.as_truth() for part in chosen), *(part.to(type) for part in numbers))
        return _Part(text, TRUTH if op in COMPARISONS else type, most)

    def name(self, word: str) -> _Part:
        """Return the name that holds a coordinate."""
        if word not in self.parts:
            self.parts[word] = self.coordinate(word)
        return self.parts[word]

    def coordinate(self, word: str) -> _Part:
        if word[0] in "qk":
            return self.loaded(word[0], self.known.values(word, word[0]))
        if word in self.known.matrices:
            matrix = self.known.matrices[word]
            at = matrix.coordinates(self.known.sides["q"], self.known.sides["k"])
            assert at["q"].q is not None and at["k"].k is not None
            query = self.loaded("q", at["q"].q * matrix.blocks.shape[1])
            key = self.loaded("k", at["k"].k)
            return self.loaded("k", matrix.blocks.ravel(), f"{query.text} + {key.text}")
        part = self.known[word]
        assert part.q is not None and part.k is not None
        if part.axis not in self.places:
            query, key = self.loaded("q", part.q), self.loaded("k", part.k)
            self.places[part.axis] = f"({query.text} + {key.text})"
        place = self.places[part.axis]
        if word == part.axis:
            most = float(np.abs(part.values).max())
            return _Part(f"({int(part.values[0])} - {place})", WHOLE, most)
        return self.loaded("k", part.values, place)

    def loaded(self, side: str, values: NDArray[Any], place: str | None = None) -> _Part:
        """Load values for the tokens of a side, or from a place for pairs.

        Whole numbers of NumPy are parts of a place; all values of coordinates are floats or truths.
        """
        word = f"a{len(self.arrays)}"
        type, most = REAL, 1.0
        if values.dtype.kind != "i" and ((values == 0) | (values == 1)).all():
            values, type = values.astype(np.int8), TRUTH
        elif (np.abs(values) <= MOST_WHOLE).all() and (values == np.floor(values)).all():
            most, type = float(np.abs(values).max()), WHOLE
            values = values.astype(np.int32)
        if side == "k" and place is None:
            # The kernel reads a power of two of whole words, also behind the last piece.
            values = np.pad(values, (0, 2 * self.known.sides["k"].size + 64), mode="edge")
        self.arrays.append(values)
        at = place or ("query" if side == "q" else "key")
        self.lines[side].append(
            f"{side}{word} = tl.load({word} + {at})" + " != 0" * (type == TRUTH)
        )
        return _Part(f"{side}{word}", type, most)


@lru_cache(maxsize=64)
def _compiled(source: str) -> Any:
    name = f"<rule {len(linecache.cache)}>"
    # Triton reads the source of a function where Python's own tracebacks do.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    scope: dict[str, Any] = {
        "triton": triton,
        "tl": tl,
        "_least": _least,
        "_greatest": _greatest,
        "_mod": _mod,
        "_floor_divide": _floor_divide,
        "_ones": _ones,
        "__name__": __name__,
    }
    exec(compile(source, name, "exec"), scope)
    return scope["kernel"]
