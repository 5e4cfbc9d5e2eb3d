"""What the weights of a product hold, read from the text of a kernel."""

import re
from collections import defaultdict
from collections.abc import Iterator

MATMUL = re.compile(r"wgmma\.mma_async\S+ \{([^}]*)\}, (\{[^}]*\}|%\w+), ")
PACKED = re.compile(
    r"e4m3x2\.f32 low, (%\w+), (%\w+); \S+\.f32 high, (%\w+), (%\w+); mov\.b32 (%\w+), \{low, high"
)
SINGLE = re.compile(r"\s*(?:@\S+ )?([a-z0-9_.]+)\s+(%\w+), (.*);")
PASSED = {"ex2": 1, "mov": 1, "sub": 1, "add": 1, "selp": 1, "fma": 2}
"""Operands through which a score passes, by operation."""


def weights_by_register(ptx: str) -> Iterator[tuple[tuple[int, int, int], set[int]]]:
    """Follow every byte of the weights of products in e4m3 back to the score it was made of.

    Yields:
        The product of four, the register and the byte, and the numbers of the registers of scores.
    """
    scores: dict[str, int] = {}
    packed: dict[str, tuple[str, ...]] = {}
    sources: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    products: list[list[str]] = []
    for line in ptx.splitlines():
        if match := MATMUL.search(line):
            if match[2].startswith("{"):
                products.append(re.findall(r"%\w+", match[2]))
            else:
                scores |= {name: n for n, name in enumerate(re.findall(r"%\w+", match[1]))}
        elif match := PACKED.search(line):
            packed[match[5]] = (match[2], match[1], match[4], match[3])
        elif match := SINGLE.match(line):
            operation = match[1].partition(".")[0]
            named = re.findall(r"%\w+", match[3])
            sources[match[2]].append((operation, named[: PASSED.get(operation, 0)]))

    def score(name: str, depth: int = 0) -> set[int]:
        if name in scores:
            return {scores[name]}
        before = [one for _, some in sources[name] for one in some] if depth < 12 else []
        return set().union(*(score(one, depth + 1) for one in before))

    def words(name: str, depth: int = 0) -> list[tuple[str, ...]]:
        if name in packed:
            return [packed[name]]
        moved = [some[0] for operation, some in sources[name] if operation == "mov" and some]
        return [word for one in moved if depth < 12 for word in words(one, depth + 1)]

    for number, registers in enumerate(products):
        for register, name in enumerate(registers):
            for word in words(name):
                for byte, weight in enumerate(word):
                    yield (number % 4, register, byte), score(weight)
