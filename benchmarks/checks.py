"""Simulate what checks catch, and write what docs/check.md says of it, with its picture.

    python -m benchmarks.checks              # the page, from the stored rates
    python -m benchmarks.checks --simulate   # the rates first: some minutes on a core
    python -m benchmarks.checks --check      # exits with 1 if the page differs from the rates

Suites of 50 cases are compared with assumed noise of two levels (`tests/reports/check/noise.py`),
once as they are and once for each slowdown of one case, by every rule on the same samples. Where
benchmarks/noise.py has recorded noise, the same is done with that: its rates are counted as soon as
there are records without, and the picture is of them.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import recorded
from benchmarks.noise import RECORDS
from benchmarks.noise import recorded as recorded_runs
from benchmarks.parts import filled
from benchmarks.rules import CHECK, COMPARISONS, OTHERS, Row, count, rates_table, row_of
from tests.reports.check.noise import Noise

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "check.md"
PICTURE = ROOT / "docs" / "images" / "check.svg"
RATES = ROOT / "benchmarks" / "results" / "checks.json"

CALLS = (30, 54, 100)
LINE = (
    "![Share of slowdowns that are caught with {noise}, against their size, {calls}; "
    "dashed: 90% and 99%]"
)


def simulate() -> list[Row]:
    """Count, for every rule and number of calls, what happens with the noise that is assumed."""
    found: list[Row] = []
    for calls in CALLS:
        names = (CHECK, *OTHERS) if calls == max(CALLS) else (CHECK,)
        rows = [row_of(name, calls) for name in names]
        noise = Noise(calls, calls=calls)
        for _ in range(COMPARISONS):
            before, now = noise.run(), noise.run()
            for row in rows:
                count(row, now, before)
        found += rows
    return found


def written(text: str, rates: Sequence[Row]) -> str:
    """Put the tables, and the line that shows the picture, into the page."""
    shown = LINE.format(noise="assumed noise", calls="at 100 calls a case")
    if recorded.stored_rates():
        shown = LINE.format(
            noise="recorded noise", calls="at 100 calls a case and with the default protocol"
        )
    parts = {
        "catches": rates_table(rates),
        "recorded": recorded.part(),
        "picture": f"{shown}(images/{PICTURE.name})",
    }
    return filled(text, parts, maker="benchmarks/checks.py")


def draw(rates: Sequence[Row]) -> bytes:
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
        figure = Figure(figsize=(WIDTH * 0.8, 5.0))
        axes = figure.subplots()
        shown = [one for one in rates if one["calls"] == max(CALLS)]
        shown += [one for one in rates if one["calls"] == recorded.DEFAULT]
        for place, row in enumerate(shown):
            axes.plot(
                list(map(float, row["caught"])),
                [count / row["comparisons"] for count in row["caught"].values()],
                color=COLOURS[place],
                marker=MARKERS[place],
                label=row["rule"] + ", default protocol" * (row["calls"] == recorded.DEFAULT),
                linewidth=3 if row["rule"] == CHECK else 1.6,
                linestyle=OVER if row["rule"] == "asv, factor 1.02" else "-",
            )
        for aim in (0.9, 0.99):
            axes.axhline(aim, color=GREY, linestyle=(0, (4, 2)), linewidth=0.8, zorder=1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("slowdown of one case of 50")
        axes.set_title("Slowdowns that are caught")
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
        return rendered(figure, "svg")


def _count_anew(*, everything: bool) -> None:
    """Count the rates of the assumed noise if asked to, and of recorded noise also if they lack."""
    if everything:
        lines = ",\n".join(json.dumps(row) for row in simulate())
        RATES.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    if RECORDS.exists() and (everything or recorded.stored_rates() is None):
        recorded.store(recorded.simulate(recorded_runs()))


def main() -> int:
    """Simulate what is asked for or lacking; write, or compare with --check."""
    parser = argparse.ArgumentParser(description="What checks catch, simulated.")
    parser.add_argument("--simulate", action="store_true", help="count anew, for some minutes")
    parser.add_argument("--check", action="store_true", help="only say whether the page differs")
    options = parser.parse_args()
    if not options.check:
        _count_anew(everything=options.simulate)
    rates: list[Row] = json.loads(RATES.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    if options.check:
        lacking = RECORDS.exists() and recorded.stored_rates() is None
        return int(lacking or written(text, rates) != text)
    PAGE.write_text(written(text, rates), encoding="utf-8")
    PICTURE.write_bytes(draw(recorded.stored_rates() or rates))
    return 0


if __name__ == "__main__":
    sys.exit(main())
