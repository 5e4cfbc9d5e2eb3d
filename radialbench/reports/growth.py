"""How a quantity grows with the frames of a video: three forms, fitted, and what may be claimed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

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
"""Frames from which forms are fitted: below, the nearest frames are all there are."""

LONGEST = 65
"""Frames a sweep must reach; up to 33 even exact work fits more than one form."""

FEWEST = 5
"""Lengths a sweep must have: a form has two constants, and three more must confirm it."""

CLOSE = 0.1
"""Largest RMS log-residual, and largest error of the last exponent, of a form that fits."""

CLEAR = 2.0
"""How many times its residual the second best form must leave."""


class Verdict(StrEnum):
    """What a sweep says about a form of growth."""

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
        """Give the form's values."""
        n = np.asarray(tokens, np.float64)
        return self.a * n + self.b * GROWING[self.form](np.asarray(frames, np.float64), n)


@dataclass(frozen=True, slots=True)
class Growth:
    """Values of a sweep over frames, and the forms that were tried on them.

    Attributes:
        frames: Latent frames of each length, ascending.
        tokens: Tokens of each length.
        values: What grows.
        fits: Best first; empty with fewer than three lengths from `SHORTEST` frames on.
        verdict: What may be said of the best.
        why: Why no more than that may be said; empty for `FOLLOWS`.
    """

    frames: tuple[int, ...]
    tokens: tuple[int, ...]
    values: tuple[float, ...]
    fits: tuple[Fit, ...]
    verdict: Verdict
    why: str

    @property
    def start(self) -> int:
        """Place of the first length that the forms are fitted to."""
        return sum(count < SHORTEST for count in self.frames)

    @property
    def exponents(self) -> tuple[float, ...]:
        """Local exponents in n, between each length and the next."""
        return local_exponents(self.tokens, self.values)


def growth(frames: Sequence[int], tokens: Sequence[int], values: Sequence[float]) -> Growth:
    """Fit the forms to a sweep and judge what may be claimed.

    Args:
        frames: Latent frames, ascending.
        tokens: Tokens.
        values: What grows; above 0.
    """
    start = sum(count < SHORTEST for count in frames)
    long = frames[start:], tokens[start:], values[start:]
    enough = len(long[0]) >= 3
    fits = sorted((fit(form, *long) for form in GROWING), key=_residual) if enough else []
    verdict, why = _judge(fits, *long)
    return Growth(tuple(frames), tuple(tokens), tuple(values), tuple(fits), verdict, why)


def fit(
    form: str, frames: Sequence[float], tokens: Sequence[float], values: Sequence[float]
) -> Fit:
    """Fit a form by the least RMS log-residual, so that every length counts alike.

    For a given ratio of a to b the best scale is known, which leaves one number to search.
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
    """Give the exponent of a power law through each two neighbours; sizes ascend."""
    pairs = pairwise(zip(np.log(sizes), np.log(values), strict=True))
    return tuple(float((y - y0) / (x - x0)) for (x0, y0), (x, y) in pairs)


def _judge(
    fits: Sequence[Fit], frames: Sequence[int], tokens: Sequence[int], values: Sequence[float]
) -> tuple[Verdict, str]:
    if len(frames) < FEWEST or max(frames) < LONGEST:
        here = f"{len(frames)} lengths up to {max(frames)} frames" if frames else "these lengths"
        return Verdict.CANNOT_TELL, (
            f"{here} cannot tell the forms apart; {FEWEST} from {SHORTEST} frames on, up to "
            f"{LONGEST}, may"
        )
    best, second = fits[:2]
    if best.residual > CLOSE:
        return Verdict.NONE_FITS, f"the best leaves a residual of {best.residual:.2f}"
    last = local_exponents(tokens[-2:], values[-2:])[0]
    own = local_exponents(tokens[-2:], best.at(frames[-2:], tokens[-2:]).tolist())[0]
    if abs(last - own) > CLOSE:
        return Verdict.NONE_FITS, (
            f"the best, {best.form}, ends with the exponent {own:.2f} where {last:.2f} is found"
        )
    if second.residual < CLEAR * best.residual:
        return Verdict.CANNOT_TELL, (
            f"the forms cannot be told apart, as {second.form} fits nearly as well as {best.form}"
        )
    return Verdict.FOLLOWS, ""


def _residual(one: Fit) -> float:
    return one.residual
