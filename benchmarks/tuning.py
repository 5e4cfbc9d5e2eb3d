"""Write what docs/tuning.md says of measured things, from records alone.

    python -m benchmarks.tuning           # the page and its picture
    python -m benchmarks.tuning --check   # exits with 1 if the page differs from the records

The records are benchmarks/results/tuning_sweep.jsonl, which `python -m benchmarks.tuning_sweep`
measures on a GPU, and the tuned ones that come with the package. Searches are replayed when the
sweep is a new one, some two minutes on a core; see benchmarks/tuning_replay.py.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.parts import filled
from benchmarks.tuning_replay import (
    Rates,
    draw,
    fresh_rates,
    search_table,
    search_targets,
    searched,
    whole_problems,
)
from benchmarks.tuning_sweep import RESULTS
from benchmarks.tuning_transfer import (
    Problems,
    bound_words,
    distance_table,
    pairs_of,
    transfer_table,
    transfer_targets,
    worst_words,
)
from radialbench.autotune.regret import transfer_regrets
from radialbench.autotune.sweep import SweepTrial, read_sweep
from radialbench.autotune.words import ratio_words
from radialbench.kernels.tuned import shipped_records
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningRecord
from radialbench.reports.markdown_tables import table, text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tuning.md"
PICTURE = ROOT / "docs" / "images" / "tuning.svg"
RATES = ROOT / "benchmarks" / "results" / "tuning.json"
NOT_YET = "Not measured yet."


def parts(
    sweep: Sequence[SweepTrial], rates: Rates | None, records: Sequence[TuningRecord]
) -> dict[str, str]:
    """Give each generated part of the page by its name."""
    problems = whole_problems(sweep)
    unknown = dict.fromkeys(("searches", "transfer", "distances"), NOT_YET)
    measured = measured_parts(sweep, problems, rates) if rates else unknown
    return measured | {"gains": gains(records)}


def measured_parts(sweep: Sequence[SweepTrial], problems: Problems, rates: Rates) -> dict[str, str]:
    """Give the parts that rest on the sweep."""
    rows = transfer_regrets([one for recorded in problems.values() for one in recorded])
    pairs = pairs_of(problems)
    searches, few = "", len(problems) - len(searched(problems.values()))
    if rates["rows"]:
        searches = "\n\n".join(
            (
                search_table(rates),
                f"![Regret of searches against their cost](images/{PICTURE.name})",
                target_table(search_targets(rates)),
            )
        )
    if few:
        searches += (
            f"\n\n{few} of {len(problems)} problems have no more candidates than a search has "
            "trials: all are tried, and no search is needed."
        )
    transfers = (
        transfer_table(rows),
        worst_words(rows),
        target_table(transfer_targets(rows)),
    )
    return {
        "searches": f"{searches.strip()}\n\n{_told(sweep, problems, rates)}",
        "transfer": "\n\n".join(transfers),
        "distances": f"{distance_table(pairs)}\n\n{bound_words(pairs)}",
    }


def target_table(targets: Iterable[tuple[str, float, float]]) -> str:
    """What was asked, and what was measured."""
    body = [
        (what, f"at most {bound:.0%}", f"{found:.3%}", "yes" if found <= bound else "**no**")
        for what, bound, found in targets
    ]
    return table(("what", "asked", "measured", "met"), body, words=1)


def gains(records: Sequence[TuningRecord]) -> str:
    """What the records that come with the package gain over the default, a table a device."""
    devices = sorted({record.key.device for record in records})
    return "\n\n".join(_gains_on(device, records) for device in devices) or NOT_YET


def _gains_on(device: str, every: Iterable[TuningRecord]) -> str:
    records = sorted((one for one in every if one.key.device == device), key=_order)
    headers = ("mask", "frames × tokens", "heads", "kernel", "changed", "default ms", "best ms")
    body = [
        (
            text(one.mask.label),
            f"{one.key.frames} × {one.key.tokens_per_frame:,}",
            str(one.key.batch * one.key.heads),
            f"`{one.key.backend}`",
            changed(one.default, one.config) or "nothing",
            f"{one.default_ms.median:.4g}",
            f"{one.ms.median:.4g}",
            "none" if one.source == "default" else ratio_words(one.ratio),
        )
        for one in records
    ]
    gained = [one.ratio.median for one in records if one.source == "tuned"]
    most = f", {max(gained):.2f} times as fast at most" if gained else ""
    versions = ", ".join(f"{name} {version}" for name, version in records[-1].versions.items())
    days = sorted({one.created[:10] for one in records})
    return (
        f"{table((*headers, 'gain'), body, words=5)}\n\n"
        f"{len(gained)} of {len(records)} run faster than with the default{most}. "
        f"{device}; {versions}; {' to '.join(dict.fromkeys((days[0], days[-1])))}."
    )


def changed(default: KernelConfig, config: KernelConfig) -> str:
    """Say in what a configuration differs from the default."""
    told = []
    for name in KernelConfig.__dataclass_fields__:
        before, now = getattr(default, name), getattr(config, name)
        if before != now:
            told.append(f"{name} {before} → {now}")
    return ", ".join(told)


def _order(record: TuningRecord) -> tuple[object, ...]:
    key = record.key
    return key.backend, record.mask.label, key.tokens_per_frame, key.frames, key.heads


def _told(sweep: Sequence[SweepTrial], problems: Problems, rates: Rates) -> str:
    """Say what the sweep is of."""
    whole = sum(map(len, problems.values()))
    devices = ", ".join(dict.fromkeys(one.key.device for one in sweep))
    versions = dict(pair for one in sweep for pair in one.versions.items())
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    cut = len({one.key for one in sweep}) - len(problems)
    left = f" {cut} more were cut off and are left out." * (cut > 0)
    counts = f"{len(problems)} problems, {whole:,} configurations, {rates['seeds']} seeds"
    return f"{counts}; {devices}; {said}; `python -m benchmarks.tuning_sweep`.{left}"


def written(page: str, sweep: Path = RESULTS, rates: Path = RATES, *, replays: bool) -> str:
    """Put the parts into the page.

    Args:
        page: Its text.
        sweep: The recorded trials; not measured yet if there is no such file.
        rates: What replaying them gave.
        replays: Whether they are replayed if the rates are not theirs.
    """
    trials = read_sweep(sweep) if sweep.exists() else ()
    known: Rates | None = None
    if trials and replays:
        known = fresh_rates(rates, sweep, whole_problems(trials).values())
    elif trials:
        known = json.loads(rates.read_text(encoding="utf-8"))
    made = parts(trials, known, shipped_records())
    return filled(page, made, maker="benchmarks/tuning.py")


def main() -> int:
    """Write the page and its picture, or compare the page with --check."""
    parser = argparse.ArgumentParser(description="What was measured of tuning.")
    parser.add_argument("--check", action="store_true", help="only say whether the page differs")
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    if options.check:
        return int(written(page, replays=False) != page)
    PAGE.write_text(written(page, replays=True), encoding="utf-8")
    if RATES.exists() and (rates := json.loads(RATES.read_text(encoding="utf-8")))["rows"]:
        PICTURE.write_bytes(draw(rates))
    return 0


if __name__ == "__main__":
    sys.exit(main())
