"""What is captured of a model, and how many bytes that is."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from radialbench.errors import InputsError, IntegrationError
from radialbench.fidelity.measure import ROWS_OF_A_BLOCK
from radialbench.integrations.prepared import Shape
from radialbench.maskgen.grid import TokenGrid

GIB = 2**30
LESS = "choose fewer layers, steps or heads, or fewer queries with rows"


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a model is captured.

    Attributes:
        layers: Numbers of layers from 0; all of them if None.
        steps: Numbers of denoising steps from 0; all of them if None.
        heads: Numbers of heads from 0; all of them if None.
        rows: Queries of each head; all of them if None. Keys and values are always whole.
        seed: Seed of the queries.

    Raises:
        IntegrationError: A number is negative or not whole, or nothing is chosen.
    """

    layers: tuple[int, ...] | None = None
    steps: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    rows: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("layers", "steps", "heads"):
            if (numbers := getattr(self, name)) is not None:
                whole = all(type(one) is int and one >= 0 for one in numbers)
                if not whole or not numbers:
                    raise IntegrationError(f"{name} are whole numbers from 0, got {numbers!r}")
                object.__setattr__(self, name, tuple(sorted(set(numbers))))
        if self.rows is not None and (type(self.rows) is not int or self.rows < 1):
            raise IntegrationError(f"rows is a whole number from 1, got {self.rows!r}")

    def queries(self, q_len: int) -> Tensor | None:
        """Return [rows] ascending queries: runs of neighbours, each in its stretch of the sequence.

        A run is as long as what fidelity looks at in a query block. None for all queries.
        """
        if self.rows is None or self.rows >= q_len:
            return None
        runs = max(1, self.rows // ROWS_OF_A_BLOCK)
        edges = np.arange(runs + 1) * (q_len - self.rows) // runs
        before = np.random.default_rng(self.seed).integers(edges[:-1], edges[1:], endpoint=True)
        places = np.arange(self.rows)
        return torch.from_numpy(places + before[places * runs // self.rows])

    def size(self, grid: TokenGrid, shape: Shape, files: int) -> "CaptureSize":
        """Return how much is written for layers of a shape.

        Args:
            grid: Layout of the tokens.
            shape: Of q, k and v; `batch` is the sequences of a step.
            files: Layers times steps.

        Raises:
            IntegrationError: A head is not there.
        """
        check_there("head", self.heads, shape.heads)
        heads = shape.heads if self.heads is None else len(self.heads)
        keys = shape.key_heads if heads == shape.heads else heads
        rows = min(self.rows or grid.q_len, grid.q_len)
        numbers = shape.batch * (heads * rows + 2 * keys * grid.seq_len) * shape.head_dim
        return CaptureSize(files, numbers * shape.dtype.itemsize)


@dataclass(frozen=True, slots=True)
class CaptureSize:
    """How much a capture writes.

    Attributes:
        files: Layers times steps; the steps so far, where all are captured.
        file_bytes: Bytes of each.
    """

    files: int
    file_bytes: int

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return self.files * self.file_bytes

    @property
    def label(self) -> str:
        """Such as `6 files of 4.33 GiB, 26 GiB`."""
        files = f"{self.files} file{'s' * (self.files != 1)}"
        return f"{files} of {amount(self.file_bytes)}, {amount(self.nbytes)}"

    def check_space(self, folder: Path) -> None:
        """Refuse a folder whose disk is too small for it.

        Raises:
            InputsError: It is.
        """
        there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        free = shutil.disk_usage(there).free
        if self.nbytes > free:
            raise InputsError(
                f"the capture takes {self.label}, and {folder} has {amount(free)} free; {LESS}"
            )


def check_there(what: str, numbers: tuple[int, ...] | None, count: int) -> None:
    """Refuse numbers of layers or heads that a model does not have.

    Raises:
        IntegrationError: One is not there.
    """
    if missing := [number for number in numbers or () if number >= count]:
        raise IntegrationError(
            f"the model has {what}s 0 to {count - 1}, got {what} {listed(missing)}"
        )


def listed(numbers: Iterable[int]) -> str:
    """Return numbers with commas between them."""
    return ", ".join(map(str, numbers))


def amount(nbytes: int) -> str:
    """Return bytes in MiB or GiB."""
    unit, size = ("MiB", nbytes / 2**20) if nbytes < GIB else ("GiB", nbytes / GIB)
    return f"{size:,.0f} {unit}" if size >= 100 else f"{size:.3g} {unit}"
