"""What samples that vary too much are told by."""

from collections.abc import Iterable

from radialbench.machine import BUSY
from radialbench.records.result import Record
from radialbench.reports.text import plural, printable

WIDE = 0.25
"""Distance between the quartiles, as a share of the median, above which other work disturbs."""

FEWEST = 6
"""Samples from which the quartiles are judged, as for an interval."""


def spread_note(records: Iterable[Record]) -> str | None:
    """Return a sentence on samples that vary much, and on the load; None if none do."""
    records = list(records)
    wide = {
        record.case: record.timing.iqr_ms / record.timing.median_ms
        for record in records
        if record.timing
        and len(record.timing.samples_ms) >= FEWEST
        and record.timing.iqr_ms > WIDE * record.timing.median_ms
    }
    if not wide:
        return None
    case = max(wide, key=lambda case: wide[case])
    loads = [record.environment.load or 0.0 for record in records if record.case in wide]
    busy = f", which had {max(loads):.1f} processes for each core" if max(loads) > BUSY else ""
    return (
        f"the samples of {plural(len(wide), 'case')} vary by more than {WIDE:.0%} between their "
        f"quartiles, those of {printable(case)} by {wide[case]:.0%}: other work disturbs them on "
        f"this machine{busy}; measure again when it is idle"
    )
