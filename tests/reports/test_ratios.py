"""Times of records and their ratios."""

from dataclasses import replace

import pytest

from radialbench.records.measurement import Measurement, Rounds
from radialbench.records.result import CEILING_FLOPS
from radialbench.records.statistics import INDEPENDENT_ERRORS, ORDER_STATISTICS, Estimate
from radialbench.reports.check.metrics import METRICS
from radialbench.reports.ratios import (
    fraction_of_ceiling,
    interleaved_ratio,
    ratio_of_totals,
    speedup,
    total_ms,
)
from radialbench.reports.rows import rows_of
from tests.reports.factory import made, on_gpu

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
