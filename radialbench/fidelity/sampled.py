"""What any number of masks keep of the same sampled query rows.

The softmax weights of the rows are computed once and held, if memory allows: what a mask keeps of a
row is then a sum of its weights. Without the memory they are computed anew for each call, which
takes many masks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from radialbench.errors import InputsError
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.mass import Floats, Int64, chunks, raster_mask, row_weights, sample_rows
from radialbench.fidelity.settings import SAMPLED_ROWS, Source
from radialbench.machine import free_memory
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.table import BlockTable

HELD_SHARE = 0.5
"""Share of the free memory that held weights may take."""

MASS, ERROR = "mass", "error"
LOSSES = (MASS, ERROR)
"""The attention mass that is not kept, or the relative error of the output."""

HALVES = 2
"""Rows by turns: masks are chosen by one half, and the other says what they lose."""


@dataclass(frozen=True, slots=True)
class HeadPlace:
    """A head of a sequence, by its number in the model, at a layer and a step."""

    layer: int | None
    step: int | None
    sequence: int
    head: int


class SampledRows:
    """Sampled query rows of inputs on one grid.

    Args:
        sources: Inputs of layers and steps.
        rows: Rows of each head.
        seed: Seed of the sample.
        device: Where to compute.

    Attributes:
        grid: The grid.
        rows: Rows of each head; fewer than asked if the inputs have no more.
        places: The heads, as the inputs have them in turn.

    Raises:
        InputsError: The inputs have several grids, or there are none.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        rows: int = SAMPLED_ROWS,
        *,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        grids = {source.header.grid: None for source in sources}
        if len(grids) != 1:
            labels = ", ".join(grid.label for grid in grids)
            raise InputsError(f"masks are compared on one grid, the inputs have {labels or 'none'}")
        self.grid: TokenGrid = next(iter(grids))
        self.places = tuple(
            HeadPlace(source.header.layer, source.header.step, sequence, head)
            for source in sources
            for sequence in range(source.shape[0])
            for head in source.header.heads
        )
        has = min(source.shape[2] for source in sources)
        self.rows = min(rows, has, self.grid.video_tokens)
        self._sources, self._seed, self._device = sources, seed, device
        self._held: dict[int, _Layer] = {}
        self._holds: bool | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all weights."""
        return 4 * len(self.places) * self.rows * self.grid.seq_len

    @property
    def holds(self) -> bool:
        """Whether the weights are held; decided when it is first asked."""
        if self._holds is None:
            free = _free(self._device)
            self._holds = free is None or self.nbytes <= HELD_SHARE * free
        return self._holds

    def losses(
        self,
        tables: Sequence[BlockTable],
        loss: str = MASS,
        on_share: Callable[[float], None] = lambda share: None,
    ) -> Floats:
        """Return what masks lose in each head, [halves of the rows, heads, masks].

        Args:
            tables: The table of each mask, for the grid.
            loss: `mass`, the share of the attention mass that a mask does not keep, or `error`,
                ‖out − dense‖ / ‖dense‖ over the rows of a half.
            on_share: Called with the share of the work that is done.
        """
        if not tables:
            return np.empty((HALVES, len(self.places), 0))
        found, masks = [], _Masks(tables)
        for number, source in enumerate(self._sources):
            layer = self._layer(number, source)
            measured = layer.mass(masks) if loss == MASS else layer.errors(masks)
            found.append(measured.reshape(HALVES, -1, len(tables)))
            on_share((number + 1) / len(self._sources))
        return np.concatenate(found, axis=1)

    def _layer(self, number: int, source: Source) -> "_Layer":
        layer = self._held.get(number)
        if layer is None:
            inputs = source.load(self._device)
            rows = sample_rows(inputs, self.rows, self._seed)
            if len(rows) < HALVES:
                raise InputsError(f"masks are compared on at least {HALVES} rows, got {len(rows)}")
            layer = _Layer.of(inputs, rows, holds=self.holds)
            if self.holds:
                self._held[number] = layer
        return layer


class _Masks:
    """Rows of several masks, computed once for the layers that have the same rows."""

    def __init__(self, tables: Sequence[BlockTable]) -> None:
        self.tables = tables
        self._rows: dict[bytes, Tensor] = {}

    def of(self, rows: Int64) -> Tensor:
        """[masks, rows, seq_len] whether each row attends to each key."""
        key = rows.tobytes()
        if key not in self._rows:
            self._rows[key] = torch.stack([raster_mask(table, rows) for table in self.tables])
        return self._rows[key]


Weights = Iterator[tuple[slice, Tensor]]
"""Parts of the rows, each with its weights, [sequences, heads, rows, seq_len] float32."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """Sampled rows of the inputs of a layer.

    Attributes:
        rows: Raster queries.
        shape: Sequences and heads of q.
        v: The values.
        weights: Returns the weights of all rows.
    """

    rows: Int64
    shape: tuple[int, int]
    v: Tensor
    weights: Callable[[], Weights]

    @classmethod
    def of(cls, inputs: AttentionInputs, rows: Int64, *, holds: bool) -> "_Layer":
        """Return the rows of inputs, whose weights are held or computed at each use."""
        shape = inputs.q.shape[0], inputs.q.shape[1]
        weights = partial(_weights, inputs, rows)
        if holds:
            size = *shape, len(rows), inputs.grid.seq_len
            held = torch.empty(size, device=inputs.q.device)
            for part, made in weights():
                held[:, :, part] = made
            parts = [(part, held[:, :, part]) for part in chunks(inputs, rows)]
            return cls(rows, shape, inputs.v, lambda: iter(parts))
        return cls(rows, shape, inputs.v, weights)

    def mass(self, masks: _Masks) -> Floats:
        """[halves, sequences, heads, masks] mass that is not kept, mean over the rows of a half."""
        allowed, parts = masks.of(self.rows), []
        for part, weights in self.weights():
            of_rows = []
            for row in range(weights.shape[2]):
                keys = allowed[:, part.start + row].to(weights.device).float()
                of_rows.append((weights[:, :, row] @ keys.T).double().cpu().numpy())
            parts.append(np.stack(of_rows))
        kept = np.concatenate(parts)
        return np.clip([1 - kept[half::HALVES].mean(axis=0) for half in range(HALVES)], 0, 1)

    def errors(self, masks: _Masks) -> Floats:
        """[halves, sequences, heads, masks] relative error of the output over rows of a half."""
        allowed = masks.of(self.rows)
        sequences, heads = self.shape
        off = np.zeros((HALVES, sequences, heads, len(allowed)))
        size = np.zeros((HALVES, sequences, heads, 1))
        shared = heads // self.v.shape[1]
        for part, weights in self.weights():
            half = np.arange(part.start, part.stop) % HALVES
            for place in np.ndindex(sequences, heads):
                v = self.v[place[0], place[1] // shared].float()
                v = torch.nn.functional.pad(v, (0, 1), value=1.0)
                dense = (weights[place] @ v)[:, :-1]
                by_row = dense.square().sum(dim=1).double().cpu().numpy()
                size[:, *place, 0] += np.bincount(half, by_row, HALVES)
                for number, keys in enumerate(allowed[:, part]):
                    sums = (weights[place] * keys.to(weights.device)) @ v
                    out = sums[:, :-1] / torch.where(sums[:, -1:] > 0, sums[:, -1:], 1.0)
                    by_row = (out - dense).square().sum(dim=1).double().cpu().numpy()
                    off[:, *place, number] += np.bincount(half, by_row, HALVES)
        ratio: Floats = np.sqrt(off / np.maximum(size, np.finfo(np.float64).tiny))
        return ratio


def _weights(inputs: AttentionInputs, rows: Int64) -> Weights:
    sequences, heads = inputs.q.shape[:2]
    for part in chunks(inputs, rows):
        made = [
            torch.stack(
                [row_weights(inputs, one, head, rows[part]).float() for head in range(heads)]
            )
            for one in range(sequences)
        ]
        yield part, torch.stack(made)


def _free(device: str) -> int | None:
    return torch.cuda.mem_get_info()[0] if device == "cuda" else free_memory()
