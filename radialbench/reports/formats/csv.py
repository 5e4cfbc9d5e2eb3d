"""Comma-separated values: the columns of a summary's frame, not rounded."""

import csv
from io import StringIO

from radialbench.reports.columns import BASELINE_COLUMNS, COLUMNS, Value
from radialbench.reports.summary import Summary


def render(summary: Summary) -> str:
    """Render every case; a value that a case does not have is empty.

    Text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in (*COLUMNS, *BASELINE_COLUMNS)])
    writer.writerows(map(_plain, case.values()) for case in summary.cases)
    return text.getvalue()


def _plain(value: Value) -> Value:
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula else value
