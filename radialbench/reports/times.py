"""The time of a case with its token order, and ratios of two such times."""

from radialbench.records.result import Record
from radialbench.reports.interval import Interval, of_median, of_paired_ratio, of_ratio
from radialbench.reports.ratio import steady_pairs


def total_ms(record: Record) -> float:
    """Median of a case that went well, and the time of its token order."""
    assert record.timing is not None
    return record.timing.median_ms + (record.permute_ms or 0)


def time_ratio(above: Record, below: Record) -> Interval | None:
    """Give the 95% interval of the ratio of two cases' times, token order included.

    Samples of one group that were each taken beside the same matrix product were taken in turn, and
    are compared pair by pair.
    """
    assert above.timing is not None and below.timing is not None
    middle = total_ms(above) / total_ms(below)
    up, down = above.permute_ms or 0.0, below.permute_ms or 0.0
    if above.ceiling and (above.ceiling, above.group) == (below.ceiling, below.group):
        pairs = steady_pairs(above.timing, below.timing)
        found = of_paired_ratio([a + up for a, _ in pairs], [b + down for _, b in pairs])
    else:
        ours, theirs = of_median(above.timing.steady_ms), of_median(below.timing.steady_ms)
        found = of_ratio(
            *(total_ms(above), ours and ours.plus(up)),
            *(total_ms(below), theirs and theirs.plus(down)),
        )
    return found and found.around(middle)
