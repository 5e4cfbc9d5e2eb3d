"""Attention mass by distance in time and space, exact on sampled query rows.

Each row's softmax weights over all keys are summed by the distances of the pairs. That is float64,
in chunks of rows: memory grows with the tokens, and not with their square.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radialbench.errors import InputsError, unknown
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.kernels.backends.reference import mask_rows
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.order import Coordinates, TokenOrder
from radialbench.maskgen.table import BlockTable

Int64 = NDArray[np.int64]
Floats = NDArray[np.float64]

CHUNK_BYTES = 32 << 20
"""Most bytes of the weights of a chunk of rows in one head."""

PAIR_ROWS = 16
"""Rows of a mask that are looked at together."""

STEPS, PLACES = "steps", "places"
SPACES = (STEPS, PLACES)
"""Distances in space: steps |y - y'| + |x - x'| from row to row and column to column, or the
difference of places in raster order, as in masks and in the bound of arXiv 2506.19852."""


@dataclass(frozen=True, eq=False)
class ByDistance:
    """What some query rows have at each distance of their keys: mass, or pairs.

    Attributes:
        joint: [frames, space] by distance in time and space, sum over rows.
        time: [rows, frames] by distance in time.
        space: [rows, space] by distance in space.
    """

    joint: Floats
    time: Floats
    space: Floats


@dataclass(frozen=True, eq=False)
class HeadMass:
    """Attention mass of one head of one sequence by distance.

    Attributes:
        sequence: The sequence of the batch.
        head: The head, as it stands in q.
        mass: The rows' softmax weights on keys of the video, but for sink frames.
        pairs: How many such keys there are.
        noise: Variance of their weights about those that all keys at the same distances have on
            average, added up over the keys.
        deviation: Standard deviation of the logits that such noise has, if it is normal.
        sink: Share of the mass that is on sink frames.
        text: Share that is on text, and on all else that is no video.
    """

    sequence: int
    head: int
    mass: ByDistance
    pairs: ByDistance
    noise: ByDistance
    deviation: float
    sink: float
    text: float


def sample_rows(inputs: AttentionInputs, count: int, seed: int = 0) -> Int64:
    """Return ascending raster queries of the video, one at random of each of `count` equal parts.

    All of them if there are no more.

    Raises:
        InputsError: The inputs have no query in the video.
    """
    grid = inputs.grid
    has = np.arange(grid.q_len) if inputs.rows is None else inputs.rows.cpu().numpy()
    place = has + grid.query_start - grid.video_start
    has = has[(place >= 0) & (place < grid.video_tokens)]
    if not len(has):
        raise InputsError("the inputs have no query in the video")
    edges = np.arange(min(count, len(has)) + 1) * len(has) // min(count, len(has))
    chosen: Int64 = has[np.random.default_rng(seed).integers(edges[:-1], edges[1:])]
    return chosen


def mass_by_distance(
    inputs: AttentionInputs,
    rows: Int64,
    *,
    space: str = STEPS,
    sink_frames: int = 1,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> list[HeadMass]:
    """Sum attention mass by distance in time and space, for each head of each sequence.

    Args:
        inputs: q, k and v of a layer.
        rows: Ascending raster queries in the video, as of `sample_rows`.
        space: Distance in space, `steps` or `places`.
        sink_frames: First frames that are left out; their mass is summed apart.
        on_rows: Called with the rows done, over heads and sequences, and their number.

    Raises:
        InputsError: There is no such distance, or no frame is left.
    """
    grid, (sequences, heads) = inputs.grid, inputs.q.shape[:2]
    if space not in SPACES:
        raise InputsError(unknown("distance in space", space, SPACES))
    if not 0 <= sink_frames < grid.frames:
        raise InputsError(f"sink frames are some of {grid.frames} frames, got {sink_frames}")
    video = slice(grid.video_start, grid.video_start + grid.video_tokens)
    sinks = slice(video.start, video.start + sink_frames * grid.frame_tokens)
    sums = [[_Sums(grid, space, rows) for _ in range(heads)] for _ in range(sequences)]
    pairs = _Sums(grid, space, rows)
    done = 0
    for part in chunks(inputs, rows):
        index = _index(grid, space, rows[part]).to(inputs.q.device)
        ones = torch.ones(len(index), grid.seq_len, dtype=torch.float64, device=index.device)
        ones[:, sinks] = 0
        counts = pairs.add(part, index, ones[:, video])
        for sequence, head in np.ndindex(sequences, heads):
            own = sums[sequence][head]
            weights = row_weights(inputs, sequence, head, rows[part])
            own.sink += float(weights[:, sinks].sum())
            own.text += float(weights.sum() - weights[:, video].sum())
            weights[:, sinks] = 0
            own.add(part, index, weights[:, video], counts)
            done += len(index)
            on_rows(done, len(rows) * heads * sequences)
    count = len(rows)
    return [
        HeadMass(
            sequence=sequence,
            head=head,
            mass=one.found,
            pairs=pairs.found,
            noise=one.noise,
            deviation=sqrt(-log(max(1 - one.noise_share, 1e-300))),
            sink=one.sink / count,
            text=one.text / count,
        )
        for sequence, of_heads in enumerate(sums)
        for head, one in enumerate(of_heads)
    ]


def chunks(inputs: AttentionInputs, rows: Int64) -> Iterator[slice]:
    """Yield parts of the rows whose weights fit into `CHUNK_BYTES`."""
    size = max(1, CHUNK_BYTES // (8 * inputs.grid.seq_len))
    for start in range(0, len(rows), size):
        yield slice(start, min(start + size, len(rows)))


def row_weights(inputs: AttentionInputs, sequence: int, head: int, rows: Int64) -> Tensor:
    """Return the softmax weights of query rows in a head, [rows, seq_len] float64.

    Keys stand in raster order; padding has weight 0.
    """
    place = torch.from_numpy(rows)
    if inputs.rows is not None:
        place = torch.searchsorted(inputs.rows.cpu(), place)
    q = inputs.q[sequence, head][place.to(inputs.q.device)].double()
    k = inputs.k[sequence, head // (inputs.q.shape[1] // inputs.k.shape[1])].double()
    scores = (q @ k.T).mul_(inputs.scale)
    pad = torch.from_numpy(Coordinates(inputs.grid_of(sequence), TokenOrder()).pad)
    if pad.any():
        scores.masked_fill_(pad.to(scores.device), -torch.inf)
    return scores.softmax(dim=1)


def raster_mask(table: BlockTable, rows: Int64) -> Tensor:
    """Return rows of a mask, [rows, seq_len] whether a raster query attends to each raster key."""
    if table.order == TokenOrder():
        return torch.from_numpy(mask_rows(table, rows))
    source = table.order.source_index(table.grid)
    position = np.empty_like(source)
    position[source] = np.arange(len(source))
    queries = position[rows + table.grid.query_start] - table.q_start
    return torch.from_numpy(mask_rows(table, queries)[:, position])


def pairs_kept(table: BlockTable, rows: Int64, space: str, sink_frames: int) -> Floats:
    """Return the share of pairs that a mask keeps at each distance, [frames, space]; 0 of none.

    Args:
        table: The mask's blocks.
        rows: Raster queries in the video.
        space: Distance in space, `steps` or `places`.
        sink_frames: First frames that are left out.
    """
    grid = table.grid
    start = grid.video_start + sink_frames * grid.frame_tokens
    keys = slice(start, grid.video_start + grid.video_tokens)
    far = grid.frame_tokens if space == PLACES else grid.height + grid.width - 1
    kept, pairs = np.zeros((2, grid.frames * far))
    for first in range(0, len(rows), PAIR_ROWS):
        part = rows[first : first + PAIR_ROWS]
        index = _index(grid, space, part)[:, sink_frames * grid.frame_tokens :].numpy()
        mask = raster_mask(table, part)[:, keys].numpy()
        pairs += np.bincount(index.reshape(-1), minlength=len(pairs))
        kept += np.bincount(index[mask], minlength=len(pairs))
    share: Floats = kept / np.maximum(pairs, 1)
    return share.reshape(grid.frames, far)


class _Sums:
    """What is summed of one head over chunks of rows."""

    def __init__(self, grid: TokenGrid, space: str, rows: Int64) -> None:
        far = grid.frame_tokens if space == PLACES else grid.height + grid.width - 1
        sides = grid.frames, far
        self.found, self.squares = (
            ByDistance(np.zeros(sides), *(np.zeros((len(rows), side)) for side in sides))
            for _ in range(2)
        )
        self.sink = self.text = self.variance = self.power = 0.0

    @property
    def noise(self) -> ByDistance:
        """Variance of the weights, by the share of their squares that it is where keys are several.

        It is not to be seen where one key alone is at some distances.
        """
        squares = self.squares.joint, self.squares.time, self.squares.space
        return ByDistance(*(self.noise_share * one for one in squares))

    @property
    def noise_share(self) -> float:
        """What share of the squares of weights is variance, where several keys are as far away."""
        return min(1.0, max(0.0, self.variance / self.power)) if self.power else 0.0

    def add(
        self, part: slice, index: Tensor, weights: Tensor, counts: Tensor | None = None
    ) -> Tensor:
        """Add weights [rows, keys of the video] by the index of each pair's distances.

        With the number of pairs of each row and index, their squares too. Returns their sums.
        """
        sums = _add(self.found, part, index, weights)
        if counts is not None:
            squares = _add(self.squares, part, index, weights.square())
            several = counts > 1
            sums, squares, counts = sums[several], squares[several], counts[several]
            self.variance += float(((squares - sums**2 / counts) * counts / (counts - 1)).sum())
            self.power += float(squares.sum())
        return sums


def _add(found: ByDistance, part: slice, index: Tensor, values: Tensor) -> Tensor:
    """Add values of pairs, and return their sums [rows, index]."""
    flat = values.new_zeros(len(index), found.joint.size).scatter_add_(1, index, values)
    by_row = flat.view(-1, *found.joint.shape).cpu().numpy()
    found.joint[:] += by_row.sum(axis=0)
    found.time[part] = by_row.sum(axis=2)
    found.space[part] = by_row.sum(axis=1)
    return flat


def _index(grid: TokenGrid, space: str, rows: Int64) -> Tensor:
    """Return [rows, keys of the video] the place of each pair's distances among all."""
    at = Coordinates(grid, TokenOrder())
    video = slice(grid.video_start, grid.video_start + grid.video_tokens)
    queries = rows + grid.query_start

    def away(axis: Int64) -> Int64:
        distance: Int64 = np.abs(axis[queries][:, None] - axis[video])
        return distance

    far = grid.frame_tokens if space == PLACES else grid.height + grid.width - 1
    in_space = away(at.s) if space == PLACES else away(at.y) + away(at.x)
    return torch.from_numpy(away(at.t) * far + in_space)
