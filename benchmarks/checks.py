"""Simulate what checks and histories detect: the rates behind docs/check.md.

    python -m benchmarks.checks             # rates of checks, assumed noise and recorded: an hour
    python -m benchmarks.checks --histories # rates of histories
    python -m benchmarks.pages check        # the page from the rates

Suites of 50 cases are compared with noise of several kinds (benchmarks/noise.py), once with equal
code and once with some cases slowed, by two protocols: two results of one process each, and both
versions in turn, as `radialbench check --against` measures. Recorded noise is that of
benchmarks/results/noise_*.jsonl, from `radialbench noise benchmarks/noise.yaml`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from math import erfc, sqrt
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.noise import KINDS, Noise, Resampled, slower
from benchmarks.parts import RESULTS, described, file_hash, timing_of, write_rows
from radialbench.records.result import Record
from radialbench.reports.check import noise as differences
from radialbench.reports.check.compare import check
from radialbench.reports.check.history import MetricHistory, history, run_of
from radialbench.reports.check.verdict import (
    TIMES_AGAIN,
    Outcome,
    cases_to_repeat,
    exit_code,
    merge_repeated,
    suspects,
)
from radialbench.reports.text import markdown_table
from radialbench.suites.noise import RunRecords, read_runs
from radialbench.suites.versus.rounds import ROUNDS

RECORDS = {name: RESULTS / f"noise_{name.lower()}.jsonl" for name in ("H100", "H200")}
RATES = RESULTS / "checks.json"
HISTORIES = RESULTS / "histories.json"

FAILED, MISSED = 0.01, {0.03: 0.1, 0.05: 0.01}
"""The aim: the share of equal suites that may fail, and of slowdowns that may pass."""

CASES = 50
COMPARISONS = 300
SLOWDOWNS = (0.02, 0.03, 0.05, 0.1)
SURE = 0.002
"""asv's bound on the probability of its test."""

TWO_RUNS, WITH_FLOOR, AGAINST = "two results", "with --noise-floor", "--against"
ASV = "asv, factor 1.02"

Row = dict[str, Any]
"""Counts for a noise and a protocol: comparisons, how many of equal code failed or were
inconclusive, cases measured again, and how many slowdowns of each size regressed or passed."""
Found = tuple[int, Mapping[str, Outcome], int]
"""Exit code of a comparison, the outcome of each case, and how many cases were measured again."""

Draws = Noise | Resampled
Floors = Mapping[str, float]


def two_results(noise: Draws, slowed: Mapping[int, float], *floor: Floors) -> Found:
    """Check a result of one process against another one's."""
    before, now = noise.pair()
    known = floor[0] if floor else None
    verdicts = check(slower(now, slowed), before, noise_floor=known).verdicts
    return exit_code(verdicts), _outcomes(verdicts), 0


def against(noise: Draws, slowed: Mapping[int, float]) -> Found:
    """Check as `radialbench check --against` does: in several processes, and suspects again."""
    before, now = noise.pair(ROUNDS)
    result, again = check(slower(now, slowed), before, in_turn=True), set[str]()
    if suspects(result.verdicts):
        again = cases_to_repeat(result.verdicts, [one.case for one in now])
        before, now = noise.pair(TIMES_AGAIN * ROUNDS)
        now, before = (
            [one for one in part if one.case in again] for part in (slower(now, slowed), before)
        )
        result = merge_repeated(result, check(now, before, in_turn=True).verdicts)
    return exit_code(result.verdicts), _outcomes(result.verdicts), len(again)


def asv(noise: Draws, slowed: Mapping[int, float]) -> Found:
    """Compare medians as asv does, with its factor lowered from 1.1 to 1.02.

    asv (7032df7, `asv/_stats.py` and `asv/commands/compare.py`): the ratio of the medians is above
    the factor, and a Mann–Whitney test of the samples has p below 0.002. It uses confidence
    intervals only where samples are too few.
    """
    before, now = noise.pair()
    outcomes = {}
    for one, other in zip(slower(now, slowed), before, strict=True):
        a, b = timing_of(one).samples_ms, timing_of(other).samples_ms
        is_slower = median(a) > 1.02 * median(b) and _mann_whitney(a, b) < SURE
        outcomes[one.case] = Outcome.REGRESSED if is_slower else Outcome.PASS
    return int(Outcome.REGRESSED in outcomes.values()), outcomes, 0


def _outcomes(verdicts: Iterable[Any]) -> dict[str, Outcome]:
    return {one.case: one.outcome for one in verdicts if one.metric == "latency"}


def _mann_whitney(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the two-sided p by the normal approximation, for more than 20 samples each."""
    m, n = len(one), len(other)
    above = float((np.asarray(one)[:, None] > np.asarray(other)).sum())
    z = abs(above - m * n / 2) / sqrt(m * n * (m + n + 1) / 12)
    return erfc(z / sqrt(2))


PROTOCOLS: dict[str, Callable[..., Found]] = {
    TWO_RUNS: two_results,
    WITH_FLOOR: two_results,
    AGAINST: against,
    ASV: asv,
}


def simulate(name: str, protocol: str, comparisons: int = COMPARISONS) -> Row:
    """Count what a protocol does with noise of a kind of `KINDS`, or of recorded runs."""
    if name in KINDS:
        return counted(name, protocol, Noise(like(), seed=1, kind=name), comparisons)
    runs = read_runs(RECORDS[name])
    floor = [floors_of(runs)] if protocol == WITH_FLOOR else []
    noise = Resampled(differences.sittings_of(runs), seed=1)
    return counted(name, protocol, noise, comparisons, *floor)


def floors_of(runs: Sequence[RunRecords]) -> dict[str, float]:
    """Return the noise floor of recorded runs by the names of `Resampled`."""
    floors = differences.noise_floors(runs)
    for place in range(CASES):
        floors[f"case{place}"] = floors[runs[0][place % len(runs[0])].case]
    return floors


def like() -> Record:
    """Return a record of which only the times vary from run to run."""
    return replace(read_runs(RECORDS["H100"])[0][0], ceiling=None, isolated=None, telemetry=None)


def counted(name: str, protocol: str, noise: Draws, comparisons: int, *floor: Floors) -> Row:
    """Count comparisons of equal code, and of suites in which four cases are slowed."""
    measure, rng = PROTOCOLS[protocol], np.random.default_rng(7)
    row: Row = {"noise": name, "protocol": protocol, "comparisons": comparisons}
    row |= {"failed": 0, "inconclusive": 0, "again": 0}
    row |= {key: {f"{size:g}": 0 for size in SLOWDOWNS} for key in ("caught", "passed")}
    for _ in range(comparisons):
        code, _, again = measure(noise, {}, *floor)
        row["failed"] += code == 1
        row["inconclusive"] += code == 3
        row["again"] += again
        places = rng.choice(CASES, len(SLOWDOWNS), replace=False).tolist()
        slowed = {place: 1 + size for place, size in zip(places, SLOWDOWNS, strict=True)}
        _, outcomes, _ = measure(noise, slowed, *floor)
        for place, size in zip(places, SLOWDOWNS, strict=True):
            outcome = outcomes[f"case{place}"]
            row["caught"][f"{size:g}"] += outcome is Outcome.REGRESSED
            row["passed"][f"{size:g}"] += outcome in (Outcome.PASS, Outcome.FASTER)
    return row


def rates_table(rates: Iterable[Row]) -> str:
    """Format the rows as a Markdown table of shares."""
    sizes = [f"{size:.0%}" for size in SLOWDOWNS]
    rows = [
        (
            row["noise"],
            row["protocol"],
            *(_share(row, row[name]) for name in ("failed", "inconclusive")),
            *(
                f"{_share(row, row['caught'][size])}, {_share(row, row['passed'][size])}"
                for size in row["caught"]
            ),
        )
        for row in rates
    ]
    return markdown_table(
        ("noise", "protocol", "failed", "inconclusive", *sizes), rows, text_columns=2
    )


def _share(row: Row, count: int) -> str:
    share = count / row["comparisons"]
    return f"{share:.1%}" if 0 < share < 0.1 or 0.9 < share < 1 else f"{share:.0%}"


SERIES, HISTORY_CALLS = 500, 54
LENGTHS = (8, 12, 20)
OFFSETS = (0.003, 0.006, 0.01)
SIZES = (0.03, 0.05)
SIDE = 3
"""Results after the step: the fewest that a step must have."""


def simulate_histories() -> list[dict[str, Any]]:
    """Count series of equal code that show a change, and steps that are found at their run."""
    found = []
    for offset in OFFSETS:
        for results in LENGTHS:
            noise = Noise(like(), results, cases=CASES, calls=HISTORY_CALLS, offset=offset)
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


TEXT, BETWEEN = Path(__file__).with_suffix(".txt").read_text("utf-8").split("---\n")
"""The part on recorded noise, and its end where there are several sittings."""


def recorded_text(runs: Sequence[RunRecords]) -> str:
    """Describe recorded runs and what they differ by."""
    here, codes = runs[-1][-1].environment, differences.equal_codes(runs)
    sizes = [str(len(part)) for part in differences.sittings_of(runs)]
    several = f"{len(sizes)} sittings of {' and '.join(sizes)} runs"
    return TEXT.format(
        device=here.device,
        runs=len(runs),
        cases=len(runs[0]),
        machine=described(here).rsplit("; ", 1)[0],
        spreads=spread_table(runs),
        beside=differences.describe_noise(differences.spreads(runs)[-1], device="cuda"),
        codes=f"{codes.count(1)} fail, {codes.count(3)} are inconclusive, {codes.count(0)} pass",
        sittings=several if len(sizes) > 1 else "one sitting",
        between=f" {BETWEEN.format(most=farthest(runs))}" if len(sizes) > 1 else "",
    )


def spread_table(runs: Sequence[RunRecords]) -> str:
    """Format the differences between runs, in percent."""
    columns = [place for place, name in enumerate(differences.COLUMNS) if name != "in turn"]
    cells = map(differences.spread_cells, differences.spreads(runs))
    rows = [[row[place] for place in columns] for row in cells]
    return markdown_table([differences.COLUMNS[place] for place in columns], rows, text_columns=1)


def farthest(runs: Sequence[RunRecords]) -> float:
    """Return the largest difference of a case's median from the first sitting, as a share."""
    first, *later = (
        np.median(np.log([[timing_of(one).median_ms for one in run] for run in part]), axis=0)
        for part in differences.sittings_of(runs)
    )
    return max((float(np.abs(np.expm1(one - first)).max()) for one in later), default=0.0)


def aim(rates: Iterable[Row]) -> str:
    """Describe whether check meets the aim, under every noise."""
    lacking = []
    for row in (one for one in rates if one["protocol"] != ASV):
        shares = {"of equal suites fail": (row["failed"], FAILED)}
        for size, most in MISSED.items():
            shares[f"of slowdowns of {size:.0%} pass"] = (row["passed"][f"{size:g}"], most)
        lacking += [
            f"{row['noise']}, {row['protocol']}: {count / row['comparisons']:.1%} {what}"
            for what, (count, most) in shares.items()
            if count > most * row["comparisons"]
        ]
    passing = " and ".join(f"{most:.0%} of those of {size:.0%}" for size, most in MISSED.items())
    text = (
        f"The aim is that at most {FAILED:.0%} of equal suites fail under any of these noises, and "
        f"that of slowdowns {passing} pass, at most"
    )
    return f"{text}: it is missed ({'; '.join(lacking)})." if lacking else f"{text}: it is met."


def parts() -> dict[str, str]:
    """Return each generated part of the page by its name."""
    rates = read_rates()
    kinds = "\n".join(f"- *{name}*: {what}" for name, what in KINDS.items())
    found: list[Row] = json.loads(HISTORIES.read_text(encoding="utf-8"))
    return {
        "noises": kinds,
        "rates": f"{rates_table(rates)}\n\n{aim(rates)}",
        "recorded": "\n".join(recorded_text(read_runs(path)) for path in RECORDS.values()),
        "histories": history_table(found),
    }


def read_rates(path: Path = RATES, records: Mapping[str, Path] = RECORDS) -> list[Row]:
    """Read the rates, or exit if they are of other records."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["records"] != {name: file_hash(one) for name, one in records.items()}:
        raise SystemExit(f"{path} is of other records: run python -m benchmarks.checks")
    found: list[Row] = stored["rates"]
    return found


def store_rates(
    rates: Iterable[Row], path: Path = RATES, records: Mapping[str, Path] = RECORDS
) -> None:
    """Write rates with the hashes of the records they were counted from."""
    hashes = json.dumps({name: file_hash(one) for name, one in records.items()})
    write_rows(path, rates, f'{{"records": {hashes}, "rates": [', "]}")


def main() -> int:
    """Simulate the rates of checks, or of histories."""
    parser = argparse.ArgumentParser(description="Simulate what checks catch.")
    parser.add_argument("--histories", action="store_true", help="simulate histories alone")
    options = parser.parse_args()
    if options.histories:
        write_rows(HISTORIES, simulate_histories())
        return 0
    names = [(name, protocol) for name in KINDS for protocol in (TWO_RUNS, AGAINST, ASV)]
    names += [(name, protocol) for name in RECORDS for protocol in PROTOCOLS]
    with ProcessPoolExecutor() as pool:
        store_rates(pool.map(simulate, *zip(*names, strict=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
