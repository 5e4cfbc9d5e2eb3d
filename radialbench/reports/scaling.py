"""Growth of work, latency and memory along sweeps: exponents, and forms that are fitted."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from math import gcd

import numpy as np
from numpy.typing import NDArray

from radialbench.records.result import TableStats
from radialbench.records.statistics import Estimate, exponent
from radialbench.reports.rows import Row

Floats = NDArray[np.float64]

LOG = "n(a + b·log2 F)"
POWER = "a·n + b·n^1.5"
SQUARE = "a·n + b·n²"

GROWING: dict[str, Callable[[Floats, Floats], Floats]] = {
    LOG: lambda frames, tokens: tokens * np.log2(frames),
    POWER: lambda frames, tokens: tokens**1.5,
    SQUARE: lambda frames, tokens: tokens**2,
}
"""The part of each form that b multiplies."""

SHORTEST = 5
"""Frames from which forms are fitted: shorter videos have only near frames."""

LONGEST = 65
"""Frames a sweep must reach; up to 33 even exact work fits more than one form."""

FEWEST = 5
"""Lengths a sweep must have: a form has two constants, and three more lengths confirm it."""

CLOSE = 0.1
"""Largest RMS log-residual, and largest error of the last exponent, of a form that fits."""

CLEAR = 2.0
"""How many times the best form's residual the second best must have."""


class FitOutcome(StrEnum):
    """What a sweep shows about its form of growth."""

    FOLLOWS = "follows"
    NONE_FITS = "none fits"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class Fit:
    """A form fitted to a sweep.

    Attributes:
        form: Its name.
        a: Factor of n. May be negative: the first and last frames have neighbours on one side
            only, which takes away an amount that grows like n.
        b: Factor of the growing part, at least 0.
        residual: Root of the mean squared logarithm of value over fit; 0.1 is about 10%.
    """

    form: str
    a: float
    b: float
    residual: float

    def at(self, frames: Sequence[float] | Floats, tokens: Sequence[float] | Floats) -> Floats:
        """Return the form's values."""
        n = np.asarray(tokens, np.float64)
        return self.a * n + self.b * GROWING[self.form](np.asarray(frames, np.float64), n)


@dataclass(frozen=True, slots=True)
class Growth:
    """Values of a sweep over frames, and the forms that were tried on them.

    Attributes:
        frames: Latent frames of each length, ascending.
        tokens: Tokens of each length.
        values: The quantity that grows.
        fits: Best first; empty with fewer than three lengths from `SHORTEST` frames on.
        verdict: What the best fit shows.
        why: Why it shows no more than that; empty for `FOLLOWS`.
    """

    frames: tuple[int, ...]
    tokens: tuple[int, ...]
    values: tuple[float, ...]
    fits: tuple[Fit, ...]
    verdict: FitOutcome
    why: str

    @property
    def start(self) -> int:
        """Index of the first length that the forms are fitted to."""
        return sum(count < SHORTEST for count in self.frames)

    @property
    def exponents(self) -> tuple[float, ...]:
        """Local exponents in n, between each length and the next."""
        return local_exponents(self.tokens, self.values)


def growth(frames: Sequence[int], tokens: Sequence[int], values: Sequence[float]) -> Growth:
    """Fit the forms to a sweep and decide what it shows.

    Args:
        frames: Latent frames, ascending.
        tokens: Tokens.
        values: The quantity that grows; above 0.
    """
    start = sum(count < SHORTEST for count in frames)
    long = frames[start:], tokens[start:], values[start:]
    enough = len(long[0]) >= 3
    found = [fit(form, *long) for form in GROWING] if enough else []
    fits = sorted(found, key=lambda one: one.residual)
    verdict, why = _judge(fits, *long)
    return Growth(tuple(frames), tuple(tokens), tuple(values), tuple(fits), verdict, why)


def fit(
    form: str, frames: Sequence[float], tokens: Sequence[float], values: Sequence[float]
) -> Fit:
    """Fit a form by the least RMS log-residual, so that every length has the same weight.

    The best scale follows from the ratio of a to b, so that ratio is the one number searched.
    """
    n, y = np.asarray(tokens, np.float64), np.asarray(values, np.float64)
    curve = GROWING[form](np.asarray(frames, np.float64), n) / n
    # value ∝ n·(curve + shift), positive at every length.
    low, high = -16.0, 16.0
    for _ in range(6):
        steps = np.linspace(low, high, 401)
        shifts = curve.max() * np.exp(steps) - curve.min()
        logs = np.log(y / n) - np.log(curve + shifts[:, None])
        best = int(np.argmin(logs.std(axis=1)))
        low, high = steps[max(best - 1, 0)], steps[min(best + 1, 400)]
    scale = float(np.exp(logs[best].mean()))
    return Fit(form, scale * float(shifts[best]), scale, float(logs[best].std()))


def local_exponents(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, ...]:
    """Return the exponent of a power law through each two neighbours; sizes ascend."""
    pairs = pairwise(zip(np.log(sizes), np.log(values), strict=True))
    return tuple(float((y - y0) / (x - x0)) for (x0, y0), (x, y) in pairs)


def _judge(
    fits: Sequence[Fit], frames: Sequence[int], tokens: Sequence[int], values: Sequence[float]
) -> tuple[FitOutcome, str]:
    if len(frames) < FEWEST or max(frames) < LONGEST:
        here = f"{len(frames)} lengths up to {max(frames)} frames" if frames else "these lengths"
        return FitOutcome.CANNOT_TELL, (
            f"{here} cannot tell the forms apart; {FEWEST} from {SHORTEST} frames on, up to "
            f"{LONGEST}, may"
        )
    best, second = fits[:2]
    if best.residual > CLOSE:
        return FitOutcome.NONE_FITS, f"the best leaves a residual of {best.residual:.2f}"
    last = local_exponents(tokens[-2:], values[-2:])[0]
    own = local_exponents(tokens[-2:], best.at(frames[-2:], tokens[-2:]).tolist())[0]
    if abs(last - own) > CLOSE:
        return FitOutcome.NONE_FITS, (
            f"the best, {best.form}, ends with the exponent {own:.2f} where {last:.2f} is found"
        )
    if second.residual < CLEAR * best.residual:
        return FitOutcome.CANNOT_TELL, (
            f"the forms cannot be told apart, as {second.form} fits nearly as well as {best.form}"
        )
    return FitOutcome.FOLLOWS, ""


LEAST_SPAN = 1.5
"""How many times the tokens of the lowest resolution the highest must have to show growth."""


@dataclass(frozen=True, slots=True)
class Work:
    """Work of a mask along a sweep from its tables; exact, and the same on every machine.

    Attributes:
        sweep: The sweep.
        mask: The mask.
        is_dense: Whether it is dense by its rule: what others are compared with.
        blocks: Query and key tokens of a block.
        frame_tokens: Video tokens of a frame.
        tables: Figures of the table of each length.
        exact: Growth of the work the mask asks for, in TFLOP.
        executed: Growth of the work of the visited blocks, computed whole, in TFLOP.
    """

    sweep: str
    mask: str
    is_dense: bool
    blocks: tuple[int, int]
    frame_tokens: int
    tables: tuple[TableStats, ...]
    exact: Growth
    executed: Growth

    @property
    def every_pair(self) -> bool:
        """Whether every pair attends at every length."""
        lengths = zip(self.tables, self.exact.tokens, strict=True)
        return all(table.pairs == tokens**2 for table, tokens in lengths)

    @property
    def bends(self) -> bool:
        """Whether the work follows a form that grows more slowly than dense."""
        return self.exact.verdict is FitOutcome.FOLLOWS and self.exact.fits[0].form != SQUARE

    @property
    def table_exponents(self) -> tuple[float, ...]:
        """Local exponents of the tables' bytes."""
        return local_exponents(self.exact.tokens, [max(t.nbytes, 1) for t in self.tables])


@dataclass(frozen=True, slots=True)
class Latency:
    """Measured times along a sweep, without the token order.

    Attributes:
        sweep: The sweep.
        mask: The mask.
        backend: What computed it.
        place: Index of its environment in the summary.
        tokens: Tokens of each length.
        medians_ms: Median of each length.
        executed: Exponent against the executed work; None with fewer than three lengths.
        sampled: Whether every length has several samples; if not, the exponent's interval covers
            the scatter of the lengths alone.
        peaks: (tokens, bytes) of the calls whose peak memory is known and not 0.
    """

    sweep: str
    mask: str
    backend: str
    place: int
    tokens: tuple[int, ...]
    medians_ms: tuple[float, ...]
    executed: Estimate | None
    sampled: bool
    peaks: tuple[tuple[int, int], ...]

    @property
    def exponents(self) -> tuple[float, ...]:
        """Local exponents in n, between each length and the next."""
        return local_exponents(self.tokens, self.medians_ms)

    @property
    def peak_exponents(self) -> tuple[float, ...]:
        """Local exponents of the peak memory in n."""
        return local_exponents(
            [tokens for tokens, _ in self.peaks], [size for _, size in self.peaks]
        )


@dataclass(frozen=True, slots=True)
class Resolution:
    """The same frames at several resolutions.

    Attributes:
        mask: The mask.
        frames: Latent frames.
        frame_tokens: Tokens of a frame, ascending.
        exponents: Local exponents of the exact work in n.
    """

    mask: str
    frames: int
    frame_tokens: tuple[int, ...]
    exponents: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Scaling:
    """Growth along every sweep: of work, of latency, and over resolutions."""

    works: tuple[Work, ...] = ()
    latencies: tuple[Latency, ...] = ()
    resolutions: tuple[Resolution, ...] = ()


def scaling(rows: Sequence[Row]) -> Scaling:
    """Return how work, latency and memory grow along the sweeps of the rows."""
    tables = [row for row in rows if row.table is not None and row.table.pairs]
    timed = [row for row in rows if row.ok and row.record.measure == "attention"]
    works = _groups(
        tables, lambda row: (row.sweep, row.mask, row.record.mask.fingerprint, row.blocks)
    )
    lines = _groups(
        timed, lambda row: (row.sweep, row.mask, row.backend, row.record.config, row.place)
    )
    return Scaling(
        works=tuple(map(_work, works)),
        latencies=tuple(map(_latency, lines)),
        resolutions=_resolutions(tables),
    )


def _groups(rows: Iterable[Row], key: Callable[[Row], object]) -> list[list[Row]]:
    """Return the rows of each key, one per length, by length."""
    found: dict[object, dict[int, Row]] = {}
    for row in rows:
        found.setdefault(key(row), {}).setdefault(row.tokens, row)
    return [[by_length[n] for n in sorted(by_length)] for by_length in found.values()]


def _work(rows: list[Row]) -> Work:
    head = rows[0]
    tables = tuple(row.table for row in rows if row.table is not None)
    lengths = [row.frames for row in rows], [row.tokens for row in rows]
    return Work(
        sweep=head.sweep,
        mask=head.mask,
        is_dense=head.is_dense,
        blocks=head.blocks,
        frame_tokens=head.record.problem.tokens_per_frame,
        tables=tables,
        exact=_work_growth(*lengths, [table.flops for table in tables]),
        executed=_work_growth(*lengths, [table.executed_flops for table in tables]),
    )


def _work_growth(frames: Sequence[int], tokens: Sequence[int], flops: Sequence[int]) -> Growth:
    """Return the growth of work in TFLOP.

    That of the same mask with more heads is a multiple, and is fitted once.
    """
    unit = gcd(*flops)
    found = _grown(tuple(frames), tuple(tokens), tuple(count // unit for count in flops))
    scale = unit / 1e12
    return replace(
        found,
        values=tuple(count / 1e12 for count in flops),
        fits=tuple(replace(one, a=one.a * scale, b=one.b * scale) for one in found.fits),
    )


@lru_cache(maxsize=1024)
def _grown(frames: tuple[int, ...], tokens: tuple[int, ...], values: tuple[int, ...]) -> Growth:
    return growth(frames, tokens, values)


def _latency(rows: list[Row]) -> Latency:
    head = rows[0]
    worked = [(row.table.executed_flops, row.samples_ms) for row in rows if row.table]
    peaks = [(row.tokens, row.record.memory.peak_bytes) for row in rows if row.record.memory]
    return Latency(
        sweep=head.sweep,
        mask=head.mask,
        backend=head.backend,
        place=head.place,
        tokens=tuple(row.tokens for row in rows),
        medians_ms=tuple(row.median_ms for row in rows if row.median_ms is not None),
        executed=exponent([work for work, _ in worked], [samples for _, samples in worked]),
        sampled=all(len(row.samples_ms) > 1 for row in rows),
        peaks=tuple((tokens, peak) for tokens, peak in peaks if peak),
    )


def _resolutions(rows: Iterable[Row]) -> tuple[Resolution, ...]:
    """Return the masks that have the same frames with different tokens per frame."""

    def key(row: Row) -> tuple[object, ...]:
        problem = row.record.problem
        shape = (problem.grid.text_tokens, problem.heads, problem.key_heads, problem.head_dim)
        return row.mask, problem.mask_fingerprint, row.frames, *shape

    found = [g for g in _groups(rows, key) if g[-1].tokens >= LEAST_SPAN * g[0].tokens]
    return tuple(
        Resolution(
            mask=group[0].mask,
            frames=group[0].frames,
            frame_tokens=tuple(row.record.problem.tokens_per_frame for row in group),
            exponents=local_exponents(
                [row.tokens for row in group], [row.table.pairs for row in group if row.table]
            ),
        )
        for group in found
    )
