"""Searches replayed on the recorded sweep: how near the best they come, and at what cost.

A search takes a fifth of a second, and there are some thousands: what they gave is kept in
benchmarks/results/tuning.json, with the hash of the sweep that was replayed.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import groupby, islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from radialbench.autotune.evaluator import Outcome
from radialbench.autotune.regret import SHARES, Summary, compare_searches, summary_of
from radialbench.autotune.regret_chart import draw_regrets
from radialbench.autotune.rehearse import problem_name
from radialbench.autotune.replay import by_problem
from radialbench.autotune.run import NEIGHBOURS, neighbours
from radialbench.autotune.sweep import SweepTrial
from radialbench.autotune.tuner import TRIALS
from radialbench.kernels.tuned import shipped_records
from radialbench.records.tuning import TuningKey
from radialbench.reports.markdown_tables import table

SEEDS = 50
WHOLE = "exhaustive"
HELPED = "tpe, helped"
"""As `tune` runs it on a GPU that has no records, with those that the package has of others: what
is best there for this problem and those near it comes after the default."""

COSTS = {"tpe": SHARES, HELPED: SHARES, "random": SHARES, WHOLE: (*SHARES, 0.5, 0.7, 1.0)}
"""Parts of the measurements of an exhaustive search after which each is asked what it found."""

TOLD = (0.05, 0.1, 0.2, 1.0)
COST, MEDIAN, HIGH = 0.1, 0.02, 0.05
"""The aim: after this part of the measurements, so far from the best at the median and in 95 of 100
searches."""

Trials = Sequence[SweepTrial]
Rates = dict[str, Any]
"""Of which sweep, and for each problem, search and share: how many trials were made of how many,
and the regret with each seed."""


def whole_problems(sweep: Trials) -> dict[TuningKey, tuple[SweepTrial, ...]]:
    """Give the problems that were measured to the end.

    What may be tried depends on the kernel, the type and the head dimension alone; where there are
    fewer trials than for others of these, the sweep was cut off.
    """
    kinds: dict[tuple[object, ...], set[object]] = {}
    problems = by_problem(sweep)
    for key, recorded in problems.items():
        kinds.setdefault(_kind(key), set()).update(one.config for one in recorded)
    return {
        key: recorded
        for key, recorded in problems.items()
        if len({one.config for one in recorded}) == len(kinds[_kind(key)])
    }


def searched(problems: Iterable[Trials]) -> list[Trials]:
    """Give the problems with more candidates than `tune` tries; of the others it tries all."""
    return [recorded for recorded in problems if _cost(recorded) > TRIALS]


def sweep_hash(path: Path) -> str:
    """Tell one sweep from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def replay(problems: Sequence[Trials], seeds: int) -> list[dict[str, Any]]:
    """Replay every search on every problem with every seed, on all cores."""
    # Not forked: this process may have threads.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = pool.map(partial(rates_of, seeds=range(seeds)), problems)
        return [row for rows in found for row in rows]


def rates_of(recorded: Trials, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Replay every search on one problem."""
    rows = []
    key = recorded[0].key
    others = [record for record in shipped_records() if record.key.device != key.device]
    for search, shares in COSTS.items():
        helped = {key: tuple(islice(neighbours(others, key), NEIGHBOURS))}
        first = helped if search == HELPED else {}
        found = compare_searches(recorded, [search.partition(",")[0]], seeds, shares, first=first)
        for share, part in groupby(sorted(found, key=lambda row: row.share), lambda row: row.share):
            same = sorted(part, key=lambda row: row.seed)
            rows.append(
                {
                    "problem": problem_name(recorded[0]),
                    "search": search,
                    "share": share,
                    "trials": same[0].trials,
                    "of": _cost(recorded),
                    "regrets": [round(row.regret, 5) for row in same],
                }
            )
    return rows


def fresh_rates(
    path: Path, sweep: Path, problems: Iterable[Trials], *, seeds: int = SEEDS
) -> Rates:
    """Give the stored rates, made anew if they are not those of the sweep.

    Args:
        path: Where they are stored.
        sweep: The file of the sweep.
        problems: What was measured whole of it.
        seeds: How many searches of each problem.
    """
    now = sweep_hash(sweep)
    if path.exists():
        kept: Rates = json.loads(path.read_text(encoding="utf-8"))
        if (kept["sweep"], kept["seeds"]) == (now, seeds):
            return kept
    rows = replay(searched(problems), seeds)
    lines = ",\n".join(map(json.dumps, rows))
    text = f'{{"sweep": "{now}", "seeds": {seeds}, "rows": [\n{lines}\n]}}\n'
    path.write_text(text, encoding="utf-8")
    return {"sweep": now, "seeds": seeds, "rows": rows}


def summaries(rates: Rates) -> list[Summary]:
    """Sum up over problems and seeds."""
    parts: dict[tuple[str, float], list[float]] = {}
    for row in rates["rows"]:
        parts.setdefault((row["search"], row["share"]), []).extend(row["regrets"])
    return [summary_of(search, share, regrets) for (search, share), regrets in parts.items()]


def search_table(rates: Rates) -> str:
    """What each search hands out after parts of the measurements."""
    headers = ("search", "measured", "trials", "median", "95th percentile", "worst")
    body = []
    for one in summaries(rates):
        if one.share not in TOLD:
            continue
        rows = [r for r in rates["rows"] if (r["search"], r["share"]) == (one.search, one.share)]
        trials = median(row["trials"] for row in rows)
        figures = (f"{value:.2%}" for value in (one.median, one.high, one.worst))
        body.append((f"`{one.search}`", f"{one.share:.0%}", f"{trials:.0f}", *figures))
    return table(headers, body, words=1)


def search_targets(rates: Rates) -> list[tuple[str, float, float]]:
    """What was asked of `tpe`, the bound, and what was measured."""
    found = {(one.search, one.share): one for one in summaries(rates)}
    told = []
    for search in ("tpe", HELPED):
        what, one = f"`{search}` after {COST:.0%} of the measurements, ", found[search, COST]
        told.append((what + "median", MEDIAN, one.median))
        told.append((what + "95th percentile", HIGH, one.high))
    return told


def draw(rates: Rates) -> bytes:
    """Draw the regret of each search against what it costs, as SVG."""
    from radialbench.reports.charts._style import drawing, rendered

    with drawing():
        figure, _ = draw_regrets(summaries(rates))
        return rendered(figure, "svg")


def _cost(recorded: Trials) -> int:
    return sum(one.outcome != Outcome.REJECTED for one in recorded)


def _kind(key: TuningKey) -> tuple[object, ...]:
    return key.backend, key.device, key.head_dim, key.dtype, key.direction
