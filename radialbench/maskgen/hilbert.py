"""A Hilbert curve through a box of any sides: neighbours on the curve are neighbours in the box.

This is the generalized curve of Jakub Červený (`gilbert`): a box is cut into parts, each crossed
along one of its edges, until lines are left. All boxes of a depth are cut at once.
"""

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


def hilbert_curve(sides: tuple[int, int, int]) -> Int64:
    """Return the cells of a box in the order of the curve.

    Each step leads to a neighbour; if there are odd sides, a few to one along a diagonal.

    Args:
        sides: Cells along each axis, the last one innermost.

    Returns:
        [cells] number of each cell in row-major order.
    """
    # First cell and three edges, the longest first: the curve runs along it.
    boxes = np.zeros((4, 3, 1), np.int32)
    for edge, axis in enumerate(sorted(range(3), key=lambda axis: (-sides[axis], -axis))):
        boxes[1 + edge, axis] = sides[axis]
    lengths = _lengths(boxes)
    while True:
        lines = (lengths > 1).sum(axis=0) <= 1
        if lines.all():
            break
        boxes = _cut(boxes, lengths, lines)
        lengths = _lengths(boxes)
        whole = (lengths > 0).all(axis=0)
        if not whole.all():
            boxes, lengths = boxes[:, :, whole], lengths[:, whole]
    count = lengths.max(axis=0)
    line = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(line)) - np.repeat(np.cumsum(count) - count, count)
    # Lines of a single cell have three such edges, and take no step.
    step = np.sign(boxes[1:] * (lengths == count)[:, None]).sum(axis=0)
    t, y, x = boxes[0][:, line] + step[:, line] * place
    return np.asarray((t * sides[1] + y) * sides[2] + x, np.int64)


def _lengths(boxes: Int32) -> Int32:
    """[3, boxes] cells along each edge."""
    edges = np.abs(boxes[1:])
    lengths: Int32 = edges[:, 0] + edges[:, 1] + edges[:, 2]
    return lengths


def _cut(boxes: Int32, lengths: Int32, lines: Bool) -> Int32:
    """Cut boxes into parts, in the order of the curve; lines stay whole.

    Args:
        boxes: [4, 3, boxes] first cell and three edges of each box.
        lengths: [3, boxes] cells along the edges.
        lines: [boxes] whether only one edge is longer than a cell.
    """
    w, h, d = lengths
    kind = np.select(
        [lines, (2 * w > 3 * h) & (2 * w > 3 * d), 3 * h > 4 * d, 3 * d > 4 * h], [0, 1, 2, 3], 4
    )
    count = np.array([1, 2, 3, 3, 5])[kind]
    first = np.cumsum(count) - count
    cut = np.empty((4, 3, count.sum()), np.int32)
    for number in range(5):
        chosen = np.flatnonzero(kind == number)
        for place, part in enumerate(_parts(number, *boxes[:, :, chosen])):
            for edge, values in enumerate(part):
                cut[edge, :, first[chosen] + place] = values.T
    return cut


def _parts(kind: int, p: Int32, a: Int32, b: Int32, c: Int32) -> list[tuple[Int32, ...]]:
    """Return the parts of boxes at p that the curve crosses along a."""
    a2, b2, c2 = map(_half, (a, b, c))
    end, up, far = a - np.sign(a), b2 - np.sign(b), c2 - np.sign(c)
    match kind:
        case 0:
            return [(p, a, b, c)]
        case 1:  # Long: there are two halves.
            return [(p, a2, b, c), (p + a2, a - a2, b, c)]
        case 2:  # Flat: c stays whole.
            return [(p, b2, c, a2), (p + b2, a, b - b2, c), (p + end + up, -b2, c, a2 - a)]
        case 3:  # Thin: b stays whole.
            return [(p, c2, a2, b), (p + c2, a, b, c - c2), (p + end + far, -c2, a2 - a, b)]
    other = c - np.sign(c)
    return [
        (p, b2, c2, a2),
        (p + b2, c, a2, b - b2),
        (p + up + other, a, -b2, c2 - c),
        (p + end + b2 + other, -c, a2 - a, b - b2),
        (p + end + up, -b2, c2, a2 - a),
    ]


def _half(edge: Int32) -> Int32:
    """Halve edges, to an even length unless they are 1 or 2 long."""
    length = np.abs(edge)
    half = length >> 1
    half += (half & 1) & (length > 2)
    halves: Int32 = np.sign(edge) * half
    return halves
