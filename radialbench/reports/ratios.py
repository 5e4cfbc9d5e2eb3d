"""Times of records and their ratios: with the token order, in turn, and beside the ceiling."""

from radialbench.records.measurement import Measurement
from radialbench.records.result import CEILING_FLOPS, Record
from radialbench.records.statistics import (
    Estimate,
    estimate_median,
    paired_ratio,
    unpaired_ratio,
)


def total_ms(record: Record) -> Estimate:
    """Return the time of a case that went well: its median, and that of its token order."""
    assert record.timing is not None
    return estimate_median(record.timing.steady_ms).plus(record.permute_ms or 0.0)


def steady_pairs(above: Measurement, below: Measurement) -> list[tuple[float, float]]:
    """Return samples taken beside each other; pairs of which one was throttled only if all were."""
    both = list(zip(above.samples_ms, below.samples_ms, strict=False))
    flags = zip(above.throttled, below.throttled, strict=False)
    return [pair for pair, slow in zip(both, flags, strict=True) if not any(slow)] or both


def interleaved_ratio(above: Measurement, below: Measurement) -> Estimate:
    """Return the ratio of two times whose samples were taken in turn."""
    return paired_ratio(*zip(*steady_pairs(above, below), strict=True))


def speedup(dense: Record, own: Record) -> Estimate:
    """Return how many times as long another case of the same round takes, token orders included."""
    assert dense.timing is not None and own.timing is not None
    pairs = steady_pairs(dense.timing, own.timing)
    above, below = dense.permute_ms or 0.0, own.permute_ms or 0.0
    return paired_ratio([ms + above for ms, _ in pairs], [ms + below for _, ms in pairs])


def ratio_of_totals(above: Record, below: Record) -> Estimate:
    """Return the ratio of two cases' times, token orders included.

    Samples of one group that were each taken beside the same matrix product were taken in turn:
    the interval is then that of their pairs, widened to hold the ratio where pairs say another.
    """
    apart = unpaired_ratio(total_ms(above), total_ms(below))
    if above.ceiling and (above.ceiling, above.group) == (below.ceiling, below.group):
        return speedup(above, below).widened_to(apart.value)
    return apart


def fraction_of_ceiling(record: Record) -> Estimate | None:
    """Return the rate on the visited blocks as a share of that of the matrix product beside it."""
    shares = ceiling_fractions(record)
    return estimate_median(shares) if shares else None


def ceiling_fractions(record: Record) -> list[float]:
    """Return that share for every round; nothing where it was not measured."""
    timing, ceiling, table = record.timing, record.ceiling, record.table
    if record.measure != "attention" or not (timing and ceiling and table):
        return []
    work = table.executed_flops / CEILING_FLOPS
    return [work * beside / ms for ms, beside in steady_pairs(timing, ceiling)] if work else []
