"""Results of which nothing is missing."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radialbench.records.result import Record


def whole_results(path: Path) -> "tuple[str, tuple[Record, ...]]":
    """Read a file of results that is whole: what is missing of it would look like a pass."""
    from radialbench.errors import ReportError
    from radialbench.records.store import read
    from radialbench.reports.summarize import results_file

    results = results_file(path)
    found = read(results)
    if found.skipped:
        more = f", and {len(found.skipped) - 1} more" if len(found.skipped) > 1 else ""
        raise ReportError(
            f"{results} holds lines that are no records: {found.skipped[0]}{more}. Measure again, "
            "or take those lines out"
        )
    if not found.records:
        raise ReportError(f"{results} holds no records. Run a suite with `radialbench run`")
    return str(results), found.records
