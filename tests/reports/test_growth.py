import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.reports.growth import (
    GROWING,
    LOG,
    POWER,
    SQUARE,
    Growth,
    Verdict,
    fit,
    growth,
    local_exponents,
)

FRAMES = (5, 9, 17, 33, 65, 129, 257)
TOKENS = tuple(1560 * count for count in FRAMES)


def values(form: str, a: float, b: float) -> list[float]:
    n = np.array(TOKENS, float)
    grown: list[float] = (a * n + b * GROWING[form](np.array(FRAMES, float), n)).tolist()
    return grown


def relative(form: str, ratio: float) -> list[float]:
    """Values in which a is a share of what b adds at the shortest length; above -1."""
    b = 1.0
    shortest = GROWING[form](np.array([5.0]), np.array([7800.0]))[0] / 7800
    return values(form, ratio * shortest * b, b)


@pytest.mark.parametrize("form", GROWING)
@given(ratio=st.floats(-0.9, 5), scale=st.floats(1e-12, 1e12))
def test_a_form_is_found_again(form: str, ratio: float, scale: float) -> None:
    true = [scale * value for value in relative(form, ratio)]
    found = fit(form, FRAMES, TOKENS, true)
    assert found.residual < 1e-6
    np.testing.assert_allclose(found.at(FRAMES, TOKENS), true, rtol=1e-5)


@pytest.mark.parametrize("form", GROWING)
@pytest.mark.parametrize("ratio", [-0.5, 0.0, 0.3])
def test_a_form_is_told_from_its_rivals(form: str, ratio: float) -> None:
    found = growth(FRAMES, TOKENS, relative(form, ratio))
    assert found.verdict is Verdict.FOLLOWS
    assert found.fits[0].form == form
    assert [one.residual for one in found.fits] == sorted(one.residual for one in found.fits)


def test_no_other_constants_fit_better() -> None:
    true = [float(n) ** 1.3 for n in TOKENS]
    best = fit(LOG, FRAMES, TOKENS, true)
    logs = np.log(true)
    for a in np.linspace(0.9, 1.1, 21) * best.a:
        for b in np.linspace(0.9, 1.1, 21) * best.b:
            n = np.array(TOKENS, float)
            other = a * n + b * n * np.log2(FRAMES)
            if (other > 0).all():
                assert np.sqrt(np.mean((logs - np.log(other)) ** 2)) >= best.residual - 1e-9


def test_the_residual_is_of_the_logarithms() -> None:
    true = [value * (1.1 if place % 2 else 1) for place, value in enumerate(relative(SQUARE, 0))]
    found = fit(SQUARE, FRAMES, TOKENS, true)
    misses = np.log(true) - np.log(found.at(FRAMES, TOKENS))
    assert found.residual == pytest.approx(np.sqrt(np.mean(misses**2)))


def test_a_short_sweep_cannot_tell() -> None:
    short = growth(FRAMES[:4], TOKENS[:4], relative(LOG, 0)[:4])
    assert short.verdict is Verdict.CANNOT_TELL
    assert short.why.startswith("4 lengths up to 33 frames cannot tell the forms apart;")
    sparse = growth(FRAMES[::3], TOKENS[::3], relative(LOG, 0)[::3])
    assert sparse.verdict is Verdict.CANNOT_TELL
    nothing = growth((1, 2), (10, 20), (1.0, 2.0))
    assert (nothing.verdict, nothing.fits) == (Verdict.CANNOT_TELL, ())


def test_lengths_below_five_frames_are_not_fitted() -> None:
    frames, tokens = (1, 3, *FRAMES), (1560, 4680, *TOKENS)
    found = growth(frames, tokens, [1.0, 2.0, *relative(LOG, 0)])
    assert found.fits == growth(FRAMES, TOKENS, relative(LOG, 0)).fits
    assert found.start == 2
    assert len(found.exponents) == 8


def test_a_form_that_misses_is_not_claimed() -> None:
    # Quadratic up to 17 frames, linear beyond: a window that fills up.
    kinked = [float(n * min(n, 26520)) for n in TOKENS]
    found = growth(FRAMES, TOKENS, kinked)
    assert found.verdict is Verdict.NONE_FITS
    assert found.exponents[0] == pytest.approx(2)
    assert found.exponents[-1] == pytest.approx(1)


def test_a_form_with_another_end_is_not_claimed() -> None:
    bent = relative(POWER, 0)
    bent[-1] *= 1.12
    found = growth(FRAMES, TOKENS, bent)
    assert found.fits[0].residual < 0.1
    assert found.verdict is Verdict.NONE_FITS
    assert "ends with the exponent" in found.why


def test_two_forms_that_fit_alike_are_not_told_apart() -> None:
    between = [
        math.sqrt(one * other)
        for one, other in zip(relative(LOG, 1.0), relative(POWER, 1.0), strict=True)
    ]
    found = growth(FRAMES, TOKENS, between)
    assert found.fits[1].residual < 2 * found.fits[0].residual
    assert found.verdict is Verdict.CANNOT_TELL
    assert "fits nearly as well" in found.why


def test_local_exponents() -> None:
    assert local_exponents([1, 2, 8], [3.0, 12.0, 12.0 * 4**1.5]) == pytest.approx((2, 1.5))
    assert local_exponents([5], [1.0]) == ()


def exact(mask: str) -> Growth:
    """Pairs of a mask on Wan's frames at 480p."""
    spec = load_mask(mask)
    pairs = [compile_mask(spec, TokenGrid(count, 30, 52)).pairs for count in FRAMES]
    return growth(FRAMES, TOKENS, pairs)


@pytest.mark.slow
def test_radial_grows_as_n_log_n() -> None:
    found = exact("radial")
    residuals = {one.form: one.residual for one in found.fits}
    assert found.verdict is Verdict.FOLLOWS
    assert found.fits[0].form == LOG
    assert residuals[LOG] == pytest.approx(0.037, abs=0.002)
    assert residuals[POWER] == pytest.approx(0.122, abs=0.003)
    assert residuals[SQUARE] > 0.2


@pytest.mark.slow
def test_a_band_of_fixed_density_is_quadratic() -> None:
    found = exact("svg_spatial")
    assert (found.verdict, found.fits[0].form) == (Verdict.FOLLOWS, SQUARE)


@pytest.mark.slow
def test_a_window_of_fixed_size_ends_linear() -> None:
    found = exact("sta")
    assert found.verdict is Verdict.NONE_FITS
    assert found.exponents[-1] == pytest.approx(1, abs=0.02)
