"""Synthetic q, k and v whose attention decays by a known law.

They come from no model: they serve to try everything without one, and to test it against the truth.
The logit of a pair of video tokens is

    -f(|t - t'|) - space · (|y - y'| + |x - x'|) + sink [t' < sink_frames] + noise · z

with z of variance 1, and that of a pair with a text key is `text`. Along an axis of n places the
logits are a table of n × n numbers: a query has 1 in the feature of its place and 0 in the others,
and a key has its column of the table, so that q·k is the logit. The features of the three axes
stand side by side. Where `head_dim` is less than frames + height + width, one for sinks and text
and `NOISE_FEATURES` for noise, they are the greatest singular vectors of the tables instead.
`Generated.law_error` computes by how much a logit then differs from the law, and by how much it
does as q and k are rounded to their dtype: in bfloat16 by up to 1/256 of itself.

v is smooth in space and time, plus noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from radialbench.errors import InputsError
from radialbench.fidelity.files import InputsHeader
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.law import Floats, Law
from radialbench.fidelity.settings import LEAST_HEAD_DIM
from radialbench.kernels.checks import DTYPES
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.fidelity import InputsIdentity

NOISE_FEATURES = 16
"""Least number of features of q and k that make noise, where there is some."""

WAVES = 3
"""Waves of v along an axis, the constant one included."""


@dataclass(frozen=True, slots=True)
class HeadLaw:
    """How the attention of a head decays.

    Attributes:
        time: Decay with the distance in frames.
        space: Rate of exponential decay with the steps |y - y'| + |x - x'| within a frame.
        sink: Added to the logits of keys in the first frames.
        sink_frames: Number of these frames.
        text: Logit of a text key, where a video key at distance 0 has 0.
        noise: Standard deviation of the noise of logits.
    """

    time: Law
    space: float
    sink: float = 0.0
    sink_frames: int = 1
    text: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not np.isfinite([self.space, self.sink, self.text, self.noise]).all() or self.noise < 0:
            raise InputsError(f"a law is made of numbers, and noise is not negative, got {self}")


SPATIAL = HeadLaw(Law(rate=1.5), 0.08, sink=1.0, noise=0.5)
"""A head that attends within frames."""

TEMPORAL = HeadLaw(Law(rate=0.06), 1.0, sink=0.5, noise=0.5)
"""A head that attends the same place in all frames."""

WIDE = HeadLaw(Law("power", 0.5), 0.04, noise=0.5)
"""A head that attends widely, in time by a power law."""

MIXED = (SPATIAL, TEMPORAL, SPATIAL, WIDE)
"""Laws that heads take in turn."""


def mixed(heads: int) -> tuple[HeadLaw, ...]:
    """Return laws for a number of heads: those of `MIXED` in turn."""
    return tuple(MIXED[head % len(MIXED)] for head in range(heads))


@dataclass(frozen=True, slots=True)
class Generated:
    """Synthetic attention inputs with known decay, made from a seed when they are loaded.

    Attributes:
        grid: Layout of the tokens: a video, and text if any.
        heads: The law of each head.
        head_dim: Elements of a token in q, k and v.
        dtype: `float32`, `float16` or `bfloat16`.
        seed: Seed of all that is random.

    Raises:
        InputsError: There is no head, dtype or head_dim of that kind, or the grid has segments that
            are neither video nor text.
    """

    grid: TokenGrid
    heads: tuple[HeadLaw, ...] = MIXED
    head_dim: int = 128
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputsError(f"inputs are {', '.join(DTYPES)}, got {self.dtype!r}")
        if not self.heads:
            raise InputsError("generated inputs have at least one head")
        if self.head_dim < LEAST_HEAD_DIM:
            raise InputsError(
                f"the laws of three axes take a head_dim of at least {LEAST_HEAD_DIM}, got "
                f"{self.head_dim}"
            )
        if self.grid.segments:
            raise InputsError(f"video and text are generated, got the grid {self.grid.label}")

    @property
    def header(self) -> InputsHeader:
        """What is known of them."""
        source = f"radialbench's generator (synthetic, seed {self.seed})"
        return InputsHeader(self.grid, source, "generated", tuple(range(len(self.heads))))

    @property
    def identity(self) -> InputsIdentity:
        """What records name them by."""
        digest = blake2b(repr(self).encode(), digest_size=8).hexdigest()
        return InputsIdentity(self.header.source, "generated", digest)

    @property
    def shape(self) -> tuple[int, ...]:
        """[batch, heads, rows, head_dim] of q."""
        return (1, len(self.heads), self.grid.q_len, self.head_dim)

    def load(self, device: str = "cpu") -> AttentionInputs:
        """Return q, k and v, [1, heads, tokens, head_dim], on a device.

        They are made on the CPU: a seed means the same everywhere.
        """
        generator = torch.Generator().manual_seed(self.seed)
        tokens = self.grid.seq_len
        shape = 1, len(self.heads), tokens, self.head_dim
        q, k, v = (torch.empty(shape, dtype=DTYPES[self.dtype]) for _ in "qkv")
        waves = _waves(self.grid)
        for number, law in enumerate(self.heads):
            sides = _Features.of(self.grid, law, self.head_dim)
            q[0, number] = self._tokens(sides.queries, sides.free, law, generator)
            k[0, number] = self._tokens(sides.keys, sides.free, law, generator)
            q[0, number, :, -1] = 1
            k[0, number, :, -1] = _bias(self.grid, law) * self.head_dim**0.5
            content = waves @ torch.randn(waves.shape[1], self.head_dim, generator=generator)
            v[0, number] = torch.randn(shape[2:], generator=generator).add_(content)
        if self.grid.query_frames is not None:
            q = q[:, :, self.grid.query_start :][:, :, : self.grid.q_len]
        return AttentionInputs(q, k, v, self.header).to(device)

    def law_error(self, head: int) -> float:
        """Return by how much the logit of a pair of video tokens differs from the law at most.

        That is from features left out and from rounding to the dtype. Noise is no error.
        """
        law = self.heads[head]
        sides = _Features.of(self.grid, law, self.head_dim)
        root = sqrt(self.head_dim)
        errors = [abs(float(self._rounded([law.sink * root])[0]) / root - law.sink)]
        for q, k, table in zip(sides.queries, sides.keys, _tables(self.grid, law), strict=True):
            made = self._rounded(q).double() @ self._rounded(k).double().T
            errors.append(float((made / root - torch.from_numpy(table)).abs().max()))
        return sum(errors)

    def _tokens(
        self, sides: Sequence[Floats], free: int, law: HeadLaw, generator: torch.Generator
    ) -> Tensor:
        """Return the features of all tokens of a head, [tokens, head_dim]."""
        made = torch.zeros(self.grid.seq_len, self.head_dim)
        start = self.grid.video_start
        video = made[start : start + self.grid.video_tokens]
        video = video.view(self.grid.frames, self.grid.height, self.grid.width, -1)
        first = 0
        for axis, features in enumerate(sides):
            count = features.shape[1]
            along = [1, 1, 1, count]
            along[axis] = len(features)
            video[..., first : first + count] = torch.from_numpy(features).float().view(along)
            first += count
        if law.noise:
            size = (law.noise**2 * self.head_dim / free) ** 0.25
            noise = torch.randn(len(made), free, generator=generator)
            made[:, first : first + free] = noise.mul_(size)
        return made

    def _rounded(self, values: Floats | Sequence[float]) -> Tensor:
        return torch.as_tensor(values).to(DTYPES[self.dtype])


@dataclass(frozen=True, eq=False)
class _Features:
    """Features of queries and keys along the axes, each [side, features], and how many are free."""

    queries: list[Floats]
    keys: list[Floats]
    free: int

    @classmethod
    def of(cls, grid: TokenGrid, law: HeadLaw, head_dim: int) -> "_Features":
        tables = [table * head_dim**0.5 for table in _tables(grid, law)]
        most = head_dim - 1 - (NOISE_FEATURES if law.noise else 0)
        exact = sum(map(len, tables))
        if exact <= most:
            return cls([np.eye(len(table)) for table in tables], tables, head_dim - 1 - exact)
        parts = [np.linalg.svd(table) for table in tables]
        least = np.sort(np.concatenate([values for _, values, _ in parts]))[-most - 1]
        counts = [int((values > least).sum()) for _, values, _ in parts]
        queries = [
            left[:, :n] * values[:n] ** 0.5
            for (left, values, _), n in zip(parts, counts, strict=True)
        ]
        keys = [
            right[:n].T * values[:n] ** 0.5
            for (_, values, right), n in zip(parts, counts, strict=True)
        ]
        return cls(queries, keys, head_dim - 1 - sum(counts))


def _tables(grid: TokenGrid, law: HeadLaw) -> list[Floats]:
    """Return the logits along frames, rows and columns, each [side, side]."""
    sides = grid.frames, grid.height, grid.width
    laws = law.time, Law(rate=law.space), Law(rate=law.space)
    away = [np.abs(np.subtract.outer(np.arange(side), np.arange(side))) for side in sides]
    return [own.logits(distances) for own, distances in zip(laws, away, strict=True)]


def _bias(grid: TokenGrid, law: HeadLaw) -> Tensor:
    """Return what is added to the logits of each key, [tokens]."""
    bias = torch.full((grid.seq_len,), law.text)
    start, sinks = grid.video_start, law.sink_frames * grid.frame_tokens
    bias[start : start + grid.video_tokens] = 0.0
    bias[start : start + min(sinks, grid.video_tokens)] = law.sink
    return bias


def _waves(grid: TokenGrid) -> Tensor:
    """Return slow waves over the video, [tokens, waves], of variance 1 together; 0 for text."""
    axes = [
        np.cos(np.pi * np.outer((np.arange(side) + 0.5) / side, np.arange(WAVES)))
        for side in (grid.frames, grid.height, grid.width)
    ]
    video = np.einsum("ta,yb,xc->tyxabc", *axes).reshape(grid.video_tokens, -1)
    waves = torch.zeros(grid.seq_len, video.shape[1])
    start = grid.video_start
    size = float((video**2).sum(axis=1).mean() ** 0.5)
    waves[start : start + grid.video_tokens] = torch.from_numpy(video / size).float()
    return waves
