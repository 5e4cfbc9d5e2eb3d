"""What checks catch with the noise that benchmarks/noise.py records, and what docs say of it."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.noise import RECORDS, Run, equal_codes, recorded
from benchmarks.parts import described
from benchmarks.resampled import Resampled, as_stopped
from benchmarks.rules import CHECK, COMPARISONS, OTHERS, Row, count, rates_table, row_of
from benchmarks.sittings import apart_table, farthest, sittings_of
from benchmarks.spread import spread_table, spreads, told_beside
from radialbench.suites.spec import Protocol

RATES = RECORDS.parent / "checks_recorded.json"
CALLS = 100
DEFAULT = "default"

FAILED, SURE_AT = 0.01, {0.03: 0.9, 0.05: 0.99}
"""What is aimed at: the share of equal suites that may fail, and of slowdowns to be caught."""

TEXT = """\
From recorded noise: {runs} runs of the {cases} cases of `benchmarks/noise.yaml`, each run in a
process of its own (`python -m benchmarks.noise`), in {sittings}, on {machine}.
Suites, comparisons and columns are those above. A case of a suite is one of the recorded cases; its
two runs are two of the recorded processes of one sitting, whose calls are drawn in stretches of
ten, each from about its place. *{default}* ends sampling as a suite does that says nothing of its
protocol, after {taken:.0f} calls in the mean.

{rates}

{aim}

What runs of one sitting differ by, as a standard deviation: *calls* is that of the calls of one
run, *two medians* that of the ratio of two runs' medians, and *two runs* what is left of it without
the uncertainty that each run's own samples show. This last one is what `RUNS_GPU` in
`radialbench/reports/check/metrics.py` stands for.

{spreads}

That is {beside}. Of the checks of every recorded run against
each earlier one of its sitting, {whole} with {calls} calls a case, and {stopped} with as many as
the default protocol takes.{apart}
"""

APART = """

Between sittings the GPU may be another one of its kind, or have other neighbours. Medians of the
runs' medians, over those of the first sitting:

{table}

That is up to {most:.1%}, and all cases of a suite may move alike: compare with a baseline that was
measured in the same sitting, as `--against` does, or say `--run-noise 1`."""


def simulate(runs: Sequence[Run], comparisons: int = COMPARISONS) -> list[Row]:
    """Count, for every rule, what happens with the noise of recorded runs."""
    default = row_of(CHECK, DEFAULT, comparisons) | {"taken": 0.0}
    rows = [row_of(rule, CALLS, comparisons) for rule in (CHECK, *OTHERS)]
    noise = Resampled(sittings_of(runs), seed=1)
    for _ in range(comparisons):
        before, now = noise.pair()
        for row in rows:
            count(row, now, before)
        before, now = ([as_stopped(one, Protocol()) for one in suite] for suite in (before, now))
        count(default, now, before)
        calls = [len(one.timing.samples_ms) for one in now if one.timing]
        default["taken"] += sum(calls) / len(calls) / comparisons
    return [default, *rows]


def stored_rates(records: Path = RECORDS, rates: Path = RATES) -> list[Row] | None:
    """Give the rates that were counted from recorded runs; None if there are none of these."""
    if not records.exists() or not rates.exists():
        return None
    stored = json.loads(rates.read_text(encoding="utf-8"))
    found: list[Row] = stored["rates"]
    return found if stored["records"] == _mark(records) else None


def store(found: Sequence[Row], records: Path = RECORDS, rates: Path = RATES) -> None:
    """Keep rates, with the mark of the records they were counted from."""
    lines = ",\n".join(json.dumps(row) for row in found)
    text = f'{{"records": "{_mark(records)}", "rates": [\n{lines}\n]}}\n'
    rates.write_text(text, encoding="utf-8")


def told(rates: Sequence[Row], runs: Sequence[Run]) -> str:
    """Say what was recorded, and what follows from it."""
    shorter = [tuple(as_stopped(one, Protocol()) for one in run) for run in runs]
    return TEXT.format(
        runs=len(runs),
        cases=len(runs[0]),
        machine=described(runs[-1][-1].environment).rsplit("; ", 1)[0],
        default=DEFAULT,
        taken=rates[0]["taken"],
        rates=rates_table(rates),
        aim=_aim(rates[0]),
        spreads=spread_table(runs),
        beside=told_beside(spreads(runs)[-1]),
        whole=_codes(runs),
        stopped=_codes(shorter),
        calls=CALLS,
        sittings=_sittings(runs),
        apart=APART.format(table=apart, most=farthest(runs))
        if (apart := apart_table(runs))
        else "",
    )


def part(records: Path = RECORDS, rates: Path = RATES) -> str:
    """Give the part of the page; empty where nothing was recorded and counted."""
    found = stored_rates(records, rates)
    return told(found, recorded(records)) if found else ""


def _sittings(runs: Sequence[Run]) -> str:
    sizes = [str(len(part)) for part in sittings_of(runs)]
    return (
        f"{len(sizes)} sittings of {' and '.join(sizes)} runs" if len(sizes) > 1 else "one sitting"
    )


def _aim(row: Row) -> str:
    """Say whether the default protocol does what is aimed at."""
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


def _codes(runs: Sequence[Run]) -> str:
    codes = equal_codes(runs)
    bad = {"fail": codes.count(1), "are inconclusive": codes.count(3)}
    words = [f"{codes.count(0)} of {len(codes)} pass"]
    return ", ".join([*words, *(f"{number} {word}" for word, number in bad.items() if number)])


def _mark(records: Path) -> str:
    return hashlib.sha256(records.read_bytes()).hexdigest()[:16]
