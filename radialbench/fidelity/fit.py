"""Fits of laws of decay to attention mass by distance, compared by rows that they have not seen.

Within a row with n(d) keys at distance d, a law with weight w(d) puts the share
n(d) w(d) / Σ n w of the mass at distance d. The likelihood of a row is that of a draw from its own
mass: Σ m(d) log(n(d) w(d) / Σ n w). A law's numbers maximize its sum over the rows, by Fisher
scoring. Their intervals are jackknifes that leave out runs of neighbouring rows, which see the same
keys, with one step of the scoring from the maximum.

Noise of the weights makes the shares fall less than the law: a heavy key makes its row's total
heavy as well, so that the expected share at a distance is p(d) - v(d) + p(d) Σ v to first order,
where v(d) is the variance of the shares of its keys. Laws are fitted to m (1 - Σ v) + v in place of
m, and compared by m.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radialbench.fidelity.law import EXPONENTIAL, FORMS, STRETCHED, growth
from radialbench.records.decay import AveragedFit, AxisDecay, Fit
from radialbench.records.statistics import Estimate, jackknife

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

FOLDS = 4
"""Runs of neighbouring rows, each of which is predicted by fits to the others."""

GROUPS = 20
"""Runs of neighbouring rows that a jackknife leaves out one by one."""

RATE_BOUND = 50.0
EXPONENT_BOUNDS = (0.05, 4.0)
STEPS = 60
"""Most steps of the scoring; it takes fewer than ten where a law fits."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Mass of query rows by distance.

    Attributes:
        mass: [rows, distances] shares that add up to 1 in each row.
        pairs: [groups, distances] how many keys rows of a group have at each distance.
        group: [rows] the group of each row.
    """

    mass: Floats
    pairs: Floats
    group: Int64

    @classmethod
    def of(cls, mass: Floats, pairs: Floats) -> "Rows":
        """Return the rows that have mass, with those of equal pairs in one group.

        Args:
            mass: [rows, distances] not negative.
            pairs: [rows, distances]
        """
        total = mass.sum(axis=1)
        some = total > 0
        groups, group = np.unique(pairs[some], axis=0, return_inverse=True)
        return cls(mass[some] / total[some, None], groups, group.reshape(-1))

    def some(self, chosen: NDArray[np.bool_]) -> "Rows":
        """Return some of the rows."""
        return Rows(self.mass[chosen], self.pairs, self.group[chosen])


def fit_law(
    form: str, mass: Floats, pairs: Floats, noise: Floats
) -> tuple[Estimate, Estimate | None]:
    """Fit a form of decay with one distance, and return its rate and its exponent if it has one.

    Arguments as of `fit_axis`.
    """
    rows = Rows.of(_unbiased(mass, noise), pairs)
    return _Fitted.of(form, rows).estimates(rows)


def fit_axis(mass: Floats, pairs: Floats, noise: Floats) -> AxisDecay:
    """Fit every form of decay with one distance, and compare them on rows held out.

    Args:
        mass: [rows, distances] attention mass of each row, in any unit.
        pairs: [rows, distances] keys of each row.
        noise: [rows, distances] variance of the mass, added up over keys, as `HeadMass.noise`.
    """
    rows, fitted = Rows.of(mass, pairs), Rows.of(_unbiased(mass, noise), pairs)
    fold = np.arange(len(rows.mass)) * FOLDS // len(rows.mass)
    predicted = {form: np.empty_like(rows.mass) for form in FORMS}
    for number in np.unique(fold):
        others = fitted.some(fold != number)
        held = fold == number
        for form in FORMS:
            law = _Fitted.of(form, others if len(others.mass) else fitted)
            predicted[form][held] = law.shares[rows.group[held]]
    flat = rows.pairs / rows.pairs.sum(axis=1, keepdims=True)
    scores = {form: _gain(rows, shares, flat[rows.group]) for form, shares in predicted.items()}
    best = max(scores, key=lambda form: float(scores[form].mean()))
    fits = []
    for form in FORMS:
        rate, exponent = _Fitted.of(form, fitted).estimates(fitted)
        away = rows.mass - predicted[form]
        fits.append(
            Fit(
                form=form,
                rate=rate,
                exponent=exponent,
                gain=float(scores[form].mean()),
                behind=_mean(scores[best] - scores[form]),
                misplaced=_share(np.abs(away.mean(axis=0)).sum() / 2),
                misplaced_by_row=_share(np.abs(away).sum(axis=1).mean() / 2),
            )
        )
    means = (tuple(one.mean(axis=0).tolist()) for one in (rows.mass, pairs))
    return AxisDecay(tuple(fits), *means)


def _unbiased(mass: Floats, noise: Floats) -> Floats:
    """Return the mass as it would be if noise had no part in the totals of rows."""
    total = np.maximum(mass.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    own = noise / total
    moved: Floats = mass * (1 - own.sum(axis=1, keepdims=True) / total) + own
    return moved


def _left_out(values: Floats) -> Floats:
    """Return [groups, ...] sums of values [rows, ...] without those of each run of rows."""
    count = len(values)
    starts = np.arange(min(GROUPS, count)) * count // min(GROUPS, count)
    sums: Floats = values.sum(axis=0) - np.add.reduceat(values, starts, axis=0)
    return sums


def _mean(values: Floats) -> Estimate:
    """Return the mean of one value a row, with its interval."""
    counts = _left_out(np.ones(len(values)))
    left_out = _left_out(values)[counts > 0] / counts[counts > 0]
    return jackknife(float(values.mean()), left_out.tolist())


def _gain(rows: Rows, shares: Floats, flat: Floats) -> Floats:
    """Return [rows] log-likelihood of each row over that of no decay."""
    tiny = np.finfo(np.float64).tiny
    ratio = np.log(np.maximum(shares, tiny)) - np.log(np.maximum(flat, tiny))
    gain: Floats = (rows.mass * np.where(flat > 0, ratio, 0.0)).sum(axis=1)
    return gain


def _share(value: float) -> float:
    return min(1.0, float(value))


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A form with the numbers that fit some rows best, or others on the way there.

    Attributes:
        form: The form.
        numbers: The rate, and the exponent if it has one.
        shares: [groups, distances] of mass that it predicts.
        slopes: [distances, numbers] derivatives of the logarithm of the weight by the numbers.
        total: [groups] logarithm of the sum of pairs times weights.
        logits: [distances] logarithm of the weight.
    """

    form: str
    numbers: Floats
    shares: Floats
    slopes: Floats
    total: Floats
    logits: Floats

    @classmethod
    def at(cls, form: str, numbers: Floats, pairs: Floats) -> "_Fitted":
        distances = np.arange(pairs.shape[1])
        grown = growth(form, distances, numbers[1] if form == STRETCHED else 1.0)
        logits = -numbers[0] * grown
        slopes = -grown[:, None]
        if form == STRETCHED:
            logs = np.log(np.maximum(distances, 1))
            slopes = np.stack([-grown, logits * logs], axis=1)
        top = np.where(pairs > 0, logits, -np.inf).max(axis=1, keepdims=True)
        weights = pairs * np.exp(np.minimum(logits - top, 0.0))
        total = weights.sum(axis=1, keepdims=True)
        return cls(form, numbers, weights / total, slopes, (np.log(total) + top)[:, 0], logits)

    @classmethod
    def of(cls, form: str, rows: Rows) -> "_Fitted":
        """Return the maximum of the likelihood, by Fisher scoring with Levenberg's damping."""
        start = cls.of(EXPONENTIAL, rows).numbers if form == STRETCHED else np.zeros(1)
        numbers = np.append(start, 1.0) if form == STRETCHED else start
        here, damping = cls.at(form, numbers, rows.pairs), 1e-3
        mass = np.zeros_like(rows.pairs)
        np.add.at(mass, rows.group, rows.mass)
        count = np.bincount(rows.group, minlength=len(rows.pairs))
        for _ in range(STEPS):
            means, spread = here._moments()
            score = (mass @ here.slopes - count[:, None] * means).sum(axis=0)
            fisher = np.einsum("g,gij->ij", count, spread)
            step = np.linalg.solve(_damped(fisher, damping), score)
            there = cls.at(form, here._moved(step), rows.pairs)
            gain = there._likelihood(mass, count) - here._likelihood(mass, count)
            if gain >= 0:
                here, damping = there, damping / 10
            else:
                damping *= 10
            if 0 <= gain < 1e-12 * len(rows.mass) or damping > 1e12:
                break
        return here

    def estimates(self, rows: Rows) -> tuple[Estimate, Estimate | None]:
        """Return the rate and the exponent, if there is one, with intervals."""
        numbers = self.numbers.tolist()
        means, spread = self._moments()
        scores = _left_out(rows.mass @ self.slopes - means[rows.group])
        fishers = _left_out(spread[rows.group])
        steps = [
            np.linalg.solve(_damped(fisher, 1e-9), score)
            for fisher, score in zip(fishers, scores, strict=True)
        ]
        moved = np.array([self._moved(step) for step in steps]).reshape(-1, len(numbers))
        found = [jackknife(one, moved[:, n].tolist()) for n, one in enumerate(numbers)]
        return found[0], found[1] if len(found) > 1 else None

    def _likelihood(self, mass: Floats, count: Int64) -> float:
        return float((mass @ self.logits).sum() - count @ self.total)

    def _moments(self) -> tuple[Floats, Floats]:
        """Return [groups, numbers] means of the slopes, [groups, numbers, numbers] covariances."""
        means = self.shares @ self.slopes
        squares = np.einsum("gd,di,dj->gij", self.shares, self.slopes, self.slopes)
        return means, squares - means[:, :, None] * means[:, None, :]

    def _moved(self, step: Floats) -> Floats:
        low, high = EXPONENT_BOUNDS
        moved = self.numbers + step
        moved[0] = np.clip(moved[0], -RATE_BOUND, RATE_BOUND)
        moved[1:] = np.clip(moved[1:], low, high)
        return moved


def _damped(fisher: Floats, damping: float) -> Floats:
    diagonal = np.diag(fisher)
    least = 1e-12 * max(1.0, float(diagonal.max()))
    return fisher + np.diag(damping * diagonal + least)


def averaged_fit(mass: Floats, pairs: Floats) -> AveragedFit:
    """Fit y = exp(-a x + b) to the mean weight of a pair by distance, averaged over heads.

    Args:
        mass: [heads, distances] sum over rows.
        pairs: [heads, distances] sum over rows.
    """
    some = (pairs > 0).all(axis=0)
    weights, x = mass[:, some] / pairs[:, some], np.flatnonzero(some).astype(np.float64)
    mean = weights.mean(axis=0)
    return AveragedFit(
        averaged=_r2(x, mean),
        averaged_log=_r2_log(x, mean),
        heads=tuple(_r2(x, own) for own in weights),
        heads_log=tuple(_r2_log(x, own) for own in weights),
    )


def _r2_log(x: Floats, y: Floats) -> float:
    """Return R² of the straight line through log y."""
    tiny = np.finfo(np.float64).tiny
    logs = np.log(np.maximum(y, tiny))
    slope, offset = np.polyfit(x, logs, 1) if len(x) > 1 else (0.0, logs[0])
    return _explained(logs, slope * x + offset)


def _r2(x: Floats, y: Floats) -> float:
    """Return R² of exp(-a x + b) by least squares of y: the best of many rates a."""
    rates = np.concatenate([[0.0], np.geomspace(1e-4, 30, 2000)])
    curves = np.exp(-np.outer(rates, x - x[0]))
    heights = (curves @ y) / (curves**2).sum(axis=1)
    errors = ((y - heights[:, None] * curves) ** 2).sum(axis=1)
    best = int(errors.argmin())
    return _explained(y, heights[best] * curves[best])


def _explained(y: Floats, fitted: Floats) -> float:
    spread = float(((y - y.mean()) ** 2).sum())
    return 1.0 - float(((y - fitted) ** 2).sum()) / spread if spread > 0 else 1.0
