"""Growth along sweeps: forms that are fitted, exponents, and the sentences about them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.records.measurement import Memory
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Record, Status
from radialbench.reports.narrative import describe_scaling
from radialbench.reports.rows import DENSE, rows_of
from radialbench.reports.scaling import (
    GROWING,
    LOG,
    POWER,
    SQUARE,
    FitOutcome,
    Growth,
    Scaling,
    fit,
    growth,
    local_exponents,
    scaling,
)
from radialbench.reports.sweeps import sweep_differences
from tests.reports.factory import ended, made, swept, table

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
    assert found.verdict is FitOutcome.FOLLOWS
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
    assert short.verdict is FitOutcome.CANNOT_TELL
    assert short.why.startswith("4 lengths up to 33 frames cannot tell the forms apart;")
    sparse = growth(FRAMES[::3], TOKENS[::3], relative(LOG, 0)[::3])
    assert sparse.verdict is FitOutcome.CANNOT_TELL
    nothing = growth((1, 2), (10, 20), (1.0, 2.0))
    assert (nothing.verdict, nothing.fits) == (FitOutcome.CANNOT_TELL, ())


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
    assert found.verdict is FitOutcome.NONE_FITS
    assert found.exponents[0] == pytest.approx(2)
    assert found.exponents[-1] == pytest.approx(1)


def test_a_form_with_another_end_is_not_claimed() -> None:
    bent = relative(POWER, 0)
    bent[-1] *= 1.12
    found = growth(FRAMES, TOKENS, bent)
    assert found.fits[0].residual < 0.1
    assert found.verdict is FitOutcome.NONE_FITS
    assert "ends with the exponent" in found.why


def test_two_forms_that_fit_alike_are_not_told_apart() -> None:
    between = [
        math.sqrt(one * other)
        for one, other in zip(relative(LOG, 1.0), relative(POWER, 1.0), strict=True)
    ]
    found = growth(FRAMES, TOKENS, between)
    assert found.fits[1].residual < 2 * found.fits[0].residual
    assert found.verdict is FitOutcome.CANNOT_TELL
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
    assert found.verdict is FitOutcome.FOLLOWS
    assert found.fits[0].form == LOG
    assert residuals[LOG] == pytest.approx(0.037, abs=0.002)
    assert residuals[POWER] == pytest.approx(0.122, abs=0.003)
    assert residuals[SQUARE] > 0.2


@pytest.mark.slow
def test_a_band_of_fixed_density_is_quadratic() -> None:
    found = exact("svg_spatial")
    assert (found.verdict, found.fits[0].form) == (FitOutcome.FOLLOWS, SQUARE)


@pytest.mark.slow
def test_a_window_of_fixed_size_ends_linear() -> None:
    found = exact("sta")
    assert found.verdict is FitOutcome.NONE_FITS
    assert found.exponents[-1] == pytest.approx(1, abs=0.02)


FRAMES = (5, 9, 17, 33, 65, 129, 257)
LOG_SHARES = {frames: 0.3 * math.log2(frames) / frames for frames in FRAMES}
SHORT = {frames: LOG_SHARES[frames] for frames in FRAMES[:4]}
DENSE_SHARES = dict.fromkeys(FRAMES, 1.0)


def found(records: list[Record]) -> Scaling:
    return scaling(rows_of(records)[0])


def said(records: list[Record], topic: str) -> list[str]:
    names = sweep_differences(rows_of(records)[0])
    told = {one.topic.split(",")[0]: one.lines for one in describe_scaling(found(records), names)}
    return list(told.get(topic, ()))


def test_work_comes_from_every_table_whatever_became_of_the_case() -> None:
    timed = swept("radial", {5: 0.9, 9: 0.8})
    compiled = [made("radial", 17, backend=None, share=0.5)]
    killed = [ended(Status.FAILED, "killed", made("radial", 33, share=0.4))]
    unknown = [replace(ended(Status.OOM, "too big", made("radial", 65)), table=None)]
    (work,) = found([*timed, *compiled, *killed, *unknown]).works
    assert work.exact.frames == (5, 9, 17, 33)
    assert [one.density for one in work.tables] == pytest.approx([0.9, 0.8, 0.5, 0.4], rel=1e-6)
    assert work.exact.values[0] == work.tables[0].flops / 1e12


def test_other_blocks_execute_other_work_of_the_same_mask() -> None:
    records = swept("radial", LOG_SHARES)
    blocks = KernelConfig(64, 64)
    small = [replace(r, config=blocks, case=f"{r.case}@64x64") for r in records]
    one, other = found([*records, *small]).works
    assert (one.blocks, other.blocks) == ((128, 128), (64, 64))
    told = said([*records, *small], "Growth of the work")
    (line,) = [line for line in told if line.startswith("radial")]
    assert "Blocks of 128×128" in line
    assert "Blocks of 64×64" in line
    assert line.count("exact work follows") == 1


def test_growth_is_told_with_its_rivals() -> None:
    lines = said([*swept("radial", LOG_SHARES), *swept(DENSE, DENSE_SHARES)], "Growth of the work")
    dense, radial = lines[1:]
    assert dense == "dense: every pair attends: n² by definition."
    assert radial.startswith(
        "radial: over 5 to 257 frames of 1,560 tokens the exact work follows n(a + b·log2 F) "
        "(RMS log-residual "
    )
    assert "a·n + b·n^1.5 leaves" in radial
    assert "a·n + b·n² leaves" in radial
    assert radial.endswith("at 257, and follow the same form.")


def test_a_short_sweep_claims_nothing() -> None:
    (work,) = found(swept("radial", SHORT)).works
    assert work.exact.verdict is FitOutcome.CANNOT_TELL
    assert not work.bends
    (line,) = said(swept("radial", SHORT), "Growth of the work")[1:]
    assert line.startswith("radial: 4 lengths up to 33 frames cannot tell the forms apart;")
    assert "follows" not in line


def test_executed_work_of_another_form_is_told() -> None:
    records = swept("radial", LOG_SHARES)
    grown = [
        replace(
            r,
            table=replace(r.table, executed_flops=round(r.problem.seq_len**1.9))
            if r.table
            else None,
        )
        for r in records
    ]
    (work,) = found(grown).works
    assert (work.exact.verdict, work.exact.fits[0].form) == (FitOutcome.FOLLOWS, LOG)
    assert work.bends
    (line,) = said(grown, "Growth of the work")[1:]
    assert "what is executed" in line
    assert "follow the same form" not in line


def test_masks_with_the_same_work_share_a_line() -> None:
    records = [*swept("one", LOG_SHARES), *swept("two", LOG_SHARES), *swept("other", SHORT)]
    lines = said(records, "Growth of the work")[1:]
    assert [line.split(":")[0] for line in lines] == ["one and two", "other"]


def test_a_single_length_has_no_growth() -> None:
    assert said([made()], "Growth of the work") == []
    assert describe_scaling(found([made()]), {}) == ()


def test_latency_in_proportion_to_executed_work() -> None:
    records = swept("radial", LOG_SHARES)
    (latency,) = found(records).latencies
    assert latency.executed is not None
    assert latency.executed.value == pytest.approx(1, abs=0.01)
    assert latency.executed.holds(1)
    (line,) = said(records, "Latency against executed work")[1:]
    assert line.startswith("radial on cpu: 1.00 (")
    assert "), in proportion; n^" in line


@pytest.mark.parametrize(
    ("power", "verdict"), [(1.3, "more than in proportion"), (0.7, "less than in proportion")]
)
def test_latency_out_of_proportion(power: float, verdict: str) -> None:
    records = [
        made("radial", frames, samples=[frames ** (2 * power)] * 3, share=0.5) for frames in FRAMES
    ]
    (line,) = said(records, "Latency against executed work")[1:]
    assert f"radial on cpu: {power:.2f} (" in line
    assert verdict in line


def test_scattered_latency_claims_nothing() -> None:
    factors = (3, 0.3, 2, 0.4, 3, 0.2, 2)
    records = [
        made("radial", frames, samples=[factor * frames**2.0], share=0.5)
        for frames, factor in zip(FRAMES, factors, strict=True)
    ]
    lines = said(records, "Latency against executed work")[1:]
    assert "too uncertain to say more" in lines[0]
    assert "in proportion" not in lines[0]
    assert lines[1].startswith("Where a case has one sample, the interval covers the scatter")


def test_the_token_order_is_not_part_of_the_law() -> None:
    plain, ordered = (found(swept("sta", LOG_SHARES, order=o)).latencies for o in (0.0, 1e4))
    assert plain == ordered


def test_memory() -> None:
    records = [
        replace(made("radial", frames), memory=Memory(frames * 10**6, "rss")) for frames in FRAMES
    ]
    (latency,) = found(records).latencies
    assert latency.peak_exponents == pytest.approx([1.0] * 6)
    lines = said(records, "Memory")
    assert "attention's own memory is linear in n" in lines[0]
    assert lines[1] == "A call at 400,920 tokens adds at its peak: radial on cpu 245 MiB (n^1.00)."
    assert lines[2].startswith("Tables at 400,920 tokens: radial ")


def test_memory_that_is_not_known_is_not_told() -> None:
    records = [replace(made("radial", f), memory=Memory(None, "no mark")) for f in FRAMES]
    records[0] = replace(records[0], memory=None)
    assert found(records).latencies[0].peaks == ()
    assert not any("adds at its peak" in line for line in said(records, "Memory"))


def resized(mask: str, share: float, sizes: tuple[int, ...]) -> list[Record]:
    records = []
    for size in sizes:
        record = made(mask)
        problem = replace(record.problem, grid=TokenGrid(9, 1, size))
        case = f"{mask}/{problem.grid.label}"
        stats = table(9 * size, share)
        records.append(replace(record, case=case, problem=problem, table=stats))
    return records


def test_resolutions_are_quadratic_by_construction() -> None:
    records = [*resized("radial", 0.5, (1000, 2000, 4000)), *resized("sta", 0.1, (1000, 2000))]
    first, second = found(records).resolutions
    assert first.frame_tokens == (1000, 2000, 4000)
    assert first.exponents == pytest.approx((2, 2), abs=1e-3)
    assert second.mask == "sta"
    lines = said(records, "Resolution")
    assert "quadratic by construction" in lines[0]
    assert lines[1] == "radial, 1,000, 2,000 and 4,000 tokens a frame: n^2.00."


def test_frames_alone_are_no_resolution_sweep() -> None:
    assert found(swept("radial", LOG_SHARES)).resolutions == ()


def test_several_sweeps_are_named() -> None:
    wide = [replace(r, case=f"wide {r.case}", model="wide") for r in swept("radial", LOG_SHARES)]
    lines = said([*swept("radial", LOG_SHARES), *wide], "Growth of the work")[1:]
    assert lines[0].startswith("radial (frames of 30×52 tokens): over")
    assert lines[1].startswith("radial (wide): over")
