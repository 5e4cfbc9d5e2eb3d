"""Simulate what checks and histories detect: the rates behind docs/check.md.

    python -m benchmarks.checks             # with recorded noise: minutes
    python -m benchmarks.checks --all       # with assumed and recorded noise
    python -m benchmarks.pages check        # the page from the rates

Suites of 50 cases are compared with assumed noise of two levels (`Noise` in benchmarks/noise.py):
once unchanged, and once for each slowdown of one case, by every rule on the same samples. The same
comparisons use the noise of benchmarks/results/noise.jsonl, which `radialbench noise
benchmarks/noise.yaml` records; the picture shows these.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import erfc, sqrt
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.noise import Noise, Resampled, as_stopped
from benchmarks.parts import RESULTS, described, file_hash, timing_of, write_rows
from radialbench.records.result import Record
from radialbench.reports.check import noise as differences
from radialbench.reports.check.compare import check
from radialbench.reports.check.history import MetricHistory, history, run_of
from radialbench.reports.check.verdict import Outcome, exit_code
from radialbench.reports.text import markdown_table
from radialbench.suites.noise import RunRecords, read_runs
from radialbench.suites.schema import Protocol

RECORDS = RESULTS / "noise.jsonl"
ASSUMED = RESULTS / "checks.json"
RECORDED = RESULTS / "checks_recorded.json"
HISTORIES = RESULTS / "histories.json"
PICTURE = "check.svg"

ASSUMED_CALLS = (30, 54, 100)
CALLS = 100
DEFAULT = "default"

FAILED, SURE_AT = 0.01, {0.03: 0.9, 0.05: 0.99}
"""The aim: the share of equal suites that may fail, and of slowdowns to be caught."""

COMPARISONS = 1000
SLOWED = 7
SLOWDOWNS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.09, 0.1, 0.11, 0.12, 0.14)
SHOWN = (0.02, 0.03, 0.04, 0.05, 0.1)
THRESHOLD = 0.05
SURE = 0.002
"""asv's bound on the probability of its test."""

CHECK = "check"
ASV = ("asv, factor 1.1", "asv, factor 1.02")
OTHERS = (*ASV, f"threshold {THRESHOLD:.0%}")

Row = dict[str, Any]
"""Counts for a rule and a number of calls per case: comparisons of equal code, how many of these
failed or were inconclusive, and how many slowdowns of each size were caught."""


def row_of(rule: str, calls: int | str, comparisons: int = COMPARISONS) -> Row:
    """Return a row of zero counts."""
    counts = {"failed": 0, "inconclusive": 0, "caught": {f"{size:g}": 0 for size in SLOWDOWNS}}
    return {"rule": rule, "calls": calls, "comparisons": comparisons} | counts


def count(row: Row, now: Sequence[Record], before: Sequence[Record]) -> None:
    """Add a comparison to a row."""
    failed, inconclusive = _equal(row["rule"], now, before)
    row["failed"] += failed
    row["inconclusive"] += inconclusive
    for size in SLOWDOWNS:
        row["caught"][f"{size:g}"] += _caught(row["rule"], now, before, size)


def rates_table(rates: Iterable[Row]) -> str:
    """Format the rows as a Markdown table of shares."""
    headers = ("rule", "calls a case", "failed", "inconclusive", *(f"{s:.0%}" for s in SHOWN))
    rows = [
        (
            row["rule"],
            str(row["calls"]),
            _share(row, row["failed"]),
            _share(row, row["inconclusive"]) if row["rule"] == CHECK else "–",
            *(_share(row, row["caught"][f"{size:g}"]) for size in SHOWN),
        )
        for row in rates
    ]
    return markdown_table(headers, rows, text_columns=1)


def _equal(rule: str, now: Sequence[Record], before: Sequence[Record]) -> tuple[bool, bool]:
    """Return whether a comparison of equal code fails, and whether it is inconclusive."""
    if rule == CHECK:
        code = exit_code(check(now, before).verdicts)
        return code == 1, code == 3
    pairs = zip(now, before, strict=True)
    return any(_slower(rule, _samples(one), _samples(other)) for one, other in pairs), False


def _caught(rule: str, now: Sequence[Record], before: Sequence[Record], size: float) -> bool:
    """Return whether a rule detects a slowdown of one case."""
    slowed = _slowed(now[SLOWED], 1 + size)
    if rule != CHECK:
        return _slower(rule, _samples(slowed), _samples(before[SLOWED]))
    verdicts = check([*now[:SLOWED], slowed, *now[SLOWED + 1 :]], before).verdicts
    return any(
        one.outcome is Outcome.REGRESSED and (one.case, one.metric) == (slowed.case, "latency")
        for one in verdicts
    )


def _slower(rule: str, now: Sequence[float], before: Sequence[float]) -> bool:
    """Return whether a case is slower by asv's rule, or by a threshold on the medians.

    asv (7032df7, `asv/_stats.py` and `asv/commands/compare.py`): the ratio of the medians is above
    the factor, 1.1 by default, and a Mann–Whitney test of the samples has p below 0.002. It uses
    confidence intervals only where samples are too few.
    """
    ratio = median(now) / median(before)
    if rule.startswith("threshold"):
        return ratio > 1 + THRESHOLD
    return ratio > float(rule.split()[-1]) and _mann_whitney(now, before) < SURE


def _mann_whitney(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the two-sided p by the normal approximation, for more than 20 samples each."""
    m, n = len(one), len(other)
    above = float((np.asarray(one)[:, None] > np.asarray(other)).sum())
    z = abs(above - m * n / 2) / sqrt(m * n * (m + n + 1) / 12)
    return erfc(z / sqrt(2))


def _slowed(record: Record, factor: float) -> Record:
    times = tuple(factor * ms for ms in _samples(record))
    return replace(record, timing=replace(timing_of(record), samples_ms=times))


def _samples(record: Record) -> tuple[float, ...]:
    return timing_of(record).samples_ms


def _share(row: Row, count: int) -> str:
    share = count / row["comparisons"]
    return f"{share:.1%}" if share < 0.1 or 0.99 < share < 1 else f"{share:.0%}"


SERIES, CASES, HISTORY_CALLS = 500, 50, 54
LENGTHS = (8, 12, 20)
OFFSETS = (0.003, 0.006, 0.01)
SIZES = (0.03, 0.05)
SIDE = 3
"""Results after the step: the fewest that a step must have."""

TEXT, BETWEEN, PICTURED = Path(__file__).with_suffix(".txt").read_text("utf-8").split("---\n")
"""The part on recorded noise, its end where there are several sittings, and the picture."""


def simulate_assumed(like: Record) -> list[Row]:
    """Count detections by every rule and number of calls with assumed noise."""
    found: list[Row] = []
    for calls in ASSUMED_CALLS:
        names = (CHECK, *OTHERS) if calls == max(ASSUMED_CALLS) else (CHECK,)
        rows = [row_of(name, calls) for name in names]
        noise = Noise(like, calls, calls=calls)
        for _ in range(COMPARISONS):
            before, now = noise.run(), noise.run()
            for row in rows:
                count(row, now, before)
        found += rows
    return found


def simulate_recorded(runs: Sequence[RunRecords], comparisons: int = COMPARISONS) -> list[Row]:
    """Count detections by every rule with the noise of recorded runs."""
    default = row_of(CHECK, DEFAULT, comparisons) | {"taken": 0.0}
    rows = [row_of(rule, CALLS, comparisons) for rule in (CHECK, *OTHERS)]
    noise = Resampled(differences.sittings_of(runs), seed=1)
    for _ in range(comparisons):
        before, now = noise.pair()
        for row in rows:
            count(row, now, before)
        before, now = ([as_stopped(one, Protocol()) for one in suite] for suite in (before, now))
        count(default, now, before)
        default["taken"] += sum(len(_samples(one)) for one in now) / len(now) / comparisons
    return [default, *rows]


def simulate_histories(like: Record) -> list[dict[str, Any]]:
    """Count series of equal code that show a change, and steps that are found at their run."""
    found = []
    for offset in OFFSETS:
        for results in LENGTHS:
            noise = Noise(like, results, cases=CASES, calls=HISTORY_CALLS, processes=offset)
            row: dict[str, Any] = {"offset": offset, "results": results, "series": SERIES}
            row["equal"] = sum(bool(one.changes) for one in _series(noise, results, 0.0))
            for size in SIZES:
                at = results - SIDE
                series = _series(noise, results, size)
                row[f"{size:g}"] = sum([s.run for s in one.changes] == [at] for one in series)
            found.append(row)
    return found


def _series(noise: Noise, results: int, size: float) -> list[MetricHistory]:
    """Draw histories of all cases; the last results are slower by a share."""
    slowed = dict.fromkeys(range(CASES), 1 + size)
    found: list[MetricHistory] = []
    while len(found) < SERIES:
        runs = [noise.run(slowed if results - place <= SIDE else None) for place in range(results)]
        whole = history([run_of(str(place), records) for place, records in enumerate(runs)])
        found += [one for one in whole.series if one.metric == "latency"]
    return found


def history_table(rates: Iterable[Row]) -> str:
    """Format how often equal code shows a change, and how often slowdowns are found."""
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
    return markdown_table(headers, rows, text_columns=0)


def recorded_text(rates: Sequence[Row], runs: Sequence[RunRecords]) -> str:
    """Describe the recorded runs and what follows from them."""
    shorter = [tuple(as_stopped(one, Protocol()) for one in run) for run in runs]
    medians = sittings_table(runs)
    between = BETWEEN.rstrip().format(table=medians, most=farthest(runs))
    return TEXT.format(
        runs=len(runs),
        cases=len(runs[0]),
        machine=described(runs[-1][-1].environment).rsplit("; ", 1)[0],
        default=DEFAULT,
        taken=rates[0]["taken"],
        rates=rates_table(rates),
        aim=_aim(rates[0]),
        spreads=spread_table(runs),
        beside=differences.describe_noise(differences.spreads(runs)[-1], device="cuda"),
        whole=_codes(runs),
        stopped=_codes(shorter),
        calls=CALLS,
        sittings=_sittings(runs),
        between=f"\n\n{between}" if medians else "",
    )


def spread_table(runs: Sequence[RunRecords]) -> str:
    """Format the differences between runs, in percent."""
    columns = [place for place, name in enumerate(differences.COLUMNS) if name != "in turn"]
    cells = map(differences.spread_cells, differences.spreads(runs))
    rows = [[row[place] for place in columns] for row in cells]
    return markdown_table([differences.COLUMNS[place] for place in columns], rows, text_columns=1)


def sittings_table(runs: Sequence[RunRecords]) -> str:
    """Format every sitting's medians over the first one's; empty if there is only one."""
    parts = differences.sittings_of(runs)
    headers = ("case", *(f"sitting {n} of {len(part)} runs" for n, part in enumerate(parts, 1)))
    rows = [
        (record.case, "1", *(f"{ratio:.4f}" for ratio in ratios))
        for record, ratios in zip(runs[0], _over_first(runs), strict=True)
    ]
    return markdown_table(headers, rows, text_columns=1) if len(parts) > 1 else ""


def farthest(runs: Sequence[RunRecords]) -> float:
    """Return the largest difference of a case from the first sitting, as a share."""
    return max((abs(ratio - 1) for ratios in _over_first(runs) for ratio in ratios), default=0.0)


def _over_first(runs: Sequence[RunRecords]) -> list[list[float]]:
    """Return each case's ratios of later sittings' medians to the first one's."""
    found = []
    for place in range(len(runs[0])):
        first, *later = (
            median(median(_samples(run[place])) for run in part)
            for part in differences.sittings_of(runs)
        )
        found.append([ms / first for ms in later])
    return found


def _sittings(runs: Sequence[RunRecords]) -> str:
    sizes = [str(len(part)) for part in differences.sittings_of(runs)]
    return (
        f"{len(sizes)} sittings of {' and '.join(sizes)} runs" if len(sizes) > 1 else "one sitting"
    )


def _aim(row: Row) -> str:
    """Describe whether the default protocol meets the aim."""
    share = {size: row["caught"][f"{size:g}"] / row["comparisons"] for size in SURE_AT}
    lacking = [f"{row['failed'] / row['comparisons']:.1%} of equal suites fail"]
    lacking *= row["failed"] > FAILED * row["comparisons"]
    lacking += [
        f"{share[size]:.1%} of {size:.0%}" for size in SURE_AT if share[size] < SURE_AT[size]
    ]
    caught = " and ".join(f"{least:.0%} of those of {size:.0%}" for size, least in SURE_AT.items())
    aim = (
        f"The aim is that the default protocol lets at most {FAILED:.0%} of equal suites fail; of "
        f"slowdowns, {caught} are to be caught"
    )
    return f"{aim}: it is missed ({', '.join(lacking)})." if lacking else f"{aim}: it is met."


def _codes(runs: Sequence[RunRecords]) -> str:
    codes = differences.equal_codes(runs)
    bad = {"fail": codes.count(1), "are inconclusive": codes.count(3)}
    others = (f"{number} {outcome}" for outcome, number in bad.items() if number)
    return ", ".join([f"{codes.count(0)} of {len(codes)} pass", *others])


def draw(rates: Sequence[Row]) -> bytes:
    """Draw the share that is caught against the slowdown, as SVG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    from radialbench.reports.charts import _drawing as style

    with style.drawing():
        figure = Figure(figsize=(style.WIDTH * 0.8, 5.0))
        axes = figure.subplots()
        shown = [one for one in rates if one["calls"] == max(ASSUMED_CALLS)]
        shown += [one for one in rates if one["calls"] == DEFAULT]
        for place, row in enumerate(shown):
            axes.plot(
                list(map(float, row["caught"])),
                [count / row["comparisons"] for count in row["caught"].values()],
                color=style.COLOURS[place],
                marker=style.MARKERS[place],
                label=row["rule"] + ", default protocol" * (row["calls"] == DEFAULT),
                linewidth=3 if row["rule"] == CHECK else 1.6,
                linestyle=style.OVER if row["rule"] == "asv, factor 1.02" else "-",
            )
        for aim in (0.9, 0.99):
            axes.axhline(aim, color=style.GREY, linestyle=(0, (4, 2)), linewidth=0.8, zorder=1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("slowdown of one case of 50")
        axes.set_title("Slowdowns that are caught")
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
        return style.rendered(figure, "svg")


def parts() -> dict[str, str]:
    """Return each generated part of the page by its name."""
    return {
        "catches": rates_table(read_rates(ASSUMED)),
        "recorded": recorded_text(recorded_rates(), read_runs(RECORDS)),
        "picture": PICTURED.strip(),
        "histories": history_table(read_rates(HISTORIES)),
    }


def save_picture(path: Path) -> None:
    """Draw the page's picture."""
    path.write_bytes(draw(recorded_rates()))


def read_rates(path: Path) -> list[Row]:
    """Read rates with assumed noise."""
    found: list[Row] = json.loads(path.read_text(encoding="utf-8"))
    return found


def recorded_rates(records: Path = RECORDS, rates: Path = RECORDED) -> list[Row]:
    """Read rates with recorded noise, or exit if they are of other records."""
    stored = json.loads(rates.read_text(encoding="utf-8"))
    if stored["records"] != file_hash(records):
        raise SystemExit(f"{rates} is not of {records}: run python -m benchmarks.checks")
    found: list[Row] = stored["rates"]
    return found


def store_recorded(found: Iterable[Row], path: Path, records: Path) -> None:
    """Write rates with the hash of the records they were counted from."""
    write_rows(path, found, f'{{"records": "{file_hash(records)}", "rates": [', "]}")


def main() -> int:
    """Simulate rates with recorded noise, or all rates."""
    parser = argparse.ArgumentParser(description="Simulate what checks catch.")
    parser.add_argument("--all", action="store_true", help="simulate assumed noise too")
    options = parser.parse_args()
    runs = read_runs(RECORDS)
    # Only the times of this record vary from run to run.
    like = replace(runs[0][0], ceiling=None, isolated=None, telemetry=None)
    store_recorded(simulate_recorded(runs), RECORDED, RECORDS)
    if options.all:
        write_rows(ASSUMED, simulate_assumed(like))
        write_rows(HISTORIES, simulate_histories(like))
    return 0


if __name__ == "__main__":
    sys.exit(main())
