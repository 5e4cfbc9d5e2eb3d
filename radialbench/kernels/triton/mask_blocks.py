"""The contents of a mask's blocks, found on a GPU by the rule as a Triton kernel.

Every pair of blocks is evaluated, or in long sequences one pair of each kind of groups of blocks
with equal contents (`maskgen/compiler/rules.py`). The kernel is written from the rule's expression,
in float64 and without fused operations, so that its truth is NumPy's to the bit. Parts of one
coordinate, such as a power of a distance, are computed by NumPy and looked up.
"""

import linecache
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from radialbench.errors import SpecError
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

ROWS = 16
"""Query tokens evaluated at once."""

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
    STRIDE: tl.constexpr, SIZE_Q: tl.constexpr, WORDS: tl.constexpr, PART: tl.constexpr,
):
    pair = tl.load(pairs + tl.program_id(0))
    row, column = pair // STRIDE, pair % STRIDE
    row_start, row_stop = tl.load(q_start + row), tl.load(q_stop + row)
    key = tl.load(k_start + column) + tl.arange(0, WORDS * 32)[None, :]
    key_stop = tl.load(k_stop + column)
    in_keys = key < key_stop
    key = tl.minimum(key, key_stop - 1)
{keys}
    count = tl.zeros([1], tl.int32)
    hashed = tl.zeros([1], tl.int64)
    for first in range(0, SIZE_Q, PART):
        place = first + tl.arange(0, PART)[:, None]
        inside = (row_start + place < row_stop) & in_keys
        query = tl.minimum(row_start + place, row_stop - 1)
{queries}
        truth = (({rule}) & inside).to(tl.int32)
        count += tl.sum(tl.sum(truth, axis=1), axis=0)
        bits = tl.reshape(truth, [PART, WORDS, 32])
        words = tl.sum(bits << tl.arange(0, 32)[None, None, :], axis=2)
        at = place * WORDS + tl.arange(0, WORDS)[None, :]
        valid = place < SIZE_Q
        tl.store(out + tl.program_id(0).to(tl.int64) * SIZE_Q * WORDS + at, words, mask=valid)
        weight = tl.load(weights + at, mask=valid, other=0)
        hashed += tl.sum(tl.sum((words.to(tl.int64) & 0xFFFFFFFF) * weight, axis=1), axis=0)
    one = tl.program_id(0) + tl.arange(0, 1)
    tl.store(counts + one, count)
    tl.store(hashes + one, hashed)
"""


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
        self.sides = [
            self.tensor(part.astype(np.int32))
            for side in (self.q, self.k)
            for part in (side.start, side.stop)
        ]

    def tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def launch(self, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Evaluate pairs of pieces: the bits of each, how many are set, and a hash of them."""
        size, count = self.q.size * self.words, len(pairs)
        bits = torch.empty((count, self.q.size, self.words), dtype=torch.int32, device=self.device)
        counts = torch.empty(count, dtype=torch.int32, device=self.device)
        hashes = torch.empty(count, dtype=torch.int64, device=self.device)
        weights = torch.arange(1, size + 1, dtype=torch.int64, device=self.device)
        weights = (weights * 0x1E3779B97F4A7C15) ^ (weights << 17)
        if count:
            self.kernel[(count,)](
                bits,
                counts,
                hashes,
                weights | 1,
                pairs,
                *self.sides,
                *self.arrays,
                STRIDE=len(self.k),
                SIZE_Q=self.q.size,
                WORDS=self.words,
                PART=ROWS,
                enable_fp_fusion=False,
            )
        return bits, counts, hashes

    def contents(self) -> Contents:
        """Evaluate all pairs of pieces, or those that differ and copy them."""
        count = len(self.q) * len(self.k)
        if count * self.q.size * self.words * 4 > MAX_BYTES:
            return self.copied()
        pairs = torch.arange(count, device=self.device)
        content, bits = self.evaluated(pairs, torch.ones_like(pairs, dtype=torch.bool))
        some = torch.nonzero(content >= 0).ravel()
        return self.found(some, content[some], bits)

    def found(self, pairs: torch.Tensor, content: torch.Tensor, bits: torch.Tensor) -> Contents:
        """Bring pairs of pieces with their contents to the CPU."""
        q, k = pairs // len(self.k), pairs % len(self.k)
        return Contents(
            q.cpu().numpy(), k.cpu().numpy(), content.cpu().numpy(), self.words_of_64(bits)
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
        content, bits = self.evaluated(
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
        return self.found(pairs, content[entry[order]], bits)

    def evaluated(
        self, pairs: torch.Tensor, matters: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Find the contents of pairs of pieces, -1 where empty, and the contents' bits.

        Args:
            pairs: [pairs] number of each pair: piece of queries · pieces of keys + piece of keys.
            matters: [pairs] whether the rule's value differs; elsewhere it holds.
        """
        lengths = [self.tensor(side.lengths) for side in (self.q, self.k)]
        areas = lengths[0][pairs // len(self.k)] * lengths[1][pairs % len(self.k)]
        content = torch.full_like(pairs, -1)
        full = ~matters
        stored: list[torch.Tensor] = []
        number = 0
        step = max(1, MAX_BYTES // (self.q.size * self.words * 4))
        for part in torch.nonzero(matters).ravel().split(step):
            bits, counts, hashes = self.launch(pairs[part])
            full[part] = counts == areas[part]
            partial = torch.nonzero((counts > 0) & ~full[part]).ravel()
            different, kind = _different(bits, hashes, partial)
            content[part[partial]] = kind + number
            stored.append(different)
            number += len(different)
        whole = torch.nonzero(full).ravel()
        rectangles, kind = self.rectangles(pairs[whole])
        content[whole] = kind + number
        return content, torch.cat([*stored, rectangles])

    def words_of_64(self, bits: torch.Tensor) -> NDArray[np.uint64]:
        """Return bits in words of 64, as many as a block needs."""
        width = 2 * -(-self.k.size // 64)
        words = bits.cpu().numpy()[..., :width]
        words = np.pad(words, [(0, 0), (0, 0), (0, width - words.shape[2])])
        return np.ascontiguousarray(words).view(np.uint64)

    def rectangles(self, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distinct bits of full pairs, and each pair's place among them."""
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
        bits = inside.reshape(len(sides), self.q.size, self.words, 32).int()
        return (bits << torch.arange(32, device=self.device)).sum(3).int(), content


def _different(
    bits: torch.Tensor, hashes: torch.Tensor, some: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the different bits of some pairs, and each one's place among them."""
    values, kind = torch.unique(hashes[some], return_inverse=True)
    first = torch.full_like(values, len(hashes)).scatter_reduce(0, kind, some, "amin")
    different, chosen = bits[first], bits[some]
    if not torch.equal(chosen, different[kind]):
        # Different bits have one hash: all are kept.
        return chosen, torch.arange(len(some), device=bits.device)
    return different, kind


def _ranges(count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `count[j]` numbers from 0 on, for every j: each one's j, and itself."""
    owner = torch.repeat_interleave(count)
    return owner, torch.arange(len(owner), device=count.device) - (count.cumsum(0) - count)[owner]


class _Writer:
    """Writes a rule as the source of a kernel, and collects the arrays that it reads."""

    def __init__(self, known: Coordinates) -> None:
        self.known = known
        self.arrays: list[NDArray[Any]] = []
        self.lines: dict[str, list[str]] = {"q": [], "k": []}
        self.parts: dict[str, tuple[str, bool]] = {}
        self.places: dict[str, str] = {}

    def source(self, rule: Expr) -> str:
        """Return the source of the kernel; its arguments are `arrays` in order."""
        texts: dict[Expr, tuple[str, bool]] = {}
        steps: list[str] = []
        for node in rule.walk():
            text, truth = self.written(node, [texts[argument] for argument in node.args])
            if node.args:
                word = f"v{len(steps)}"
                steps.append(f"{word} = {text}")
                text = word
            texts[node] = text, truth
        lines = {side: list(part) for side, part in self.lines.items()}
        return SOURCE.format(
            arguments="".join(f"a{place}, " for place in range(len(self.arrays))),
            keys="\n".join(" " * 4 + line for line in lines["k"]),
            queries="\n".join(" " * 8 + line for line in lines["q"] + steps),
            rule=texts[rule][0] if texts[rule][1] else f"{texts[rule][0]} != 0",
        )

    def written(self, node: Expr, args: list[tuple[str, bool]]) -> tuple[str, bool]:
        """Return a node as text, and whether it is a truth value of Triton's."""
        if node.op == "name":
            return self.name(str(node.value))
        if node.op in ("number", "truth"):
            return f"tl.full((1, 1), {float(node.value or 0)!r}, tl.float64)", False
        truths = {"and": 2, "or": 2, "not": 1, "where": 1}.get(node.op, 0)
        texts = []
        for place, (text, truth) in enumerate(args):
            if place < truths and node.op != "not":
                text = text if truth else f"({text} != 0)"
            elif truth and node.op != "not":
                text = f"{text}.to(tl.float64)"
            texts.append(text)
        return OPERATIONS[node.op].format(*texts), node.op in (*COMPARISONS, "and", "or", "not")

    def name(self, word: str) -> tuple[str, bool]:
        """Return the name that holds a coordinate, and whether it is a truth value of Triton's."""
        if word not in self.parts:
            self.parts[word] = self.coordinate(word)
        return self.parts[word]

    def coordinate(self, word: str) -> tuple[str, bool]:
        if word[0] in "qk":
            return self.loaded(word[0], self.known.values(word, word[0]), None)
        if word in self.known.matrices:
            matrix = self.known.matrices[word]
            at = matrix.coordinates(self.known.sides["q"], self.known.sides["k"])
            assert at["q"].q is not None and at["k"].k is not None
            query, _ = self.loaded("q", at["q"].q * matrix.blocks.shape[1], None)
            key, _ = self.loaded("k", at["k"].k, None)
            return self.loaded("q", matrix.blocks.ravel(), f"{query} + {key}")
        part = self.known[word]
        assert part.q is not None and part.k is not None
        if part.axis not in self.places:
            query, _ = self.loaded("q", part.q, None)
            key, _ = self.loaded("k", part.k, None)
            self.places[part.axis] = f"({query} + {key})"
        place = self.places[part.axis]
        if word == part.axis:
            return f"({int(part.values[0])} - {place}).to(tl.float64)", False
        return self.loaded("q", part.values, place)

    def loaded(self, side: str, values: NDArray[Any], place: str | None) -> tuple[str, bool]:
        """Load values for the tokens of a side, or from a place for pairs.

        Returns:
            The name that holds them, and whether it is a truth value. Numbers are float64; indices
            of tables, which are given as whole numbers, are int32.
        """
        word = f"{side}{len(self.arrays)}"
        text = f"tl.load(a{len(self.arrays)} + {place or ('query' if side == 'q' else 'key')})"
        truth = False
        if values.dtype.kind == "i":
            values = values.astype(np.int32)
        elif ((values == 0) | (values == 1)).all():
            values, text, truth = values.astype(np.int8), f"{text} != 0", True
        elif (np.abs(values) < 2**31).all() and (values == np.floor(values)).all():
            values, text = values.astype(np.int32), f"{text}.to(tl.float64)"
        self.arrays.append(values)
        self.lines[side].append(f"{word} = {text}")
        return word, truth


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
        "__name__": __name__,
    }
    exec(compile(source, name, "exec"), scope)
    return scope["kernel"]
