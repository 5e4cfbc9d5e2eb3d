"""Laws are found again, compared by what they predict, and their intervals are those of rows."""

import numpy as np
import pytest

from radialbench.fidelity.fit import Rows, averaged_fit, fit_axis, fit_law
from radialbench.fidelity.law import Floats, Law
from radialbench.records.decay import AxisDecay, Fit
from radialbench.records.statistics import jackknife

SIDE = 16


def rows_of(
    law: Law, *, rows: int = 64, noise: float = 0.0, seed: int = 0
) -> tuple[Floats, Floats, Floats]:
    """Return mass, pairs and noise of rows whose weights are a law's, times noise of mean 1."""
    rng = np.random.default_rng(seed)
    place = np.sort(rng.integers(0, SIDE, rows))
    mass, pairs, squares = np.zeros((3, rows, SIDE))
    for row, at in enumerate(place):
        distances = np.abs(np.arange(SIDE) - at)
        np.add.at(pairs[row], distances, 7.0)
        weights = np.exp(law.logits(distances)) * rng.lognormal(-(noise**2) / 2, noise, SIDE)
        np.add.at(mass[row], distances, weights)
        np.add.at(squares[row], distances, weights**2)
    unit = rng.lognormal(0, 2, (rows, 1))
    return mass * unit, pairs, -np.expm1(-(noise**2)) * squares * unit**2


def fit_of(axis: AxisDecay, form: str) -> Fit:
    return next(one for one in axis.fits if one.form == form)


LAWS = (
    Law(rate=0.4),
    Law(rate=-0.2),
    Law(rate=3.0),
    Law("power", 1.5),
    Law("power", 0.3),
    Law("stretched", 0.8, 0.5),
    Law("stretched", 0.05, 2.0),
)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_a_law_without_noise_is_found_exactly(law: Law) -> None:
    axis = fit_axis(*rows_of(law))
    assert axis.best.form == law.form
    assert axis.best.rate.value == pytest.approx(law.rate, rel=1e-4)
    if axis.best.exponent is not None:
        assert axis.best.exponent.value == pytest.approx(law.exponent, rel=1e-4)
    assert axis.best.misplaced < 1e-4
    assert axis.fits_well
    assert fit_of(axis, law.form).gain > 0
    assert sum(axis.mass) == pytest.approx(1)


@pytest.mark.parametrize("law", LAWS[:5], ids=str)
def test_noise_widens_the_interval_about_the_truth(law: Law) -> None:
    quiet, loud = (fit_of(fit_axis(*rows_of(law, noise=n)), law.form) for n in (0.05, 0.3))
    assert loud.rate.value == pytest.approx(law.rate, rel=0.1)
    assert quiet.rate.ends is not None
    assert loud.rate.ends is not None
    assert np.diff(loud.rate.ends) > 3 * np.diff(quiet.rate.ends)
    assert loud.misplaced < loud.misplaced_by_row


@pytest.mark.parametrize("law", [LAWS[0], LAWS[3], LAWS[5]], ids=str)
def test_noise_does_not_move_a_law(law: Law) -> None:
    rates, moved = np.empty((2, 20))
    for seed in range(20):
        mass, pairs, noise = rows_of(law, rows=256, noise=0.5, seed=seed)
        rates[seed] = fit_law(law.form, mass, pairs, noise)[0].value / law.rate - 1
        moved[seed] = fit_law(law.form, mass, pairs, 0 * noise)[0].value / law.rate - 1
    assert moved.mean() < -0.02
    assert abs(rates.mean()) < abs(moved.mean()) / 3


def test_a_head_without_decay_has_rate_0() -> None:
    axis = fit_axis(*rows_of(Law(), noise=0.2))
    assert axis.best.rate.holds(0.0)
    assert axis.fits_well


def test_mass_on_distance_0_alone_has_a_rate_that_is_bounded() -> None:
    _, pairs, _ = rows_of(Law())
    mass = np.zeros_like(pairs)
    mass[:, 0] = 1
    axis = fit_axis(mass, pairs, np.zeros_like(mass))
    assert 10 < axis.best.rate.value <= 50
    assert axis.best.misplaced < 1e-4


def test_a_law_of_none_of_the_forms_does_not_fit() -> None:
    mass, pairs, noise = rows_of(Law(rate=0.3))
    mass[:, 3::4] *= 6
    axis = fit_axis(mass, pairs, noise)
    assert axis.best.misplaced > 0.1
    assert not axis.fits_well


def test_rows_without_mass_are_left_out_and_equal_ones_share_a_group() -> None:
    mass, pairs, _ = rows_of(Law(rate=1.0), rows=20)
    mass[3] = 0
    rows = Rows.of(mass, pairs)
    assert len(rows.mass) == 19
    assert len(rows.pairs) <= SIDE // 2
    assert rows.mass.sum(axis=1) == pytest.approx(np.ones(19))


def test_an_average_of_exponentials_hides_its_heads() -> None:
    distances = np.arange(12)
    same = np.exp(-0.4 * distances)
    fit = averaged_fit(np.stack([same, same]), np.ones((2, 12)))
    assert fit.averaged_log == pytest.approx(1)
    assert fit.averaged > 0.9999
    rising = np.stack(
        [same * (1 + 0.5 * np.cos(3 * distances)), same * (1 - 0.5 * np.cos(3 * distances))]
    )
    fit = averaged_fit(rising, np.ones((2, 12)))
    assert fit.averaged > 0.9999
    assert max(fit.heads) < 0.98
    assert max(fit.heads_log) < 0.98


def test_a_jackknife_of_means_is_that_of_student() -> None:
    values = [1.0, 2.0, 4.0, 7.0, 8.0, 8.5, 9.0, 12.0]
    mean = float(np.mean(values))
    left_out = [(sum(values) - one) / 7 for one in values]
    found = jackknife(mean, left_out)
    half = 2.364624 * float(np.std(values, ddof=1)) / 8**0.5
    assert found.ends == pytest.approx((mean - half, mean + half), rel=1e-3)
    assert jackknife(1.0, [1.0] * 5).ends is None
