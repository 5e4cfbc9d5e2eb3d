"""Simulate how often histories show changes, there or not, and write the table of docs/check.md.

    python -m benchmarks.histories              # the page, from the stored rates
    python -m benchmarks.histories --simulate   # the rates first: some minutes on a core
    python -m benchmarks.histories --check      # exits with 1 if the page differs from the rates

Each series is a case of a suite of 50 with the noise of `tests/reports/check/noise.py`.
"""

import argparse
import json
import sys
from typing import Any

from benchmarks.checks import PAGE, ROOT
from benchmarks.parts import filled, rewrite
from radialbench.reports.check.history import MetricHistory, history, run_of
from radialbench.reports.markdown_tables import table
from tests.reports.check.noise import Noise

RATES = ROOT / "benchmarks" / "results" / "histories.json"

SERIES, CASES, CALLS = 500, 50, 54
RESULTS = (8, 12, 20)
OFFSETS = (0.003, 0.006, 0.01)
SIZES = (0.03, 0.05)
SIDE = 3
"""Results after the step, as few as a step must have."""


def simulate() -> list[dict[str, Any]]:
    """Count series of equal code with a change, and steps that are found where they are."""
    found = []
    for offset in OFFSETS:
        for results in RESULTS:
            noise = Noise(results, cases=CASES, calls=CALLS, processes=offset)
            row: dict[str, Any] = {"offset": offset, "results": results, "series": SERIES}
            row["equal"] = sum(bool(one.changes) for one in _series(noise, results, 0.0))
            for size in SIZES:
                at = results - SIDE
                series = _series(noise, results, size)
                row[f"{size:g}"] = sum([s.run for s in one.changes] == [at] for one in series)
            found.append(row)
    return found


def _series(noise: Noise, results: int, size: float) -> list[MetricHistory]:
    """MetricHistory of all cases, whose last results are slower by a share."""
    slowed = dict.fromkeys(range(CASES), 1 + size)
    found: list[MetricHistory] = []
    while len(found) < SERIES:
        runs = [noise.run(slowed if results - place <= SIDE else None) for place in range(results)]
        whole = history([run_of(str(place), records) for place, records in enumerate(runs)])
        found += [one for one in whole.series if one.metric == "latency"]
    return found


def written(text: str, rates: list[dict[str, Any]]) -> str:
    """Put the table into the page."""
    sizes = [f"{size:.0%}" for size in SIZES]
    headers = ("offset of a run", "results", "equal code", *sizes)
    rows = [
        (
            f"{row['offset']:.1%}",
            str(row["results"]),
            *(f"{row[key] / row['series']:.1%}" for key in ("equal", *(f"{s:g}" for s in SIZES))),
        )
        for row in rates
    ]
    maker = "benchmarks/histories.py"
    return filled(text, {"histories": table(headers, rows, words=0)}, maker=maker)


def main() -> int:
    """Simulate if asked to; write, or compare with --check."""
    parser = argparse.ArgumentParser(description="What histories show, simulated.")
    parser.add_argument("--simulate", action="store_true", help="count anew, for some minutes")
    parser.add_argument("--check", action="store_true", help="only say whether the page differs")
    options = parser.parse_args()
    if options.simulate:
        lines = ",\n".join(json.dumps(row) for row in simulate())
        RATES.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    rates = json.loads(RATES.read_text(encoding="utf-8"))
    return rewrite(PAGE, lambda text: written(text, rates), check=options.check)


if __name__ == "__main__":
    sys.exit(main())
