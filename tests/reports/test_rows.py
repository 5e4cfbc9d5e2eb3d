"""Rows: their times and ratios, what they are compared with, and where they ran."""

from dataclasses import replace

import pytest

from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.measurement import Measurement, Rounds
from radialbench.records.result import CEILING_FLOPS, Status
from radialbench.records.statistics import INDEPENDENT_ERRORS, ORDER_STATISTICS, Estimate
from radialbench.reports.breakeven import break_evens
from radialbench.reports.check.metrics import METRICS
from radialbench.reports.rows import (
    DENSE,
    differing,
    fraction_of_ceiling,
    interleaved_ratio,
    ratio_of_totals,
    rows_of,
    speedup,
    total_ms,
)
from tests.records.sample import ENVIRONMENT
from tests.reports.factory import elsewhere, ended, made, on_gpu

DRIFT = (1.0, 2.0, 1.5, 3.0, 1.2, 1.1, 2.5)


def test_pairs_of_which_one_was_throttled_are_left_out() -> None:
    def timing(samples: tuple[float, ...], *slowed_by: str) -> Measurement:
        beside = Rounds("nvml", slowed_by=slowed_by) if slowed_by else None
        return Measurement(samples, 1, "cold", "cuda_event", None, rounds=beside)

    hot = timing((1.0, 9.0, 1.0), "power cap", "thermal limit (hardware)", "")
    plain = timing((2.0, 2.0, 2.0, 7.0))
    assert interleaved_ratio(hot, plain) == Estimate(0.5)
    assert interleaved_ratio(plain, hot) == Estimate(2.0)
    burning = timing((1.0, 9.0, 1.0), *["hardware slowdown"] * 3)
    assert interleaved_ratio(burning, plain) == Estimate(0.5)


def test_the_last_line_of_a_case_counts_although_the_clock_was_set_back() -> None:
    first, second = made(samples=(9.0,)), made(samples=(2.0,))
    second = replace(second, created="2001-01-01T00:00:00+00:00")
    assert first.created > second.created
    (row,), _ = rows_of([first, second])
    assert row.record is second


def test_the_token_order_counts_on_both_sides() -> None:
    ours, theirs = made(samples=DRIFT, order=1.0), made(samples=DRIFT, order=4.0)
    assert total_ms(ours) == Estimate(2.5, 2.0, 4.0, ORDER_STATISTICS)
    found = speedup(theirs, ours)
    assert (found.value, found.low, found.high) == (5.5 / 2.5, 7 / 4, 5 / 2)


def test_only_samples_of_one_round_are_pairs() -> None:
    ours, theirs = made(samples=DRIFT), made(samples=[4 * ms for ms in DRIFT])
    apart = ratio_of_totals(theirs, ours)
    assert (apart.value, apart.how) == (4, INDEPENDENT_ERRORS)
    assert apart.holds(2)
    ours, theirs = on_gpu([ours, theirs])
    assert ratio_of_totals(theirs, ours) == Estimate(4, 4, 4, ORDER_STATISTICS)


def test_the_interval_of_pairs_holds_the_ratio_of_the_totals() -> None:
    """Medians of 4 and 3 where three pairs of four are equal."""
    above, below = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), (1.0, 2.0, 3.0, 3.0, 5.0, 6.0, 7.0)
    theirs, ours = on_gpu([made(samples=above), made(samples=below)])
    assert speedup(theirs, ours).value == 1
    assert ratio_of_totals(theirs, ours) == Estimate(4 / 3, 1, 4 / 3, ORDER_STATISTICS)


def test_the_share_of_the_ceiling_is_one_figure_wherever_it_is_shown() -> None:
    (record,) = on_gpu([made(samples=DRIFT)], ceiling_ms=1.0)
    assert record.ceiling is not None and record.table is not None
    beside = tuple(3 * ms for ms in DRIFT)
    share = 3 * record.table.executed_flops / CEILING_FLOPS
    record = replace(record, ceiling=replace(record.ceiling, samples_ms=beside))
    found = fraction_of_ceiling(record)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((share,) * 3)
    (row,) = rows_of([record])[0]
    cost = METRICS["ceiling"].value_of(record)
    assert cost is not None and cost.interval is not None
    assert row.of_ceiling == found.value
    assert cost.interval.inverse().value == pytest.approx(share)
    assert fraction_of_ceiling(replace(record, ceiling=None)) is None


SDPA = made(DENSE, samples=(4.0,), backend="sdpa", share=1.0)
CPU = made(DENSE, samples=(8.0,), share=1.0)
RADIAL = made(samples=(1.0, 2.0, 4.0))


def test_a_row_is_compared_with_the_fastest_dense_result() -> None:
    dense, other, radial = rows_of([CPU, SDPA, RADIAL])[0]
    assert [row.speedup for row in (dense, other, radial)] == [0.5, 1.0, 2.0]
    assert radial.dense == SDPA


def test_no_mask_is_compared_with_dense_attention_in_8_bits() -> None:
    rough = made(DENSE, samples=(1.0,), backend="fa3_fp8", share=1.0)
    rows = {
        row.backend: row for row in rows_of([CPU, rough, SDPA, replace(RADIAL, backend="fa4")])[0]
    }
    assert rows["fa4"].dense == SDPA
    assert rows["fa3_fp8"].speedup == 4.0


def test_the_time_of_the_token_order_counts_on_both_sides() -> None:
    sta = made("sta", samples=(2.0,), order=3.0)
    *_, row = rows_of([replace(SDPA, permute_ms=1.0), sta])[0]
    assert (row.median_ms, row.total_ms, row.speedup) == (2.0, 5.0, 1.0)
    assert row.quartiles_ms == (5.0, 5.0)


def test_a_rate_is_work_over_the_median_without_the_order() -> None:
    (row,), _ = rows_of([made("sta", samples=(2.0,), share=0.5, order=3.0)])
    assert row.table is not None
    assert row.effective_tflops == row.table.flops / 2e6 / 1e3
    assert row.executed_tflops == row.table.executed_flops / 2e6 / 1e3


def test_spread_is_between_the_quartiles() -> None:
    (row,), _ = rows_of([RADIAL])
    assert row.quartiles_ms == (1.5, 3.0)
    assert row.iqr_share == 0.75
    (single,), _ = rows_of([SDPA])
    assert single.iqr_share is None


@pytest.mark.parametrize("status", [status for status in Status if status != Status.OK])
def test_a_case_that_is_not_ok_has_no_numbers(status: Status) -> None:
    *_, row = rows_of([SDPA, ended(status, "why", RADIAL)])[0]
    numbers = (row.median_ms, row.total_ms, row.speedup, row.effective_tflops, row.iqr_share)
    assert numbers == (None,) * 5
    assert (row.dense, row.uncompared) == (None, None)


def test_a_dense_result_that_is_not_ok_is_no_baseline() -> None:
    *_, row = rows_of([ended(Status.OOM, "too big", SDPA), RADIAL])[0]
    assert row.speedup is None
    assert row.uncompared == "dense has no result at this length"


def test_lengths_shapes_and_suites_are_not_mixed() -> None:
    problem = replace(RADIAL.problem, heads=2)
    for other in (
        made(frames=5),
        replace(RADIAL, problem=problem),
        replace(RADIAL, model="another"),
        replace(RADIAL, suite="another"),
    ):
        row = next(row for row in rows_of([SDPA, other])[0] if row.mask != DENSE)
        assert row.uncompared == "dense has no result at this length"


@pytest.mark.parametrize(
    "changes",
    [{"cpu": "Other"}, {"threads": 1}, {"device": "GPU"}, {"versions": {"torch": "3"}}],
)
def test_environments_are_not_mixed(changes: dict[str, object]) -> None:
    rows, environments = rows_of([SDPA, *elsewhere([RADIAL], **changes)])
    assert [row.place for row in rows] == [0, 1]
    assert len(environments) == 2
    assert rows[1].uncompared == "dense ran in another environment"


def test_the_same_machine_on_another_day_is_the_same_environment() -> None:
    rows, environments = rows_of([SDPA, *elsewhere([RADIAL], command="again", commit="fff")])
    assert environments == (ENVIRONMENT,)
    assert rows[1].speedup == 2.0


def test_a_dense_result_of_the_same_environment_is_found_among_others() -> None:
    there = elsewhere([replace(SDPA, case="other")], cpu="Other")
    rows, _ = rows_of([*there, SDPA, RADIAL])
    assert [row.speedup for row in rows] == [1.0, 1.0, 2.0]


def test_unlike_measurements_are_not_mixed() -> None:
    cold = replace(RADIAL, timing=Measurement((1.0,), 1, "cold", "perf_counter", None))
    *_, row = rows_of([SDPA, cold])[0]
    assert row.speedup is None
    assert row.uncompared == "dense was measured differently (cache: warm and cold)"


def test_compiling_is_not_compared() -> None:
    rows, _ = rows_of([SDPA, made(backend=None), made(DENSE, backend=None)])
    assert [(row.speedup, row.effective_tflops) for row in rows[1:]] == [(None, None)] * 2


def test_the_last_record_of_a_case_counts() -> None:
    rows, _ = rows_of([ended(Status.FAILED, "killed", RADIAL), SDPA, RADIAL])
    assert [row.record for row in rows] == [SDPA, RADIAL]
    rows, _ = rows_of([RADIAL, SDPA, ended(Status.FAILED, "killed", RADIAL)])
    assert sorted(row.record.status for row in rows) == [Status.FAILED, Status.OK]


def test_rows_are_sorted_by_length_with_dense_first() -> None:
    records = [made("sta", 5), made("radial", 3), made("sta", 3), made(DENSE, 5), made(DENSE, 3)]
    assert [(row.frames, row.mask) for row in rows_of(records)[0]] == [
        *((3, DENSE), (3, "sta"), (3, "radial")),
        *((5, DENSE), (5, "sta")),
    ]


@pytest.mark.parametrize(
    ("grid", "model", "batch", "sweep"),
    [
        (TokenGrid(3, 30, 52), "wan", 1, "wan Fx30x52 h1d128f32"),
        (TokenGrid(3, 3, 3), None, 1, "Fx3x3 h1d128f32"),
        (TokenGrid(3, 3, 3, text_tokens=13), None, 2, "Fx3x3+13 b2h1d128f32"),
        (TokenGrid(3, 3, 3, text_tokens=3, text_first=True), None, 1, "3+Fx3x3 h1d128f32"),
        (TokenGrid(3, 3, 3, text_tokens=3, text_valid=3), None, 1, "Fx3x3+3 h1d128f32"),
        (TokenGrid(3, 3, 3, text_tokens=3, text_valid=1), None, 1, "Fx3x3+1of3 h1d128f32"),
    ],
)
def test_a_sweep_is_named_by_what_stays_the_same(
    grid: TokenGrid, model: str | None, batch: int, sweep: str
) -> None:
    problem = replace(RADIAL.problem, grid=grid, batch=batch)
    record = replace(RADIAL, problem=problem, model=model)
    assert record.sweep == sweep
    assert record.group.replace("/", " ") == sweep.replace("Fx", "3x")


def test_environments_say_how_they_differ() -> None:
    other = replace(ENVIRONMENT, threads=1, versions={"torch": "2.14.0", "triton": "3.7"})
    assert differing([ENVIRONMENT, other]) == [
        "threads: 2 and 1",
        "numpy: 2.3.5 and none",
        "torch: 2.13.0 and 2.14.0",
        "triton: none and 3.7",
    ]


def test_speed_ups_of_cases_sampled_in_turn_come_from_pairs() -> None:
    drift = (1.0, 2.0, 1.5, 3.0, 1.2, 1.1, 2.5)
    cases = [made(DENSE, samples=[4 * one for one in drift]), made(samples=drift)]
    (_, row) = rows_of(on_gpu(cases))[0]
    assert row.speedup_interval == Estimate(4, 4, 4, ORDER_STATISTICS)
    (_, apart) = rows_of(cases)[0]
    assert apart.speedup_interval is not None
    assert apart.speedup_interval.holds(2.5)
    assert apart.speedup_interval.holds(6)


def test_the_ceiling_and_the_counters() -> None:
    (row,) = rows_of(on_gpu([made(samples=(2.0, 2.0))], ceiling_ms=1.0))[0]
    assert row.ceiling_tflops == pytest.approx(2 * 8192**3 / 1e9)
    assert row.table is not None
    assert row.of_ceiling == pytest.approx(row.table.executed_flops / 2 / (2 * 8192**3))
    assert row.energy_j == pytest.approx(400 * 0.002)


def test_counters_of_calls_that_waited_are_left_out() -> None:
    (record,) = on_gpu([made(samples=(2.0,))])
    assert record.telemetry is not None
    slow = replace(record.telemetry, seconds=10 * record.telemetry.seconds)
    (row,) = rows_of([replace(record, telemetry=slow)])[0]
    assert (row.counters, row.energy_j) == (None, None)


def test_two_masks_of_one_name_are_two_rows() -> None:
    """Of two files of one name, on grids of one sweep."""
    files = {
        name: MaskIdentity("m", f"of {name}", "m", file=f"{name}/m.yaml") for name in ("a", "b")
    }
    records = [made(DENSE, frames, samples=(9.0 * frames,)) for frames in (3, 5)]
    for frames, (name, mask) in zip((3, 5), files.items(), strict=True):
        record = made("m", frames, samples=(float(frames),))
        problem = replace(record.problem, mask_fingerprint=f"of {name}")
        records.append(replace(record, mask=mask, problem=problem))
    rows, _ = rows_of(records)
    assert [row.mask for row in rows] == [DENSE, "m (a/m.yaml)", DENSE, "m (b/m.yaml)"]
    assert {one.mask for one in break_evens(rows)} == {"m (a/m.yaml)", "m (b/m.yaml)"}


def test_dense_is_what_is_dense_whatever_it_is_called() -> None:
    impostor = made(DENSE, samples=(0.5,))
    impostor = replace(impostor, mask=replace(impostor.mask, dense=False))
    *_, row = rows_of([impostor, RADIAL])[0]
    assert (row.speedup, row.uncompared) == (None, "dense has no result at this length")
    full = replace(SDPA, case="full", mask=replace(SDPA.mask, name="full"))
    dense, mine, radial = rows_of([impostor, full, RADIAL])[0]
    assert [one.mask for one in (dense, mine, radial)] == ["full", DENSE, "radial"]
    assert radial.dense == mine.dense == full
    assert (mine.speedup, radial.speedup) == (8.0, 2.0)
