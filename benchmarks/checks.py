"""Simulate what checks catch, and write what docs/check.md says of it, with its picture.

    python -m benchmarks.checks              # the page, from the stored rates
    python -m benchmarks.checks --simulate   # the rates first: some minutes on a core
    python -m benchmarks.checks --check      # exits with 1 if the page differs from the rates

Suites of 50 cases are compared with noise of two levels (`tests/reports/check/noise.py`), once as
they are and once for each slowdown of one case, by every rule on the same samples.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import erfc, sqrt
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.parts import filled
from radialbench.records.result import Record
from radialbench.reports.check import check
from radialbench.reports.check.verdict import Outcome, exit_code
from radialbench.reports.formats._tables import table
from tests.reports.check.noise import Noise

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "check.md"
PICTURE = ROOT / "docs" / "images" / "check.svg"
RATES = ROOT / "benchmarks" / "results" / "checks.json"

COMPARISONS = 1000
SLOWED = 7
CALLS = (30, 54, 100)
SLOWDOWNS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.09, 0.1, 0.11, 0.12, 0.14)
TOLD = (0.02, 0.03, 0.04, 0.05, 0.1)
FACTORS = (1.1, 1.02)
THRESHOLD = 0.05
SURE = 0.002
"""asv's bound on the probability of its test."""

Rates = list[dict[str, Any]]
"""For each rule and number of calls a case: how many of how many comparisons of equal code failed
or were inconclusive, and how many slowdowns of each size were caught."""


def simulate() -> Rates:
    """Count, for every rule and number of calls, what happens."""
    found: Rates = []
    for calls in CALLS:
        names = ["check"]
        if calls == max(CALLS):
            names += [
                *(f"asv, factor {factor}" for factor in FACTORS),
                f"threshold {THRESHOLD:.0%}",
            ]
        rows = {name: _row(name, calls) for name in names}
        noise = Noise(calls, calls=calls)
        for _ in range(COMPARISONS):
            before, now = noise.run(), noise.run()
            for name, row in rows.items():
                failed, inconclusive = _equal(name, now, before)
                row["failed"] += failed
                row["inconclusive"] += inconclusive
                for size in SLOWDOWNS:
                    row["caught"][f"{size:g}"] += _caught(name, now, before, size)
        found += rows.values()
    return found


def _row(name: str, calls: int) -> dict[str, Any]:
    counts = {"failed": 0, "inconclusive": 0, "caught": {f"{size:g}": 0 for size in SLOWDOWNS}}
    return {"rule": name, "calls": calls, "comparisons": COMPARISONS} | counts


def _equal(name: str, now: Sequence[Record], before: Sequence[Record]) -> tuple[bool, bool]:
    """Whether a comparison of equal code fails, and whether it is inconclusive."""
    if name == "check":
        code = exit_code(check(now, before))
        return code == 1, code == 3
    pairs = zip(now, before, strict=True)
    return any(_slower(name, _samples(one), _samples(other)) for one, other in pairs), False


def _caught(name: str, now: Sequence[Record], before: Sequence[Record], size: float) -> bool:
    """Whether a slowdown of one case is called one."""
    slowed = _slowed(now[SLOWED], 1 + size)
    if name != "check":
        return _slower(name, _samples(slowed), _samples(before[SLOWED]))
    verdicts = check([*now[:SLOWED], slowed, *now[SLOWED + 1 :]], before)
    return any(
        one.outcome is Outcome.REGRESSED and (one.case, one.metric) == (slowed.case, "latency")
        for one in verdicts
    )


def _slower(name: str, now: Sequence[float], before: Sequence[float]) -> bool:
    """Whether a case counts as slower by asv's rule, or by a plain threshold on the medians.

    asv's (7032df7, `asv/_stats.py` and `asv/commands/compare.py`): the ratio of the medians is
    above the factor, 1.1 unless told otherwise, and a Mann–Whitney test of the samples finds them
    different with p below 0.002. Its confidence intervals only count where samples are too few.
    """
    ratio = median(now) / median(before)
    if name.startswith("threshold"):
        return ratio > 1 + THRESHOLD
    return ratio > float(name.split()[-1]) and _mann_whitney(now, before) < SURE


def _mann_whitney(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided probability, by the normal distribution: right for more than 20 samples each."""
    m, n = len(one), len(other)
    above = float((np.asarray(one)[:, None] > np.asarray(other)).sum())
    z = abs(above - m * n / 2) / sqrt(m * n * (m + n + 1) / 12)
    return erfc(z / sqrt(2))


def _slowed(record: Record, factor: float) -> Record:
    assert record.timing is not None
    times = tuple(factor * ms for ms in record.timing.samples_ms)
    return replace(record, timing=replace(record.timing, samples_ms=times))


def _samples(record: Record) -> tuple[float, ...]:
    assert record.timing is not None
    return record.timing.samples_ms


def written(text: str, rates: Rates) -> str:
    """Put the table into the page."""
    headers = ("rule", "calls a case", "failed", "inconclusive", *(f"{s:.0%}" for s in TOLD))
    rows = [
        (
            row["rule"],
            str(row["calls"]),
            _share(row, row["failed"]),
            _share(row, row["inconclusive"]) if row["rule"] == "check" else "–",
            *(_share(row, row["caught"][f"{size:g}"]) for size in TOLD),
        )
        for row in rates
    ]
    return filled(text, {"catches": table(headers, rows, words=1)}, maker="benchmarks/checks.py")


def _share(row: dict[str, Any], count: int) -> str:
    share = count / row["comparisons"]
    return f"{share:.1%}" if share < 0.1 or 0.99 < share < 1 else f"{share:.0%}"


def draw(rates: Rates) -> bytes:
    """Draw the share that is caught against the slowdown, as SVG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    from radialbench.reports.charts._style import (
        COLOURS,
        GREY,
        MARKERS,
        OVER,
        WIDTH,
        drawing,
        rendered,
    )

    with drawing():
        figure = Figure(figsize=(WIDTH * 0.8, 4.6))
        axes = figure.subplots()
        for place, row in enumerate(one for one in rates if one["calls"] == max(CALLS)):
            axes.plot(
                list(map(float, row["caught"])),
                [count / row["comparisons"] for count in row["caught"].values()],
                color=COLOURS[place],
                marker=MARKERS[place],
                label=row["rule"],
                linewidth=3 if row["rule"] == "check" else 1.6,
                linestyle=OVER if row["rule"] == "asv, factor 1.02" else "-",
            )
        for aim in (0.9, 0.99):
            axes.axhline(aim, color=GREY, linestyle=(0, (4, 2)), linewidth=0.8, zorder=1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("slowdown of one case of 50")
        axes.set_title("Slowdowns that are caught")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(0.41, 0.5))
        return rendered(figure, "svg")


def main() -> int:
    """Simulate if asked to; write, or compare with --check."""
    parser = argparse.ArgumentParser(description="What checks catch, simulated.")
    parser.add_argument("--simulate", action="store_true", help="count anew, for some minutes")
    parser.add_argument("--check", action="store_true", help="only say whether the page differs")
    options = parser.parse_args()
    if options.simulate:
        lines = ",\n".join(json.dumps(row) for row in simulate())
        RATES.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    rates: Rates = json.loads(RATES.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    if options.check:
        return int(written(text, rates) != text)
    PAGE.write_text(written(text, rates), encoding="utf-8")
    PICTURE.write_bytes(draw(rates))
    return 0


if __name__ == "__main__":
    sys.exit(main())
