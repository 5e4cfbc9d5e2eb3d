"""How even a mask's work is: its rows shared out over the processors of a GPU."""

from collections.abc import Iterable
from heapq import heapify, heapreplace

from radialbench.maskgen.table import BlockTable

PROCESSORS = 132
"""Those of an H100 SXM. Each is taken to have one thread block at a time."""


def makespan(works: Iterable[int], processors: int) -> int:
    """Give the work of the busiest processor, where each takes the next piece when it is free.

    Args:
        works: The pieces, in the order they are begun.
        processors: How many there are.
    """
    loads = [0] * processors
    heapify(loads)
    for work in works:
        heapreplace(loads, loads[0] + work)
    return max(loads)


def launched(blocks: Iterable[int], heads: int) -> list[int]:
    """Give the blocks of each thread block, in the order in which the kernels launch them.

    Args:
        blocks: Of each row of the table.
        heads: Of all sequences; one after the other, rows with most blocks first.
    """
    return sorted(blocks, reverse=True) * heads


def row_blocks(table: BlockTable) -> list[int]:
    """Count the blocks that each row of a table visits."""
    indptr = table.full.indptr + table.partial.indptr
    counts: list[int] = (indptr[1:] - indptr[:-1]).tolist()
    return counts
