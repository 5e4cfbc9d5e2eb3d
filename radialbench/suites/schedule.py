"""How even a mask's work is: its rows shared out over the processors of a GPU."""

from collections.abc import Iterable
from heapq import heapify, heapreplace

from radialbench.kernels.row_order import SM_COUNT, row_blocks, row_order
from radialbench.maskgen.table import BlockTable


def makespan(works: Iterable[int], processors: int = SM_COUNT) -> int:
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


def launched(table: BlockTable, heads: int) -> list[int]:
    """Give the blocks of each thread block, in the order in which the kernels launch them.

    Args:
        table: What attends to what.
        heads: Of all sequences; one after the other.
    """
    blocks: list[int] = row_blocks(table)[row_order(table)].tolist()
    return blocks * heads
